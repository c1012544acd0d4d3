"""docs/cli.md, held against what the command itself says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.checkout import ROOT
from tests.support.command import Cli, reset, shared_daemon
from tests.support.daemon import Daemon

from assetstore_cli import failures

PAGE = ROOT / "docs" / "cli.md"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with shared_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def daemon(running: Daemon) -> Iterator[Daemon]:
    yield running
    reset(running)


def test_every_verb_stands_there_with_its_help() -> None:
    script = ROOT / "scripts" / "cli_manual.py"

    checked = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )

    assert (checked.returncode, checked.stderr) == (0, "")


def test_every_exit_code_stands_there_and_in_the_help() -> None:
    codes = {value for name, value in vars(failures).items() if name.isupper() and name[0] != "_"}
    codes = {code for code in codes if isinstance(code, int)}
    text = PAGE.read_text()

    assert codes == {int(code) for code in re.findall(r"^\| (\d+) \|", text, re.MULTILINE)}
    help_text = Cli("/nowhere")("--help").out
    assert codes == {int(code) for code in re.findall(r"^ +(\d+)  ", help_text, re.MULTILINE)}


def test_the_minute_with_it_is_a_minute_that_works(daemon: Daemon, tmp_path: Path) -> None:
    block = re.search(r"## A minute with it\n\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert block is not None
    cli = Cli(daemon.socket)

    for line in block[1].splitlines():
        program, *words = shlex.split(line)
        assert program == "assetstore"
        ran = cli(*words)
        assert (ran.code, ran.err) == (0, "")

    assert cli("get", "orders", "watermark").out == '"2026-01-31"\n'

"""docs/cli.md, held against what the command itself says."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest
from tests.support.checkout import ROOT
from tests.support.command import Cli
from tests.support.daemon import Daemon

from assetstore_cli import failures

PAGE = ROOT / "docs" / "cli.md"


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


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


@pytest.mark.parametrize(
    "heading",
    ["A minute with it", "When several write the same key", "What was, and the way back"],
)
def test_what_stands_there_to_be_typed_works(daemon: Daemon, heading: str) -> None:
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cli = Cli(daemon.socket)
    blocks = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    cli("set", "orders", "watermark", '"2026-02-01"')

    lines = [line for block in blocks for line in block.splitlines() if "|" not in line]

    assert lines
    for line in lines:
        # There are no changes of so long ago in a store that is new.
        words = shlex.split(line.partition(" && ")[0].replace("2h ago", "0s ago"))
        assert words.pop(0) == "assetstore"
        ran = cli(*words)
        assert (ran.code, ran.err) == (0, ""), line

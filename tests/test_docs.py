"""What the documents say, held against what is there: commands, links, examples.

Rule: an example is taken from the document as it stands there, never retyped here.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.checkout import ROOT, name_of, project_files
from tests.support.command import Cli
from tests.support.daemon import Daemon

#: Documents whose commands a user types.
GUIDES = ["README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/airflow.md"]

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def blocks(document: str, language: str) -> list[str]:
    """The code blocks in that language, as they stand in the document."""
    return [
        text for name, text in _BLOCK.findall((ROOT / document).read_text()) if name == language
    ]


def commands(program: str) -> list[tuple[str, list[str]]]:
    """Every line of every guide's shell blocks that runs this program: (document, arguments)."""
    found = []
    for document in GUIDES:
        for block in blocks(document, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                words = [word for word in shlex.split(line, comments=True) if word != "sudo"]
                for command in _split(words):
                    while command and re.fullmatch(r"\w+=.*", command[0]):
                        del command[0]
                    if command and command[0].rpartition("/")[2] == program:
                        found.append((document, command[1:]))
    return found


def _split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in words:
        if word in ("&&", "||", "|", ";"):
            yield command
            command = []
        else:
            command.append(word)
    yield command


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def anchors(document: Path) -> set[str]:
    """The fragments that a link may point to, as they are made from headings."""
    text = _BLOCK.sub("", document.read_text())
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in _HEADING.findall(text)
    }


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture
def daemon(starter: None, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with the manifest of `make run`."""
    daemon = Daemon(tmp_path / "daemon")
    daemon.root.mkdir()
    shutil.copy(ROOT / "examples/manifest.json", daemon.manifest)
    with daemon:
        yield daemon


def test_the_worker_of_the_readme_runs_as_it_stands_there(daemon: Daemon, tmp_path: Path) -> None:
    (worker,) = blocks("README.md", "python")
    script = tmp_path / "my_worker.py"
    script.write_text(worker)

    for _ in ("first run", "next run"):
        done = run(sys.executable, "-W", "error", script, ASSETSTORE_SOCKET=str(daemon.socket))
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    assert len(worker.splitlines()) == 10
    with daemon.client() as client:
        assert client.store("orders").get("watermark") == "2026-01-31T00:00:00Z"


def test_the_command_line_of_the_readme_runs_line_by_line(daemon: Daemon, tmp_path: Path) -> None:
    (block,) = (text for text in blocks("README.md", "sh") if "assetstore trash list" in text)
    served = json.loads(daemon.manifest.read_text())["assets"]
    daemon.activate(*served, "orders_v2")
    cli = Cli(daemon.socket)
    new = tmp_path / "new.json"
    new.write_text(json.dumps({"version": 1, "assets": [*served, "orders_v2", "suppliers"]}))
    for line in block.splitlines():
        arguments = shlex.split(line, comments=True)[1:]
        command = [str(new) if word == "new.json" else word for word in arguments]
        done = cli(*command)
        assert done.code == 0, f"{line}\n{done.out}{done.err}"


@pytest.mark.parametrize("document", [*GUIDES, "docs/design.md"])
def test_every_manifest_shown_is_accepted(daemon: Daemon, document: str) -> None:
    for text in blocks(document, "json"):
        if "assets" in json.loads(text):
            daemon.manifest.write_text(text)
            with daemon.client() as client:
                assert client.reload_manifest()["manifest"]["state"] in ("accepted", "held")


def test_every_make_command_shown_exists() -> None:
    shown = {
        word
        for _, arguments in commands("make")
        for word in arguments
        if "=" not in word and not word.startswith("-")
    }

    assert shown
    assert shown - make_targets() == set()


def test_every_target_of_the_makefile_is_in_its_help() -> None:
    listed = set(re.findall(r"make ([a-z-]+)", run("make", "help").stdout))

    assert listed == make_targets()


def _cli_help(words: list[str]) -> tuple[list[str], str]:
    """The verb that these words begin with, and its help."""
    for length in (2, 1):
        verb = words[:length]
        done = Cli("/nowhere")(*verb, "--help")
        is_named = done.code == 0 and f"assetstore {' '.join(verb)} " in done.out
        # A group is no command: the word after it had to be one of its verbs.
        if is_named and "COMMAND [ARGS]" not in done.out:
            return verb, done.out
    raise AssertionError(f"there is no `assetstore {' '.join(words)}`")


def test_every_assetstore_command_shown_exists_with_its_options() -> None:
    shown = commands("assetstore")
    assert shown
    for document, words in shown:
        if words[0].startswith("-"):
            continue
        verb, text = _cli_help(words)
        for option in [word.partition("=")[0] for word in words if word.startswith("--")]:
            assert option in text, f"{document}: `assetstore {' '.join(verb)}` has no {option}"


@pytest.mark.parametrize("words", [["stauts"], ["trash", "lsit"]])
def test_a_command_that_does_not_exist_would_be_noticed(words: list[str]) -> None:
    with pytest.raises(AssertionError, match="there is no"):
        _cli_help(words)


def test_every_option_of_the_daemon_that_is_shown_exists() -> None:
    text = run(sys.executable, "-m", "assetstored", "--help").stdout
    for document, words in commands("assetstored"):
        for option in [word.partition("=")[0] for word in words if word.startswith("-")]:
            assert option in text, f"{document}: assetstored has no {option}"


def test_every_extra_shown_exists() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    shown = {
        extra
        for _, words in commands("pip")
        for word in words
        for extra in re.findall(r"\[(.*)\]", word)
    }

    assert shown
    for extras in shown:
        assert set(extras.split(",")) <= set(project["optional-dependencies"])


def test_every_link_inside_the_project_leads_somewhere() -> None:
    dead = []
    for document in project_files():
        if document.suffix != ".md":
            continue
        for link in _LINK.findall(_BLOCK.sub("", document.read_text())):
            if "://" in link or link.startswith("mailto:"):
                continue
            path, _, fragment = link.partition("#")
            target = (document.parent / path) if path else document
            if not target.exists() or (fragment and fragment not in anchors(target)):
                dead.append(f"{name_of(document)}: {link}")

    assert dead == []


def test_the_changelog_speaks_of_the_version_at_hand() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text()

    assert "\n## [Unreleased]\n" in changelog
    assert version in changelog


def test_the_style_guide_is_one_page() -> None:
    assert len((ROOT / "docs/style.md").read_text().splitlines()) <= 100

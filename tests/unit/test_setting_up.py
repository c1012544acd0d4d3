"""The first `make` in a fresh clone: interrupted, and two at once. Its Python is one of ours that
makes environments at once and installs nothing.

Rule: that the real one installs what is needed every other target shows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.support.checkout import ROOT
from tests.support.command import DEADLINE_S

#: Notes how it is called; the environment that it makes has itself as its python. While there is a
#: file "broken", the step that would install the project fails.
PYTHON = """#!/bin/sh
echo "$*" >>calls
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  *--editable*) test ! -e broken ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A directory with the Makefile, and with a Python for it."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "python").write_text(PYTHON)
    (tmp_path / "python").chmod(0o755)
    return tmp_path


def setup(clone: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["make", "setup", "PYTHON=./python"],
        cwd=clone,
        # Not those of the `make` that may run this test.
        env={key: value for key, value in os.environ.items() if not key.startswith("MAKE")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(make: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code, and what was printed."""
    told, _ = make.communicate(timeout=DEADLINE_S)
    return make.returncode, told


def times_made(clone: Path) -> int:
    return (clone / "calls").read_text().count("-m venv")


def test_what_an_interrupted_setup_has_left_is_made_anew(clone: Path) -> None:
    (clone / "broken").touch()
    failed, _ = ended(setup(clone))
    (clone / ".venv/pip-in-pieces").touch()
    (clone / "broken").unlink()
    code, told = ended(setup(clone))

    assert (failed, code) == (2, 0), told
    assert ".venv is ready" in told
    assert not (clone / ".venv/pip-in-pieces").exists()
    assert times_made(clone) == 2


def test_of_two_at_once_one_sets_up_and_the_other_waits_for_it(clone: Path) -> None:
    for code, told in [ended(each) for each in [setup(clone), setup(clone)]]:
        assert (code, ".venv is ready" in told) == (0, True), told
    assert times_made(clone) == 1


def test_an_environment_that_is_finished_is_kept_when_the_project_needs_more(clone: Path) -> None:
    ended(setup(clone))
    (clone / ".venv/mine").touch()
    os.utime(clone / ".venv/.installed", (0, 0))

    assert ended(setup(clone))[0] == 0
    assert (clone / ".venv/mine").exists()

"""The checkout that is tested: where it is, and which files are the project's.

Rule: nothing is run here but git.
"""

from __future__ import annotations

import ast
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def name_of(path: Path) -> str:
    """The path as the project writes it."""
    return path.relative_to(ROOT).as_posix()


@cache
def syntax_of(path: Path) -> ast.Module:
    """A Python file as a tree, which nobody may change: it is parsed once for all."""
    return ast.parse(path.read_text(), str(path))


def project_files() -> list[Path]:
    """The files of the project, without what is built, cached or data of `make run`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs git and a clone, to know which files are the project's")
    # In CI the checkout may belong to another user than the one who tests.
    trusted = ["git", "-c", "safe.directory=*"]
    listed = subprocess.run(
        [*trusted, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    names = listed.stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]

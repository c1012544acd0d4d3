"""Directories that get their name when they are whole, and what is left of those that never were.

Each is locked by the process that makes it. So the next one tells what is being made from what was
given up, by a kill or a power cut, and removes the latter.

Rule: directories and names; what is in them is not known here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from assetstored.datadir import sync_directory


@contextlib.contextmanager
def making(parent: Path, prefix: str) -> Iterator[Path]:
    """A new directory in parent, for our user alone, to be filled and renamed. Raises OSError.

    Gone at the end if it still has its name. ``prefix`` is hidden, and nobody else's.
    """
    clean(parent, prefix)
    path, fd = _make(parent, prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(fd)


def clean(parent: Path, prefix: str) -> None:
    """Remove what nobody is making any more."""
    for path in parent.iterdir():
        if not path.name.startswith(prefix):
            continue
        # Not ours to open or to remove: somebody else's to clean.
        with contextlib.suppress(OSError):
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(fd)


def remove(path: Path, prefix: str) -> None:
    """Remove a whole directory, so that no part of it is ever there under its name."""
    doomed = path.with_name(f"{prefix}removed-{path.name}")
    path.rename(doomed)
    sync_directory(path.parent)
    shutil.rmtree(doomed, ignore_errors=True)  # the rest is the next one's to clean


def _make(parent: Path, prefix: str) -> tuple[Path, int]:
    while True:
        path = Path(mkdtemp(prefix=prefix, dir=parent))
        try:
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # another one has taken it for left over, before it was locked
        fcntl.flock(fd, fcntl.LOCK_EX)
        if path.exists():
            return path, fd
        os.close(fd)

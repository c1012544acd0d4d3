"""A small disk that a test may fill. Needs root.

Rule: a file system and nothing else; what is put there is the test's.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def tiny_disk(path: Path, size_bytes: int = 1 << 20) -> Iterator[Path]:
    """A tmpfs at this path during the block; skips the test where it may not be mounted."""
    path.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "assetstore-test", path],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        # Lazily: whoever still has a file open there is not to keep the test from ending.
        subprocess.run(["umount", "-l", path], check=True)


def fill(path: Path) -> None:
    """Leave no byte free there."""
    with open(path / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4_096)):
            pass
    assert os.statvfs(path).f_bavail == 0

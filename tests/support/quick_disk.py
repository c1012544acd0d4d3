"""Directories in memory, where a sync costs nothing: for tests that have thousands of them, or to
which only the calls matter, and not what the machine's disk makes of them.

Rule: directories only.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")


@contextmanager
def quick_disk() -> Iterator[Path]:
    """A new directory, in memory where there is such a place; it is gone after the block."""
    directory = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="assetstore-", dir=directory) as path:
        yield Path(path)

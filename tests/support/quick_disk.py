"""Directories in memory, where a sync costs nothing: for tests that have thousands of them, or to
which only the calls matter, and not what the machine's disk makes of them.

Rule: directories only.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")

#: With less room a daemon would say so, and do without its log; a container may have 64 MiB.
_LEAST_BYTES = 1 << 30


@contextmanager
def quick_disk() -> Iterator[Path]:
    """A new directory, in memory where there is room in it; it is gone after the block."""
    has_room = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _LEAST_BYTES
    directory = _MEMORY if has_room else None
    with tempfile.TemporaryDirectory(prefix="assetstore-", dir=directory) as path:
        yield Path(path)

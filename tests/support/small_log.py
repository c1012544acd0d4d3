"""A write-ahead log of small halves: tests get around it many times, and its images are small.

Rule: sizes only; for processes that do nothing but what a test has them do.
"""

from __future__ import annotations

from collections.abc import Callable

from assetstored import change_log, wal

#: Of a half.
BLOCKS = 16


def shrink(change: Callable[[object, str, object], None] = setattr) -> None:
    """From now on this process makes, writes and expects such logs, and so do its children.

    A test that is to leave all as it was gives ``monkeypatch.setattr``.
    """
    half = BLOCKS * wal.BLOCK
    for module, name, size in (
        (wal, "HALF_BYTES", half),
        (wal, "FILE_BYTES", wal.BLOCK + 2 * half),
        (change_log, "HALF_BYTES", half),
        (change_log, "_CHECKPOINT_BYTES", half // 2),
    ):
        assert hasattr(module, name)
        change(module, name, size)

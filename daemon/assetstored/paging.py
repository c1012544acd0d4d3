"""When a page is long enough: by its items, its bytes, and the time that it took.

Rule: counts; what is on the page is not known here.
"""

from __future__ import annotations

import time

from assetstore.limits import MAX_PAGE_ITEMS, PAGE_BYTES

#: How long one page is put together, for others wait meanwhile.
PAGE_S = 0.001


class Budget:
    """What one page may take."""

    __slots__ = ("_deadline", "_left", "_size")

    def __init__(self, limit: int) -> None:
        self._left = min(limit, MAX_PAGE_ITEMS)
        self._size = 0
        self._deadline = time.monotonic() + PAGE_S

    def spend(self, size: int) -> None:
        """An item of so many bytes is on the page."""
        self._left -= 1
        self._size += size

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes on the page."""
        return self._left <= 0 or self._size > PAGE_BYTES

    @property
    def is_late(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._deadline

"""The jobs of clients that wait for their turn: in the order in which they came, and within limits.

Rule: knows how long and how large; what a job does is not looked at.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from assetstore.errors import Busy
from assetstored import jobs

Done = Callable[[jobs.Result], None]


class Waiting(NamedTuple):
    """A job, about how many bytes it writes, until when it may wait, and who gets its result."""

    job: jobs.AnyJob
    size: int
    deadline: float | None
    done: Done

    @property
    def client(self) -> int:
        """Tells the connections apart from which jobs come: each has a writer of its own."""
        assert isinstance(self.job, jobs.Change)
        return id(self.job.writer)


class WaitingJobs:
    """First come, first served. ``max_bytes``: how much may wait; a larger one waits alone."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._items: deque[Waiting] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    @property
    def first(self) -> jobs.AnyJob:
        """The job whose turn it is; there must be one."""
        return self._items[0].job

    def add(self, item: Waiting) -> None:
        """Let it wait. Raises Busy where more waits than may."""
        if self._bytes and self._bytes + item.size > self._max_bytes:
            raise Busy(
                f"{self._bytes:,} bytes of changes wait for the disk; the limit is "
                f"{self._max_bytes:,} (max_inflight_bytes). Nothing changed; try again"
            )
        self._bytes += item.size
        self._items.append(item)

    def take(
        self,
        count: int,
        size: int,
        which: Callable[[jobs.AnyJob], bool] = lambda job: True,
    ) -> list[Waiting]:
        """The next jobs while they are such, up to a count, and until so many bytes are reached.

        Those that have waited too long are refused as busy, and not among them.
        """
        taken: list[Waiting] = []
        now = time.monotonic()
        items = self._items
        while items and len(taken) < count and size > 0 and which(items[0].job):
            item = items.popleft()
            self._bytes -= item.size
            if item.deadline is not None and item.deadline < now:
                item.done(jobs.Result(Busy.default_code, message=_TOO_LATE))
                continue
            taken.append(item)
            size -= item.size
        return taken

    def take_all(self) -> list[Waiting]:
        """All of them."""
        taken = list(self._items)
        self._items.clear()
        self._bytes = 0
        return taken

    def put_back(self, items: Sequence[Waiting]) -> None:
        """These were taken last, and wait again before all others."""
        self._items.extendleft(reversed(items))
        self._bytes += sum(item.size for item in items)


_TOO_LATE = (
    "the request waited longer than its timeout before it could be started; nothing changed. "
    "The disk is slow, or too much is asked of it"
)

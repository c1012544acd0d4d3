"""Background work that comes in slices: at full speed while nobody else changes anything, and with
rests between the slices where somebody does.

A change that comes during a slice waits for it, and for its syncs. With the rests most meet none.

Rule: knows when, and nothing of what a slice is.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from assetstored import jobs
from assetstored.commits import CommitQueue


class Pace:
    """Has the slices of one kind of work done, one after the other.

    ``rest``: how many times as long as a slice took to rest after it, where others were changing
    things meanwhile.
    """

    def __init__(self, queue: CommitQueue, *, rest: float) -> None:
        self._queue = queue
        self._rest = rest
        self._next = 0.0

    async def do(self, job: jobs.AnyJob, *, in_haste: bool = False) -> Any:
        """Do a slice after the rest, or at once; returns its value or raises Refused."""
        queue = self._queue
        wait_s = self._next - time.monotonic()
        if wait_s > 0 and not in_haste:
            await asyncio.sleep(wait_s)
        begun, before = time.monotonic(), queue.committed_jobs
        value = await queue.do(job)
        self._next = ended = time.monotonic()
        if queue.committed_jobs > before + 1 or queue.queued:
            self._next += self._rest * (ended - begun)
        return value

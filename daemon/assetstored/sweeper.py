"""The sweep: drops what has been in the trash for longer than grace, a slice at a time.

A store that is to be dropped is condemned first, in one commit: from then on there is no way
back, and whatever happens in between, it is dropped in the end. Nobody ever sees half of it.

Rule: decides what is due; the writer does the dropping.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator

from assetstore.errors import Refused
from assetstore.limits import MAX_PAGE_ITEMS
from assetstore.messages import TrashInfo
from assetstored import jobs
from assetstored.commits import CommitQueue
from assetstored.pace import Pace
from assetstored.reader import Reader
from assetstored.tables import TrashRow

_log = logging.getLogger("assetstored.sweeper")

#: Rows of the trash, or stores to condemn, in one go: about a millisecond.
_PAGE = 200

#: When a sweep that was refused is tried again, if the interval is longer.
_RETRY_S = 10.0


def is_due(row: TrashRow, now_us: int, grace_us: int) -> bool:
    """Whether grace is over. A clock that was set back makes it longer, never shorter."""
    return not row.dropping and now_us - row.since >= grace_us


class Sweeper:
    """Sweeps every interval until cancelled, and whenever it is asked to."""

    def __init__(
        self, reader: Reader, queue: CommitQueue, *, grace_us: int, interval_s: float
    ) -> None:
        self._reader = reader
        self._queue = queue
        self._pace = Pace(queue, rest=3.0)
        self._grace_us = grace_us
        self._interval_s = interval_s
        self._dropping = asyncio.Lock()
        self._left_to_drop = asyncio.Event()
        self.last_sweep_us: int | None = None

    async def run(self) -> None:
        """Sweep now and after every interval; drop what was condemned at once."""
        self._left_to_drop.set()
        while True:
            try:
                after: int | None = 0
                while after is not None:
                    _, after = await self.sweep(after)
                async with asyncio.timeout(self._interval_s):
                    while True:
                        await self._left_to_drop.wait()
                        await self._drop_condemned()
            except TimeoutError:
                pass
            except Refused as exc:
                # A full disk is the very moment to go on trying: a drop makes room.
                _log.warning("the sweep was stopped, and is tried again: %s", exc)
                await asyncio.sleep(min(self._interval_s, _RETRY_S))

    async def due(self, after: int = 0) -> tuple[list[TrashInfo], int | None]:
        """A page of what the next sweep would drop, and after which id to go on, or None."""
        now_us = time.time_ns() // 1_000
        page: list[TrashInfo] = []
        async for trash_id, row in self.rows(after):
            if is_due(row, now_us, self._grace_us):
                if len(page) == MAX_PAGE_ITEMS:
                    return page, page[-1].id
                page.append(self._reader.trash_info(trash_id, row, self._grace_us))
        return page, None

    async def sweep(self, after: int = 0) -> tuple[list[TrashInfo], int | None]:
        """Condemn a page of what is due, and see that it is dropped; returns as ``due`` does."""
        due, following = await self.due(after)
        for start in range(0, len(due), _PAGE):
            part = due[start : start + _PAGE]
            await self._queue.do(jobs.Condemn([store.id for store in part]))
            for store in part:
                _log.info(
                    "dropped the store of asset %r (uri %r), %s %s ago: %d entries, %d bytes",
                    store.name,
                    store.uri,
                    store.reason,
                    _ago(store.since),
                    store.entries,
                    store.size_bytes,
                )
        self.last_sweep_us = time.time_ns() // 1_000
        self._left_to_drop.set()
        return due, following

    def drop_soon(self) -> None:
        """Stores were condemned by somebody else."""
        self._left_to_drop.set()

    async def _drop_condemned(self) -> None:
        async with self._dropping:
            self._left_to_drop.clear()
            condemned = [trash_id async for trash_id, row in self.rows() if row.dropping]
            for trash_id in condemned:
                while await self._pace.do(jobs.DropSlice(trash_id)):
                    pass

    async def rows(self, after: int = 0) -> AsyncIterator[tuple[int, TrashRow]]:
        """The rows of the trash, page by page: others get their turn in between."""
        while True:
            page = []
            for trash_id, row in self._reader.trash_rows(after):
                page.append((trash_id, row))
                if len(page) == _PAGE:
                    break
            for item in page:
                yield item
            if len(page) < _PAGE:
                return
            after = page[-1][0]
            await asyncio.sleep(0)


def _ago(since_us: int) -> str:
    seconds = max(0, time.time_ns() // 1_000 - since_us) // 1_000_000
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"

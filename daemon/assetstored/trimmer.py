"""Keeps the journal within its bounds: decides when a slice of it is looked at, and for what.

Rule: what a row is needed for, journal.py knows; the writer forgets it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from assetstore.errors import Refused
from assetstored import jobs
from assetstored.commits import CommitQueue
from assetstored.pace import Pace
from assetstored.reader import Reader

_log = logging.getLogger("assetstored.trimmer")

#: How often the bounds are looked at, which costs nothing; also when a refused pass is tried again.
_INTERVAL_S = 10.0

#: This part of the bound is freed beyond what is too much, so that a pass is worth its while: it
#: meets again all that it has to keep.
_BEYOND = 0.02


class Trimmer:
    """Trims until cancelled."""

    def __init__(
        self,
        reader: Reader,
        queue: CommitQueue,
        *,
        max_age_us: int,
        max_bytes: int,
        interval_s: float = _INTERVAL_S,
    ) -> None:
        self._reader = reader
        self._pace = Pace(queue, rest=3.0)
        self._max_age_us = max_age_us
        self._max_bytes = max_bytes
        self._interval_s = interval_s
        # How large the journal may grow before it is worth another look: what the last pass had to
        # keep, it would meet again.
        self._bearable = max_bytes
        self._oldest_due_us = 0

    async def run(self) -> None:
        """Look, and trim, now and after every interval."""
        while True:
            try:
                await self.trim()
            except Refused as exc:
                _log.warning("trimming the journal was stopped, and is tried again: %s", exc)
            await asyncio.sleep(self._interval_s)

    async def trim(self) -> int:
        """One pass, if it is due; returns about how many bytes were forgotten."""
        size = self._reader.journal_bytes()
        now = time.time_ns() // 1_000
        if size <= self._bearable and now < self._oldest_due_us:
            return 0
        excess = 0
        if size > self._max_bytes:
            excess = size - self._max_bytes + int(self._max_bytes * _BEYOND)
        total = 0
        after: int | None = 0
        older_than = now - self._max_age_us
        while after is not None:
            job = jobs.TrimSlice(after, older_than, max(0, excess - total))
            # No rests where the journal grows in spite of it all.
            in_haste = self._reader.journal_bytes() > size
            after, freed = await self._pace.do(job, in_haste=in_haste)
            total += freed
        # Not by the size: what was added meanwhile is no reason to bear more.
        self._bearable = self._max_bytes + max(0, excess - total)
        # Rows come of age one after the other: once in a hundredth of the age is soon enough.
        self._oldest_due_us = now + max(self._max_age_us // 100, int(self._interval_s * 1e6))
        if total:
            now_bytes = self._reader.journal_bytes()
            _log.info("forgot %d bytes of the journal, which now has %d", total, now_bytes)
        return total

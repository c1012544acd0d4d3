"""Whether a batch is begun at once, or waits a moment for those who were answered just now.

Where the serving process syncs by itself, what came during a sync is half of what a few busy
clients ask for: the other half are being answered, and would find the next sync under way. To wait
for them makes one sync of two. It is waited for as many as there were lately, for half as long as a
sync takes, and less and less often where nobody comes.

Rule: decides; who waits, and what the time is, it is told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

#: A batch of so many is worth a sync of its own, however many more may come.
_ENOUGH: Final = 16

_PART_OF_SYNC: Final = 0.5

#: But no longer, however long a disk that has stood still took for one.
_LONGEST_WAIT_S: Final = 0.001

#: So many batches at most are begun at once after it was waited in vain.
_MOST_AT_ONCE: Final = 64


class Gathering:
    """Decides for each batch."""

    def __init__(self) -> None:
        self._latest: frozenset[int] = frozenset()
        self._expected = 0
        self._patience_s = 0.0
        # Of the wait that goes on: until when, and how many were there when it began.
        self._until: float | None = None
        self._at_first = 0
        # How many batches are begun at once, now and after the next wait in vain.
        self._at_once = 0
        self._next_at_once = 1

    def synced(self, clients: Iterable[int], seconds: float) -> None:
        """Nobody else was served while a batch of these clients was synced, which took so long."""
        latest = frozenset(clients)
        self._expected = min(len(latest | self._latest), _ENOUGH)
        self._latest = latest
        self._patience_s = min(_PART_OF_SYNC * seconds, _LONGEST_WAIT_S)

    def synced_aside(self) -> None:
        """Others were served meanwhile: what they ask for is here already."""
        self._expected = 0
        self._latest = frozenset()

    def waits(self, count: int, now: float) -> bool:
        """Whether to begin later a batch of so many, and to ask again in a moment."""
        if self._until is None:
            if count >= self._expected:
                return False
            if self._at_once:
                self._at_once -= 1
                return False
            self._until = now + self._patience_s
            self._at_first = count
            return True
        if count < self._expected and now < self._until:
            return True
        self._until = None
        if count > self._at_first:
            self._next_at_once = 1
        else:
            self._at_once = self._next_at_once
            self._next_at_once = min(2 * self._next_at_once, _MOST_AT_ONCE)
        return False

"""Which changes were carried out lately: so that a repeat is answered, and not carried out again.

A client that got no answer sends its change again, with the same id and how long ago it was sent
first. The id of each change that changed something is in the journal, in the row of its first
revision, committed with it; here is where to find it. A change that changed nothing is not
remembered: its repeat may change something, and that is then its one effect.

Rule: knows ids and revisions; what was answered is read from the journal by who asks.
"""

from __future__ import annotations

import time
from collections import deque

from assetstore.errors import Damaged, Refused
from assetstored.overlay import Overlay
from assetstored.tables import JOURNAL, Counters, JournalRow, decode_row

#: Changes that are remembered: at 20,000 a second those of the last six seconds.
REMEMBERED = 131_072

#: And for so long at most.
REMEMBERED_S = 3_600.0

#: How much later a request may be seen here than its sender believes.
_SLACK_S = 1.0

#: The same where wall clocks are compared, which may be set. More would cost a busy fleet its
#: answers: all that was changed in this time has to be among what is remembered.
_CLOCK_SLACK_US = 5_000_000


class Forgotten(Refused):
    """A repeat that cannot be told from the first: it may have been carried out."""

    default_code = "forgotten"


class RequestMemory:
    """Remembers changes by their request id, across transactions."""

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._started = time.monotonic()
        self._known: dict[bytes, int] = {}
        # What was carried out before this process began. Apart, for what is carried out now must
        # not push it out: it is what clients ask for that were cut off by the restart.
        self._older: dict[bytes, int] = {}
        self._pending: dict[bytes, int] = {}
        # The last revision of each transaction, and when it was committed.
        self._commits: deque[tuple[int, float]] = deque()
        #: Everything sent before this moment may have been forgotten.
        self._forgotten_until = float("-inf")
        self._is_loaded = False
        self._loaded_since_us = 0

    def remember(self, request: bytes, revision: int) -> None:
        """The change was carried out, if the present transaction is committed."""
        self._pending[request] = revision

    def committed(self, revision: int) -> None:
        """The transaction was committed; revision is its last."""
        if not self._pending:
            return
        self._known.update(self._pending)
        self._pending.clear()
        self._commits.append((revision, time.monotonic()))
        while len(self._known) > self._limit:
            oldest = next(iter(self._known))
            self._forget(self._known.pop(oldest))

    def learn(self, pairs: list[tuple[bytes, int]], revision: int) -> None:
        """Know what another has carried out and committed, up to this revision."""
        self._pending.update(pairs)
        self.committed(revision)

    def pending(self) -> list[tuple[bytes, int]]:
        """What was carried out in the present transaction: id and first revision."""
        return list(self._pending.items())

    def aborted(self) -> None:
        """The transaction was not committed."""
        self._pending.clear()

    def recall(
        self, overlay: Overlay, counters: Counters, request: bytes, sent_at: float | None
    ) -> int | None:
        """The first revision of the change, or None if it was not carried out.

        ``sent_at``: when it was sent first, on the monotonic clock; None: it is the first itself.
        Raises Forgotten.
        """
        revision = self._find(request)
        # What was never sent before is looked up too: its repeat may have overtaken it.
        if revision is not None or sent_at is None:
            return revision
        now = time.monotonic()
        born = sent_at - _SLACK_S
        if now - born > REMEMBERED_S or born < self._forgotten_until:
            raise _forgotten()
        if born < self._started:
            if not self._is_loaded:
                self._load(overlay, counters)
                revision = self._find(request)
            born_us = time.time_ns() // 1_000 - int((now - born) * 1e6) - _CLOCK_SLACK_US
            if revision is None and born_us < self._loaded_since_us:
                raise _forgotten()
        return revision

    def _find(self, request: bytes) -> int | None:
        for revisions in (self._pending, self._known, self._older):
            if (revision := revisions.get(request)) is not None:
                return revision
        return None

    def _load(self, overlay: Overlay, counters: Counters) -> None:
        """Learn from the journal what was carried out before this process began."""
        older: list[tuple[bytes, int]] = []
        # Known is all since the earliest of the rows that are there without a gap. What was kept
        # from before a gap may be much older than what was forgotten after it.
        since_us = 2**63
        for seen, (key, stored) in enumerate(overlay.rows_backwards(JOURNAL)):
            revision = int.from_bytes(key, "big")
            if seen >= self._limit or revision <= counters.compacted:
                break
            try:
                row = decode_row(JOURNAL, key, stored, JournalRow)
            except Damaged:
                break
            since_us = row.updated_at
            if row.request is not None:
                older.append((row.request[0], revision))
        else:
            since_us = since_us if counters.compacted else 0
        self._is_loaded = True
        self._loaded_since_us = since_us
        self._older = dict(older)

    def _forget(self, revision: int) -> None:
        while self._commits and self._commits[0][0] < revision:
            self._commits.popleft()
        if self._commits:
            self._forgotten_until = self._commits[0][1]
            # Then whoever asks for what is older is told that it is forgotten.
            self._older.clear()


def _forgotten() -> Forgotten:
    return Forgotten(
        "this is the repeat of a change that was sent too long ago, or too many changes ago, for "
        "the daemon to know whether it was carried out"
    )

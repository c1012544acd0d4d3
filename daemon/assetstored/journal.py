"""The journal as the writer keeps it: a row for each change, and which rows need not be kept.

A row is keyed by its revision and written in the transaction of its change. It names the change of
the same key before it, so the history of a key is a chain and needs no index; ``deleted`` says
where the chain of a key begins that is not there any more.

Rule: writes rows and forgets them; history.py reads them.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from assetstore.errors import Damaged
from assetstored import keys, records
from assetstored.overlay import Overlay
from assetstored.tables import (
    DELETED,
    JOURNAL,
    Counters,
    DeletedRow,
    JournalRow,
    decode_row,
    deleted_key,
    id_key,
    read_row,
    seal_row,
)

#: So many of the last changes of a key that is there are kept, however old.
KEPT_CHANGES = 10

#: Stores that one slice of trimming may open: handles are not free.
_SLICE_STORES = 500


class JournalWriter:
    """Gives out revisions, and notes what each was given for."""

    def __init__(self, overlay: Overlay, now_us: int) -> None:
        self._overlay = overlay
        self._now = now_us
        self._rows: list[tuple[int, JournalRow]] = []
        self._counters = Counters()
        self.writer = msgspec.Raw()
        self.touched: set[int] = set()

    def begin(self, counters: Counters, writer: msgspec.Raw) -> None:
        """A job begins. Revisions are counted in counters; writer is who asks for it."""
        self._rows.clear()
        self._counters = counters
        self.writer = writer

    @property
    def first(self) -> int | None:
        """The first revision of this job, or None if it has changed nothing."""
        return self._rows[0][0] if self._rows else None

    def note(
        self,
        asset_id: int,
        kind: str,
        *,
        key: str | None = None,
        value: bytes | None = None,
        previous: int = 0,
        sequence: int = 0,
        store_id: int = 0,
        origin: tuple[int, msgspec.Raw] | None = None,
    ) -> int:
        """Note a change; returns its revision. The fields are those of JournalRow."""
        self._counters.revision += 1
        revision = self._counters.revision
        row = JournalRow(
            asset_id, kind, key, value, self.writer, self._now, previous, sequence, store_id
        )
        row.origin = origin
        self._rows.append((revision, row))
        return revision

    def finish(self, request: tuple[bytes, msgspec.Raw] | None = None) -> None:
        """The job is done; ``request`` is kept with the first of its rows."""
        if self._rows:
            self._rows[0][1].request = request
        for revision, row in self._rows:
            key = id_key(revision)
            self._overlay.put(JOURNAL, key, seal_row(JOURNAL, key, row))
            self.touched.add(row.asset_id)


def details(**fields: Any) -> bytes:
    """The value of a row that is about an asset or a store."""
    return msgspec.json.encode(fields)


def trim(
    overlay: Overlay,
    counters: Counters,
    after: int,
    *,
    older_than: int,
    excess_bytes: int,
    budget_s: float,
) -> tuple[int | None, int]:
    """Forget rows after a revision, as jobs.TrimSlice says; returns its result."""
    deadline = time.monotonic() + budget_s
    most_handles = overlay.handles + _SLICE_STORES
    freed = 0
    is_through = True

    def is_to_go(key: bytes, stored: bytes) -> bool | None:
        nonlocal after, freed, is_through
        if time.monotonic() > deadline or overlay.handles > most_handles:
            is_through = False
            return None
        try:
            row = decode_row(JOURNAL, key, stored, JournalRow)
        except Damaged:
            row = None  # kept, and told to whoever asks for it
        if row is not None and row.updated_at >= older_than and freed >= excess_bytes:
            return None
        after = int.from_bytes(key, "big")
        if row is None or (row.key is not None and _is_kept(overlay, row, row.key)):
            return False
        # What was kept by an earlier pass may go by a later one.
        counters.compacted = max(counters.compacted, after)
        freed += len(key) + len(stored)
        if row.key is not None and row.value is None:
            _forget_deleted(overlay, row.store_id, row.key, after)
        return True

    overlay.remove_where(JOURNAL, id_key(after + 1), is_to_go)
    return None if is_through else after, freed


def _is_kept(overlay: Overlay, row: JournalRow, key: str) -> bool:
    """Whether the row is one of the last changes of a key that is there."""
    stored_key = keys.stored_key(key)
    record = overlay.get(row.store_id, stored_key)
    if record is None:
        return False
    if not records.is_sound(row.store_id, stored_key, record):
        return True
    return 0 <= records.head_of(record).sequence - row.sequence < KEPT_CHANGES


def _forget_deleted(overlay: Overlay, store_id: int, key: str, revision: int) -> None:
    where = deleted_key(store_id, keys.stored_key(key))
    try:
        deleted = read_row(overlay, DELETED, where, DeletedRow)
    except Damaged:
        return  # told to whoever asks for the key
    if deleted is not None and deleted.revision == revision:
        overlay.remove(DELETED, where)

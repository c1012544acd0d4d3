"""The journal and what was deleted, as the serving process reads them: in the file and in the tail.

Rule: rows and keys; what they tell of the past is history.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from assetstore.errors import Damaged
from assetstored import keys, records
from assetstored.snapshots import Snapshots
from assetstored.tables import (
    DELETED,
    JOURNAL,
    META,
    Counters,
    DeletedRow,
    Gaps,
    JournalRow,
    decode_row,
    deleted_key,
    id_key,
    read_row,
)


class JournalReader(Snapshots):
    """Reads the journal. One thread; every method answers from one snapshot."""

    # Nobody restores a store that is open.
    _gaps: Gaps | None = None

    def journal_row(self, revision: int) -> JournalRow | None:
        """The change of this revision, or None if the journal has forgotten it."""
        row = read_row(self.snapshot(), JOURNAL, id_key(revision), JournalRow)
        if row is None and not self._is_forgotten(revision):
            raise records.damaged_beside(f"revision {revision} of the journal")
        return row and _kept(row)

    def _is_forgotten(self, revision: int) -> bool:
        counters = self.counters()
        due = counters.compacted < revision <= counters.revision
        if not due or self.gaps().beyond(revision) != revision:
            return self.is_row_absent(JOURNAL, id_key(revision))
        return False

    def counters(self) -> Counters:
        """The revision of the snapshot, and how much was ever given out."""
        counters = read_row(self.snapshot(), META, b"counters", Counters)
        if counters is None:
            raise records.damaged_beside("what the store has counted")
        return counters

    def journal_rows(self, first: int) -> Iterator[tuple[int, JournalRow]]:
        """The changes from a revision on."""
        logged = self.tail.revisions()
        if not logged or first < logged[0]:
            with self._txn_now().cursor(db=self._tables[JOURNAL]) as cursor:
                found = cursor.set_range(id_key(first))
                rows = cursor.iternext() if found else iter(())
                for revision, row in self._whole(_decoded(rows), first):
                    if logged and revision >= logged[0]:
                        break
                    yield revision, row
        for revision in logged[max(0, first - logged.start) :]:
            if (logged_row := self.journal_row(revision)) is not None:
                yield revision, logged_row

    def journal_rows_before(self, revision: int) -> Iterator[tuple[int, JournalRow]]:
        """The changes before a revision, the newest first."""
        logged = self.tail.revisions()
        for logged_revision in reversed(logged[: max(0, revision - logged.start)]):
            if (row := self.journal_row(logged_revision)) is not None:
                yield logged_revision, row
        revision = min(revision, logged.start if logged else self.counters().revision + 1)
        with self._txn_now().cursor(db=self._tables[JOURNAL]) as cursor:
            found = cursor.set_range(id_key(revision))
            if cursor.prev() if found else cursor.last():
                compacted, gaps = self.counters().compacted, self.gaps()
                due = gaps.before(revision - 1)
                for found_revision, row in _decoded(cursor.iterprev()):
                    if found_revision != due and (found_revision > due or due > compacted):
                        raise _missing(due)
                    due = gaps.before(found_revision - 1)
                    yield found_revision, row
                if due > compacted:
                    raise _missing(due)

    def gaps(self) -> Gaps:
        """Revisions that the store skipped as it was restored from a backup."""
        if self._gaps is None:
            row = read_row(self.snapshot(), META, b"gaps", Gaps)
            if row is None and not self.is_row_absent(META, b"gaps"):
                raise records.damaged_beside("what the store skipped when it was restored")
            self._gaps = row or Gaps([])
        return self._gaps

    def deleted_head(self, store_id: int, key: str) -> records.Head | None:
        """Where a key stands that was deleted, as far as the journal reaches."""
        where = deleted_key(store_id, keys.stored_key(key))
        row = read_row(self.snapshot(), DELETED, where, DeletedRow)
        if row is None and not self.is_row_absent(DELETED, where):
            raise records.damaged_beside(f"what became of key {key!r}")
        return None if row is None else records.Head(row.revision, row.sequence)

    def keys_changed_after(
        self, store_id: int, revision: int, after: bytes, limit: int
    ) -> tuple[list[str], bytes | None]:
        """Of the next keys of a store, in stored order, those that were changed after a revision;
        and where to go on looking, or None at the end. At most limit are looked at."""
        found: list[str] = []
        if not after:
            found += (
                stored_key.decode() if (key := records.long_key(record)) is None else key
                for stored_key, record in self.tail.of(store_id).items()
                if record is not None and records.head_of(record).revision > revision
            )
        store = self._store(store_id)  # which may begin another snapshot
        with self._txn_now().cursor(db=store) as cursor:
            more = cursor.set_range(after)
            for _ in range(limit):
                if not more:
                    return found, None
                stored_key, value = bytes(cursor.key()), cursor.value()
                if len(value) < records.LEAST_BYTES:
                    raise records.damaged_entry(f"of store {store_id}", repr(stored_key[:40]))
                if records.head_of(value).revision > revision:
                    is_long = keys.is_digest(stored_key)
                    found.append(
                        records.long_key_in_place(value) if is_long else stored_key.decode()
                    )
                more = cursor.next()
            return found, bytes(cursor.key()) if more else None

    def deleted_after(
        self, store_id: int, revision: int, after: bytes, limit: int
    ) -> tuple[list[int], bytes | None]:
        """As keys_changed_after, of deleted keys: the revisions of their deletion."""
        found: list[int] = []
        beginning = id_key(store_id)
        if not after:
            for where, stored in self.tail.of(DELETED).items():
                if stored is not None and where.startswith(beginning) and where != beginning:
                    row = decode_row(DELETED, where, stored, DeletedRow)
                    if row.revision > revision:
                        found.append(row.revision)
        with self._txn_now().cursor(db=self._tables[DELETED]) as cursor:
            more = cursor.set_range(max(after, beginning))
            for _ in range(limit):
                if not (more and bytes(cursor.key()).startswith(beginning)):
                    return found, None
                row = decode_row(DELETED, cursor.key(), cursor.value(), DeletedRow)
                if row.revision > revision:
                    found.append(row.revision)
                more = cursor.next()
            return found, bytes(cursor.key()) if more else None

    def _whole(
        self, rows: Iterable[tuple[int, JournalRow]], first: int
    ) -> Iterator[tuple[int, JournalRow]]:
        """The rows; raises Damaged where one is missing that was not forgotten."""
        counters = read_row(self.stored(), META, b"counters", Counters) or Counters()
        gaps = self.gaps()
        expected = gaps.beyond(max(first, counters.compacted + 1))
        last = first - 1
        for revision, row in rows:
            if revision > expected or revision <= last:
                raise _missing(expected)
            expected = gaps.beyond(max(expected, revision + 1))
            last = revision
            yield revision, row
        if expected <= counters.revision:
            raise _missing(expected)

    def journal_bytes(self) -> int:
        """How much of the data file the journal takes."""
        stat = self._txn_now().stat(self._tables[JOURNAL])
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return pages * stat["psize"]

    def logged_events(self) -> int:
        """How many changes are logged, and not in the data file."""
        counters = read_row(self.stored(), META, b"counters", Counters) or Counters()
        logged = self.tail.revisions()
        return len(logged[max(0, counters.revision + 1 - logged.start) :]) if logged else 0


def _kept(row: JournalRow) -> JournalRow:
    """The row without a view into the snapshot: pages are put together over several of them, and
    what LMDB has in memory is another page's by then."""
    row.writer = row.writer.copy()
    if row.request is not None:
        row.request = (row.request[0], row.request[1].copy())
    return row


def _missing(revision: int) -> Damaged:
    return records.damaged_beside(f"revision {revision} of the journal")


def _decoded(
    rows: Iterable[tuple[memoryview, memoryview]],
) -> Iterator[tuple[int, JournalRow]]:
    for key, stored in rows:
        yield int.from_bytes(key, "big"), _kept(decode_row(JOURNAL, key, stored, JournalRow))

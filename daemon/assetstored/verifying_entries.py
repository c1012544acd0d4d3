"""The entries of a store, what was deleted, and the journal, held against each other.

The journal is whole from ``compacted`` on: there each change of a key must be reached by the chain
that begins at the key's record, or at the row that says where it was deleted. What no chain reaches
is of a key that is gone.

Rule: what a row is, the tables say; which stores there are, verifying_tables.py.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from assetstore.errors import InvalidRequest
from assetstore.values import check_json
from assetstored import keys, records
from assetstored.findings import Finding, Kind
from assetstored.image import Image
from assetstored.journal import KEPT_CHANGES
from assetstored.records import Head
from assetstored.tables import (
    DELETED,
    JOURNAL,
    CatalogRow,
    Counters,
    DeletedRow,
    Gaps,
    JournalRow,
    deleted_key,
    id_key,
)
from assetstored.verifying_tables import Owner, row_or_finding

#: How far it is is told after so many entries, or rows of the journal.
_STRIDE = 10_000

#: Revisions are close together, but for where a store was restored from a backup.
_PART_BYTES = 4096

#: Gaps of the journal that are told one by one.
_MOST_GAPS = 100


class EntriesCheck:
    """Checks store after store, and then what the journal has of them."""

    def __init__(
        self, image: Image, counters: Counters, gaps: Gaps, owners: dict[int, Owner]
    ) -> None:
        self._image = image
        self._counters = counters
        self._gaps = gaps
        self._owners = owners
        self._reached = _Revisions()
        self._unread: set[int] = set()
        self.entries = 0
        self.events = 0

    def give_up_on(self, store_id: int) -> None:
        """It could not be read to its end: what is missing of it is not lost."""
        self._unread.add(store_id)

    def check_store(self, store_id: int) -> Iterator[Finding | int]:
        """All entries of a store, and the rows of what was deleted there.

        Yields a number now and then, too: how many entries there were so far, of all stores.
        """
        owner = self._owners[store_id]
        before = self.entries
        for stored_key, record in self._image.rows(store_id):
            self.entries += 1
            if self.entries % _STRIDE == 0:
                yield self.entries
            yield from self._check_entry(store_id, owner, stored_key, record)
        count = self.entries - before
        if owner.entries is not None and owner.entries != count:
            problem = f"it holds {count:,} entries, and is said to hold {owner.entries:,}"
            yield _finding("trash", owner, problem)
        yield from self._check_deleted(store_id, owner)

    def _check_entry(
        self, store_id: int, owner: Owner, stored_key: bytes, record: bytes
    ) -> Iterator[Finding]:
        shown = _shown_key(stored_key)
        if not records.is_sound(store_id, stored_key, record):
            yield _finding("entry", owner, "its record fails its checksum", shown)
            return
        try:
            key = records.long_key(record) or stored_key.decode()
            entry = records.decode_entry(record)
            check_json(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError, InvalidRequest) as exc:
            yield _finding("entry", owner, f"its record cannot be decoded: {exc}", shown)
            return
        if keys.stored_key(key) != stored_key:
            yield _finding("entry", owner, f"it stands where {shown!r} should", key)
        head = records.head_of(record)
        if head.revision > self._counters.revision:
            problem = (
                f"revision {head.revision} is in use, the counter is at {self._counters.revision}"
            )
            yield _finding("counter", owner, problem, key)
        yield from self._check_chain(store_id, owner, key, head, entry.value)

    def _check_deleted(self, store_id: int, owner: Owner) -> Iterator[Finding]:
        """Rows of deleted keys lead to their deletions, and to no key that is there."""
        beginning = id_key(store_id)
        for where, stored in self._image.rows(DELETED, beginning):
            if where == beginning:
                yield _finding("journal", owner, "the store is in use, and marked as being dropped")
                continue
            deleted = row_or_finding(DELETED, where, stored, DeletedRow)
            if isinstance(deleted, Finding):
                yield _finding("journal", owner, deleted.problem)
                continue
            row = self._journal_row(deleted.revision)
            if isinstance(row, Finding):
                continue
            if row is None or row.key is None or row.value is not None:
                problem = (
                    f"a key is said to be deleted in revision {deleted.revision}, which is not"
                )
                yield _finding("journal", owner, f"{problem} the deletion of one")
                continue
            stored_key = keys.stored_key(row.key)
            if deleted_key(row.store_id, stored_key) != where:
                problem = f"the deletion of revision {deleted.revision} is that of another key"
                yield _finding("journal", owner, problem, row.key)
                continue
            if self._image.get(store_id, stored_key) is not None:
                problem = f"it is there, and said to be deleted in revision {deleted.revision}"
                yield _finding("journal", owner, problem, row.key)
            head = Head(deleted.revision, deleted.sequence)
            yield from self._check_chain(store_id, owner, row.key, head, None)

    def _check_chain(
        self, store_id: int, owner: Owner, key: str, head: Head, value: bytes | None
    ) -> Iterator[Finding]:
        """The journal holds the last changes of the key, and the last of them is what is there."""
        compacted = self._counters.compacted
        revision, was_deleted = head.revision, False
        for sequence in range(head.sequence, 0, -1):
            # While a key is not there its changes are forgotten too, the oldest first.
            is_kept = head.sequence - sequence < KEPT_CHANGES and not was_deleted
            if revision <= compacted and not is_kept:
                return
            row = self._journal_row(revision)
            if isinstance(row, Finding):
                return  # told when the journal is gone through
            if row is None:
                problem = f"the journal has no change {sequence} of it, revision {revision}"
                yield _finding("journal", owner, problem, key)
                return
            if (row.store_id, row.key, row.sequence) != (store_id, key, sequence):
                problem = f"revision {revision} of the journal is not change {sequence} of it"
                yield _finding("journal", owner, problem, key)
                return
            if sequence == head.sequence and row.value != value:
                problem = f"it is not what the journal says of its last change, revision {revision}"
                yield _finding("journal", owner, problem, key)
            self._reached.add(revision)
            if row.previous >= revision:
                return  # told when the journal is gone through
            revision, was_deleted = row.previous, was_deleted or row.value is None

    def check_journal(
        self, catalog: dict[int, CatalogRow], *, is_whole: bool
    ) -> Iterator[Finding | int]:
        """The journal is whole, from the first revision on that it has not forgotten.

        ``is_whole``: that of the catalog all rows could be read.
        Yields a number now and then, too: how many rows there were so far.
        """
        due = self._counters.compacted + 1
        gaps = 0
        lost: dict[tuple[int, str], int] = {}
        nobodys: set[int] = set()
        for where, stored in self._image.rows(JOURNAL):
            self.events += 1
            if self.events % _STRIDE == 0:
                yield self.events
            revision = int.from_bytes(where, "big")
            due = self._gaps.beyond(due)
            if revision > due:
                gaps += 1
                if gaps <= _MOST_GAPS:
                    yield Finding("journal", f"the journal lacks revisions {due} to {revision - 1}")
            due = max(due, revision + 1)
            row = row_or_finding(JOURNAL, where, stored, JournalRow)
            if isinstance(row, Finding):
                yield Finding("journal", row.problem)
                continue
            asset = catalog.get(row.asset_id)
            if row.asset_id and asset is None and is_whole and row.asset_id not in nobodys:
                nobodys.add(row.asset_id)  # once of each
                problem = f"revision {revision} of the journal is of no asset ({row.asset_id})"
                yield Finding("journal", problem, key=row.key)
            yield from self._check_row(revision, row, asset)
            if (
                row.key is not None
                and revision > self._counters.compacted
                and row.store_id in self._owners
                and row.store_id not in self._unread
                and revision not in self._reached
            ):
                lost[row.store_id, row.key] = revision
        due = self._gaps.beyond(due)
        if due <= self._counters.revision:
            last = self._counters.revision
            yield Finding("journal", f"the journal lacks revisions {due} to {last}, the last")
        elif due > self._counters.revision + 1:
            problem = f"revision {due - 1} is in use, the counter is at {self._counters.revision}"
            yield Finding("counter", problem)
        yield from self._check_boundaries(catalog)
        for (store_id, key), revision in sorted(lost.items()):
            yield from self._check_lost(store_id, key, revision)

    def _check_row(
        self, revision: int, row: JournalRow, asset: CatalogRow | None
    ) -> Iterator[Finding]:
        name, uri = (asset.name, asset.uri) if asset else (None, None)
        if row.previous >= revision:
            problem = f"revision {revision} of the journal has a later one before it"
            yield Finding("journal", f"{problem}: {row.previous}", name, uri, row.key)
        elif row.key is None and row.previous > self._counters.compacted:
            before = self._journal_row(row.previous)
            if not isinstance(before, Finding) and (
                before is None or before.key is not None or before.asset_id != row.asset_id
            ):
                problem = f"revision {revision} of the journal follows {row.previous}, which is not"
                yield Finding("journal", f"{problem} of the same asset's stores", name, uri)

    def _check_boundaries(self, catalog: dict[int, CatalogRow]) -> Iterator[Finding]:
        for asset_id, asset in catalog.items():
            row = self._journal_row(asset.boundary)
            if isinstance(row, Finding):
                continue
            if row is None:
                is_bad = asset.boundary > self._counters.compacted
            else:
                is_bad = row.asset_id != asset_id or row.key is not None
            if is_bad:
                problem = f"it is said to have been given its store in revision {asset.boundary}"
                yield Finding("journal", f"{problem}, and was not", asset.name, asset.uri)

    def _check_lost(self, store_id: int, key: str, revision: int) -> Iterator[Finding]:
        """No chain has reached this change, the last of its key. Where the key is there, or said
        to be deleted, its chain was found broken, or begins anew after a damaged record."""
        stored_key = keys.stored_key(key)
        if self._image.get(store_id, stored_key) is not None:
            return
        if self._image.get(DELETED, deleted_key(store_id, stored_key)) is not None:
            return
        owner = self._owners[store_id]
        row = self._journal_row(revision)
        if isinstance(row, JournalRow) and row.value is None:
            problem = f"it was deleted in revision {revision}, and is nowhere said to be"
            yield _finding("journal", owner, problem, key)
        else:
            yield _finding(
                "lost", owner, f"it was written in revision {revision}, and is gone", key
            )

    def check_other_deleted(self, being_dropped: set[int]) -> Iterator[Finding]:
        """Nothing is said of deleted keys of stores that are not there."""
        told: set[int] = set()
        for where, _ in self._image.rows(DELETED):
            store_id = int.from_bytes(where[:8], "big")
            if store_id not in self._owners and store_id not in being_dropped | told:
                told.add(store_id)
                problem = f"table 'deleted' has rows of store {store_id}, which is nobody's"
                yield Finding("journal", problem)

    def _journal_row(self, revision: int) -> JournalRow | Finding | None:
        key = id_key(revision)
        stored = self._image.get(JOURNAL, key)
        return None if stored is None else row_or_finding(JOURNAL, key, stored, JournalRow)


class _Revisions:
    """A set of revisions, a bit for each of those about which there is any in it."""

    def __init__(self) -> None:
        self._parts: defaultdict[int, bytearray] = defaultdict(lambda: bytearray(_PART_BYTES))

    def add(self, revision: int) -> None:
        part, bit = divmod(revision, 8 * _PART_BYTES)
        self._parts[part][bit >> 3] |= 1 << (bit & 7)

    def __contains__(self, revision: int) -> bool:
        part, bit = divmod(revision, 8 * _PART_BYTES)
        return part in self._parts and bool(self._parts[part][bit >> 3] >> (bit & 7) & 1)


def _shown_key(stored_key: bytes) -> str:
    """As much of a key as can be read: of a long one, its beginning."""
    if keys.is_digest(stored_key):
        return stored_key[: keys.HEAD_BYTES].decode(errors="ignore") + "..."
    return stored_key.decode(errors="backslashreplace")


def _finding(kind: Kind, owner: Owner, problem: str, key: str | None = None) -> Finding:
    return Finding(kind, problem, owner.name, owner.uri, key, owner.trash_id or None)

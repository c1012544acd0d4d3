"""What the operations of a change do to one entry.

Rule: decides about one key of one store; which store that is, apply.py knows.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import msgspec

from assetstore.errors import Conflict, Damaged, InvalidRequest
from assetstore.limits import check_computed_size, check_value_size
from assetstore.messages import ImportedEntry
from assetstore.ordering import check_ordered, is_greater
from assetstore.values import check_json, decode_value, encode_value
from assetstored import jobs, keys, records
from assetstored.absence import is_its_key
from assetstored.journal import JournalWriter
from assetstored.merging import merged
from assetstored.numbers import incremented
from assetstored.overlay import Overlay
from assetstored.records import Head
from assetstored.tables import (
    DELETED,
    JOURNAL,
    CatalogRow,
    DeletedRow,
    JournalRow,
    deleted_key,
    id_key,
    read_row,
    seal_row,
)

_NEVER = Head(0, 0)

_encode = msgspec.msgpack.Encoder().encode


class Standing(NamedTuple):
    """How a key stands: its record, None where it is absent, and its place in its history."""

    stored_key: bytes
    record: bytes | None
    head: Head

    @property
    def revision(self) -> int:
        """As a condition names it: 0 for an absent key."""
        return 0 if self.record is None else self.head.revision


class EntryWriter:
    """Reads and changes entries within one transaction."""

    def __init__(
        self, overlay: Overlay, journal: JournalWriter, now_us: int, max_value_bytes: int
    ) -> None:
        self._overlay = overlay
        self._journal = journal
        self._now = now_us
        self._max_value_bytes = max_value_bytes

    def set(self, row: CatalogRow, op: jobs.SetKey) -> int:
        """Write the value; returns the revision. Raises Conflict."""
        # Without a condition a damaged entry may be written anew: that is its remedy.
        standing = self._standing(row, op.key, or_damaged=op.if_revision is not None)
        if op.if_revision is not None:
            self._check_revision(row, op.key, standing, op.if_revision)
        return self._write(row, op.asset_id, op.key, standing, op.value, op.kind)[0]

    def delete(self, row: CatalogRow, op: jobs.DeleteKey) -> int | None:
        """Leave nothing there; returns the revision, or None where nothing was. Raises Conflict."""
        standing = self._standing(row, op.key, or_damaged=op.if_revision is not None)
        if op.if_revision is not None:
            self._check_revision(row, op.key, standing, op.if_revision)
        if standing.record is None:
            self._check_absent(row, op.key, standing.stored_key)
            return None
        head = standing.head
        revision = self._journal.note(
            op.asset_id,
            op.kind,
            key=op.key,
            previous=head.revision,
            sequence=head.sequence + 1,
            store_id=row.store_id,
        )
        self._overlay.remove(row.store_id, standing.stored_key)
        where = deleted_key(row.store_id, standing.stored_key)
        deleted = DeletedRow(revision, head.sequence + 1)
        self._overlay.put(DELETED, where, seal_row(DELETED, where, deleted))
        return revision

    def holds(self, row: CatalogRow, entry: ImportedEntry) -> bool:
        """Whether the store holds this entry: equal in value, time and writer."""
        standing = self._standing(row, entry.key, or_damaged=False)
        return self._is_same(row, standing, entry)

    def import_(self, row: CatalogRow, asset_id: int, entry: ImportedEntry) -> int | None:
        """Write the entry as it is; returns the revision, or None where it stands there."""
        standing = self._standing(row, entry.key, or_damaged=False)
        if self._is_same(row, standing, entry):
            return None
        origin = entry.updated_at, msgspec.Raw(_encode(entry.updated_by))
        return self._write(
            row, asset_id, entry.key, standing, entry.value, "import", origin=origin
        )[0]

    def check(self, row: CatalogRow, op: jobs.CheckKey) -> None:
        """Raise Conflict unless the key stands at this revision."""
        self._check_revision(row, op.key, self._standing(row, op.key), op.if_revision)

    def shown(self, row: CatalogRow, key: str) -> msgspec.Raw | None:
        """The WireEntry of a key as it stands, encoded, or None."""
        record = self._standing(row, key).record
        return None if record is None else records.wire_entry(record)

    def advance(self, row: CatalogRow, op: jobs.AdvanceKey) -> tuple[int | None, bytes]:
        """Set if absent or greater; returns the revision, or None, and the record that stands."""
        standing = self._standing(row, op.key)
        new = decode_value(op.value)
        # Compared first: where the two do not go together, both of them are named.
        applied = True
        if standing.record is not None:
            old = decode_value(_computed(standing.record, op.key, "advance"))
            applied = is_greater(new, old, op.order)
        check_ordered(new, op.order)
        if standing.record is not None and not applied:
            return None, standing.record
        return self._write(row, op.asset_id, op.key, standing, op.value, "advance")

    def increment(self, row: CatalogRow, op: jobs.IncrementKey) -> tuple[int, bytes]:
        """Add to a number; returns the revision and the new record."""
        standing = self._standing(row, op.key)
        text = op.default
        if standing.record is not None:
            text = _computed(standing.record, op.key, "increment")
        value = self._encoded(incremented(decode_value(text), decode_value(op.by)))
        return self._write(row, op.asset_id, op.key, standing, value, "increment")

    def merge(self, row: CatalogRow, op: jobs.MergeKey) -> tuple[int | None, bytes]:
        """Merge into an object; returns the revision, or None, and the record that stands."""
        standing = self._standing(row, op.key)
        current: object = {}
        if standing.record is not None:
            current = decode_value(_computed(standing.record, op.key, "merge"))
        patch = decode_value(op.patch)
        for what, value in (("the value of key", current), ("the patch for key", patch)):
            if type(value) is not dict:
                raise InvalidRequest(
                    f"{what} {op.key!r} is of type {type(value).__name__}; merge takes objects "
                    "(dict). Nothing changed"
                )
        assert isinstance(current, dict)
        assert isinstance(patch, dict)
        result, differs = merged(current, patch, remove=op.remove, how=op.how, order=op.order)
        if standing.record is not None and not differs:
            return None, standing.record
        value = self._encoded(result)
        return self._write(row, op.asset_id, op.key, standing, value, "merge")

    def _encoded(self, value: object) -> bytes:
        """JSON text of a value that was made here, within the limits of what clients may send."""
        text = encode_value(value)
        check_json(text)
        check_value_size(len(text), self._max_value_bytes)
        return text

    def _standing(self, row: CatalogRow, key: str, *, or_damaged: bool = True) -> Standing:
        stored_key = keys.stored_key(key)
        record = self._overlay.get(row.store_id, stored_key) if row.store_id else None
        if record is not None:
            if records.is_sound(row.store_id, stored_key, record):
                return Standing(stored_key, record, records.head_of(record))
            if or_damaged:
                raise records.damaged_entry(row.name, key)
            return Standing(stored_key, record, self._head_of_damaged(row.store_id, key, record))
        if not row.store_id:
            return Standing(stored_key, None, _NEVER)
        where = deleted_key(row.store_id, stored_key)
        deleted = read_row(self._overlay, DELETED, where, DeletedRow)
        head = _NEVER if deleted is None else Head(deleted.revision, deleted.sequence)
        if or_damaged:
            self._check_absent(row, key, stored_key)
        return Standing(stored_key, None, head)

    def _check_absent(self, row: CatalogRow, key: str, stored_key: bytes) -> None:
        """Raise Damaged unless what lies where the key would be shows that it is not there."""
        store_id = row.store_id
        if store_id and not self._overlay.is_absent(
            store_id, stored_key, partial(is_its_key, self._overlay, store_id)
        ):
            raise records.damaged_beside(f"key {key!r} of asset {row.name!r}")

    @staticmethod
    def _is_same(row: CatalogRow, standing: Standing, entry: ImportedEntry) -> bool:
        stored_key, record, _ = standing
        if record is None or not records.is_sound(row.store_id, stored_key, record):
            return False
        held = records.decode_entry(record)
        return (held.value, held.updated_at, held.updated_by) == (
            entry.value,
            entry.updated_at,
            entry.updated_by,
        )

    def _head_of_damaged(self, store_id: int, key: str, record: bytes) -> Head:
        """Where the key stood, if what is left of the record and the journal agree on it."""
        if len(record) < records.LEAST_BYTES:
            return _NEVER
        revision = records.head_of(record).revision
        try:
            change = read_row(self._overlay, JOURNAL, id_key(revision), JournalRow)
        except Damaged:
            return _NEVER
        if change is None or (change.store_id, change.key) != (store_id, key):
            return _NEVER
        return Head(revision, change.sequence)

    def _write(
        self,
        row: CatalogRow,
        asset_id: int,
        key: str,
        standing: Standing,
        value: bytes,
        kind: str,
        *,
        origin: tuple[int, msgspec.Raw] | None = None,
    ) -> tuple[int, bytes]:
        store_id, stored_key, head = row.store_id, standing.stored_key, standing.head
        if standing.record is None:
            if keys.is_digest(stored_key):
                self._check_digests(store_id, stored_key)
            if head.revision:
                self._overlay.remove(DELETED, deleted_key(store_id, stored_key))
        revision = self._journal.note(
            asset_id,
            kind,
            key=key,
            value=value,
            previous=head.revision,
            sequence=head.sequence + 1,
            store_id=store_id,
            origin=origin,
        )
        updated_at, writer = origin or (self._now, self._journal.writer)
        record = records.encode_entry(
            store_id,
            stored_key,
            Head(revision, head.sequence + 1),
            updated_at=updated_at,
            writer=writer,
            value=value,
            long_key=key if keys.is_digest(stored_key) else None,
        )
        self._overlay.put(store_id, stored_key, record)
        return revision, record

    def _check_revision(
        self, row: CatalogRow, key: str, standing: Standing, if_revision: int
    ) -> None:
        if standing.revision == if_revision:
            return
        first = self._journal.first
        if first is not None and standing.head.revision >= first:
            is_at = "was changed by an earlier operation of the same change"
        elif standing.revision:
            is_at = f"is at revision {standing.revision}"
        else:
            is_at = "is absent"
        wanted = f"at revision {if_revision}" if if_revision else "absent"
        # The entry is added when the change is taken back: as it stands, not as it would have.
        raise Conflict(
            f"key {key!r} of asset {row.name!r} {is_at}, and was to be {wanted}; nothing changed",
            detail={"key": key},
        )

    def _check_digests(self, store_id: int, stored_key: bytes) -> None:
        beginning = keys.digests_of(stored_key)
        if self._overlay.count(store_id, beginning, keys.MAX_DIGESTS) == keys.MAX_DIGESTS:
            raise InvalidRequest(
                f"{keys.MAX_DIGESTS:,} keys of more than 511 bytes begin with the same "
                f"{keys.HEAD_BYTES} bytes as this one, which is the limit; make keys differ earlier"
            )


def _computed(record: bytes, key: str, operation: str) -> bytes:
    """The value in a record, if the operation may compute with it."""
    value = records.decode_entry(record).value
    check_computed_size(len(value), f"the value of key {key!r}", operation)
    return value

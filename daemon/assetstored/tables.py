"""The tables beside the stores: which there are, and what their rows hold.

    meta      b"identity" -> Identity, b"counters" -> Counters, b"manifest" -> AcceptedManifest,
              b"gaps" -> Gaps, where the store was ever restored from a backup
    catalog   asset id (8 bytes) -> CatalogRow
    names     kind and digest of a name, a uri, or both -> asset id (8 bytes)
    trash     trash id (8 bytes) -> TrashRow
    journal   revision (8 bytes) -> JournalRow
    deleted   store id (8 bytes) and digest of a key -> DeletedRow; without the digest where the
              store itself is being dropped

Ids count up and are never reused, so a name that is read late finds nothing, never another's data.

Rule: rows and handles; what they mean to each other is catalog.py's.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Literal, NamedTuple, Protocol, TypeAlias, TypeVar

import msgspec

from assetstored import records
from assetstored.engine import AnyTransaction, Database, Environment, Transaction, open_database

T = TypeVar("T")

FORMAT = 1

META = b"meta"
CATALOG = b"catalog"
NAMES = b"names"
TRASH = b"trash"
JOURNAL = b"journal"
DELETED = b"deleted"

TABLES = (META, CATALOG, NAMES, TRASH, JOURNAL, DELETED)

AssetState = Literal["active", "inactive", "dropped"]
Reason = Literal["deactivated", "cleared", "replaced"]


class Row(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Stored as a msgpack array of its fields."""


class Identity(Row, frozen=True):
    """Which store this is. ``created_at`` in microseconds since 1970."""

    format: int
    store_id: str
    created_at: int


class Counters(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """The last of each that was given out, and how many assets are active.

    ``compacted``: the last revision that the journal has forgotten, or 0.
    """

    revision: int = 0
    asset_id: int = 0
    store_id: int = 0
    trash_id: int = 0
    active: int = 0
    compacted: int = 0


class AcceptedManifest(Row, frozen=True):
    """The manifest whose assets the catalog shows as active.

    ``fingerprint``: of the very file that it was read from, or empty while another is being
    applied. While it is there, to compare the same file again would find nothing to change.
    """

    digest: str
    path: str
    accepted_at: int
    assets: int
    fingerprint: bytes = b""


class Gap(Row, frozen=True):
    """Revisions that the store has never had, or has lost: it was restored from a backup.

    Those after ``after``, the last in the backup, up to ``upto``, where it went on. Between the
    times ``taken_at`` and ``restored_at``, in microseconds since 1970, nobody knows what it held.
    """

    after: int
    upto: int
    taken_at: int
    restored_at: int


class Gaps(Row, frozen=True):
    """All of a store, the earliest first."""

    gaps: list[Gap]

    def beyond(self, revision: int) -> int:
        """The revision, or the next one after the gap that it is in."""
        for gap in self.gaps:
            if gap.after < revision <= gap.upto:
                revision = gap.upto + 1
        return revision

    def before(self, revision: int) -> int:
        """The revision, or the last one before the gap that it is in."""
        for gap in reversed(self.gaps):
            if gap.after < revision <= gap.upto:
                revision = gap.after
        return revision


class CatalogRow(Row, frozen=True):
    """``store_id`` and ``trash_id`` are 0 where there is none: a store is made by the first write,
    and is in the trash while its asset is inactive. ``since``: when the state began.
    ``boundary``: the revision at which the asset was given this store in place of another, or 0."""

    name: str
    uri: str
    group: str | None
    state: AssetState
    since: int
    store_id: int
    trash_id: int
    boundary: int = 0


class TrashRow(Row, frozen=True):
    """``dropping``: past the way back; its entries are being removed, slice by slice."""

    asset_id: int
    store_id: int
    reason: Reason
    since: int
    entries: int
    size_bytes: int
    dropping: bool


class JournalRow(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """One change. Kinds and fields as in messages.WireEvent.

    ``store_id``: of a change of a key, the store that it is in; where an asset was given another
    store, the one that it had before. ``previous``: the change of this key in this store before it;
    or the last time before that the asset was given another store. ``sequence``: as in a record.
    ``request``: of the first row of a change its id, and the outcomes to be answered again.
    ``origin``: of an import, ``updated_at`` and ``updated_by`` of the entry. The row's own are
    those of the import: rows are found by their time, and forgotten by their age.
    """

    asset_id: int
    kind: str
    key: str | None
    value: bytes | None
    writer: msgspec.Raw
    updated_at: int
    previous: int
    sequence: int
    store_id: int
    request: tuple[bytes, msgspec.Raw] | None = None
    origin: tuple[int, msgspec.Raw] | None = None


class DeletedRow(Row, frozen=True):
    """Where a key stands that was deleted; ``sequence`` is 0 for a store."""

    revision: int
    sequence: int


_DECODERS: dict[type, msgspec.msgpack.Decoder] = {  # type: ignore[type-arg]
    row: msgspec.msgpack.Decoder(row)
    for row in (
        *(Identity, Counters, AcceptedManifest, Gaps),
        *(CatalogRow, TrashRow, JournalRow, DeletedRow),
    )
}


class Tables:
    """The handles of the tables, which are never dropped: they last as long as the environment.

    Opened in a write transaction, which must be committed, or in none while no other is open.
    """

    def __init__(self, env: Environment, txn: Transaction | None, *, create: bool) -> None:
        self._handles = {name: open_database(env, txn, name, create=create) for name in TABLES}

    def __getitem__(self, table: bytes) -> Database:
        return self._handles[table]


#: A table by its name, or a store by its id: where a key may be.
Space: TypeAlias = "bytes | int"


class RowSource(Protocol):
    """Where rows are read from: a snapshot, or a transaction with what it is about to write."""

    def get(self, space: bytes, key: bytes, /) -> bytes | memoryview | None: ...


class Snapshot(NamedTuple):
    """The tables as a transaction sees them."""

    txn: AnyTransaction
    tables: Tables

    def get(self, space: bytes, key: bytes, /) -> bytes | memoryview | None:
        return self.txn.get(key, db=self.tables[space])


def read_row(source: RowSource, table: bytes, key: bytes, row_type: type[T]) -> T | None:
    """The row under key, or None. Raises Damaged if its checksum is wrong."""
    stored = source.get(table, key)
    if stored is None:
        return None
    return decode_row(table, key, stored, row_type)


def decode_row(
    table: bytes, key: bytes | memoryview, stored: bytes | memoryview, row_type: type[T]
) -> T:
    """The row in bytes that a cursor found. Raises Damaged if its checksum is wrong."""
    row: T = records.unseal(table, key, stored, _DECODERS[row_type])
    return row


def seal_row(table: bytes, key: bytes, row: object) -> bytes:
    """The row as it is stored under key."""
    return records.seal(table, key, row)


def write_row(txn: Transaction, tables: Tables, table: bytes, key: bytes, row: object) -> None:
    """Put the row under key, in place of any that is there."""
    txn.put(key, records.seal(table, key, row), db=tables[table])


def id_key(number: int) -> bytes:
    """An id as a key, such that ids are in order."""
    return number.to_bytes(8, "big")


def store_name(store_id: int) -> bytes:
    """The name of a store's sub-database."""
    return b"s%010x" % store_id


def deleted_key(store_id: int, stored_key: bytes) -> bytes:
    """Where a deleted key of a store stands in the table of them."""
    return id_key(store_id) + blake2b(stored_key, digest_size=16).digest()

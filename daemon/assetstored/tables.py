"""The tables beside the stores: which there are, and what their rows hold.

    meta      b"identity" -> Identity, b"counters" -> Counters, b"manifest" -> AcceptedManifest
    catalog   asset id (8 bytes) -> CatalogRow
    names     kind and digest of a name, a uri, or both -> asset id (8 bytes)
    trash     trash id (8 bytes) -> TrashRow

Ids count up and are never reused, so a name that is read late finds nothing, never another's data.

Rule: rows and handles; what they mean to each other is catalog.py's.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import msgspec

from assetstored import records
from assetstored.engine import AnyTransaction, Database, Environment, Transaction, open_database

T = TypeVar("T")

FORMAT = 1

META = b"meta"
CATALOG = b"catalog"
NAMES = b"names"
TRASH = b"trash"

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
    """The last of each that was given out, and how many assets are active."""

    revision: int = 0
    asset_id: int = 0
    store_id: int = 0
    trash_id: int = 0
    active: int = 0


class AcceptedManifest(Row, frozen=True):
    """The manifest whose assets the catalog shows as active."""

    digest: str
    path: str
    accepted_at: int
    assets: int


class CatalogRow(Row, frozen=True):
    """``store_id`` and ``trash_id`` are 0 where there is none: a store is made by the first write,
    and is in the trash while its asset is inactive. ``since``: when the state began."""

    name: str
    uri: str
    group: str | None
    state: AssetState
    since: int
    store_id: int
    trash_id: int


class TrashRow(Row, frozen=True):
    """``dropping``: past the way back; its entries are being removed, slice by slice."""

    asset_id: int
    store_id: int
    reason: Reason
    since: int
    entries: int
    size_bytes: int
    dropping: bool


_DECODERS: dict[type, msgspec.msgpack.Decoder] = {  # type: ignore[type-arg]
    row: msgspec.msgpack.Decoder(row)
    for row in (Identity, Counters, AcceptedManifest, CatalogRow, TrashRow)
}


class Tables:
    """The handles of the tables, which are never dropped: they last as long as the environment.

    Opened in a write transaction, which must be committed, or in none while no other is open.
    """

    def __init__(self, env: Environment, txn: Transaction | None, *, create: bool) -> None:
        self.meta = open_database(env, txn, META, create=create)
        self.catalog = open_database(env, txn, CATALOG, create=create)
        self.names = open_database(env, txn, NAMES, create=create)
        self.trash = open_database(env, txn, TRASH, create=create)

    def named(self, table: bytes) -> Database:
        """The handle of a table by its name."""
        return {META: self.meta, CATALOG: self.catalog, NAMES: self.names, TRASH: self.trash}[table]


def read_row(
    txn: AnyTransaction, tables: Tables, table: bytes, key: bytes, row_type: type[T]
) -> T | None:
    """The row under key, or None. Raises Damaged if its checksum is wrong."""
    stored = txn.get(key, db=tables.named(table))
    if stored is None:
        return None
    return decode_row(table, key, stored, row_type)


def decode_row(
    table: bytes, key: bytes | memoryview, stored: bytes | memoryview, row_type: type[T]
) -> T:
    """The row in bytes that a cursor found. Raises Damaged if its checksum is wrong."""
    row: T = records.unseal(table, key, stored, _DECODERS[row_type])
    return row


def write_row(txn: Transaction, tables: Tables, table: bytes, key: bytes, row: object) -> None:
    """Put the row under key, in place of any that is there."""
    txn.put(key, records.seal(table, key, row), db=tables.named(table))


def id_key(number: int) -> bytes:
    """An id as a key, such that ids are in order."""
    return number.to_bytes(8, "big")


def store_name(store_id: int) -> bytes:
    """The name of a store's sub-database."""
    return b"s%010x" % store_id

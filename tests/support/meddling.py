"""Damage to a store behind the daemon's back: rows, records and sub-databases that are wrong and
have the right checksums, and some that have not.

Rule: each function does one thing within a transaction that it is given; nobody serves the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import lmdb
import msgspec

from assetstored.tables import (
    CATALOG,
    DELETED,
    JOURNAL,
    META,
    NAMES,
    TRASH,
    CatalogRow,
    Counters,
    DeletedRow,
    JournalRow,
    Row,
    Snapshot,
    Tables,
    TrashRow,
    id_key,
    read_row,
    store_name,
    write_row,
)

Meddle: TypeAlias = Callable[[Any, Any], None]


@contextmanager
def meddling(data_dir: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    """A transaction on a store behind the daemon's back."""
    with (
        lmdb.open(str(data_dir), max_dbs=32, map_size=1 << 40, lib_version=0) as env,
        env.begin(write=True) as txn,
    ):
        yield env, txn


def store_of(env: Any, txn: Any, store_id: int) -> Any:
    """The sub-database of a store."""
    return env.open_db(store_name(store_id), txn=txn, create=False)


# --- stores and their records


def remove_a_record(store_id: int, key: bytes) -> Meddle:
    """The key is gone without a trace."""

    def meddle(env: Any, txn: Any) -> None:
        assert txn.delete(key, db=store_of(env, txn, store_id))

    return meddle


def change_a_record(store_id: int, key: bytes, change: Callable[[bytes], bytes]) -> Meddle:
    """The record is another one, and its checksum is what it was."""

    def meddle(env: Any, txn: Any) -> None:
        db = store_of(env, txn, store_id)
        txn.put(key, change(txn.get(key, db=db)), db=db)

    return meddle


def flip_a_bit(store_id: int, key: bytes) -> Meddle:
    """One bit of the record is wrong."""
    return change_a_record(store_id, key, lambda record: record[:-2] + flipped(record[-2:]))


def flipped(stored: bytes) -> bytes:
    """The bytes with one bit of the first one turned."""
    return bytes([stored[0] ^ 1]) + stored[1:]


def move_a_record(source: int, target: int, key: bytes) -> Meddle:
    """The record stands in another store too."""

    def meddle(env: Any, txn: Any) -> None:
        record = txn.get(key, db=store_of(env, txn, source))
        txn.put(key, record, db=store_of(env, txn, target))

    return meddle


def leave_a_sub_database_behind(env: Any, txn: Any) -> None:
    """There is one that no row names."""
    env.open_db(store_name(99), txn=txn, create=True)


def drop_a_sub_database(store_id: int) -> Meddle:
    """A row names one that is not there."""

    def meddle(env: Any, txn: Any) -> None:
        txn.drop(store_of(env, txn, store_id), delete=True)

    return meddle


# --- rows of tables


def lose_a_row(table: bytes, key: bytes) -> Meddle:
    """The row is gone."""

    def meddle(env: Any, txn: Any) -> None:
        assert txn.delete(key, db=env.open_db(table, txn=txn, create=False))

    return meddle


def flip_a_bit_of_a_row(table: bytes, key: bytes) -> Meddle:
    """One bit of the row is wrong."""

    def meddle(env: Any, txn: Any) -> None:
        db = env.open_db(table, txn=txn, create=False)
        txn.put(key, flipped(txn.get(key, db=db)), db=db)

    return meddle


def change_a_row(table: bytes, key: bytes, row_type: type[Row], **changes: Any) -> Meddle:
    """The row says something else, and its checksum is right."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        row = read_row(Snapshot(txn, tables), table, key, row_type)
        assert row is not None
        write_row(txn, tables, table, key, msgspec.structs.replace(row, **changes))

    return meddle


def change_an_asset(asset_id: int, **changes: Any) -> Meddle:
    """The catalog says something else of an asset."""
    return change_a_row(CATALOG, id_key(asset_id), CatalogRow, **changes)


def change_the_trash(trash_id: int, **changes: Any) -> Meddle:
    """The trash says something else of a store."""
    return change_a_row(TRASH, id_key(trash_id), TrashRow, **changes)


def add_to_the_trash(trash_id: int, like: int, **changes: Any) -> Meddle:
    """There is another row in the trash, like one that is there."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        row = read_row(Snapshot(txn, tables), TRASH, id_key(like), TrashRow)
        assert row is not None
        changed = msgspec.structs.replace(row, **changes)
        write_row(txn, tables, TRASH, id_key(trash_id), changed)

    return meddle


def lead_a_name_astray(key: bytes, asset_id: int) -> Meddle:
    """An index leads to another asset."""

    def meddle(env: Any, txn: Any) -> None:
        txn.put(key, id_key(asset_id), db=env.open_db(NAMES, txn=txn, create=False))

    return meddle


def set_the_counters(**changes: int) -> Meddle:
    """The counters are at other numbers than they were."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        counters = read_row(Snapshot(txn, tables), META, b"counters", Counters)
        assert counters is not None
        changed = msgspec.structs.replace(counters, **changes)
        write_row(txn, tables, META, b"counters", changed)

    return meddle


# --- the journal


def change_the_journal(at: int, **changes: Any) -> Meddle:
    """The row is one of the last, counted from the end; without changes it is gone."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        key, _ = list(txn.cursor(db=tables[JOURNAL]))[at]
        if not changes:
            txn.delete(key, db=tables[JOURNAL])
            return
        row = read_row(Snapshot(txn, tables), JOURNAL, key, JournalRow)
        assert row is not None
        write_row(txn, tables, JOURNAL, key, msgspec.structs.replace(row, **changes))

    return meddle


def repeat_a_request(env: Any, txn: Any) -> None:
    """Two changes have the id of one request."""
    request = (b"r" * 16, msgspec.Raw(b"\x90"))
    change_the_journal(-1, request=request)(env, txn)
    change_the_journal(-2, request=request)(env, txn)


def forget_a_deletion(env: Any, txn: Any) -> None:
    """Of a key that was deleted, nothing says so."""
    tables = Tables(env, txn, create=False)
    ((key, _),) = txn.cursor(db=tables[DELETED])
    txn.delete(key, db=tables[DELETED])


def misplace_a_deletion(change: Callable[[bytes], bytes]) -> Meddle:
    """A deletion is noted once more, in another place."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        ((key, _),) = txn.cursor(db=tables[DELETED])
        deleted = read_row(Snapshot(txn, tables), DELETED, key, DeletedRow)
        write_row(txn, tables, DELETED, change(key), deleted)

    return meddle

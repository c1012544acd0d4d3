"""Looks at a store that nobody serves and says what is wrong with it: what bbolt calls a check.

The structure of the file is checked by LMDB's verifier, which knows nothing of what the pages
mean; here every record is read, and tables, counters and sub-databases are held against each other.

Rule: reads only, by way of the daemon's own formats; knows nothing of what a test wrote.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias, TypeVar

import msgspec

from assetstore.errors import Damaged
from assetstore.messages import AssetRef
from assetstored import datadir, engine, keys, records, wal
from assetstored.catalog import Catalog
from assetstored.journal import KEPT_CHANGES
from assetstored.tables import (
    CATALOG,
    DELETED,
    JOURNAL,
    META,
    TABLES,
    TRASH,
    CatalogRow,
    Counters,
    DeletedRow,
    Identity,
    JournalRow,
    Snapshot,
    Tables,
    TrashRow,
    decode_row,
    deleted_key,
    read_row,
    store_name,
)
from assetstored.writer import StoreOfWriter

Row = TypeVar("Row")

#: Key -> value and revision.
Contents: TypeAlias = dict[str, tuple[Any, int]]


@dataclass
class Trashed:
    """A store in the trash."""

    name: str
    reason: str
    dropping: bool
    contents: Contents


@dataclass
class Inspection:
    """What a store holds, and what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    active: dict[str, Contents] = field(default_factory=dict)
    trash: list[Trashed] = field(default_factory=list)
    revision: int = 0


def inspect(data_dir: Path) -> Inspection:
    """Read all that is in the data directory; the daemon must not run.

    What is in the write-ahead log only is brought into the data file first: in a copy of both.
    """
    with TemporaryDirectory(prefix="assetstore-inspect-") as copy:
        try:
            if logged_only(data_dir):
                for name in (datadir.MARKER_FILE, datadir.DATA_FILE, datadir.WAL_FILE):
                    shutil.copy(data_dir / name, copy)
                data_dir = Path(copy)
                StoreOfWriter(data_dir).close()
        except (datadir.StartRefused, wal.WalDamaged, Damaged, engine.EngineError, OSError) as exc:
            return Inspection([f"what is logged cannot be read: {exc}"])
        return _inspect_file(data_dir)


def logged_only(data_dir: Path) -> list[wal.Record]:
    """What the write-ahead log holds that the data file does not."""
    marker = datadir.read_marker(data_dir)
    if marker is None:
        return []  # it has not come so far
    env = engine.open_for_reading(str(data_dir))
    try:
        with env.begin() as txn:
            snapshot = Snapshot(txn, Tables(env, txn, create=False))
            counters = read_row(snapshot, META, b"counters", Counters) or Counters()
    finally:
        env.close()
    return wal.recover(data_dir / datadir.WAL_FILE, marker.store_id, counters.revision)


def _inspect_file(data_dir: Path) -> Inspection:
    found = Inspection()
    try:
        found.problems += engine.verify(str(data_dir))
    except engine.VerifyError as exc:
        found.problems.append(f"cannot be verified: {exc}")
    try:
        env = engine.open_for_reading(str(data_dir))
        try:
            _Inspector(env, found).run(datadir.read_marker(data_dir))
        finally:
            env.close()
    except (Damaged, engine.EngineError) as exc:
        found.problems.append(f"cannot be read: {exc}")
    return found


class _Inspector:
    def __init__(self, env: engine.Environment, found: Inspection) -> None:
        self._env = env
        self._tables = Tables(env, None, create=False)
        self._found = found
        self._revisions: dict[int, str] = {}
        self._journal: dict[int, JournalRow] = {}
        self._deleted: dict[bytes, DeletedRow] = {}
        self._heads: set[tuple[int, str]] = set()

    def run(self, marker: Identity | None) -> None:
        with self._env.begin() as txn:
            snapshot = Snapshot(txn, self._tables)
            self._check_identity(marker, read_row(snapshot, META, b"identity", Identity))
            counters = read_row(snapshot, META, b"counters", Counters) or Counters()
            catalog = dict(_numbered(_rows(snapshot, CATALOG, CatalogRow)))
            trash = dict(_numbered(_rows(snapshot, TRASH, TrashRow)))
            self._journal = dict(_numbered(_rows(snapshot, JOURNAL, JournalRow)))
            self._deleted = dict(_rows(snapshot, DELETED, DeletedRow))
            with txn.cursor() as cursor:
                names = set(cursor.iternext(values=False)) - set(TABLES)
            self._check_indexes(Catalog(snapshot), catalog)
        self._found.revision = counters.revision
        self._check_references(catalog, trash)
        self._check_sub_databases(catalog, trash, names)
        for asset_id, row in catalog.items():
            if row.state == "active":
                self._found.active[row.name] = self._contents(row.store_id, f"asset {asset_id}")
        for trash_id, waiting in trash.items():
            self._read_trash(trash_id, waiting, catalog)
        self._check_counters(counters, catalog, trash)
        self._check_journal(counters, catalog)
        # What is being dropped may be half gone.
        in_use = {row.store_id for row in trash.values() if not row.dropping}
        self._check_deleted(in_use | {row.store_id for row in catalog.values()})

    def _complain(self, problem: str) -> None:
        self._found.problems.append(problem)

    def _check_identity(self, marker: Identity | None, found: Identity | None) -> None:
        if marker is not None and (found is None or found.store_id != marker.store_id):
            self._complain(f"the marker says {marker}, the store {found}")

    def _check_indexes(self, catalog: Catalog, rows: dict[int, CatalogRow]) -> None:
        for asset_id, row in rows.items():
            refs = [AssetRef(row.name, row.uri)]
            if row.state == "active":
                refs += [AssetRef(name=row.name), AssetRef(uri=row.uri)]
            for ref in refs:
                there = catalog.find(ref)
                if there is None or there[0] != asset_id:
                    self._complain(f"{ref} should lead to asset {asset_id}, and leads to {there}")

    def _check_references(self, catalog: dict[int, CatalogRow], trash: dict[int, TrashRow]) -> None:
        """A store belongs to one active asset, or to one place in the trash."""
        for asset_id, row in catalog.items():
            waiting = trash.get(row.trash_id)
            if row.state == "active" and row.trash_id:
                self._complain(f"asset {asset_id} is active and in the trash: {row}")
            if row.state == "dropped" and (row.store_id or row.trash_id):
                self._complain(f"asset {asset_id} is dropped and has a store: {row}")
            if row.state == "inactive" and bool(row.store_id) != bool(row.trash_id):
                self._complain(f"asset {asset_id} is inactive, its store is not in the trash")
            if row.trash_id and (
                waiting is None
                or waiting.dropping
                or (waiting.asset_id, waiting.store_id, waiting.reason)
                != (asset_id, row.store_id, "deactivated")
            ):
                self._complain(f"asset {asset_id} waits in the trash as {row}, not {waiting}")
        for trash_id, waiting in trash.items():
            if waiting.asset_id not in catalog:
                self._complain(f"store {trash_id} in the trash is of no asset: {waiting}")

    def _check_sub_databases(
        self, catalog: dict[int, CatalogRow], trash: dict[int, TrashRow], names: set[bytes]
    ) -> None:
        used = [row.store_id for row in catalog.values() if row.state == "active" and row.store_id]
        used += [waiting.store_id for waiting in trash.values()]
        for store_id, times in Counter(used).items():
            if times > 1:
                self._complain(f"sub-database {store_id} is used {times} times")
        wanted = {store_name(store_id) for store_id in used}
        # The last that is dropped of a store is its row in the trash.
        dropping = {store_name(waiting.store_id) for waiting in trash.values() if waiting.dropping}
        for name in sorted(wanted - names - dropping):
            self._complain(f"sub-database {name.decode()} is missing")
        for name in sorted(names - wanted):
            self._complain(f"sub-database {name.decode()} belongs to nobody")

    def _read_trash(self, trash_id: int, waiting: TrashRow, catalog: dict[int, CatalogRow]) -> None:
        contents = self._contents(waiting.store_id, f"store {trash_id} in the trash")
        # What is being dropped is shown to nobody, and may be half gone.
        if not waiting.dropping and waiting.entries != len(contents):
            self._complain(f"store {trash_id} in the trash holds {len(contents)}, says {waiting}")
        row = catalog.get(waiting.asset_id)
        name = row.name if row else ""
        self._found.trash.append(Trashed(name, waiting.reason, waiting.dropping, contents))

    def _contents(self, store_id: int, whose: str) -> Contents:
        """All entries of a store, each checked."""
        if not store_id:
            return {}
        # A handle that is opened in a transaction dies with it, so each store has its own.
        with self._env.begin() as txn:
            try:
                store = engine.open_database(self._env, txn, store_name(store_id), create=False)
            except engine.NotFoundError:
                return {}
            with txn.cursor(db=store) as cursor:
                return dict(self._entries(store_id, cursor, whose))

    def _entries(
        self, store_id: int, cursor: Iterable[tuple[bytes, bytes]], whose: str
    ) -> Iterator[tuple[str, tuple[Any, int]]]:
        for stored_key, record in cursor:
            if not records.is_sound(store_id, stored_key, record):
                self._complain(f"{whose}: the record of {stored_key!r} fails its checksum")
                continue
            key = records.long_key(record) or stored_key.decode()
            if keys.stored_key(key) != stored_key:
                self._complain(f"{whose}: {key!r} is stored as {stored_key!r}")
            entry = records.decode_entry(record)
            place = f"{whose}, key {key!r}"
            other = self._revisions.setdefault(entry.revision, place)
            if other != place:
                self._complain(f"revision {entry.revision} is that of {other} and of {place}")
            self._check_changes(store_id, key, record, place)
            yield key, (msgspec.json.decode(entry.value), entry.revision)

    def _check_changes(self, store_id: int, key: str, record: bytes, place: str) -> None:
        """The journal holds the last changes of the key, and the last of them is what is there."""
        self._heads.add((store_id, key))
        head = records.head_of(record)
        value: bytes | None = records.decode_entry(record).value
        revision, was_deleted = head.revision, False
        for sequence in range(head.sequence, max(0, head.sequence - KEPT_CHANGES), -1):
            row = self._journal.get(revision)
            if row is None and was_deleted:
                return  # while it was not there, its changes were forgotten, the oldest first
            if row is None:
                self._complain(
                    f"{place}: the journal has no change {sequence}, revision {revision}"
                )
                return
            if (row.store_id, row.key, row.sequence) != (store_id, key, sequence):
                self._complain(f"{place}: revision {revision} is not change {sequence}: {row}")
            if sequence == head.sequence and row.value != value:
                self._complain(f"{place} holds {value!r}, and the journal says {row.value!r}")
            revision, was_deleted = row.previous, was_deleted or row.value is None

    def _check_journal(self, counters: Counters, catalog: dict[int, CatalogRow]) -> None:
        """It is whole from the first revision on that it has not forgotten."""
        missing = set(range(counters.compacted + 1, counters.revision + 1)) - self._journal.keys()
        if missing:
            self._complain(f"the journal lacks {sorted(missing)[:10]}; {counters}")
        requests: dict[bytes, int] = {}
        for revision, row in self._journal.items():
            if row.asset_id and row.asset_id not in catalog:
                self._complain(f"revision {revision} is of no asset: {row}")
            if row.previous >= revision:
                self._complain(f"revision {revision} has a later one before it: {row}")
            if (
                row.request is not None
                and requests.setdefault(row.request[0], revision) != revision
            ):
                self._complain(f"one request was carried out twice: {row}")
        for asset_id, asset in catalog.items():
            limit = self._journal.get(asset.boundary)
            if limit is not None and (limit.asset_id != asset_id or limit.key is not None):
                self._complain(f"asset {asset_id} has a boundary that is none: {asset}, {limit}")

    def _check_deleted(self, in_use: set[int]) -> None:
        """The table of deleted keys leads to their deletions, and to no key that is there."""
        for where, deleted in self._deleted.items():
            if len(where) == 8:
                if int.from_bytes(where, "big") in in_use:
                    self._complain(f"store {where.hex()} is in use, and marked as being dropped")
                continue
            row = self._journal.get(deleted.revision)
            if row is None or row.key is None or row.value is not None:
                self._complain(f"a key is said to be deleted with {deleted}, which is {row}")
            elif deleted_key(row.store_id, keys.stored_key(row.key)) != where:
                self._complain(f"{deleted} is that of another key: {row}")
            elif (row.store_id, row.key) in self._heads:
                self._complain(f"{row.key!r} is there, and deleted with {deleted}")
        last = {
            (row.store_id, row.key): (revision, row)
            for revision, row in self._journal.items()
            if row.key is not None and row.store_id in in_use
        }
        for (store_id, key), (revision, row) in last.items():
            where = deleted_key(store_id, keys.stored_key(key))
            if row.value is None and where not in self._deleted:
                self._complain(f"{key!r} of revision {revision} is nowhere said to be deleted")

    def _check_counters(
        self, counters: Counters, catalog: dict[int, CatalogRow], trash: dict[int, TrashRow]
    ) -> None:
        active = sum(row.state == "active" for row in catalog.values())
        if counters.active != active:
            self._complain(f"{active} assets are active, the counter says {counters.active}")
        stores = [row.store_id for row in catalog.values()]
        stores += [waiting.store_id for waiting in trash.values()]
        for what, last, in_use in (
            ("asset", counters.asset_id, list(catalog)),
            ("store", counters.store_id, stores),
            ("trash", counters.trash_id, list(trash)),
            ("revision", counters.revision, [*self._revisions, *self._journal]),
            ("forgotten revision", counters.revision, [counters.compacted]),
        ):
            if last < max(in_use, default=0):
                self._complain(f"{what} {max(in_use)} is in use, the counter is at {last}")


def _rows(snapshot: Snapshot, table: bytes, row_type: type[Row]) -> Iterator[tuple[bytes, Row]]:
    with snapshot.txn.cursor(db=snapshot.tables[table]) as cursor:
        for key, stored in cursor:
            yield bytes(key), decode_row(table, key, stored, row_type)


def _numbered(rows: Iterable[tuple[bytes, Row]]) -> Iterator[tuple[int, Row]]:
    for key, row in rows:
        yield int.from_bytes(key, "big"), row

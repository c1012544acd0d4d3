"""The tables of a store, held against each other and against the sub-databases.

Rule: rows and names only; entries and the journal are verifying_entries.py's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import msgspec

from assetstore.errors import Damaged
from assetstored.catalog import index_keys
from assetstored.findings import Finding
from assetstored.image import Image
from assetstored.tables import (
    CATALOG,
    META,
    NAMES,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Counters,
    Gaps,
    Identity,
    Space,
    TrashRow,
    decode_row,
    id_key,
    store_name,
)

Row = TypeVar("Row")

#: Beside id keys of eight bytes, what the table of ids may not hold.
_ID_BYTES = 8


class Owner(NamedTuple):
    """Whose a store is. ``trash_id`` is 0 where it is in use."""

    asset_id: int
    name: str | None
    uri: str | None
    trash_id: int = 0
    entries: int | None = None


class Contents:
    """The tables, as far as their rows can be read."""

    def __init__(self) -> None:
        self.identity: Identity | None = None
        self.counters = Counters()
        self.gaps = Gaps([])
        self.catalog: dict[int, CatalogRow] = {}
        self.trash: dict[int, TrashRow] = {}
        self.unreadable = 0

    def owners(self) -> dict[int, Owner]:
        """Whose each store is that somebody could ask for: one that is being dropped is not."""
        owners = {
            row.store_id: Owner(asset_id, row.name, row.uri)
            for asset_id, row in self.catalog.items()
            if row.store_id and row.state == "active"
        }
        for trash_id, waiting in self.trash.items():
            if not waiting.dropping:
                asset = self.catalog.get(waiting.asset_id)
                owners[waiting.store_id] = Owner(
                    waiting.asset_id,
                    asset.name if asset else None,
                    asset.uri if asset else None,
                    trash_id,
                    waiting.entries,
                )
        return owners

    def being_dropped(self) -> set[int]:
        """The stores that are half gone, or may be."""
        return {waiting.store_id for waiting in self.trash.values() if waiting.dropping}


def row_or_finding(table: bytes, key: bytes, stored: bytes, row_type: type[Row]) -> Row | Finding:
    """The row in stored bytes, or what is wrong with it."""
    try:
        return decode_row(table, key, stored, row_type)
    except Damaged:
        problem = "fails its checksum"
    except msgspec.DecodeError as exc:
        problem = f"cannot be decoded: {exc}"
    return Finding("row", f"the row {key.hex()} of table {table.decode()!r} {problem}")


def read_tables(image: Image, contents: Contents) -> Iterator[Finding]:
    """Read all rows but those of the journal into contents."""
    for key, row_type in (
        (b"identity", Identity),
        (b"counters", Counters),
        (b"manifest", AcceptedManifest),
        (b"gaps", Gaps),
    ):
        stored = image.get(META, key)
        if stored is None:
            if row_type in (Identity, Counters):
                yield Finding("row", f"the row {key.decode()!r} of table 'meta' is missing")
            continue
        row = row_or_finding(META, key, stored, row_type)
        if isinstance(row, Finding):
            yield row
        elif isinstance(row, Identity):
            contents.identity = row
        elif isinstance(row, Counters):
            contents.counters = row
        elif isinstance(row, Gaps):
            contents.gaps = row
    yield from _read(image, CATALOG, CatalogRow, contents, contents.catalog)
    yield from _read(image, TRASH, TrashRow, contents, contents.trash)


def _read(
    image: Image, table: bytes, row_type: type[Row], contents: Contents, into: dict[int, Row]
) -> Iterator[Finding]:
    for key, stored in image.rows(table):
        row = row_or_finding(table, key, stored, row_type)
        if isinstance(row, Finding):
            contents.unreadable += 1
            yield row
        elif len(key) != _ID_BYTES:
            yield Finding("row", f"the row {key.hex()} of table {table.decode()!r} has no id")
        else:
            into[int.from_bytes(key, "big")] = row


def check_names(image: Image, contents: Contents) -> Iterator[Finding]:
    """Each asset is found by its name, its uri and both; and nothing else is found."""
    for asset_id, row in contents.catalog.items():
        where = index_keys(row.name, row.uri)
        for what, key in zip(("name", "uri", "name and uri"), where, strict=True):
            stored = image.get(NAMES, key)
            # Of several that have had a name, it leads to the active one, or the last.
            if stored is None or (
                stored != id_key(asset_id) and (row.state == "active" or key == where.by_both)
            ):
                leads = (
                    f"leads to asset {int.from_bytes(stored, 'big')}" if stored else "is missing"
                )
                yield _of_asset(row, f"the index of its {what} {leads}; it is asset {asset_id}")
    for key, stored in image.rows(NAMES):
        asset = contents.catalog.get(int.from_bytes(stored, "big"))
        if asset is None and not contents.unreadable:
            yield Finding("catalog", f"an index ({key.hex()}) leads to no asset: {stored.hex()}")
        elif asset is not None and key not in index_keys(asset.name, asset.uri):
            yield _of_asset(asset, f"an index ({key.hex()}) leads to it that is of another asset")


def check_references(contents: Contents) -> Iterator[Finding]:
    """A store belongs to one active asset, or to one place in the trash."""
    for asset_id, row in contents.catalog.items():
        waiting = contents.trash.get(row.trash_id)
        if row.state == "active" and row.trash_id:
            yield _of_asset(row, f"it is active, and in the trash as {row.trash_id}")
        elif row.state == "dropped" and (row.store_id or row.trash_id):
            yield _of_asset(row, f"it is dropped, and has store {row.store_id}")
        elif row.state == "inactive" and bool(row.store_id) != bool(row.trash_id):
            yield _of_asset(
                row, f"it is inactive, and its store {row.store_id} is not in the trash"
            )
        elif row.trash_id and (
            waiting is None
            or waiting.dropping
            or (waiting.asset_id, waiting.store_id, waiting.reason)
            != (asset_id, row.store_id, "deactivated")
        ):
            yield _of_asset(row, f"its store {row.store_id} is not in the trash as {row.trash_id}")
    for trash_id, waiting in contents.trash.items():
        asset = contents.catalog.get(waiting.asset_id)
        if asset is None:
            yield Finding(
                "trash", f"it is of asset {waiting.asset_id}, which is not there", trash_id=trash_id
            )
        elif (
            waiting.reason == "deactivated" and not waiting.dropping and asset.trash_id != trash_id
        ):
            problem = f"it waits for its asset to return, which has another ({asset.trash_id})"
            yield Finding("trash", problem, asset.name, asset.uri, trash_id=trash_id)


def check_sub_databases(contents: Contents, names: set[bytes]) -> Iterator[Finding]:
    """Each store that a row names is there, once; and no other."""
    owners, dropping = contents.owners(), contents.being_dropped()
    used = [row.store_id for row in contents.catalog.values() if row.state == "active"]
    used += [waiting.store_id for waiting in contents.trash.values()]
    for store_id, times in Counter(used).items():
        if not store_id:
            continue
        if times > 1:
            yield _of_owner(owners.get(store_id), f"store {store_id} is used {times} times")
        # What is dropped last of a store is its row in the trash.
        if store_name(store_id) not in names and store_id not in dropping:
            yield _of_owner(owners.get(store_id), f"store {store_id} is missing")
    known = {store_name(store_id) for store_id in used}
    by_whom = "no row that can be read names it" if contents.unreadable else "no row names it"
    for name in sorted(names - known):
        shown = name.decode(errors="backslashreplace")
        yield Finding("orphan", f"sub-database {shown!r} belongs to nobody: {by_whom}")


def check_counters(contents: Contents) -> Iterator[Finding]:
    """Nothing is in use that was not given out, and the active assets are as many as they say."""
    counters = contents.counters
    active = sum(row.state == "active" for row in contents.catalog.values())
    if counters.active != active and not contents.unreadable:
        yield Finding("counter", f"{active} assets are active, the counter says {counters.active}")
    stores = [row.store_id for row in contents.catalog.values()]
    stores += [waiting.store_id for waiting in contents.trash.values()]
    boundaries = [row.boundary for row in contents.catalog.values()]
    for what, last, in_use in (
        ("asset", counters.asset_id, list(contents.catalog)),
        ("store", counters.store_id, stores),
        ("trash", counters.trash_id, list(contents.trash)),
        ("boundary at revision", counters.revision, boundaries),
        ("forgotten revision", counters.revision, [counters.compacted]),
    ):
        if last < max(in_use, default=0):
            yield Finding("counter", f"{what} {max(in_use)} is in use, the counter is at {last}")


def check_logged_stores(image: Image, spaces: list[Space]) -> Iterator[Finding]:
    """What is logged is of stores that are there."""
    for space in spaces:
        if isinstance(space, int) and not image.has_store(space):
            yield Finding("log", f"data.wal: it has changes of store {space}, which is not there")


def _of_asset(row: CatalogRow, problem: str) -> Finding:
    return Finding("catalog", problem, row.name, row.uri)


def _of_owner(owner: Owner | None, problem: str) -> Finding:
    if owner is None:
        return Finding("store", problem)
    return Finding("store", problem, owner.name, owner.uri, trash_id=owner.trash_id or None)

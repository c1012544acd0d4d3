"""Reading: what the serving process answers from, one snapshot at a time.

Rule: nothing here writes, and nothing waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, cast

import msgspec

from assetstore.errors import InactiveAsset, UnknownAsset
from assetstore.limits import MAX_PAGE_ITEMS, PAGE_BYTES, check_key
from assetstore.messages import AssetInfo, AssetRef, TrashInfo
from assetstored import absence, keys, records
from assetstored.catalog import Catalog, checked, describe, index_key
from assetstored.paging import Budget
from assetstored.store_walk import Place, StoreWalk
from assetstored.tables import (
    CATALOG,
    JOURNAL,
    META,
    NAMES,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Space,
    TrashRow,
    decode_row,
    id_key,
    read_row,
)
from assetstored.tail import ELSEWHERE

#: How many keys one part of a count, or one page of the catalog, looks at: a few milliseconds.
_COUNT_KEYS = 1_000

#: Resolved references that are kept, some 300 bytes each; they outlive snapshots while the catalog
#: stays as it is. Looking one up anew takes longer than all else that a get does.
_RESOLVED = 131_072


class Resolved(NamedTuple):
    """An active asset; ``store_id`` is 0 before its first write."""

    asset_id: int
    name: str
    store_id: int


class Reader(StoreWalk):
    """The environment open for reading. One thread; every method answers from one snapshot."""

    def __init__(self, data_dir: str) -> None:
        super().__init__(data_dir)
        #: Another one after each commit that changed the catalog.
        self.catalog_version = 0
        self._resolved: dict[AssetRef, Resolved] = {}

    def refresh(self, *, catalog_changed: bool = True) -> None:
        """The writer has reported a commit, and is at nothing else: a new snapshot shows it."""
        self.renew()
        if catalog_changed:
            self._forget_resolved()

    def _got_ahead(self) -> None:
        self._forget_resolved()

    def _forget_resolved(self) -> None:
        self.catalog_version += 1
        self._resolved.clear()

    # --- assets

    def resolve(self, ref: AssetRef) -> Resolved:
        """The active asset that ref names; raises InactiveAsset or UnknownAsset."""
        resolved = self._resolved.get(ref)
        if resolved is None:
            asset_id, row = self.find_active(checked(ref))
            if len(self._resolved) >= _RESOLVED:
                self._resolved.clear()
            # The same text is kept once.
            name = ref.name if ref.name == row.name else row.name
            resolved = self._resolved[ref] = Resolved(asset_id, name, row.store_id)
        return resolved

    def find(self, ref: AssetRef) -> tuple[int, CatalogRow] | None:
        """The asset that ref names, in whatever state, or None. Raises Damaged."""
        found = self._catalog().find(ref)
        if found is None and not self._is_unknown(ref):
            raise records.damaged_beside(f"asset {describe(ref)}")
        return found

    def find_active(self, ref: AssetRef) -> tuple[int, CatalogRow]:
        """The active asset that ref names; raises InactiveAsset, UnknownAsset or Damaged."""
        try:
            return self._catalog().find_active(ref)
        except InactiveAsset:
            raise
        except UnknownAsset:
            if not self._is_unknown(ref):
                raise records.damaged_beside(f"asset {describe(ref)}") from None
            raise

    def _is_unknown(self, ref: AssetRef) -> bool:
        """Whether an asset that was not found is known not to be there."""
        catalog = self._catalog()
        return absence.is_absent(
            self._txn_now(), self._tables[NAMES], index_key(ref), catalog.is_index_of
        )

    def row_of(self, asset_id: int) -> CatalogRow:
        """The row of an asset by its id."""
        return self._catalog().row(asset_id)

    def assets(self, after: int, limit: int) -> tuple[list[AssetInfo], int | None]:
        """A page of the catalog, and where the next one begins."""
        rows: list[tuple[int, CatalogRow]] = []
        size = 0
        next_after = None
        for asset_id, row in self.catalog_rows(after):
            if len(rows) >= min(limit, MAX_PAGE_ITEMS) or size > PAGE_BYTES:
                next_after = rows[-1][0]
                break
            rows.append((asset_id, row))
            size += len(row.name) + len(row.uri) + len(row.group or "")
        # Counting opens a store each, and may need a new snapshot: only after the cursor is done.
        return [
            AssetInfo(
                row.name,
                row.uri,
                row.group,
                row.state,
                row.since,
                self._entries(row.store_id) if row.store_id else 0,
            )
            for _, row in rows
        ], next_after

    def active_assets(self) -> Iterator[tuple[str, str, str | None]]:
        """Name, uri and group of every active asset."""
        for _, row in self.catalog_rows():
            if row.state == "active":
                yield row.name, row.uri, row.group

    def catalog_rows(self, after: int = 0) -> Iterator[tuple[int, CatalogRow]]:
        """All assets ever known, in the order in which they became known, after an id."""
        with self._txn_now().cursor(db=self._tables[CATALOG]) as cursor:
            found = cursor.set_range(id_key(after + 1))
            rows = cursor.iternext() if found else iter(())
            for key, stored in self._all_rows(CATALOG, rows, after):
                yield int.from_bytes(key, "big"), decode_row(CATALOG, key, stored, CatalogRow)

    # --- entries

    def get(self, ref: AssetRef, key: str) -> msgspec.Raw | None:
        """The WireEntry under key, encoded, or None. Raises Damaged, InvalidRequest."""
        resolved = self._resolved.get(ref) or self.resolve(ref)
        check_key(key)
        record = self.record(resolved.store_id, resolved.name, key) if resolved.store_id else None
        return None if record is None else records.wire_entry(record)

    def record(self, store_id: int, asset: str, key: str) -> bytes | None:
        """The sound record of a key of a store, or None. The asset's name is for Damaged."""
        stored_key = keys.stored_key(key)
        if not self.tail.is_empty:
            logged = self.tail.find(store_id, stored_key)
            if logged is not ELSEWHERE:
                return cast("bytes | None", logged)
        store = self._store(store_id)
        found = self._txn_now().get(stored_key, db=store)
        if found is None:
            if not self._is_absent(store_id, store, stored_key):
                raise records.damaged_beside(f"key {key!r} of asset {asset!r}")
            return None
        record = bytes(found)
        if not records.is_sound(store_id, stored_key, record):
            raise records.damaged_entry(asset, key)
        return record

    def value_of(self, space: Space, key: bytes) -> bytes | None:
        """What stands under a key of LMDB, whatever it is. Raises NotFoundError."""
        found = self.tail.find(space, key)
        if found is ELSEWHERE:
            where = self._tables[space] if isinstance(space, bytes) else self._store(space)
            stored = self._txn_now().get(key, db=where)
            return None if stored is None else bytes(stored)
        return cast("bytes | None", found)

    def keys(
        self, ref: AssetRef, prefix: str, after: str | None, limit: int
    ) -> tuple[list[str], bool]:
        """A page of keys, and whether there are more."""
        page: list[str] = []
        budget = Budget(limit)
        for key, _, _ in self.walk(self._place(ref), prefix, after, values=False):
            if page and (budget.is_full or budget.is_late):
                return page, True
            page.append(key.decode())
            budget.spend(len(key))
        return page, False

    def items(
        self, ref: AssetRef, prefix: str, after: str | None, limit: int
    ) -> tuple[list[tuple[str, msgspec.Raw]], bool]:
        """A page of keys with their WireEntries, encoded, and whether there are more."""
        page: list[tuple[str, msgspec.Raw]] = []
        budget = Budget(limit)
        store_id = self.resolve(ref).store_id
        for key, stored_key, record in self.walk(self._place(ref), prefix, after, values=True):
            if page and (budget.is_full or budget.is_late):
                return page, True
            text = key.decode()
            if not records.is_sound(store_id, stored_key, record):
                raise records.damaged_entry(self.resolve(ref).name, text)
            page.append((text, records.wire_entry(record)))
            budget.spend(len(key) + len(record))
        return page, False

    def count(self, ref: AssetRef, prefix: str, after: str | None) -> tuple[int, str | None]:
        """How many keys there are, and after which to go on counting, or None at the end."""
        store_id = self.resolve(ref).store_id
        if not store_id:
            return 0, None
        if not prefix and after is None:
            return self._entries(store_id), None
        count = 0
        last = b""
        for key, _, _ in self.walk(self._place(ref), prefix, after, values=False):
            if count == _COUNT_KEYS:
                return count, last.decode()
            count += 1
            last = key
        return count, None

    # --- the trash and the store

    def trash(self, after: int, limit: int, grace_us: int) -> tuple[list[TrashInfo], int | None]:
        """A page of what waits in the trash, oldest first, and where the next one begins."""
        page: list[TrashInfo] = []
        for trash_id, row in self.trash_rows(after):
            if len(page) >= min(limit, MAX_PAGE_ITEMS):
                return page, page[-1].id
            if not row.dropping:
                page.append(self.trash_info(trash_id, row, grace_us))
        return page, None

    def trash_info(self, trash_id: int, row: TrashRow, grace_us: int) -> TrashInfo:
        """A row of the trash as users see it."""
        asset = self._catalog().row(row.asset_id)
        return TrashInfo(
            trash_id,
            asset.name,
            asset.uri,
            row.reason,
            row.since,
            row.since + grace_us,
            row.entries,
            row.size_bytes,
        )

    def trash_rows(self, after: int = 0) -> Iterator[tuple[int, TrashRow]]:
        """All rows of the trash after an id, those that are being dropped included."""
        with self._txn_now().cursor(db=self._tables[TRASH]) as cursor:
            found = cursor.set_range(id_key(after + 1))
            rows = cursor.iternext() if found else iter(())
            for key, stored in self._all_rows(TRASH, rows, after):
                yield int.from_bytes(key, "big"), decode_row(TRASH, key, stored, TrashRow)

    def _all_rows(
        self, table: bytes, rows: Iterable[tuple[memoryview, memoryview]], after: int
    ) -> Iterator[tuple[memoryview, memoryview]]:
        """The rows of a table after an id; raises Damaged rather than leave one out."""
        last = id_key(after)
        left = self._txn_now().stat(self._tables[table])["entries"]
        for key, stored in rows:
            if bytes(key) <= last:
                break
            last = bytes(key)
            left -= 1
            yield key, stored
        else:
            if after or not left:
                return
        raise records.damaged_beside(f"a row of table {table.decode()!r}")

    def _place(self, ref: AssetRef) -> Place:
        resolved = self.resolve(ref)
        return Place(resolved.store_id, resolved.name)

    def accepted_manifest(self) -> AcceptedManifest | None:
        """The manifest that the catalog shows, or None before the first."""
        return read_row(self.snapshot(), META, b"manifest", AcceptedManifest)

    def sizes(self) -> dict[str, int]:
        """Bytes: of the pages in use or free within the file, and of the map; and counts."""
        info = self._env.info()
        txn = self._txn_now()
        return {
            "used_bytes": (info["last_pgno"] + 1) * self._env.stat()["psize"],
            "map_bytes": info["map_size"],
            "assets_known": txn.stat(self._tables[CATALOG])["entries"],
            "trash_stores": txn.stat(self._tables[TRASH])["entries"],
            "journal_events": txn.stat(self._tables[JOURNAL])["entries"] + self.logged_events(),
            "journal_bytes": self.journal_bytes(),
        }

    def _catalog(self) -> Catalog:
        return Catalog(self.snapshot())

    def _entries(self, store_id: int) -> int:
        store = self._store(store_id)
        txn = self._txn_now()
        entries: int = txn.stat(store)["entries"]
        for stored_key, record in self.tail.of(store_id).items():
            entries += (record is not None) - (txn.get(stored_key, db=store) is not None)
        return entries


def active_assets(data_dir: str) -> Iterator[tuple[str, str, str | None]]:
    """Name, uri and group of the active assets of a store that another process serves."""
    reader = Reader(data_dir)
    try:
        yield from reader.active_assets()
    finally:
        reader.close()

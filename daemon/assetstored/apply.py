"""What each job does to the store, within one transaction that is given.

A job either does all of its change or raises Refused before it has touched anything, so that jobs
that share a transaction cannot harm each other.

Rule: never begins or commits a transaction; writer.py does, and knows about sockets and errors of
the device. Nothing here waits.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from assetstore.entries import RecordedWriter
from assetstore.errors import Conflict, InvalidRequest
from assetstore.messages import AssetRef
from assetstored import jobs, keys, records
from assetstored.catalog import CatalogWriter, check_active
from assetstored.engine import Transaction
from assetstored.stores import StoreHandles, StoreWriter
from assetstored.tables import (
    META,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Counters,
    Reason,
    Tables,
    TrashRow,
    id_key,
    read_row,
    write_row,
)

#: A slice of a drop: short beside a commit's sync, so that nobody notices it.
_DROP_SLICE_S = 0.004

#: A store up to this size is dropped at once; freeing that many pages takes about 1 ms.
_DROP_AT_ONCE_BYTES = 16 << 20


def now_us() -> int:
    """The wall clock in microseconds since 1970: for people, never for deadlines."""
    return time.time_ns() // 1_000


class Changes:
    """The changes of one transaction.

    ``counters`` are those of the store when it begins; they are written when it ends.
    """

    def __init__(
        self, txn: Transaction, tables: Tables, handles: StoreHandles, counters: Counters
    ) -> None:
        self._txn = txn
        self._tables = tables
        self._catalog = CatalogWriter(txn, tables)
        self._stores = StoreWriter(txn, handles)
        self._rows: dict[int, CatalogRow] = {}
        self._now = now_us()
        self.counters = msgspec.structs.replace(counters)
        self.catalog_changed = False
        #: How many steps have been taken, so that a job which is refused half-way is noticed.
        self.steps = 0

    @property
    def pending_bytes(self) -> int:
        """About how much this transaction adds."""
        return self._stores.pending_bytes

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self.steps > 0

    def apply(self, job: jobs.AnyJob) -> Any:
        """Do the job; returns its result. Raises Refused, and then has changed nothing."""
        match job:
            case jobs.Put():
                return self._put(job.asset_id, job.key, job.value, job.writer)
            case jobs.Remove():
                return self._remove(job.asset_id, job.key)
            case jobs.Empty():
                return self._empty(job.asset_id)
            case jobs.ApplySlice():
                return self._apply_slice(job)
            case jobs.FinishManifest():
                return self._finish_manifest(job)
            case jobs.Restore():
                return self._restore(job.trash_id)
            case jobs.Relink():
                return self._relink(job)
            case jobs.Condemn():
                return self._condemn(job.trash_ids)
            case jobs.DropSlice():
                return self._drop_slice(job.trash_id)

    def finish(self) -> None:
        """Write what is pending; only the commit is left to do."""
        self._stores.flush()
        if self.changed:
            write_row(self._txn, self._tables, META, b"counters", self.counters)

    # --- entries

    def _put(
        self, asset_id: int, key: str, value: bytes, writer: msgspec.Raw | RecordedWriter
    ) -> int:
        row = self._active(asset_id)
        stored_key = keys.stored_key(key)
        if not row.store_id:
            row = self._with_new_store(asset_id, row)
        elif keys.is_digest(stored_key):
            self._check_digests(row.store_id, stored_key)
        revision = self._next_revision()
        record = records.encode_entry(
            row.store_id,
            stored_key,
            revision=revision,
            updated_at=self._now,
            writer=writer,
            value=value,
            long_key=key if keys.is_digest(stored_key) else None,
        )
        self._stores.put(row.store_id, stored_key, record)
        return revision

    def _check_digests(self, store_id: int, stored_key: bytes) -> None:
        if self._stores.get(store_id, stored_key) is not None:
            return
        beginning = keys.digests_of(stored_key)
        if self._stores.count(store_id, beginning, keys.MAX_DIGESTS) == keys.MAX_DIGESTS:
            raise InvalidRequest(
                f"{keys.MAX_DIGESTS:,} keys of more than 511 bytes begin with the same "
                f"{keys.HEAD_BYTES} bytes as this one, which is the limit; make keys differ earlier"
            )

    def _remove(self, asset_id: int, key: str) -> bool:
        row = self._active(asset_id)
        if not row.store_id:
            return False
        stored_key = keys.stored_key(key)
        if self._stores.get(row.store_id, stored_key) is None:
            return False
        self._next_revision()
        self._stores.remove(row.store_id, stored_key)
        return True

    def _empty(self, asset_id: int) -> int:
        row = self._active(asset_id)
        if not row.store_id:
            return 0
        entries, _ = self._stores.measure(row.store_id)
        if entries:
            self._to_trash(asset_id, row.store_id, "cleared")
            self._next_revision()
            self._write(asset_id, msgspec.structs.replace(row, store_id=0))
        return entries

    # --- the manifest

    def _apply_slice(self, job: jobs.ApplySlice) -> None:
        for ref in job.slice.deactivate:
            self._deactivate(ref)
        for name, uri, group in job.slice.activate:
            self._activate(name, uri, group)
        for name, uri, group in job.slice.regroup:
            found = self._catalog.find(AssetRef(name, uri))
            if found is not None:
                self._write(found[0], msgspec.structs.replace(self._row(found[0]), group=group))

    def _deactivate(self, ref: AssetRef) -> None:
        found = self._catalog.find(ref)
        if found is None:
            return
        asset_id, row = found[0], self._row(found[0])
        if row.state != "active":
            return
        self._next_revision()
        self.counters.active -= 1
        trash_id = self._to_trash(asset_id, row.store_id, "deactivated")
        self._write(
            asset_id,
            msgspec.structs.replace(
                row,
                state="inactive",
                since=self._now,
                store_id=row.store_id if trash_id else 0,
                trash_id=trash_id,
            ),
        )

    def _activate(self, name: str, uri: str, group: str | None) -> None:
        found = self._catalog.find(AssetRef(name, uri))
        if found is None:
            self.counters.asset_id += 1
            asset_id = self.counters.asset_id
            row = CatalogRow(name, uri, group, "active", self._now, 0, 0)
        else:
            asset_id, row = found[0], self._row(found[0])
            if row.state == "active":
                return
            if row.trash_id:
                self._delete_trash(row.trash_id)
            row = msgspec.structs.replace(
                row, state="active", group=group, since=self._now, trash_id=0
            )
        self._next_revision()
        self.counters.active += 1
        self._write(asset_id, row)
        self._catalog.index(asset_id, row)

    def _finish_manifest(self, job: jobs.FinishManifest) -> None:
        write_row(
            self._txn,
            self._tables,
            META,
            b"manifest",
            AcceptedManifest(job.digest, job.path, self._now, self.counters.active),
        )
        self.steps += 1

    # --- the trash

    def _to_trash(self, asset_id: int, store_id: int, reason: Reason) -> int:
        """Put a store into the trash; returns its trash id, or 0 where nothing waits there.

        An empty store has nothing to come back for: it is dropped by the next sweep.
        """
        if not store_id:
            return 0
        entries, size_bytes = self._stores.measure(store_id)
        self.counters.trash_id += 1
        trash_id = self.counters.trash_id
        self._write_trash(
            trash_id,
            TrashRow(
                asset_id, store_id, reason, self._now, entries, size_bytes, dropping=not entries
            ),
        )
        return trash_id if entries else 0

    def _restore(self, trash_id: int) -> tuple[str, str, int]:
        trash = self._trash(trash_id)
        if trash is None or trash.dropping:
            raise InvalidRequest(
                f"there is no store {trash_id} in the trash; see `assetstore trash list`"
            )
        row = self._row(trash.asset_id)
        if trash.reason == "deactivated":
            raise InvalidRequest(
                f"store {trash_id} waits for asset {row.name!r} (uri {row.uri!r}) to return: put "
                "it back into the manifest, or give its store to another with `assetstore mv`"
            )
        check_active(row)
        self._to_trash(trash.asset_id, row.store_id, "replaced")
        self._delete_trash(trash_id)
        self._next_revision()
        self._write(trash.asset_id, msgspec.structs.replace(row, store_id=trash.store_id))
        return row.name, row.uri, trash.entries

    def _relink(self, job: jobs.Relink) -> int:
        if job.source_id == job.target_id:
            raise InvalidRequest("source and target are the same asset")
        source, target = self._row(job.source_id), self._active(job.target_id)
        if not source.store_id:
            raise InvalidRequest(
                f"asset {source.name!r} (uri {source.uri!r}) has no store to move"
                + ("; it has been dropped" if source.state == "dropped" else "")
            )
        if target.store_id:
            entries, _ = self._stores.measure(target.store_id)
            if entries and not job.replace:
                raise Conflict(
                    f"asset {target.name!r} (uri {target.uri!r}) already holds {entries:,} "
                    "entries; with --replace they go to the trash"
                )
            self._to_trash(job.target_id, target.store_id, "replaced")
        if source.trash_id:
            self._delete_trash(source.trash_id)
        self._next_revision()
        self._write(job.source_id, msgspec.structs.replace(source, store_id=0, trash_id=0))
        self._write(job.target_id, msgspec.structs.replace(target, store_id=source.store_id))
        return self._stores.measure(source.store_id)[0]

    def _condemn(self, trash_ids: list[int]) -> int:
        found = {trash_id: self._trash(trash_id) for trash_id in trash_ids}
        doomed = {
            trash_id: (trash, self._row(trash.asset_id))
            for trash_id, trash in found.items()
            if trash is not None and not trash.dropping
        }
        for trash_id, (trash, row) in doomed.items():
            self._write_trash(trash_id, msgspec.structs.replace(trash, dropping=True))
            if row.trash_id == trash_id:
                self._write(
                    trash.asset_id,
                    msgspec.structs.replace(row, state="dropped", store_id=0, trash_id=0),
                )
            self._next_revision()
        return len(doomed)

    def _drop_slice(self, trash_id: int) -> bool:
        trash = self._trash(trash_id)
        if trash is None or not trash.dropping:
            return False
        self.steps += 1
        gone = self._stores.drop_some(
            trash.store_id, budget_s=_DROP_SLICE_S, small_bytes=_DROP_AT_ONCE_BYTES
        )
        if gone:
            self._delete_trash(trash_id)
        return not gone

    # --- rows

    def _active(self, asset_id: int) -> CatalogRow:
        # Resolved in a snapshot of the serving process, it may have left since.
        row = self._row(asset_id)
        check_active(row)
        return row

    def _row(self, asset_id: int) -> CatalogRow:
        row = self._rows.get(asset_id)
        if row is None:
            row = self._rows[asset_id] = self._catalog.row(asset_id)
        return row

    def _write(self, asset_id: int, row: CatalogRow) -> None:
        self._rows[asset_id] = row
        self._catalog.write(asset_id, row)
        self.catalog_changed = True
        self.steps += 1

    def _with_new_store(self, asset_id: int, row: CatalogRow) -> CatalogRow:
        self.counters.store_id += 1
        row = msgspec.structs.replace(row, store_id=self.counters.store_id)
        self._stores.create(row.store_id)
        self._write(asset_id, row)
        return row

    def _next_revision(self) -> int:
        self.counters.revision += 1
        self.steps += 1
        return self.counters.revision

    def _trash(self, trash_id: int) -> TrashRow | None:
        return read_row(self._txn, self._tables, TRASH, id_key(trash_id), TrashRow)

    def _write_trash(self, trash_id: int, row: TrashRow) -> None:
        write_row(self._txn, self._tables, TRASH, id_key(trash_id), row)
        self.steps += 1

    def _delete_trash(self, trash_id: int) -> None:
        self._txn.delete(id_key(trash_id), db=self._tables.trash)
        self.steps += 1

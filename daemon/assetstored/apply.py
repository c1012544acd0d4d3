"""What each job does to the store, within one transaction that is given.

A job does all of its change or, where it raises Refused, nothing: what it had begun is taken back.

Rule: never begins or commits a transaction; writer.py does, and knows about sockets and errors of
the device. Nothing here waits. What happens to one entry is entry_writer.py's.
"""

from __future__ import annotations

import time
from typing import Any, Final, TypeAlias

import msgspec

from assetstore.errors import Conflict, InvalidRequest, Refused
from assetstore.messages import AssetRef
from assetstored import jobs, journal, records
from assetstored.catalog import CatalogWriter, check_active
from assetstored.entry_writer import EntryWriter
from assetstored.journal import JournalWriter, details
from assetstored.memory import Forgotten, RequestMemory
from assetstored.overlay import Overlay
from assetstored.tables import (
    DELETED,
    JOURNAL,
    META,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Counters,
    JournalRow,
    Reason,
    TrashRow,
    decode_row,
    id_key,
    read_row,
    seal_row,
)

#: A slice of a drop, or of trimming the journal: short beside a commit's sync, so that nobody
#: notices it.
_SLICE_S = 0.004

#: A store up to this size is dropped at once; freeing that many pages takes about 1 ms.
_DROP_AT_ONCE_BYTES = 16 << 20

#: The journal's asset id for what is about none.
NO_ASSET: Final = 0

#: As messages.Outcome: revision, count, entry, asset. The entry is a record until it is answered.
_Outcome: TypeAlias = tuple[int | None, int, Any, tuple[str, str] | None]

_encode = msgspec.msgpack.Encoder().encode
_outcomes_decoder = msgspec.msgpack.Decoder(list[_Outcome])


def now_us() -> int:
    """The wall clock in microseconds since 1970: for people, never for deadlines."""
    return time.time_ns() // 1_000


class Changes:
    """The changes of one transaction.

    ``counters`` are those of the store when it begins; they are written when it ends. ``writer``
    is the daemon's own, for what no client asked for.
    """

    def __init__(
        self,
        overlay: Overlay,
        counters: Counters,
        memory: RequestMemory,
        *,
        writer: msgspec.Raw,
        max_value_bytes: int,
    ) -> None:
        self._overlay = overlay
        self._memory = memory
        self._daemon = writer
        self._catalog = CatalogWriter(overlay)
        self._rows: dict[int, CatalogRow] = {}
        self._now = now_us()
        self._journal = JournalWriter(overlay, self._now)
        self._entries = EntryWriter(overlay, self._journal, self._now, max_value_bytes)
        self.counters = msgspec.structs.replace(counters)
        self.first = counters.revision + 1
        self.catalog_changed = False

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self._overlay.changed

    @property
    def touched(self) -> set[int]:
        """The assets that were changed."""
        return self._journal.touched

    def apply(self, job: jobs.AnyJob) -> msgspec.Raw:
        """Do the job; returns its result, encoded. Raises Refused, and then has changed nothing."""
        before = msgspec.structs.replace(self.counters)
        self._overlay.begin()
        self._journal.begin(self.counters, self._daemon)
        try:
            if type(job) is jobs.Change:
                return self._change(job)
            result = self._work(job)
        except Refused:
            self._overlay.take_back()
            self.counters = before
            self._rows.clear()
            raise
        self._journal.finish()
        return msgspec.Raw(_encode(result))

    def finish(self) -> None:
        """Write what is pending; only the commit is left to do."""
        if self.changed:
            self._overlay.put(META, b"counters", seal_row(META, b"counters", self.counters))
            self._overlay.flush()

    # --- changes of clients

    def _change(self, job: jobs.Change) -> msgspec.Raw:
        if job.sent_at is not None:
            first = self._memory.recall(self._overlay, self.counters, job.request, job.sent_at)
            if first is not None:
                return self._answer_again(first)
        self._journal.writer = job.writer
        outcomes: list[_Outcome] = []
        for number, operation in enumerate(job.operations):
            try:
                outcomes.append(self._operate(operation))
            except Refused as exc:
                exc.detail = {"operation": number, **(exc.detail or {})}
                raise
        answer = _encode([_with_wire_entry(outcome) for outcome in outcomes])
        first = self._journal.first
        if first is None:
            return msgspec.Raw(answer)
        kept = answer
        if any(record is not None for _, _, record, _ in outcomes):
            # What was written here is in the journal already, under its revision.
            kept = _encode([_to_keep(outcome) for outcome in outcomes])
        self._journal.finish((job.request, msgspec.Raw(kept)))
        self._memory.remember(job.request, first)
        return msgspec.Raw(answer)

    def _answer_again(self, first: int) -> msgspec.Raw:
        """The outcomes of the change whose first revision this is."""
        row = self._journal_row(first)
        if row.request is None:
            raise Forgotten("the change was carried out, and its outcome is not known any more")
        outcomes = []
        for revision, count, entry, asset in _outcomes_decoder.decode(row.request[1]):
            if entry is True:
                assert revision is not None
                then = self._journal_row(revision)
                assert then.value is not None
                entry = _encode((revision, then.updated_at, then.writer, then.value))
                entry = msgspec.Raw(entry)
            outcomes.append((revision, count, entry, asset))
        return msgspec.Raw(_encode(outcomes))

    def _journal_row(self, revision: int) -> JournalRow:
        row = read_row(self._overlay, JOURNAL, id_key(revision), JournalRow)
        if row is None:
            raise Forgotten("the change was carried out, but the journal has forgotten its outcome")
        return row

    def _operate(self, op: jobs.AnyOperation) -> _Outcome:
        entries = self._entries
        match op:
            case jobs.SetKey():
                return entries.set(self._with_store(op.asset_id), op), 1, None, None
            case jobs.DeleteKey():
                revision = entries.delete(self._active(op.asset_id), op)
                return revision, int(revision is not None), None, None
            case jobs.AdvanceKey():
                revision, record = entries.advance(self._with_store(op.asset_id), op)
                return revision, int(revision is not None), record, None
            case jobs.IncrementKey():
                revision, record = entries.increment(self._with_store(op.asset_id), op)
                return revision, 1, record, None
            case jobs.MergeKey():
                revision, record = entries.merge(self._with_store(op.asset_id), op)
                return revision, int(revision is not None), record, None
            case jobs.ClearStore():
                return self._clear(op.asset_id)
            case jobs.CheckKey():
                entries.check(self._active(op.asset_id), op)
            case jobs.CheckUnchanged():
                self._check_unchanged(op)
            case jobs.RestoreStore():
                return self._restore(op.trash_id)
            case jobs.MoveStore():
                return self._move(op)
            case jobs.PurgeStores():
                count = self._condemn(op.trash_ids)
                return self.counters.revision if count else None, count, None, None
        return None, 0, None, None

    def _clear(self, asset_id: int) -> _Outcome:
        row = self._active(asset_id)
        entries = self._overlay.measure(row.store_id)[0] if row.store_id else 0
        if not entries:
            return None, 0, None, None
        self._to_trash(asset_id, row.store_id, "cleared")
        revision = self._replace_store(asset_id, row, 0, "clear", entries=entries)
        return revision, entries, None, None

    def _check_unchanged(self, op: jobs.CheckUnchanged) -> None:
        row = self._active(op.asset_id)
        changed = op.asset_id in self._journal.touched
        for key, stored in self._overlay.rows(JOURNAL, id_key(op.since + 1)):
            if changed:
                break
            changed = decode_row(JOURNAL, key, stored, JournalRow).asset_id == op.asset_id
        if changed:
            raise Conflict(
                f"asset {row.name!r} was changed after revision {op.since}; nothing changed now"
            )

    # --- work of the daemon

    def _work(self, job: jobs.AnyJob) -> Any:
        match job:
            case jobs.ApplySlice():
                return self._apply_slice(job)
            case jobs.FinishManifest():
                return self._finish_manifest(job)
            case jobs.Condemn():
                return self._condemn(job.trash_ids)
            case jobs.DropSlice():
                return self._drop_slice(job.trash_id)
            case jobs.TrimSlice():
                return journal.trim(
                    self._overlay,
                    self.counters,
                    job.after,
                    older_than=job.older_than,
                    excess_bytes=job.excess_bytes,
                    budget_s=_SLICE_S,
                )

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
        self.counters.active -= 1
        entries = self._overlay.measure(row.store_id)[0] if row.store_id else 0
        trash_id = self._to_trash(asset_id, row.store_id, "deactivated")
        inactive = msgspec.structs.replace(
            row, state="inactive", since=self._now, trash_id=trash_id
        )
        if row.store_id and not trash_id:
            self._replace_store(asset_id, inactive, 0, "deactivated", entries=0)
        else:
            self._journal.note(asset_id, "deactivated", value=details(entries=entries))
            self._write(asset_id, inactive)

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
        self._journal.note(asset_id, "activated", value=details(group=group))
        self.counters.active += 1
        self._write(asset_id, row)
        self._catalog.index(asset_id, row)

    def _finish_manifest(self, job: jobs.FinishManifest) -> None:
        if job.writer is not None:
            self._journal.writer = job.writer
        active = self.counters.active
        row = AcceptedManifest(job.digest, job.path, self._now, active)
        self._overlay.put(META, b"manifest", seal_row(META, b"manifest", row))
        value = details(digest=job.digest, path=job.path, assets=active)
        self._journal.note(NO_ASSET, "manifest", value=value)

    # --- the trash

    def _to_trash(self, asset_id: int, store_id: int, reason: Reason) -> int:
        """Put a store into the trash; returns its trash id, or 0 where nothing waits there.

        An empty store has nothing to come back for: it is dropped by the next sweep.
        """
        if not store_id:
            return 0
        entries, size_bytes = self._overlay.measure(store_id)
        self.counters.trash_id += 1
        trash_id = self.counters.trash_id
        self._write_trash(
            trash_id,
            TrashRow(
                asset_id, store_id, reason, self._now, entries, size_bytes, dropping=not entries
            ),
        )
        return trash_id if entries else 0

    def _restore(self, trash_id: int) -> _Outcome:
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
        revision = self._replace_store(
            trash.asset_id, row, trash.store_id, "restored", entries=trash.entries
        )
        return revision, trash.entries, None, (row.name, row.uri)

    def _move(self, op: jobs.MoveStore) -> _Outcome:
        if op.source_id == op.target_id:
            raise InvalidRequest("source and target are the same asset")
        source, target = self._row(op.source_id), self._active(op.target_id)
        if not source.store_id:
            raise InvalidRequest(
                f"asset {source.name!r} (uri {source.uri!r}) has no store to move"
                + ("; it has been dropped" if source.state == "dropped" else "")
            )
        if target.store_id:
            entries, _ = self._overlay.measure(target.store_id)
            if entries and not op.replace:
                raise Conflict(
                    f"asset {target.name!r} (uri {target.uri!r}) already holds {entries:,} "
                    "entries; with --replace they go to the trash"
                )
            self._to_trash(op.target_id, target.store_id, "replaced")
        if source.trash_id:
            self._delete_trash(source.trash_id)
        entries, _ = self._overlay.measure(source.store_id)
        to, origin = ({"name": row.name, "uri": row.uri} for row in (target, source))
        left = msgspec.structs.replace(source, trash_id=0)
        self._replace_store(op.source_id, left, 0, "moved", entries=entries, to=to)
        revision = self._replace_store(
            op.target_id, target, source.store_id, "moved", entries=entries, **{"from": origin}
        )
        return revision, entries, None, None

    def _condemn(self, trash_ids: list[int]) -> int:
        found = {trash_id: self._trash(trash_id) for trash_id in trash_ids}
        doomed = {
            trash_id: trash
            for trash_id, trash in found.items()
            if trash is not None and not trash.dropping
        }
        for trash_id, trash in doomed.items():
            asset_id, row = trash.asset_id, self._row(trash.asset_id)
            self._write_trash(trash_id, msgspec.structs.replace(trash, dropping=True))
            fate = {"entries": trash.entries, "reason": trash.reason}
            if row.trash_id == trash_id:
                dropped = msgspec.structs.replace(row, state="dropped", trash_id=0)
                self._replace_store(asset_id, dropped, 0, "dropped", **fate)
            else:
                self._journal.note(asset_id, "dropped", value=details(**fate))
        return len(doomed)

    def _drop_slice(self, trash_id: int) -> bool:
        trash = self._trash(trash_id)
        if trash is None or not trash.dropping:
            return False
        if not self._overlay.remove_some(DELETED, id_key(trash.store_id), budget_s=_SLICE_S):
            return True
        gone = self._overlay.drop_some(
            trash.store_id, budget_s=_SLICE_S, small_bytes=_DROP_AT_ONCE_BYTES
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

    def _with_store(self, asset_id: int) -> CatalogRow:
        """As _active; the first write of an asset makes its store."""
        row = self._active(asset_id)
        if not row.store_id:
            self.counters.store_id += 1
            row = msgspec.structs.replace(row, store_id=self.counters.store_id)
            self._overlay.create(row.store_id)
            self._write(asset_id, row)
        return row

    def _replace_store(
        self, asset_id: int, row: CatalogRow, store_id: int, kind: str, **fields: Any
    ) -> int:
        """Give the asset another store, or none; returns the revision."""
        revision = self._journal.note(
            asset_id,
            kind,
            value=details(**fields),
            previous=row.boundary,
            store_id=row.store_id,
        )
        self._write(asset_id, msgspec.structs.replace(row, store_id=store_id, boundary=revision))
        return revision

    def _row(self, asset_id: int) -> CatalogRow:
        row = self._rows.get(asset_id)
        if row is None:
            row = self._rows[asset_id] = self._catalog.row(asset_id)
        return row

    def _write(self, asset_id: int, row: CatalogRow) -> None:
        self._rows[asset_id] = row
        self._catalog.write(asset_id, row)
        self.catalog_changed = True

    def _trash(self, trash_id: int) -> TrashRow | None:
        return read_row(self._overlay, TRASH, id_key(trash_id), TrashRow)

    def _write_trash(self, trash_id: int, row: TrashRow) -> None:
        key = id_key(trash_id)
        self._overlay.put(TRASH, key, seal_row(TRASH, key, row))

    def _delete_trash(self, trash_id: int) -> None:
        self._overlay.remove(TRASH, id_key(trash_id))


def _with_wire_entry(outcome: _Outcome) -> _Outcome:
    revision, count, record, asset = outcome
    return revision, count, None if record is None else records.wire_entry(record), asset


def _to_keep(outcome: _Outcome) -> _Outcome:
    """The outcome without an entry that it has written itself."""
    revision, count, record, asset = outcome
    if record is None or revision is None:
        return _with_wire_entry(outcome)
    return revision, count, True, asset

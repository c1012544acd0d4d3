"""What each job does to the store, within one transaction that is given.

A job does all of its change or, where it raises Refused, nothing: what it had begun is taken back.

Rule: never begins or commits a transaction; writer.py does, and knows about sockets and errors of
the device. Nothing here waits. What happens to one entry is entry_writer.py's.
"""

from __future__ import annotations

import time
from typing import Any, TypeAlias

import msgspec

from assetstore.errors import Conflict, Damaged, Refused
from assetstored import jobs, journal, records
from assetstored.entry_writer import EntryWriter
from assetstored.journal import JournalWriter
from assetstored.lifecycle import Lifecycle
from assetstored.memory import Forgotten, RequestMemory
from assetstored.overlay import NeedsWriter, Overlay
from assetstored.tables import (
    JOURNAL,
    META,
    CatalogRow,
    Counters,
    JournalRow,
    decode_row,
    id_key,
    read_row,
    seal_row,
)

#: A slice of a drop, or of trimming the journal: short beside a commit's sync, so that nobody
#: notices it.
_SLICE_S = 0.004

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
    is the daemon's own, for what no client asked for. ``assets``: rows of the catalog that are
    known already.
    """

    def __init__(
        self,
        overlay: Overlay,
        counters: Counters,
        memory: RequestMemory,
        *,
        writer: msgspec.Raw,
        max_value_bytes: int,
        assets: dict[int, CatalogRow] | None = None,
    ) -> None:
        self._overlay = overlay
        self._memory = memory
        self._daemon = writer
        self._now = now_us()
        self._journal = JournalWriter(overlay, self._now)
        self._entries = EntryWriter(overlay, self._journal, self._now, max_value_bytes)
        self.counters = msgspec.structs.replace(counters)
        self._life = Lifecycle(overlay, self._journal, self.counters, self._now, assets)
        self.first = counters.revision + 1

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self._overlay.changed

    @property
    def catalog_changed(self) -> bool:
        """Whether what was resolved before may be wrong now."""
        return self._life.catalog_changed

    @property
    def touched(self) -> set[int]:
        """The assets that were changed."""
        return self._journal.touched

    def apply(self, job: jobs.AnyJob) -> msgspec.Raw:
        """Do the job; returns its result, encoded.

        Raises Refused, or NeedsWriter from an overlay without a transaction, and then has changed
        nothing.
        """
        before = msgspec.structs.replace(self.counters)
        self._overlay.begin()
        self._journal.begin(self.counters, self._daemon)
        try:
            if type(job) is jobs.Change:
                return self._change(job)
            result = self._work(job)
        except (Refused, NeedsWriter) as exc:
            self._overlay.take_back()
            self._life.take_back()
            for field in before.__struct_fields__:
                setattr(self.counters, field, getattr(before, field))
            if (
                isinstance(exc, Refused)
                and type(job) is jobs.Change
                and exc.detail
                and "key" in exc.detail
            ):
                self._show_entry(job.operations[exc.detail["operation"]], exc.detail)
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
        shown = outcomes
        if any(record is not None for _, _, record, _ in outcomes):
            shown = [_with_wire_entry(outcome) for outcome in outcomes]
        answer = kept = _encode(shown)
        first = self._journal.first
        if first is None:
            return msgspec.Raw(answer)
        if shown is not outcomes:
            # What was written here is in the journal already, under its revision.
            kept = _encode([_to_keep(outcome) for outcome in outcomes])
        self._journal.finish((job.request, msgspec.Raw(kept)))
        self._memory.remember(job.request, first)
        return msgspec.Raw(answer)

    def _show_entry(self, op: jobs.AnyOperation, detail: dict[str, Any]) -> None:
        """Add to the detail of a conflict the entry that stands there."""
        assert isinstance(op, jobs.SetKey | jobs.DeleteKey | jobs.CheckKey)
        detail["entry"] = self._entries.shown(self._life.active(op.asset_id), op.key)

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
        try:
            row = read_row(self._overlay, JOURNAL, id_key(revision), JournalRow)
        except Damaged as exc:
            # A refusal would say that nothing was changed.
            raise Forgotten(
                f"the change was carried out, and its outcome cannot be read: {exc}"
            ) from exc
        if row is None:
            raise Forgotten("the change was carried out, but the journal has forgotten its outcome")
        return row

    def _operate(self, op: jobs.AnyOperation) -> _Outcome:
        entries = self._entries
        match op:
            case jobs.SetKey():
                return entries.set(self._life.with_store(op.asset_id), op), 1, None, None
            case jobs.DeleteKey():
                revision = entries.delete(self._life.active(op.asset_id), op)
                return revision, int(revision is not None), None, None
            case jobs.AdvanceKey():
                revision, record = entries.advance(self._life.with_store(op.asset_id), op)
                return revision, int(revision is not None), record, None
            case jobs.IncrementKey():
                revision, record = entries.increment(self._life.with_store(op.asset_id), op)
                return revision, 1, record, None
            case jobs.MergeKey():
                revision, record = entries.merge(self._life.with_store(op.asset_id), op)
                return revision, int(revision is not None), record, None
            case jobs.ImportKeys():
                return *self._import(op), None, None
            case jobs.ClearStore():
                return *self._life.clear(op.asset_id), None, None
            case jobs.CheckKey():
                entries.check(self._life.active(op.asset_id), op)
            case jobs.CheckUnchanged():
                self._check_unchanged(op)
            case jobs.RestoreStore():
                revision, trash, row = self._life.restore(op.trash_id)
                return revision, trash.entries, None, (row.name, row.uri)
            case jobs.MoveStore():
                return *self._life.move(op), None, None
            case jobs.PurgeStores():
                count = self._life.condemn(op.trash_ids)
                return self.counters.revision if count else None, count, None, None
        return None, 0, None, None

    def _import(self, op: jobs.ImportKeys) -> tuple[int | None, int]:
        entries = self._entries
        row = self._life.active(op.asset_id)
        if op.replace:
            held = self._overlay.measure(row.store_id)[0] if row.store_id else 0
            same = held == len(op.entries) and all(entries.holds(row, each) for each in op.entries)
            if not same:
                self._life.clear(op.asset_id)
        revision, count = None, 0
        for entry in op.entries:
            written = entries.import_(self._life.with_store(op.asset_id), op.asset_id, entry)
            if written is not None:
                revision, count = written, count + 1
        return revision, count

    def _check_unchanged(self, op: jobs.CheckUnchanged) -> None:
        row = self._life.active(op.asset_id)
        # What the journal has forgotten may have been a change of it.
        changed = op.asset_id in self._journal.touched or op.since < self.counters.compacted
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
                return self._life.apply_slice(job)
            case jobs.FinishManifest():
                return self._life.finish_manifest(job)
            case jobs.Condemn():
                return self._life.condemn(job.trash_ids)
            case jobs.DropSlice():
                return self._life.drop_slice(job.trash_id, budget_s=_SLICE_S)
            case jobs.TrimSlice():
                return journal.trim(
                    self._overlay,
                    self.counters,
                    job.after,
                    older_than=job.older_than,
                    excess_bytes=job.excess_bytes,
                    budget_s=_SLICE_S,
                )


def _with_wire_entry(outcome: _Outcome) -> _Outcome:
    revision, count, record, asset = outcome
    return revision, count, None if record is None else records.wire_entry(record), asset


def _to_keep(outcome: _Outcome) -> _Outcome:
    """The outcome without an entry that it has written itself."""
    revision, count, record, asset = outcome
    if record is None or revision is None:
        return _with_wire_entry(outcome)
    return revision, count, True, asset

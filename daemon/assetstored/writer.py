"""The writer process: the only one that changes the store.

It reads a batch from its socket, makes it one transaction, syncs it, answers, and reads the next.
While it syncs, the next batch gathers in the serving process: that is the group commit.
It ends when its socket does, after the batch in hand; so it never outlives its daemon for long,
and the lock of the data directory, which it inherited, is free only when it is gone.

Rule: no asyncio, no names of assets, nothing of clients.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import time
from pathlib import Path

from assetstore.entries import Writer
from assetstore.errors import Damaged, Refused, ServerFault, StoreFull
from assetstore.framing import FrameReader, frame
from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstored import datadir, engine, jobs, opening, wal
from assetstored.apply import Changes
from assetstored.files_in_use import FilesChanged, FilesInUse
from assetstored.memory import RequestMemory
from assetstored.overlay import Overlay
from assetstored.peers import Peer, recorded
from assetstored.stores import StoreHandles
from assetstored.tables import META, Counters, Snapshot, read_row
from assetstored.tail import Delta, decode_delta

#: Frames between the two processes: a batch and one more of the largest values.
MAX_BATCH_FRAME_BYTES = 1 << 30

#: A reader that died lets the file grow with every commit until its slot is freed.
_CHECK_READERS_S = 30.0

_log = logging.getLogger("assetstored.writer")


class FatalFailure(Exception):
    """It is not known what is on disk: nothing may be acknowledged any more."""


class StoreOfWriter:
    """The environment open for writing, and what is remembered between transactions.

    One thread, one transaction at a time. After FatalFailure it must not be used again.
    """

    _handles: StoreHandles
    _counters: Counters

    def __init__(self, data_dir: Path, *, max_value_bytes: int = DEFAULT_MAX_VALUE_BYTES) -> None:
        self._data_dir = data_dir
        self._path = str(data_dir)
        self._max_value_bytes = max_value_bytes
        self._memory = RequestMemory()
        # What nobody asked for is the daemon's doing, and the serving process is the daemon.
        self._self = recorded(Writer(kind="daemon"), Peer(os.geteuid(), os.getegid(), os.getppid()))
        opened, logged = opening.open_checked(data_dir)
        self.identity = opened.identity
        self._use(opened)
        self._files = FilesInUse(data_dir)
        if logged:
            self._recover(logged)

    def close(self) -> None:
        """Close the environment; nothing is pending between transactions."""
        self._env.close()

    @property
    def revision(self) -> int:
        """The last revision in the data file."""
        return self._counters.revision

    def run(self, batch: list[jobs.AnyJob]) -> jobs.Committed:
        """Do the jobs; when this returns, all that was done is on disk.

        One transaction for all of them; if it fails for another reason than the device, each by
        itself, so that one job's failure is not another's. Raises FatalFailure.
        """
        if not batch:
            return self._nothing([])
        try:
            return self._transact(batch)
        except _Failed as exc:
            if len(batch) == 1:
                return self._nothing([jobs.result_of(exc.refusal)])
        alone = [self.run([job]) for job in batch]
        return jobs.Committed(
            [result for committed in alone for result in committed.results],
            any(committed.catalog_changed for committed in alone),
            min(committed.first for committed in alone),
            set().union(*(committed.touched for committed in alone)),
            [pair for committed in alone for pair in committed.remembered],
        )

    def _nothing(self, results: list[jobs.Result]) -> jobs.Committed:
        """The results of a transaction that changed nothing."""
        first = self._counters.revision + 1
        return jobs.Committed(results, catalog_changed=False, first=first, touched=set())

    def checkpoint(self, work: jobs.Checkpoint) -> jobs.Checkpointed:
        """Bring logged changes into the data file; when this returns, they are on disk there.

        Refused where there is no room: then they are in the log only, as before. Raises
        FatalFailure, also for what would be the damage of one store: the log has to be emptied.
        """
        try:
            self._redo(work.changes)
        except _Failed as exc:
            if not isinstance(exc.refusal, StoreFull):
                raise FatalFailure(str(exc.refusal)) from exc
            return jobs.Checkpointed(jobs.result_of(exc.refusal))
        self._memory.learn(work.remembered, work.last)
        return jobs.Checkpointed(jobs.Result(None))

    def check_readers(self) -> int:
        """Free the slots of readers that died; their snapshots pin pages. Returns how many."""
        stale: int = self._env.reader_check()
        if stale:
            _log.warning("freed %d slots of readers that died with an open transaction", stale)
        return stale

    def _transact(self, batch: list[jobs.AnyJob]) -> jobs.Committed:
        """One transaction; raises _Failed if nothing of it happened, FatalFailure if it is open."""
        txn = self._begin()
        size = _size_of(batch)
        try:
            changes = Changes(
                Overlay(txn, self._tables, self._handles),
                self._counters,
                self._memory,
                writer=self._self,
                max_value_bytes=self._max_value_bytes,
            )
            results = [_attempt(changes, job) for job in batch]
            changes.finish()
        except Exception as exc:
            self._abort(txn)
            if not isinstance(exc, engine.EngineError):
                what = batch[0] if len(batch) == 1 else "batch"
                _log.error("a job failed: %r", what, exc_info=exc)
            raise _Failed(self._refusal_before_commit(exc, size)) from exc
        if not changes.changed:
            self._abort(txn)
            return self._nothing(results)
        self._commit(txn, size)
        self._counters = changes.counters
        remembered = self._memory.pending()
        self._memory.committed(self._counters.revision)
        return jobs.Committed(
            results, changes.catalog_changed, changes.first, changes.touched, remembered
        )

    def _redo(self, changes: Delta) -> None:
        """Make logged changes in one transaction; raises _Failed or FatalFailure."""
        size = sum(len(value or b"") for part in changes.values() for value in part.values())
        txn = self._begin()
        try:
            overlay = Overlay(txn, self._tables, self._handles)
            overlay.preload(changes)
            overlay.flush()
            counters = read_row(Snapshot(txn, self._tables), META, b"counters", Counters)
        except Exception as exc:
            self._abort(txn)
            if not isinstance(exc, engine.EngineError):
                _log.error("logged changes cannot be made", exc_info=exc)
            raise _Failed(self._refusal_before_commit(exc, size)) from exc
        self._commit(txn, size)
        assert counters is not None
        self._counters = counters

    def _begin(self) -> engine.Transaction:
        try:
            self._files.check()
            if len(self._handles) > engine.WRITER_HANDLES:
                self._reopen()
            return self._env.begin(write=True)
        except FilesChanged as exc:
            raise FatalFailure(str(exc)) from exc
        except engine.EngineError as exc:
            raise FatalFailure(f"no transaction can be begun: {exc}") from exc

    def _commit(self, txn: engine.Transaction, size: int) -> None:
        try:
            txn.commit()
        except engine.EngineError as exc:
            self._handles.aborted()
            self._memory.aborted()
            raise _Failed(self._refusal_after_commit(exc, size)) from exc
        self._handles.committed()

    def _abort(self, txn: engine.Transaction) -> None:
        txn.abort()
        self._handles.aborted()
        self._memory.aborted()

    def _refusal_before_commit(self, exc: Exception, size: int) -> Refused:
        """Before the commit nothing of a transaction counts, whatever went wrong."""
        if not isinstance(exc, engine.EngineError):
            return ServerFault(f"a fault in the writer ({type(exc).__name__}); its log has more")
        if self._failure_of(exc, size) is engine.Failure.NO_ROOM:
            return self._store_full(size)
        _log.error("LMDB failed before a commit: %s", exc)
        return Damaged(
            f"LMDB cannot read what this change builds on: {exc}; other assets are served. "
            "Restore the data directory from a backup"
        )

    def _refusal_after_commit(self, exc: engine.EngineError, size: int) -> Refused:
        """A commit that lacked room did not happen; of any other failure nothing is known."""
        if self._failure_of(exc, size) is engine.Failure.FATAL:
            raise FatalFailure(f"commit failed: {exc}") from exc
        try:
            # A failed write of the meta page shows only now: then the commit may be on disk.
            self._env.begin(write=True).abort()
        except engine.EngineError as panic:
            raise FatalFailure(f"commit failed: {exc}; {panic}") from panic
        return self._store_full(size)

    def _failure_of(self, exc: engine.EngineError, size: int) -> engine.Failure:
        return engine.failure_of(exc, self._path, size)

    def _store_full(self, size: int) -> StoreFull:
        free, needed = engine.free_bytes(self._path), max(size, 64 * 1024)
        return StoreFull(
            f"no room on the disk of {self._path}: {free:,} bytes are free, this write needs "
            f"about {needed:,}; reads go on, and writes resume when there is room",
            detail={"free_bytes": free, "needed_bytes": needed},
        )

    def _recover(self, logged: list[wal.Record]) -> None:
        """Bring what a daemon that was killed has left in the log into the data file."""
        changes: Delta = {}
        try:
            for record in logged:
                delta = decode_delta(record.payload)
                # A transaction opens so many stores at most; a daemon that dies in between leaves
                # the first records in the file, as if the others had been logged after it.
                if len(changes.keys() | delta.keys()) > engine.TRANSACTION_HANDLES:
                    self._redo(changes)
                    changes = {}
                for space, values in delta.items():
                    changes.setdefault(space, {}).update(values)
            self._redo(changes)
        except (_Failed, FatalFailure) as exc:
            raise datadir.StartRefused(
                f"{len(logged)} logged changes cannot be brought into the data file: {exc}"
            ) from exc
        count = sum(record.last - record.first + 1 for record in logged)
        _log.info("made %d logged changes, up to revision %d", count, self._counters.revision)

    def _reopen(self) -> None:
        """Close and open the environment: the only way py-lmdb has to close handles."""
        self._env.close()
        try:
            found = opening.open_store(self._data_dir)
        except datadir.StartRefused as exc:
            raise FatalFailure(str(exc)) from exc
        if found is None or found.identity != self.identity:
            raise FatalFailure(f"{self._path} holds another store than a moment ago: {found}")
        self._use(found)

    def _use(self, opened: opening.Opened) -> None:
        self._env, self._tables, self._counters = opened.env, opened.tables, opened.counters
        self._handles = StoreHandles(self._env)


class _Failed(Exception):
    """Nothing of the transaction happened."""

    def __init__(self, refusal: Refused) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


def _size_of(batch: list[jobs.AnyJob]) -> int:
    return sum(job.size for job in batch if isinstance(job, jobs.Change))


def _attempt(changes: Changes, job: jobs.AnyJob) -> jobs.Result:
    try:
        return jobs.Result(None, changes.apply(job))
    except Refused as exc:
        return jobs.result_of(exc)


def run_writer(link: socket.socket, data_dir: Path, *, max_value_bytes: int) -> int:
    """Serve batches from link until it ends; returns the exit status of the process."""
    # A Ctrl-C at a terminal, and systemd's SIGTERM to the group, are for the serving process:
    # it ends this one by closing the link, when all that waits is done.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # A client's disk-quota or file-size limit is an error to report, not a reason to die.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        store = StoreOfWriter(data_dir, max_value_bytes=max_value_bytes)
    except datadir.StartRefused as exc:
        _send(link, jobs.Refusing(str(exc)))
        return os.EX_CONFIG
    _send(link, jobs.Ready(store.identity.store_id))
    reader = FrameReader(MAX_BATCH_FRAME_BYTES)
    readers_checked = time.monotonic()
    while True:
        payload = reader.next()
        if payload is None:
            try:
                data = link.recv(1 << 20)
            except ConnectionResetError:
                data = b""  # it died with an answer unread; its end all the same
            if not data:
                store.close()
                return os.EX_OK
            reader.feed(data)
            continue
        work = jobs.decode_work(payload)
        report: jobs.AnyReport
        try:
            if time.monotonic() - readers_checked > _CHECK_READERS_S:
                store.check_readers()
                readers_checked = time.monotonic()
            if isinstance(work, jobs.Checkpoint):
                report = store.checkpoint(work)
            else:
                report = store.run(work.jobs)
        except FatalFailure as exc:
            _send(link, jobs.Broken(str(exc)))
            return os.EX_IOERR
        _send(link, report)


def _send(link: socket.socket, report: jobs.AnyReport) -> None:
    # If the serving process is gone, the next read ends this one too.
    with contextlib.suppress(ConnectionError):
        link.sendall(frame(jobs.encode(report)))

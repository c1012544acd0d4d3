"""Changes of keys, carried out in the serving process and on disk with one sync of the log.

That is the way of nearly all changes: they are logged, shown and acknowledged, and the writer
brings them into the data file later, many at a time. What needs a transaction of LMDB (a store to
be made, a clear, a move) raises NeedsWriter and goes to the writer, as does what would keep the
others waiting here, or would not fit.

Rule: one batch at a time; who waits for it, commits.py knows.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, cast

from assetstore.errors import Busy, Refused
from assetstored import engine, jobs
from assetstored.absence import Check
from assetstored.apply import Changes
from assetstored.engine import Transaction
from assetstored.files_in_use import FilesInUse
from assetstored.memory import RequestMemory
from assetstored.overlay import NeedsWriter, Overlay
from assetstored.reader import Reader
from assetstored.stores import StoreHandles
from assetstored.syncer import Syncer
from assetstored.tables import CatalogRow, Counters, Space, Tables
from assetstored.tail import Delta, encode_delta
from assetstored.wal import HALF_BYTES, Wal

_log = logging.getLogger("assetstored.changes")

_PLAIN: Final = frozenset({jobs.SetKey, jobs.DeleteKey, jobs.CheckKey})
_COMPUTING: Final = frozenset({jobs.AdvanceKey, jobs.IncrementKey, jobs.MergeKey})
_DIRECT: Final = _PLAIN | _COMPUTING

#: More than this of one change would keep others waiting: of those that compute with what stands
#: there, which may be 64 KiB, fewer.
_MAX_OPERATIONS = 64
_MAX_COMPUTING = 8
_MAX_JOB_BYTES = 64 * 1024

#: A batch is ended beyond this.
_MAX_BATCH_BYTES = 1 << 20
_BATCH_S = 0.002

#: With less room than this on the disk the data file has to take a change before it is
#: acknowledged: what is logged must fit there.
_LEAST_ROOM_BYTES = 64 << 20
_ROOM_CHECK_S = 0.05

#: How often it is seen whether the files are where they were; what is logged meanwhile is not lost
#: if they are put back.
_FILES_CHECK_S = 0.05

#: Rows of the catalog that are kept at hand.
_ASSETS = 10_000

#: When what is logged is brought into the data file: after this part of a half, or so many stores,
#: as each has to be opened.
_CHECKPOINT_BYTES = HALF_BYTES // 2
_CHECKPOINT_STORES = 500

#: One transaction has to take them.
_MAX_STORES = engine.TRANSACTION_HANDLES

_MAY_HAVE_BEEN_DONE = (
    "Whether this change was carried out when it was sent first cannot be told before that; try "
    "again"
)


class Carried(NamedTuple):
    """What became of a batch: results of its first jobs, and what is to be logged, if anything.

    ``needs_writer``: the next of its jobs does.
    """

    results: list[jobs.Result]
    needs_writer: bool
    payload: bytes
    delta: Delta
    counters: Counters
    first: int
    touched: set[int]


class ChangeLog:
    """Carries out changes, writes them to the log, and keeps them in the tail of the reader."""

    def __init__(
        self,
        reader: Reader,
        wal: Wal,
        syncer: Syncer,
        *,
        data_dir: Path,
        max_value_bytes: int,
    ) -> None:
        self._reader = reader
        self._tail = reader.tail
        self._wal = wal
        self._syncer = syncer
        self._data_dir = str(data_dir)
        self._files = FilesInUse(data_dir)
        self._max_value_bytes = max_value_bytes
        self._memory = RequestMemory()
        self._remembered: list[tuple[bytes, int]] = []
        self._counters: Counters | None = None
        # Rows of the catalog, which only the writer changes.
        self._assets: dict[int, CatalogRow] = {}
        self._room_known_until = 0.0
        self._files_known_until = 0.0
        self._has_room = False
        #: A batch is written, and nobody knows yet that it is on disk. Its record is in the present
        #: half of the log and its changes are not in the tail: the two must not part.
        self.is_syncing = False

    def close(self) -> None:
        """Close the log; nothing is under way."""
        self._syncer.close()
        self._wal.close()

    # --- which changes

    def takes(self, job: jobs.AnyJob) -> bool:
        """Whether the job may be carried out here, as far as can be told from it."""
        return (
            type(job) is jobs.Change
            and job.size <= _MAX_JOB_BYTES
            and len(job.operations) <= _MAX_OPERATIONS
            and all(type(operation) in _DIRECT for operation in job.operations)
            and (
                len(job.operations) <= _MAX_COMPUTING
                or all(type(operation) in _PLAIN for operation in job.operations)
            )
        )

    def has_disk(self) -> bool:
        """Whether the disk has room for what is logged."""
        now = time.monotonic()
        if now > self._room_known_until:
            self._room_known_until = now + _ROOM_CHECK_S
            try:
                self._has_room = engine.free_bytes(self._data_dir) > _LEAST_ROOM_BYTES
            except OSError:
                self._has_room = False  # the directory is gone; the writer will say so
        return self._has_room

    # --- a batch

    def carry_out(self, batch: Sequence[jobs.AnyJob]) -> Carried:
        """Do the jobs, as far as it goes; nobody sees it before ``logged``."""
        if self._counters is None:
            self._counters = self._reader.counters()
        if len(self._assets) > _ASSETS:
            self._assets.clear()
        overlay = _TailOverlay(self._reader)
        changes = Changes(
            overlay,
            self._counters,
            self._memory,
            writer=jobs.NOTHING,
            max_value_bytes=self._max_value_bytes,
            assets=self._assets,
        )
        results: list[jobs.Result] = []
        needs_writer = False
        deadline = time.monotonic() + _BATCH_S
        try:
            for job in batch:
                try:
                    results.append(jobs.Result(None, changes.apply(job)))
                except Refused as exc:
                    results.append(jobs.result_of(exc))
                if (
                    overlay.size_bytes > _MAX_BATCH_BYTES
                    or len(overlay.delta) > _CHECKPOINT_STORES
                    or time.monotonic() > deadline
                ):
                    break
        except NeedsWriter:
            needs_writer = True
        except Exception as exc:
            # The writer carries them out one by one, so that one job's failure is its own.
            if isinstance(exc, engine.EngineError):
                self._reader.give_up()  # LMDB takes its transaction for broken
            else:
                _log.error("a batch failed, and is left to the writer", exc_info=exc)
            return self._nothing([], needs_writer=True)
        if not changes.changed:
            return self._nothing(results, needs_writer=needs_writer)
        changes.finish()
        payload = encode_delta(overlay.delta)
        if len(payload) > HALF_BYTES // 2:
            return self._nothing([], needs_writer=True)
        return Carried(
            results,
            needs_writer,
            payload,
            overlay.delta,
            changes.counters,
            changes.first,
            changes.touched,
        )

    def _nothing(self, results: list[jobs.Result], *, needs_writer: bool) -> Carried:
        self._memory.aborted()
        return Carried(results, needs_writer, b"", {}, Counters(), 0, set())

    def has_room(self, carried: Carried) -> bool:
        """Whether it fits into the present half of the log, and all of that into a transaction."""
        return (
            self._wal.has_room(len(carried.payload))
            and self._tail.spaces + len(carried.delta) <= _MAX_STORES
        )

    def write(self, carried: Carried, done: Callable[[], None] | None) -> None:
        """Write it to the log; ``done`` is called when it is on disk. Without it, wait for that.

        Raises OSError, and FilesChanged where the files of the store are not what they were.
        """
        now = time.monotonic()
        if now > self._files_known_until:
            self._files_known_until = now + _FILES_CHECK_S
            self._files.check()
        self.is_syncing = True
        self._wal.append(carried.payload, carried.first, carried.counters.revision)
        if done is None:
            self._syncer.sync_now()
        else:
            self._syncer.sync(done)

    def logged(self, carried: Carried) -> None:
        """It is on disk: from now on it shows."""
        self.is_syncing = False
        revision = carried.counters.revision
        self._tail.take(carried.delta, carried.first, revision)
        self._counters = carried.counters
        self._remembered += self._memory.pending()
        self._memory.committed(revision)

    def give_up(self) -> None:
        """What was carried out last is not going to be logged."""
        self._memory.aborted()

    def refused(self, job: jobs.AnyJob, why: jobs.Result) -> jobs.Result:
        """The result of a job that is not going to be done: ``why``, unless it is the repeat of a
        change that may have been done when it was sent first."""
        if not isinstance(job, jobs.Change) or job.sent_at is None:
            return why
        # What is being synced is pending, and must stay so.
        if not self.is_syncing:
            carried = self.carry_out([job])
            self.give_up()
            if carried.payload:
                return why  # its effect is still to come
            if carried.results:
                return carried.results[0]
        return jobs.Result(Busy.default_code, message=f"{why.message}. {_MAY_HAVE_BEEN_DONE}")

    # --- into the data file

    @property
    def is_empty(self) -> bool:
        """Whether the data file has it all."""
        return self._tail.is_empty

    @property
    def revisions(self) -> range:
        """Those that the data file does not have."""
        return self._tail.revisions()

    @property
    def used_bytes(self) -> int:
        """How much of the present half of the log is used."""
        return self._wal.used_bytes

    @property
    def is_due(self) -> bool:
        """Whether so much is logged that it should go into the data file."""
        return self._wal.used_bytes > _CHECKPOINT_BYTES or self._tail.spaces > _CHECKPOINT_STORES

    def checkpoint(self) -> jobs.Checkpoint:
        """What the writer is to bring into the data file; what is logged next goes elsewhere.

        Not while a batch is being synced: its record would stay behind in the half that is written
        over as soon as the data file has the rest of it.
        """
        assert not self.is_syncing
        if not self._tail.is_frozen:
            self._frozen_remembered, self._remembered = self._remembered, []
            self._frozen_last = self._tail.revisions()[-1]
            self._frozen = self._tail.freeze()
            self._wal.switch()
        return jobs.Checkpoint(self._frozen, self._frozen_remembered, self._frozen_last)

    def checkpointed(self) -> None:
        """The writer has done it, and is at nothing else."""
        self._reader.renew()
        self._tail.drop_frozen()
        self._frozen = {}
        self._frozen_remembered = []

    def committed(self, report: jobs.Committed) -> None:
        """The writer has committed something else; nothing was logged meanwhile."""
        self._counters = None
        if report.catalog_changed:
            self._assets.clear()
        last = max((revision for _, revision in report.remembered), default=0)
        self._memory.learn(report.remembered, last)


class _TailOverlay(Overlay):
    """Changes over what is read here. Whatever needs a transaction raises NeedsWriter."""

    def __init__(self, reader: Reader) -> None:
        nothing = _Nothing()
        super().__init__(
            cast(Transaction, nothing), cast(Tables, nothing), cast(StoreHandles, nothing)
        )
        self._reader = reader

    def create(self, store_id: int) -> NoReturn:
        raise NeedsWriter("a store is to be made")

    def flush(self) -> None:
        """Nothing: it is logged as it is."""

    def _stored(self, space: Space, key: bytes) -> bytes | None:
        try:
            return self._reader.value_of(space, key)
        except engine.NotFoundError as exc:
            raise NeedsWriter("a store is not there") from exc

    def is_absent(self, store_id: int, key: bytes, is_sound: Check) -> bool:
        return key in self.delta.get(store_id, ()) or self._reader.is_absent(store_id, key)


class _Nothing:
    """In the place of a transaction."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsWriter(name)

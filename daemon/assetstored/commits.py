"""What clients and the daemon itself ask to be changed: what waits, what is under way, who is told.

Jobs that wait while a batch is on its way to the disk make up the next batch. Changes of keys are
logged (change_log.py); all else is done by the writer, and then nothing is logged meanwhile: what
is in the log goes into the data file first. Background work (a slice of a manifest or of a drop)
takes turns with the jobs of clients, so that neither waits for long.

Rule: the only place that decides what is done next.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from assetstored import jobs
from assetstored.awaited import Awaited
from assetstored.change_log import Carried, ChangeLog
from assetstored.files_in_use import FilesChanged
from assetstored.gathering import Gathering
from assetstored.loop import Loop
from assetstored.meters import Meters
from assetstored.sync_choice import SyncChoice
from assetstored.waiting_jobs import Done, Waiting, WaitingJobs
from assetstored.writer_link import WriterLink

_log = logging.getLogger("assetstored.changes")

#: A batch as large as this commits in a few milliseconds; more would make the first job wait.
_BATCH_JOBS = 1_000
_BATCH_BYTES = 4 << 20

#: The same for changes that are carried out here, during which nobody is answered.
_LOGGED_JOBS = 64

#: How long a change is only in the log, at most.
_CHECKPOINT_S = 0.25

#: When what had no room is tried again.
_FULL_RETRY_S = 0.5

#: The answers to so many are sent before the next batch is begun.
_FEW = 4


class CommitQueue:
    """Has jobs done in batches and hands out their results when they are on disk.

    ``on_commit(report)`` is called before the results of a batch are handed out, so that
    whoever is told of a change reads it; ``on_logged(first, touched)`` likewise, where the data
    file is as before. ``on_lost(reason)`` is called once, when it is not known what is on disk;
    what waits then is never answered: nobody knows.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        on_commit: Callable[[jobs.Committed], None],
        on_lost: Callable[[str], None],
        on_logged: Callable[[int, set[int]], None] = lambda first, touched: None,
        meters: Meters | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self._on_commit = on_commit
        self._on_logged = on_logged
        self._on_lost = on_lost
        self._loop = cast(Loop, asyncio.get_running_loop())
        self._writer = WriterLink(self._lose)
        self._log: ChangeLog | None = None
        self._waiting = WaitingJobs(max_bytes)
        self._background: deque[Waiting] = deque()
        self._in_hand: list[Waiting] | None = None
        self._pings = Awaited()
        self._background_last = False
        self._scheduled = False
        self._lost = False
        self._idle = Awaited()
        self._checkpoints = Awaited()
        # The next batch is the writer's.
        self._writer_next = False
        self._is_checkpointing = False
        # Asked for during a sync, it comes at once after that.
        self._checkpoint_next = False
        self._checkpoint_timer: asyncio.TimerHandle | None = None
        # Carried out, and there is no room for it in the log yet.
        self._held: Carried | None = None
        self._full: jobs.Result | None = None
        #: Decides who syncs; ``watch_others`` has it know of others.
        self.sync_choice = SyncChoice()
        self._gathering = Gathering()
        self._meters = meters or Meters()
        self.commits = 0
        self.committed_jobs = 0

    async def start(self, link: socket.socket) -> str:
        """Wait until the writer has opened the store; returns the store's id.

        Raises WriterLost with the writer's reason where it must not be opened.
        """
        return await self._writer.start(link)

    def log_changes(self, log: ChangeLog) -> None:
        """From now on changes of keys are logged. Before, and without it, the writer does all."""
        self._log = log

    @property
    def queued(self) -> int:
        """How many jobs are not yet on disk."""
        return len(self._waiting) + len(self._background) + len(self._in_hand or ())

    @property
    def logged_bytes(self) -> int:
        """How much of the present half of the log is used."""
        return 0 if self._log is None else self._log.used_bytes

    def submit(self, job: jobs.AnyJob, *, size: int, deadline: float | None, done: Done) -> None:
        """Queue a client's job; ``done`` gets its result after the commit.

        ``deadline`` is on the monotonic clock: a job that still waits then is refused as busy
        and not done at all. Raises Busy where more waits than may; one that is larger than that
        waits alone.
        """
        self._waiting.add(Waiting(job, size, deadline, done))
        self._wake()

    async def do(self, job: jobs.AnyJob) -> Any:
        """Do a background job, in a commit of its own; returns its value or raises Refused."""
        future: asyncio.Future[jobs.Result] = self._loop.create_future()

        def done(result: jobs.Result) -> None:
            if not future.done():
                future.set_result(result)

        self._background.append(Waiting(job, 0, None, done))
        self._wake()
        result = await future
        if result.code is not None:
            raise jobs.refusal_of(result)
        return result.decoded()

    async def ping(self) -> None:
        """Return when the writer has answered, and what is under way is done: nobody is stuck."""
        answered = Awaited()
        self._writer.send(jobs.Batch([]), lambda report: answered.settle())
        await answered.wait()
        if self._in_hand is not None:
            await self._pings.wait()

    async def drain(self) -> None:
        """Return when nothing waits, nothing is under way, and the data file has it all."""
        self._wake()
        await self._idle.wait()

    async def checkpoint(self) -> None:
        """Return when the data file has all that is acknowledged by now. Raises StoreFull."""
        missing = self._log.revisions if self._log is not None else range(0)
        while self._log is not None and missing and missing[-1] in self._log.revisions:
            self._checkpoint()
            await self._checkpoints.wait()

    def close(self) -> None:
        """Let the writer end. What still waits is not done; what is logged stays in the log."""
        self._lost = True
        if self._checkpoint_timer is not None:
            self._checkpoint_timer.cancel()
        if self._log is not None:
            self._log.close()
        self._writer.close()

    # --- what is next

    def _wake(self) -> None:
        # Not at once: what else this turn of the loop brings goes into the same batch.
        if self._in_hand is None and not self._scheduled:
            self._scheduled = True
            self._loop.clients.call_after_events(self._begin_next)

    def _begin_next(self) -> None:
        try:
            self._next()
        except Exception as exc:
            # Further up it would end the loop, with clients that are still served.
            _log.critical("the next batch cannot be begun", exc_info=exc)
            self._lose(f"a fault in the daemon ({type(exc).__name__})")

    def _next(self) -> None:
        self._scheduled = False
        if self._in_hand is not None or self._lost:
            return
        if self._full is not None and self._waiting:
            self._checkpoint()  # which ends with all of them refused, or with nothing full
            return
        log = self._log
        if log is not None and self._waiting and not self._is_for_writer(log):
            if self._gathering.waits(len(self._waiting), time.monotonic()):
                self._wake()
                return
            batch = self._waiting.take(_LOGGED_JOBS, _BATCH_BYTES, log.takes)
            if batch:
                self._carry_out(log, batch)
                return
        if self._waiting or self._background:
            self._have_written()
        elif self._idle:
            self._end()

    def _is_for_writer(self, log: ChangeLog) -> bool:
        if not self._writer_next:
            background_next = bool(self._background) and not self._background_last
            self._writer_next = (
                background_next or not log.takes(self._waiting.first) or not log.has_disk()
            )
        return self._writer_next

    def _end(self) -> None:
        if self._log is not None and not self._log.is_empty and self._full is None:
            self._checkpoint()
            return
        self._idle.settle()

    # --- by the writer

    def _have_written(self) -> None:
        """Send the next batch to the writer, with nothing left in the log before."""
        self._writer_next = self._log is not None
        if self._log is not None and not self._log.is_empty:
            self._checkpoint()
            return
        self._writer_next = False
        batch = self._take()
        if batch:
            self._in_hand = batch
            report = partial(self._written, time.monotonic())
            self._writer.send(jobs.Batch([item.job for item in batch]), report)
        elif self._idle:
            self._end()

    def _written(self, begun: float, report: jobs.Committed) -> None:
        batch, self._in_hand = self._in_hand or [], None
        self.commits += 1
        self.committed_jobs += len(batch)
        self._meters.written_batches.observe(len(batch))
        self._meters.writer_times.observe(time.monotonic() - begun)
        if self._log is not None:
            self._log.committed(report)
        self._on_commit(report)
        self._hand_out(batch, report.results)
        self._go_on()

    def _hand_out(self, batch: list[Waiting], results: list[jobs.Result]) -> None:
        for item, result in zip(batch, results, strict=True):
            item.done(result)
        self._pings.settle()

    def _go_on(self) -> None:
        if self._has_more():
            self._next()

    def _has_more(self) -> bool:
        return bool(self._waiting or self._background or self._idle)

    def _take(self) -> list[Waiting]:
        """The next batch: background work and clients take turns. Empty where nothing waits."""
        background_next = not self._background_last
        self._background_last = False
        batch: list[Waiting] = []
        if not (background_next and self._background):
            batch = self._waiting.take(_BATCH_JOBS, _BATCH_BYTES)
        if not batch and self._background:
            self._background_last = True
            batch = [self._background.popleft()]
        return batch

    # --- by the log

    def _carry_out(self, log: ChangeLog, batch: list[Waiting]) -> None:
        carried = log.carry_out([item.job for item in batch])
        count = len(carried.results)
        self._waiting.put_back(batch[count:])
        self._writer_next = carried.needs_writer
        if count:
            # Else these were not served yet: the writer takes them before what is in background.
            self._background_last = False
        batch = batch[:count]
        if not carried.payload:
            self._hand_out(batch, carried.results)
            self._wake()
            return
        self._in_hand = batch
        self._write(log, carried)

    def _write(self, log: ChangeLog, carried: Carried) -> None:
        if not log.has_room(carried):
            self._checkpoint()
            if not log.has_room(carried):
                self._held = carried
                return
        is_alone = self.sync_choice.is_alone()
        begun = time.monotonic()
        try:
            log.write(carried, None if is_alone else partial(self._synced, log, carried, begun))
        except (OSError, FilesChanged) as exc:
            self._lose(f"the write-ahead log cannot be written: {exc}")
            return
        if is_alone:
            seconds = time.monotonic() - begun
            self.sync_choice.took(seconds)
            self._gathering.synced((item.client for item in self._in_hand or ()), seconds)
            self._logged(log, carried, begun, is_aside=False)
            if self._has_more():
                # In a turn of its own: who is answered may ask for more, again and again.
                self._wake()
        else:
            self._gathering.synced_aside()

    def _synced(self, log: ChangeLog, carried: Carried, begun: float) -> None:
        self._logged(log, carried, begun, is_aside=True)
        self._go_on()

    def _logged(self, log: ChangeLog, carried: Carried, begun: float, *, is_aside: bool) -> None:
        if self._lost:
            return
        self._meters.log_times.observe(time.monotonic() - begun)
        batch, self._in_hand = self._in_hand or [], None
        self.commits += 1
        self.committed_jobs += len(batch)
        self._meters.logged_batches.observe(len(batch))
        log.logged(carried)
        self._on_logged(carried.first, carried.touched)
        if log.is_due or self._checkpoint_next:
            self._checkpoint()
        elif self._checkpoint_timer is None:
            self._checkpoint_timer = self._loop.call_later(_CHECKPOINT_S, self._checkpoint)
        if is_aside and len(batch) > _FEW and (self._waiting or self._background):
            # First the next batch, so that it syncs while the answers to this one are sent: each
            # of them wakes a client, and many take as long as the disk does.
            self._next()
        self._hand_out(batch, carried.results)

    def _checkpoint(self) -> None:
        """Have the writer bring what is logged into the data file, unless it is at it."""
        log = self._log
        if self._checkpoint_timer is not None:
            self._checkpoint_timer.cancel()
            self._checkpoint_timer = None
        if log is None or log.is_empty or self._is_checkpointing or self._lost:
            return
        self._checkpoint_next = log.is_syncing
        if self._checkpoint_next:
            return
        self._is_checkpointing = True
        self._writer.send(log.checkpoint(), partial(self._checkpointed, log, time.monotonic()))

    def _checkpointed(self, log: ChangeLog, begun: float, report: jobs.Checkpointed) -> None:
        self._meters.checkpoint_times.observe(time.monotonic() - begun)
        self._is_checkpointing = False
        held, self._held = self._held, None
        if report.result.code is None:
            self._full = None
            log.checkpointed()
            self._checkpoints.settle()
            if held is not None:
                self._write(log, held)
        else:
            self._refuse_all(log, report.result, held)
        if not log.is_empty and self._checkpoint_timer is None and not self._lost:
            delay = _CHECKPOINT_S if self._full is None else _FULL_RETRY_S
            self._checkpoint_timer = self._loop.call_later(delay, self._checkpoint)
        self._next()

    def _refuse_all(self, log: ChangeLog, result: jobs.Result, held: Carried | None) -> None:
        """The disk is full: nothing more is logged until the data file has what is."""
        self._full = result
        refused = self._waiting.take_all()
        if held is not None:
            log.give_up()
            refused = (self._in_hand or []) + refused
            self._in_hand = None
        # Background work as well: it is tried again by whoever asked for it.
        refused += self._background
        self._background.clear()
        self._writer_next = False
        for item in refused:
            item.done(log.refused(item.job, result))
        self._pings.settle()
        self._checkpoints.settle(jobs.refusal_of(result))

    def _lose(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = True
        self._on_lost(reason)

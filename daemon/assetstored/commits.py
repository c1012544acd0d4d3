"""The serving process's side of the writer: what waits, what is being committed, who gets told.

Jobs that wait while a batch is being committed make up the next batch. Background work (a slice of
a manifest or of a drop) takes turns with the jobs of clients, so that neither waits for long.

Rule: the only place that sends batches to the writer.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from assetstore.errors import AssetStoreError, Busy, refusal
from assetstore.framing import FrameReader, frame
from assetstored import jobs
from assetstored.writer import MAX_BATCH_FRAME_BYTES

#: A batch as large as this commits in a few milliseconds; more would make the first job wait.
_BATCH_JOBS = 1_000
_BATCH_BYTES = 4 << 20

Done = Callable[[jobs.Result], None]


class _Waiting(NamedTuple):
    job: jobs.AnyJob
    size: int
    deadline: float | None
    done: Done


class WriterLost(AssetStoreError):
    """The writer process is gone, or could not tell what is on disk: the daemon must end."""


class CommitQueue(asyncio.Protocol):
    """Sends jobs to the writer in batches and hands out their results after the commit.

    ``on_commit(report)`` is called before the results of a batch are handed out, so that
    whoever is told of a change reads it. ``on_lost(reason)`` is called once, when the writer is
    gone; what waits then is never answered: nobody knows.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        on_commit: Callable[[jobs.Committed], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.max_bytes = max_bytes
        self._on_commit = on_commit
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(MAX_BATCH_FRAME_BYTES)
        self._waiting: deque[_Waiting] = deque()
        self._background: deque[_Waiting] = deque()
        self._in_hand: list[_Waiting] | None = None
        self._background_last = False
        self._scheduled = False
        self._lost = False
        self._pings: list[asyncio.Future[None]] = []
        self._idle: list[asyncio.Future[None]] = []
        self._waiting_bytes = 0
        self.commits = 0
        self.committed_jobs = 0

    async def start(self, link: socket.socket) -> str:
        """Wait until the writer has opened the store; returns the store's id.

        Raises WriterLost with the writer's reason where it must not be opened.
        """
        self._ready: asyncio.Future[str] = self._loop.create_future()
        self._transport, _ = await self._loop.create_unix_connection(lambda: self, sock=link)
        return await self._ready

    @property
    def queued(self) -> int:
        """How many jobs are not yet on disk."""
        return len(self._waiting) + len(self._background) + len(self._in_hand or ())

    def submit(self, job: jobs.AnyJob, *, size: int, deadline: float | None, done: Done) -> None:
        """Queue a client's job; ``done`` gets its result after the commit.

        ``deadline`` is on the monotonic clock: a job that still waits then is refused as busy
        and not done at all. Raises Busy where more waits than may; one that is larger than that
        waits alone.
        """
        if self._waiting_bytes and self._waiting_bytes + size > self.max_bytes:
            raise Busy(
                f"{self._waiting_bytes:,} bytes of changes wait for the disk; the limit is "
                f"{self.max_bytes:,} (max_inflight_bytes). Nothing changed; try again"
            )
        self._waiting_bytes += size
        self._waiting.append(_Waiting(job, size, deadline, done))
        self._wake()

    async def do(self, job: jobs.AnyJob) -> Any:
        """Do a background job, in a commit of its own; returns its value or raises Refused."""
        future: asyncio.Future[jobs.Result] = self._loop.create_future()

        def done(result: jobs.Result) -> None:
            if not future.done():
                future.set_result(result)

        self._background.append(_Waiting(job, 0, None, done))
        self._wake()
        result = await future
        if result.code is not None:
            raise refusal(result.code, result.message, result.decoded())
        return result.decoded()

    async def ping(self) -> None:
        """Return when the writer has answered; it shows that the writer is not stuck."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._pings.append(future)
        self._wake()
        await future

    async def drain(self) -> None:
        """Return when nothing waits and nothing is in hand."""
        if self.queued:
            future: asyncio.Future[None] = self._loop.create_future()
            self._idle.append(future)
            await future

    def close(self) -> None:
        """Let the writer end. What still waits is not done."""
        self._lost = True
        self._transport.close()

    def _wake(self) -> None:
        # Not at once: what else this turn of the loop brings goes into the same batch.
        if self._in_hand is None and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._scheduled = False
        if self._in_hand is not None or self._lost:
            return
        batch = self._take()
        if not batch and not self._pings:
            for future in self._idle:
                if not future.done():
                    future.set_result(None)
            self._idle.clear()
            return
        self._in_hand = batch
        self._transport.write(frame(jobs.encode(jobs.Batch([item.job for item in batch]))))

    def _take(self) -> list[_Waiting]:
        """The next batch: background work and clients take turns. Empty where nothing waits."""
        background_next = not self._background_last
        self._background_last = False
        batch = [] if background_next and self._background else self._take_of_clients()
        if not batch and self._background:
            self._background_last = True
            batch = [self._background.popleft()]
        return batch

    def _take_of_clients(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        now = time.monotonic()
        while self._waiting and len(batch) < _BATCH_JOBS and size < _BATCH_BYTES:
            item = self._waiting.popleft()
            self._waiting_bytes -= item.size
            if item.deadline is not None and item.deadline < now:
                item.done(jobs.Result(Busy.default_code, message=_TOO_LATE))
                continue
            batch.append(item)
            size += item.size
        return batch

    # --- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for payload in self._frames:
            self._report(jobs.decode_report(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose("the writer process ended unexpectedly")

    def _report(self, report: jobs.AnyReport) -> None:
        match report:
            case jobs.Ready():
                self._ready.set_result(report.store_id)
            case jobs.Refusing():
                self._lose(report.message)
            case jobs.Broken():
                self._lose(report.message)
            case jobs.Committed():
                self._settle(report)

    def _settle(self, report: jobs.Committed) -> None:
        batch, self._in_hand = self._in_hand or [], None
        pings, self._pings = self._pings, []
        if batch:
            self.commits += 1
            self.committed_jobs += len(batch)
            self._on_commit(report)
        for item, result in zip(batch, report.results, strict=True):
            item.done(result)
        for future in pings:
            if not future.done():
                future.set_result(None)
        self._scheduled = True
        self._send()

    def _lose(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = True
        if not self._ready.done():
            self._ready.set_exception(WriterLost(reason))
        else:
            self._on_lost(reason)


_TOO_LATE = (
    "the request waited longer than its timeout before it could be started; nothing changed. "
    "The disk is slow, or too much is asked of it"
)

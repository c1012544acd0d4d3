"""The serving process's side of a store, run by a test: a commit queue, a reader, a real writer,
and where the test wants it a write-ahead log with a real syncing process.

Rule: no daemon, no client and no socket file; batches really are committed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.waiting import wait_until

from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstored import datadir, jobs
from assetstored.change_log import ChangeLog
from assetstored.children import Children
from assetstored.commits import CommitQueue
from assetstored.loop import Loop
from assetstored.reader import Reader
from assetstored.syncer import Syncer, say_end
from assetstored.wal import Wal


class Serving:
    """What a test of the serving process works with, while its event loop runs."""

    def __init__(self, data_dir: Path, children: Children, max_bytes: int) -> None:
        self.data_dir = data_dir
        self.writer_pid = children.writer_pid
        self.syncer_pid = children.syncer_pid
        self.commits: list[bool] = []
        #: What else is told of a commit, after the reader.
        self.listeners: list[Callable[[jobs.Committed], None]] = []
        #: What is told of changes that were logged: the first revision, and the assets.
        self.log_listeners: list[Callable[[int, set[int]], None]] = []
        self.lost: list[str] = []
        self.is_lost = asyncio.Event()
        self.queue = CommitQueue(
            max_bytes=max_bytes,
            on_commit=self._committed,
            on_logged=self._logged,
            on_lost=self._lost,
        )
        self._children = children
        self._reader: Reader | None = None

    def begin_log(self) -> None:
        """From now on changes of keys are logged."""
        wal = Wal(self.data_dir / datadir.WAL_FILE)
        self.log = ChangeLog(
            self.reader,
            wal,
            Syncer(self._children.syncer_link, wal.fd, self._lost),
            data_dir=self.data_dir,
            max_value_bytes=DEFAULT_MAX_VALUE_BYTES,
        )
        self.queue.log_changes(self.log)

    async def change(self, job: jobs.AnyJob) -> jobs.Result:
        """The result of a client's job."""
        future: asyncio.Future[jobs.Result] = asyncio.get_running_loop().create_future()
        self.queue.submit(job, size=1, deadline=None, done=future.set_result)
        return await future

    @property
    def reader(self) -> Reader:
        """Sees every commit from the moment on at which its results are handed out."""
        if self._reader is None:
            self._reader = Reader(str(self.data_dir))
        return self._reader

    def close(self) -> None:
        """Let the writer end. What is logged stays in the log, as when a daemon is killed."""
        self.queue.close()
        if self._reader is not None:
            self._reader.close()

    def _lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.is_lost.set()

    def _committed(self, committed: jobs.Committed) -> None:
        self.commits.append(committed.catalog_changed)
        if self._reader is not None:
            self._reader.refresh(catalog_changed=committed.catalog_changed)
        for listener in self.listeners:
            listener(committed)

    def _logged(self, first: int, touched: set[int]) -> None:
        for listener in self.log_listeners:
            listener(first, touched)


def serve(
    data_dir: Path,
    scenario: Callable[[Serving], Awaitable[None]],
    *,
    logs: bool = False,
    max_bytes: int = 1 << 20,
    deadline_s: float = 30.0,
) -> int:
    """Run the scenario in an event loop; returns how the writer ended, negative for a signal.

    With ``logs`` changes of keys are logged, as in a daemon. Raises WriterLost where the store must
    not be opened, and TimeoutError after deadline_s.
    """
    # Before there is a loop: nothing of it may cross the fork.
    children = Children(data_dir, max_value_bytes=DEFAULT_MAX_VALUE_BYTES)

    async def run() -> None:
        serving = Serving(data_dir, children, max_bytes)
        async with asyncio.timeout(deadline_s):
            try:
                await serving.queue.start(children.writer_link)
                if logs:
                    serving.begin_log()
                await scenario(serving)
            finally:
                serving.close()
                await next_turn()  # in which the transport closes its socket

    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(run())
    finally:
        children.writer_link.close()
        say_end(children.syncer_link)
        children.syncer_link.close()
        os.waitpid(children.syncer_pid, 0)
        _, status = os.waitpid(children.writer_pid, 0)
    return os.waitstatus_to_exitcode(status)


async def next_turn() -> None:
    """Return when the event loop has done what is ready now."""
    loop = asyncio.get_running_loop()
    turned = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


@contextmanager
def failing_calls(
    pid: int, calls: str, fault: str = "error=EIO", output: Path = Path(os.devnull)
) -> Iterator[None]:
    """These calls of a process fail, as on a device that is broken; needs strace.

    ``fault`` is what strace injects; ``output`` gets the calls.
    """
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    with subprocess.Popen(
        [
            *(strace, "-qq", "-o", str(output), "-e", f"trace={calls}"),
            *("-e", f"inject={calls}:{fault}", "-p", str(pid)),
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as tracer:

        def is_traced() -> bool:
            status = Path(f"/proc/{pid}/status").read_text()
            return f"TracerPid:\t{tracer.pid}" in status or tracer.poll() is not None

        try:
            wait_until(is_traced, 10.0, "strace to be at the process")
            if tracer.poll() is not None:
                assert tracer.stderr is not None
                pytest.skip(f"strace may not trace here: {tracer.stderr.read().strip()}")
            yield
        finally:
            tracer.terminate()

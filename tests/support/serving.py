"""The serving process's side of a store, run by a test: a commit queue, a reader, a real writer.

Rule: no daemon, no client and no socket file; batches really are committed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.waiting import wait_until

from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstored import jobs
from assetstored.commits import CommitQueue
from assetstored.reader import Reader
from assetstored.writer import run_writer


class Serving:
    """What a test of the serving process works with, while its event loop runs."""

    def __init__(self, data_dir: Path, writer_pid: int, max_bytes: int) -> None:
        self.data_dir = data_dir
        self.writer_pid = writer_pid
        self.commits: list[bool] = []
        #: What else is told of a commit, after the reader.
        self.listeners: list[Callable[[jobs.Committed], None]] = []
        self.lost: list[str] = []
        self.is_lost = asyncio.Event()
        self.queue = CommitQueue(max_bytes=max_bytes, on_commit=self._committed, on_lost=self._lost)
        self._reader: Reader | None = None

    @property
    def reader(self) -> Reader:
        """Sees every commit from the moment on at which its results are handed out."""
        if self._reader is None:
            self._reader = Reader(str(self.data_dir))
        return self._reader

    def close(self) -> None:
        """Let the writer end."""
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


def serve(
    data_dir: Path,
    scenario: Callable[[Serving], Awaitable[None]],
    *,
    max_bytes: int = 1 << 20,
    deadline_s: float = 30.0,
) -> int:
    """Run the scenario in an event loop; returns how the writer ended, negative for a signal.

    Raises WriterLost where the store must not be opened, and TimeoutError after deadline_s.
    """
    ours, theirs = socket.socketpair()
    # Before there is a loop: nothing of it may cross the fork.
    pid = os.fork()
    if pid == 0:
        status = os.EX_SOFTWARE
        try:
            ours.close()
            status = run_writer(theirs, data_dir, max_value_bytes=DEFAULT_MAX_VALUE_BYTES)
        finally:
            os._exit(status)
    theirs.close()

    async def run() -> None:
        serving = Serving(data_dir, pid, max_bytes)
        async with asyncio.timeout(deadline_s):
            try:
                await serving.queue.start(ours)
                await scenario(serving)
            finally:
                serving.close()
                await next_turn()  # in which the transport closes its socket

    try:
        asyncio.run(run())
    finally:
        _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


async def next_turn() -> None:
    """Return when the event loop has done what is ready now."""
    loop = asyncio.get_running_loop()
    turned = loop.create_future()
    loop.call_soon(turned.set_result, None)
    await turned


@contextmanager
def failing_calls(pid: int, calls: str) -> Iterator[None]:
    """These calls of a process fail with EIO, as on a device that is broken; needs strace."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("needs strace")
    with subprocess.Popen(
        [
            *(strace, "-qq", "-o", "/dev/null", "-e", f"trace={calls}"),
            *("-e", f"inject={calls}:error=EIO", "-p", str(pid)),
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

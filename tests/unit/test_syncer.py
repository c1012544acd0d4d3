"""The syncing process: it syncs when it is asked to, says so, and ends with its daemon.

Rule: a real process and a real file; what fails is made to fail by the kernel.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.serving import failing_calls, next_turn
from tests.support.waiting import wait_until

from assetstored.syncer import Syncer, run_syncer


class Scene:
    """A syncer and its process, and what was heard of them."""

    def __init__(self, link: socket.socket, fd: int, pid: int) -> None:
        self.pid = pid
        self.lost: list[str] = []
        self.is_lost = asyncio.Event()
        self.syncer = Syncer(link, fd, self._lost)

    async def sync(self) -> None:
        """Return when the process says that it has synced."""
        done = asyncio.get_running_loop().create_future()
        self.syncer.sync(lambda: done.set_result(None))
        await done

    def _lost(self, reason: str) -> None:
        self.lost.append(reason)
        self.is_lost.set()


def play(path: Path, scenario: Callable[[Scene], Awaitable[None]]) -> int:
    """Run the scenario with a syncer of the file; returns how the process ended."""
    ours, pid = start_process()

    async def run() -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        scene = Scene(ours, fd, pid)
        try:
            async with asyncio.timeout(20.0):
                await scenario(scene)
        finally:
            scene.syncer.close()
            os.close(fd)

    try:
        asyncio.run(run())
    finally:
        ours.close()
        status = end_of(pid)
    return status


def start_process() -> tuple[socket.socket, int]:
    """Our end of the link to a syncing process, and its pid."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            status = run_syncer(theirs)
        finally:
            os._exit(status)
    theirs.close()
    return ours, pid


def end_of(pid: int) -> int:
    """How the process ended."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_each_sync_is_told_when_it_is_done(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for _ in range(100):
            await scene.sync()
        assert scene.lost == []

    assert play(tmp_path / "file", scenario) == 0


def test_nothing_is_told_before_the_sync(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.sync()
        os.kill(scene.pid, signal.SIGSTOP)
        asked = asyncio.ensure_future(scene.sync())
        for _ in range(20):
            await next_turn()
        assert not asked.done()
        os.kill(scene.pid, signal.SIGCONT)
        await asked

    assert play(tmp_path / "file", scenario) == 0


def test_where_the_sync_fails_it_is_lost_and_nobody_is_told_that_it_is_done(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.sync()
        with failing_calls(scene.pid, "fdatasync"):
            asked = asyncio.ensure_future(scene.sync())
            await scene.is_lost.wait()
        assert scene.lost == ["the write-ahead log cannot be synced: [Errno 5] Input/output error"]
        for _ in range(20):
            await next_turn()
        assert not asked.done()
        asked.cancel()

    assert play(tmp_path / "file", scenario) == 0


@pytest.mark.parametrize("asked", [False, True])
def test_that_the_process_ended_is_told_once_whether_a_sync_was_asked_for_or_not(
    tmp_path: Path, asked: bool
) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.sync()
        os.kill(scene.pid, signal.SIGSTOP)
        wanted = asyncio.ensure_future(scene.sync()) if asked else None
        await next_turn()
        os.kill(scene.pid, signal.SIGKILL)
        await scene.is_lost.wait()
        for _ in range(20):
            await next_turn()
        assert scene.lost == ["the syncing process ended unexpectedly"]
        if wanted is not None:
            assert not wanted.done()
            wanted.cancel()

    assert play(tmp_path / "file", scenario) == -signal.SIGKILL


def test_to_ask_a_process_that_is_gone_is_told(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.sync()
        os.kill(scene.pid, signal.SIGKILL)
        wait_until(lambda: is_dead(scene.pid), 10.0, "the process to be dead")

        scene.syncer.sync(lambda: pytest.fail("it was done"))

        assert len(scene.lost) == 1
        assert scene.lost[0].startswith("the syncing process cannot be asked: ")

    assert play(tmp_path / "file", scenario) == -signal.SIGKILL


def is_dead(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_it_can_be_synced_without_the_process(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        os.kill(scene.pid, signal.SIGSTOP)
        scene.syncer.sync_now()
        os.kill(scene.pid, signal.SIGCONT)
        await scene.sync()

    assert play(tmp_path / "file", scenario) == 0


@pytest.mark.parametrize("number", [2, 15, 1], ids=["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_for_the_daemon_do_not_end_it(tmp_path: Path, number: int) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.sync()
        os.kill(scene.pid, number)
        await scene.sync()

    assert play(tmp_path / "file", scenario) == 0


def test_it_ends_well_when_its_daemon_dies_before_it_was_asked_anything() -> None:
    ours, pid = start_process()
    ours.close()

    assert end_of(pid) == 0


@pytest.mark.parametrize("unread", [False, True])
def test_it_ends_well_when_nobody_is_left_to_take_its_answer(tmp_path: Path, unread: bool) -> None:
    ours, pid = start_process()
    with open(tmp_path / "file", "wb") as file:
        socket.send_fds(ours, [b"f"], [file.fileno()])
    ours.send(b"\0")
    if unread:
        ours.recv(1, socket.MSG_PEEK)
    # As a daemon that is killed.
    ours.close()

    assert end_of(pid) == 0

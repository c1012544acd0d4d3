"""The syncing process: it does nothing but sync the write-ahead log when it is asked to.

A thread could do that too, but one that returns from a sync has to wait for the interpreter, and
with it all who wait for their changes: up to 5 ms while others read.

Rule: no data passes here; what a sync makes durable is not known.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable

_OK = b"\0"

#: Asks for no sync, but says that the daemon stops, or has said why it ends.
END = b"e"

_log = logging.getLogger("assetstored.syncer")


def run_syncer(link: socket.socket) -> int:
    """Sync the file that comes first over the link, once for each message, until the link ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    asked, fds, *_ = socket.recv_fds(link, 1, 1)
    if not fds:
        _say_why(asked)
        return os.EX_OK
    # If the daemon is gone, so is whoever waited for this.
    with contextlib.suppress(ConnectionError):
        while (asked := link.recv(1)) not in (b"", END):
            answer = _OK
            try:
                os.fdatasync(fds[0])
            except OSError as exc:
                answer = str(exc).encode()
            link.send(answer)
    _say_why(asked)
    return os.EX_OK


def _say_why(last: bytes) -> None:
    """What a process that LMDB has ended cannot say any more."""
    if last != END:
        _log.critical(
            "the serving process was ended by a signal. If nobody has killed it, LMDB met a page "
            "that is damaged or not there any more: restore the data directory from a backup "
            "(docs/operations.md, 'The store is refused')"
        )


def say_end(link: socket.socket) -> None:
    """Let the process end without a word."""
    with contextlib.suppress(OSError):
        link.send(END)


class Syncer:
    """The serving process's side: one sync at a time."""

    def __init__(self, link: socket.socket, fd: int, on_lost: Callable[[str], None]) -> None:
        """``link`` is to a process in ``run_syncer``, a socket that keeps messages apart."""
        self._link = link
        self._fd = fd
        self._on_lost = on_lost
        self._done: Callable[[], None] | None = None
        socket.send_fds(link, [b"f"], [fd])
        link.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(link, self._on_answer)

    def close(self) -> None:
        """Let the process end. Nobody is told any more of a sync under way."""
        self._loop.remove_reader(self._link)
        say_end(self._link)
        self._link.close()

    def sync(self, done: Callable[[], None]) -> None:
        """Call ``done`` when all that was written before is on disk, and ``on_lost`` if it is not
        known to be."""
        self._done = done
        try:
            self._link.send(_OK)
        except OSError as exc:
            self._on_lost(f"the syncing process cannot be asked: {exc}")

    def sync_now(self) -> None:
        """Sync here and wait for it. Raises OSError."""
        os.fdatasync(self._fd)

    def _on_answer(self) -> None:
        try:
            answer = self._link.recv(1024)
        except BlockingIOError:
            return
        except ConnectionError:
            answer = b""  # it was killed with our question unread
        if answer == _OK:
            done, self._done = self._done, None
            assert done is not None
            done()
            return
        self._loop.remove_reader(self._link)
        self._on_lost(
            f"the write-ahead log cannot be synced: {answer.decode()}"
            if answer
            else "the syncing process ended unexpectedly"
        )

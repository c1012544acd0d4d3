"""The daemon's other processes: how they begin, and how they end with it.

Rule: what they do is in writer.py and syncer.py.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from assetstored.syncer import run_syncer, say_end
from assetstored.writer import run_writer

_log = logging.getLogger("assetstored")

#: What a process dies of that meets a damaged page: a map without a file behind it, an assertion,
#: an offset that leads out of the map.
_BY_LMDB = (signal.SIGBUS, signal.SIGABRT, signal.SIGSEGV)


class Children:
    """The syncing and the writer process, and our ends of the sockets to them.

    Made before any thread, loop or environment exists: nothing of them may cross a fork.
    """

    def __init__(
        self, data_dir: Path, *, max_value_bytes: int, listening: Sequence[socket.socket] = ()
    ) -> None:
        """``listening``: sockets that are not theirs; clients must not wait there for them."""
        not_theirs = list(listening)
        self.syncer_link, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self.syncer_pid = _fork(
            "syncer", [*not_theirs, self.syncer_link], lambda: run_syncer(theirs)
        )
        theirs.close()
        self.writer_link, writers = socket.socketpair()
        self.writer_pid = _fork(
            "writer",
            [*not_theirs, self.syncer_link, self.writer_link],
            lambda: run_writer(writers, data_dir, max_value_bytes=max_value_bytes),
        )
        writers.close()

    def end(self) -> None:
        """Let them end, and wait for it; logs where LMDB has ended the writer."""
        # Or they would wait for us, and we for them.
        self.writer_link.close()
        say_end(self.syncer_link)
        self.syncer_link.close()
        os.waitpid(self.syncer_pid, 0)
        _, ended = os.waitpid(self.writer_pid, 0)
        if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) in _BY_LMDB:
            _log.critical(
                "LMDB ended the writer with %s: the data file is shorter or other than it should "
                "be; restore the data directory from a backup",
                signal.Signals(os.WTERMSIG(ended)).name,
            )


def _fork(name: str, not_its: list[socket.socket], run: Callable[[], int]) -> int:
    pid = os.fork()
    if pid == 0:
        status = os.EX_SOFTWARE
        try:
            for each in not_its:
                each.close()
            status = run()
        except Exception:
            _log.critical("the %s failed", name, exc_info=True)
        finally:
            os._exit(status)
    return pid

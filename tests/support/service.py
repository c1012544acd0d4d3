"""What abuse must not touch: the service of others, and the daemon's memory, descriptors and log.

Rule: looks from outside, through /proc and a bystander; knows nothing of any one abuse.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.bystander import Bystander, Seen
from tests.support.daemon import COMMAND, Daemon
from tests.support.waiting import wait_until

#: The longest that anybody may wait for a get, whatever others do. Usual are 0.2 ms, and under
#: abuse some 50 ms; the rest is for a machine that is busy with other things than this test.
LONGEST_S = 2.0

#: What a daemon may grow by under any abuse, beside what a test allows it for its budgets.
SLACK_BYTES = 48 << 20

_SAMPLE_S = 0.02


class Service:
    """A daemon with orders and customers, both empty, shared by the tests of a module."""

    def __init__(self, daemon: Daemon, bystander: Bystander) -> None:
        status = daemon.status()
        self.daemon = daemon
        self.socket = daemon.socket
        self.pid: int = status["pid"]
        self.pids: tuple[int, int] = (status["pid"], status["writer_pid"])
        self._bystander = bystander

    @contextmanager
    def undisturbed(
        self,
        *,
        operation: str = "get",
        at_least: int = 1,
        longest_s: float = LONGEST_S,
        more_bytes: int = 0,
    ) -> Iterator[Footprint]:
        """Fail unless, during the block, others are served as usual and the daemon stays itself.

        Others have asked ``at_least`` so many times when it is over, and in the block already after
        ``wait_until_asked``; what they have seen is then in the footprint.
        ``more_bytes``: what it may hold for the abuser, beside SLACK_BYTES. After the block it has
        as few descriptors as before, and its log holds no traceback.
        """
        footprint = Footprint(self.pids)
        descriptors = self.descriptors()
        self._bystander.start(operation, at_least)
        with footprint.watched():
            try:
                yield footprint
            finally:
                footprint.seen = self._bystander.stop()
        self._check(footprint.seen, footprint, longest_s, more_bytes)
        wait_until(
            lambda: self.descriptors() <= descriptors, 10.0, f"descriptors to be {descriptors}"
        )

    def wait_until_asked(self) -> None:
        """Return when others have asked as often as they were to at least."""
        self._bystander.wait_until_asked()

    def descriptors(self) -> int:
        """How many the serving process has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def _check(self, seen: Seen, footprint: Footprint, longest_s: float, more: int) -> None:
        assert seen.error is None, seen
        assert seen.requests > 0
        assert seen.longest_s < longest_s, seen
        assert footprint.grown_bytes < more + SLACK_BYTES, (
            f"grew by {footprint.grown_bytes:,} bytes"
        )
        assert "Traceback" not in self.daemon.log_text(), self.daemon.log_text()


class Footprint:
    """The private memory of both processes: at the beginning, and at most."""

    #: What others went through, when the block is over.
    seen: Seen

    def __init__(self, pids: tuple[int, ...]) -> None:
        self._pids = pids
        self._before = self.now_bytes()
        self._most = self._before
        self._done = threading.Event()

    @property
    def grown_bytes(self) -> int:
        """By how much it was more than at the beginning."""
        return self._most - self._before

    def now_bytes(self) -> int:
        """What no other process shares and no file backs."""
        return sum(map(_private_dirty_bytes, self._pids))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at it again and again during the block."""
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            yield
        finally:
            self._done.set()
            watcher.join()

    def _watch(self) -> None:
        while True:
            self._most = max(self._most, self.now_bytes())
            if self._done.wait(_SAMPLE_S):
                return


def _private_dirty_bytes(pid: int) -> int:
    # Pages of the store that only one process has mapped count as private too, but they are clean.
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        if line.startswith("Private_Dirty:")
    ]
    return int(line.split()[1]) * 1024


@contextmanager
def serving(root: Path, **config: Any) -> Iterator[Service]:
    """A running daemon and its bystander; its store is whole when they have ended."""
    # By its command, for what it shares with a process that it was forked from is not its own.
    daemon = Daemon(root, command=COMMAND, **config)
    daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers")
    with daemon, Bystander(daemon.socket) as bystander:
        yield Service(daemon, bystander)
    assert daemon.verify() == []

"""A fleet of writers in processes of their own, and what they were promised.

Rule: starts, ends and listens to members; what their stories mean is the ledger's.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from tests.support.checkout import ROOT
from tests.support.fleet_member import SHARED
from tests.support.ledger import Ledger

#: How long a fleet may take for what it is waited for.
DEADLINE_S = 60.0

#: A pipe with room for all the acknowledgements between two looks at it.
_PIPE_BYTES = 1 << 20


class Fleet:
    """Writers at full load on the daemon at a socket.

    ``assets(n)`` must be active. Each process is a client with several threads; when one is
    killed, another takes its place, with keys of its own.
    """

    def __init__(
        self, socket: Path, directory: Path, seed: int, *, processes: int = 4, threads: int = 2
    ) -> None:
        self.ledger = Ledger()
        self._socket = socket
        self._directory = directory
        self._seed = seed
        self._threads = threads
        self._members = 0
        self._read: dict[str, int] = {}
        self._processes: list[tuple[subprocess.Popen[bytes], list[str]]] = []
        directory.mkdir(parents=True)
        self._acks, self._acks_in = os.pipe()
        fcntl.fcntl(self._acks, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._acks, False)
        os.set_blocking(self._acks_in, False)
        for _ in range(processes):
            self._launch()

    @staticmethod
    def assets(members: int) -> list[str]:
        """The assets that so many members write to, those that came after a kill included."""
        return [*SHARED, *(f"own-{number:03}" for number in range(members))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for process, _ in self._processes:
            process.kill()
            _end(process)
        os.close(self._acks)
        os.close(self._acks_in)

    def wait_for_acknowledgements(self, count: int) -> None:
        """Return as soon as so many more changes have been acknowledged than before the call."""
        self._drain()
        deadline = time.monotonic() + DEADLINE_S
        while count > 0:
            ready, _, _ = select.select([self._acks], [], [], deadline - time.monotonic())
            assert ready, f"no acknowledgement within {DEADLINE_S} s; {count} more were to come"
            count -= len(os.read(self._acks, min(count, 65_536)))

    def kill_one(self, rng: random.Random) -> None:
        """Kill a process in the middle of whatever it does, and start another."""
        process, names = self._processes.pop(rng.randrange(len(self._processes)))
        process.kill()
        _end(process)
        self.catch_up()
        for name in names:
            self.ledger.bury(name)
        self._launch()

    def stop(self) -> None:
        """Let all members finish what they have in hand; the daemon must be there to answer."""
        for process, _ in self._processes:
            _hang_up(process)
        while self._processes:
            assert _end(self._processes.pop()[0]) == 0, "a member failed; see its traceback"

    def catch_up(self) -> Ledger:
        """The ledger with all that members have noted by now."""
        for path in sorted(self._directory.iterdir()):
            with path.open("rb") as log:
                log.seek(self._read.get(path.name, 0))
                # What comes after the last newline is being written.
                text = log.read().rpartition(b"\n")
            self._read[path.name] = self._read.get(path.name, 0) + len(text[0]) + len(text[1])
            for line in text[0].splitlines():
                self.ledger.tell(path.stem, json.loads(line))
        return self.ledger

    def _launch(self) -> None:
        names = [f"{self._members + n:03}" for n in range(self._threads)]
        self._members += self._threads
        module = "tests.support.fleet_member"
        arguments = [self._socket, self._directory, self._acks_in, self._seed, *names]
        process = subprocess.Popen(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            pass_fds=[self._acks_in],
        )
        self._processes.append((process, names))

    def _drain(self) -> None:
        try:
            while os.read(self._acks, 65_536):
                pass
        except BlockingIOError:
            pass


def _hang_up(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()


def _end(process: subprocess.Popen[bytes]) -> int:
    _hang_up(process)
    return process.wait(DEADLINE_S)

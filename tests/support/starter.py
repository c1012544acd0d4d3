"""Daemons without the cost of their imports: a process that has made them forks one per start.

Most of what a start costs is the interpreter's start and the imports, which are the same each
time. What is forked is the daemon's own main, in a process of its own, with arguments,
environment and descriptors as its command would have them. Tests of the command itself, and of
memory, run it as a command (tests.support.daemon.COMMAND).

Rule: starts and reaps, as subprocess.Popen does; what is started is for others to drive.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import IO, Any, Self

from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

_PROCESS = "tests.support.starter_process"

#: An answer is a number.
_ANSWER_BYTES = 100


class Started:
    """A process that was forked, with as much of subprocess.Popen as a daemon needs."""

    def __init__(self, starter: Starter, pid: int) -> None:
        self._starter = starter
        self.pid = pid
        self.returncode: int | None = None
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        with self._reaping:
            if self.returncode is None:
                self.returncode = self._starter.reap(self.pid)
            return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, once it has ended; raises subprocess.TimeoutExpired."""
        if self.poll() is None:
            ended = os.pidfd_open(self.pid)
            try:
                ready, _, _ = select.select([ended], [], [], timeout)
            finally:
                os.close(ended)
            if not ready:
                assert timeout is not None
                raise subprocess.TimeoutExpired(["assetstored"], timeout)
        # Who traces it hears of its end first, and only then its parent.
        return wait_until(lambda: self._reaped, 10.0, "an ended process to be reaped")[0]

    @property
    def _reaped(self) -> list[int]:
        status = self.poll()
        return [] if status is None else [status]

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Tell it to stop."""
        self.send_signal(signal.SIGTERM)


class Starter:
    """The process that forks, while the block lasts."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PROCESS, str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )

    def start(self, flags: Sequence[str], env: dict[str, str], output: IO[bytes]) -> Started:
        """Start a daemon that writes to output, which the caller may then close."""
        request = {"flags": list(flags), "env": env, "cwd": os.getcwd()}
        return Started(self, self._ask(request, output.fileno()))

    def reap(self, pid: int) -> int | None:
        """The exit status of a daemon that has ended; None while it runs."""
        status: int | None = self._ask({"reap": pid})
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._control.close()
        self._process.wait()

    def _ask(self, request: dict[str, Any], *fds: int) -> Any:
        with self._lock:
            socket.send_fds(self._control, [json.dumps(request).encode()], fds)
            answer = self._control.recv(_ANSWER_BYTES)
        assert answer, "the starter has ended"
        return json.loads(answer)

"""A server's process: started, waited for, stopped, its log kept.

Rule: knows no system.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from benchmarks.systems.system import SystemFailed

_START_S = 60.0
_STOP_S = 20.0


class ServerProcess:
    """One server, with all the processes that it makes."""

    def __init__(self, command: Sequence[str], log: Path) -> None:
        self._command = list(command)
        self._log = log
        # The caller holds the signals until it knows of this process.
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the benchmark, which then stops its servers in good order.
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        """Return once it is ready. Raises SystemFailed if it ends first, or takes too long."""
        deadline = time.monotonic() + _START_S
        while not is_ready():
            if self._process.poll() is not None:
                raise SystemFailed(f"{self._command[0]} ended at its start:\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise SystemFailed(f"{self._command[0]} is not ready after {_START_S:.0f} s")
            time.sleep(0.02)

    def stop(self) -> None:
        """Stopped, in good order if it can, and nothing of it left."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_lines(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

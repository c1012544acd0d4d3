"""The processes of the demo: the daemon, and the workers of one run.

Rule: nothing is printed here, and nothing outlives ``close()``.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from examples.weather_worker import Step, load

import assetstore
from assetstore import AssetStoreError, NotConnected, OutcomeUnknown

#: The source is a file on this disk; a real one takes its time over ten days.
_PACE_S = 0.04

#: How long the daemon may take to answer, and to stop in good order.
_START_S = 15.0
_STOP_S = 10.0


class DaemonFailed(Exception):
    """The daemon ended instead of answering."""


class Daemon:
    """assetstored on a directory of its own."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "assetstored.sock"
        self.manifest = directory / "manifest.json"
        self.log = directory / "assetstored.log"
        self._data_dir = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> int:
        """Start it, and return its process id once it answers. Raises DaemonFailed."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "assetstored"),
                    *("--data-dir", self._data_dir),
                    *("--socket", self.socket),
                    *("--manifest", self.manifest),
                ],
                stdin=subprocess.DEVNULL,
                stderr=log,
                # Ctrl-C is for the demo, which then stops the daemon in good order. And as in
                # a systemd unit, a kill reaches all its processes.
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        # A client waits for the socket by itself; here we also look whether it is worth waiting.
        with assetstore.connect(self.socket, timeout=0.25) as client:
            while True:
                try:
                    client.status()
                    return self._process.pid
                except (NotConnected, OutcomeUnknown) as exc:
                    if self._process.poll() is not None:
                        code = self._process.returncode
                        raise DaemonFailed(f"assetstored ended with exit code {code}") from exc
                    if time.monotonic() > deadline:
                        raise

    def last_lines(self) -> str:
        """The end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"   {line}" for line in lines[-15:])

    def kill(self) -> None:
        """SIGKILL, and gone."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """Stopped, in good order if it can."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
                self._process = None
            except subprocess.TimeoutExpired:
                self.kill()


class Fleet:
    """One worker process a year, all at work at once."""

    def __init__(
        self, source: Path, warehouse: Path, years: list[int], hold: dict[int, str]
    ) -> None:
        """``hold``: the worker of that year goes no further once that day is in the warehouse
        and the watermark does not say so yet, which is the worst moment to be killed.
        """
        # A spawned process begins as a new program would, with nothing of ours in it.
        spawn = multiprocessing.get_context("spawn")
        self._workers: dict[Connection, tuple[int, BaseProcess]] = {}
        for year in years:
            ours, theirs = spawn.Pipe()
            worker = spawn.Process(
                target=_work, args=(year, source, warehouse, theirs, hold.get(year)), daemon=True
            )
            worker.start()
            theirs.close()
            self._workers[ours] = (year, worker)

    @property
    def at_work(self) -> int:
        return len(self._workers)

    def steps(self) -> Iterator[tuple[int, Step | str]]:
        """What the workers do, as it happens, until the last has ended. A string is an error."""
        while self._workers:
            for ready in wait(list(self._workers)):
                assert isinstance(ready, Connection)
                # Whoever takes these steps may have killed a worker since they were ready.
                if ready not in self._workers:
                    continue
                year, worker = self._workers[ready]
                try:
                    step = ready.recv()
                except (EOFError, ConnectionResetError):
                    worker.join()
                    self._bury(ready)
                else:
                    yield year, step

    def kill(self, year: int) -> None:
        """SIGKILL the worker of this year, and gone."""
        for connection, (its_year, _) in list(self._workers.items()):
            if its_year == year:
                self._bury(connection)

    def close(self) -> None:
        """All of them killed, if any are left."""
        for connection in list(self._workers):
            self._bury(connection)

    def _bury(self, connection: Connection) -> None:
        _, worker = self._workers.pop(connection)
        worker.kill()
        worker.join()
        worker.close()
        connection.close()


def _work(year: int, source: Path, warehouse: Path, pipe: Connection, hold_at: str | None) -> None:
    # Ctrl-C reaches the whole terminal; the demo ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(step: Step) -> None:
        pipe.send(step)
        if step.what == "marked":
            time.sleep(_PACE_S)
        if step.what == "committed" and hold_at is not None and step.day >= hold_at:
            pipe.recv()  # nothing ever comes, but the end of the demo does

    try:
        load(year, source, warehouse, report)
    except AssetStoreError as exc:
        pipe.send(f"{type(exc).__name__}: {exc}")
    except (EOFError, ConnectionError):
        pass  # the demo itself is gone

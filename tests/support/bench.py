"""Runs of the benchmarks as a user starts them, and what is left of them afterwards.

Rule: starts, finds and ends processes; what they print is for others.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from benchmarks.machine import NotOnDisk, check_on_disk
from tests.support.checkout import ROOT


class Bench:
    """A way to run a benchmark's module on a directory. All its processes bear a mark."""

    def __init__(self, module: str, directory: Path) -> None:
        self.directory = directory
        self._module = module
        self._mark = f"bench-{uuid.uuid4()}"
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it with these arguments."""
        process = subprocess.Popen(
            [sys.executable, "-m", self._module, "--dir", str(self.directory), *arguments],
            cwd=ROOT,
            # Sockets too lie in its temporary directory.
            env={**os.environ, "BENCH_MARK": self._mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def processes(self) -> list[str]:
        """The command lines of its processes that live."""
        return list(self._alive().values())

    def end(self) -> None:
        """Kill whatever of it lives: nobody can hear of a run that does not end any more."""
        while alive := self._alive():
            for pid in alive:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for process in self._started:
                process.poll()
        for process in self._started:
            process.communicate()

    def _alive(self) -> dict[int, str]:
        found = {}
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if self._mark.encode() in path.read_bytes():
                    command = path.parent.joinpath("cmdline").read_text().replace("\0", " ")
                    found[int(path.parent.name)] = command
        return found


@contextmanager
def benching(module: str, directory: Path) -> Iterator[Bench]:
    """A bench for the block; skips the test where the directory is not on a disk."""
    try:
        check_on_disk(directory)
    except NotOnDisk as exc:
        pytest.skip(str(exc))
    bench = Bench(module, directory)
    try:
        yield bench
    finally:
        bench.end()

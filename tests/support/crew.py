"""Processes that run a program on the daemon side by side, and what they note of it.

Rule: starts, ends and listens to members (see crew_member.py); what their notes mean is for others.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.checkout import ROOT

#: How long a crew may take for what it is waited for.
DEADLINE_S = 60.0

#: A pipe with room for all the acknowledgements between two looks at it.
_PIPE_BYTES = 1 << 20


class Program(NamedTuple):
    """A process, and the members that are its threads."""

    process: subprocess.Popen[bytes]
    members: list[str]


class Crew:
    """Members at work on the daemon at a socket, and the directory of their notes."""

    def __init__(self, socket: Path, directory: Path, seed: int) -> None:
        self._socket = socket
        self._directory = directory
        self._seed = seed
        self._read: dict[str, int] = {}
        self._at_work: list[Program] = []
        directory.mkdir(parents=True)
        self._acks, self._acks_in = os.pipe()
        fcntl.fcntl(self._acks, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.set_blocking(self._acks, False)
        os.set_blocking(self._acks_in, False)

    def launch(self, module: str, *members: str, **options: Any) -> Program:
        """Start a process of tests/support with these members; the module says what options are."""
        arguments = [self._socket, self._directory, self._acks_in, self._seed, json.dumps(options)]
        program = Program(
            subprocess.Popen(
                [sys.executable, "-m", f"tests.support.{module}", *map(str, arguments), *members],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                pass_fds=[self._acks_in],
            ),
            list(members),
        )
        self._at_work.append(program)
        return program

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for program in self._at_work:
            program.process.kill()
            _end(program)
        os.close(self._acks)
        os.close(self._acks_in)

    def wait_for_acknowledgements(self, count: int) -> None:
        """Return as soon as so many more changes have been acknowledged than before the call."""
        self._drain()
        came = self._wait(count, DEADLINE_S)
        assert came == count, f"{came} of {count} acknowledgements within {DEADLINE_S} s"

    def is_at_work(self, acknowledgements: int, seconds: float) -> bool:
        """Whether somebody still is, after so many more acknowledgements or seconds.

        Says no at once when all have ended by themselves; fails if one of them failed.
        """
        self._drain()
        self._wait(acknowledgements, seconds)
        return bool(self._at_work)

    def kill_one(self, rng: random.Random) -> list[str]:
        """Kill a process in the middle of whatever it does; returns its members."""
        program = self._at_work.pop(rng.randrange(len(self._at_work)))
        program.process.kill()
        _end(program)
        return program.members

    def signal(self, number: int) -> None:
        """Send a signal to all of them."""
        for program in self._at_work:
            program.process.send_signal(number)

    def stop(self) -> None:
        """Let all members finish what they have in hand; the daemon must be there to answer."""
        for program in self._at_work:
            _hang_up(program)
        while self._at_work:
            _check_end(self._at_work.pop())

    def notes(self) -> Iterator[tuple[str, Any]]:
        """What members have noted since the last call, each with its name."""
        for path in sorted(self._directory.iterdir()):
            with path.open("rb") as log:
                log.seek(self._read.get(path.name, 0))
                # What comes after the last newline is being written.
                text = log.read().rpartition(b"\n")
            self._read[path.name] = self._read.get(path.name, 0) + len(text[0]) + len(text[1])
            for line in text[0].splitlines():
                yield path.stem, json.loads(line)

    def have_all_noted(self) -> bool:
        """Whether each member that is at work has noted something by now."""
        names = [name for program in self._at_work for name in program.members]
        paths = [self._directory / f"{name}.jsonl" for name in names]
        return all(path.exists() and path.stat().st_size for path in paths)

    def _wait(self, acknowledgements: int, seconds: float) -> int:
        """Wait for so many, the last member's end, or seconds; returns how many came."""
        deadline = time.monotonic() + seconds
        came = 0
        while self._at_work and came < acknowledgements:
            ended = {os.pidfd_open(each.process.pid): each for each in self._at_work}
            try:
                left_s = max(0.0, deadline - time.monotonic())
                ready, _, _ = select.select([self._acks, *ended], [], [], left_s)
            finally:
                for fd in ended:
                    os.close(fd)
            for fd in ready:
                if fd in ended:
                    self._at_work.remove(ended[fd])
                    _check_end(ended[fd])
                else:
                    came += len(os.read(self._acks, min(acknowledgements - came, 65_536)))
            if not ready:
                break
        return came

    def _drain(self) -> None:
        try:
            while os.read(self._acks, 65_536):
                pass
        except BlockingIOError:
            pass


def _hang_up(program: Program) -> None:
    assert program.process.stdin is not None
    program.process.stdin.close()


def _end(program: Program) -> int:
    _hang_up(program)
    return program.process.wait(DEADLINE_S)


def _check_end(program: Program) -> None:
    status = _end(program)
    assert status == 0, f"{program.members} ended with {status}; see the traceback, if it is one"

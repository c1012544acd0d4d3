"""One run: all systems are started, take turns at each work, round after round, and are stopped.

Rule: prints nothing but its progress.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.figures import Sample
from benchmarks.systems.registry import Missing, system
from benchmarks.systems.system import System, SystemFailed
from benchmarks.works import Work

#: Work -> system -> a sample for each round.
Results = dict[str, dict[str, list[Sample]]]


class Field:
    """The systems that run, in a directory that is gone with them."""

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        enter = self._stack.enter_context
        # A socket's path has at most 107 bytes, so it does not lie with the data.
        self._sockets = Path(enter(tempfile.TemporaryDirectory(prefix="bench-")))
        self._disk = Path(
            enter(tempfile.TemporaryDirectory(prefix="assetstore-bench-", dir=directory))
        )
        self.systems: list[System] = []
        #: Name -> why it is not among them.
        self.missing: dict[str, str] = {}

    def start(self, names: Sequence[str]) -> None:
        """Start the systems of these names, as far as what they need is installed."""
        for name in names:
            sockets = self._sockets / name
            sockets.mkdir()
            try:
                found = system(name)
                # Before it starts, as it may be interrupted half-way.
                self._stack.callback(found.stop)
                found.start(self._disk / name, sockets)
            except (Missing, SystemFailed) as exc:
                self.missing[name] = str(exc)
            else:
                self.systems.append(found)

    def versions(self) -> dict[str, str]:
        """Of all that takes part."""
        found: dict[str, str] = {}
        for each in self.systems:
            found |= each.versions()
        return found

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()


def take_turns(
    works: Sequence[Work],
    systems: Sequence[System],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Results:
    """Measure each system at each of its works, ``rounds`` times, A B C and then C B A."""
    results: Results = {work.name: {} for work in works}
    started = time.monotonic()
    for number in range(rounds):
        for work in works:
            turns = [each for each in systems if work.is_for(each)]
            # Who comes first alternates, so that a drift of the machine is nobody's advantage.
            for each in reversed(turns) if number % 2 else turns:
                spent_s = time.monotonic() - started
                say(f"round {number + 1} of {rounds}, {spent_s:.0f} s: {work.name}, {each.name}")
                sample = work.measure(each, seconds)
                results[work.name].setdefault(each.name, []).append(sample)
    say("")
    return results


def say_on_terminal(text: str) -> None:
    """Show how far it is, in one line of a terminal; elsewhere nothing."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

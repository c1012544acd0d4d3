"""Turns: all that take part in a work, one after the other, round after round.

Rule: does not know how anything is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from benchmarks.figures import Results, Sample
from benchmarks.systems.system import System


class Turn(NamedTuple):
    """One that takes part in a work."""

    name: str
    title: str
    #: What a set that returned survives.
    survives: str
    #: Measures it for that many seconds.
    measure: Callable[[float], Sample]


class Work(Protocol):
    """One thing to do, and who does it."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    def is_for(self, system: System) -> bool:
        """Whether this system takes part."""

    def turns(self, systems: Sequence[System]) -> list[Turn]:
        """One for each that takes part, of these systems."""


def take_turns(
    works: Sequence[Work],
    systems: Sequence[System],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Results:
    """Measure each at each work, ``rounds`` times: A B C, and then C B A.

    Raises LoadFailed at the first that fails.
    """
    turns = {work.name: work.turns(systems) for work in works}
    results: Results = {
        work.name: {
            "title": work.title,
            "systems": {
                each.name: {"title": each.title, "survives": each.survives, "rounds": []}
                for each in turns[work.name]
            },
        }
        for work in works
        if turns[work.name]
    }
    started = time.monotonic()
    for number in range(rounds):
        for work, found in results.items():
            # Who comes first alternates, so that a drift of the machine is nobody's advantage.
            for each in reversed(turns[work]) if number % 2 else turns[work]:
                spent_s = time.monotonic() - started
                say(f"round {number + 1} of {rounds}, {spent_s:.0f} s: {work}, {each.name}")
                found["systems"][each.name]["rounds"].append(each.measure(seconds))
                # What one has left to the kernel to write must not hold up the next.
                os.sync()
    say("")
    return results

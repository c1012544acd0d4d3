"""The goals, as ratios within one round, and whether a run met them.

Rule: pure. What is measured is in works.py; how a goal is shown, in tables.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.figures import Results, Spread, differences, ratios, rounds_of, series, spread


class Figure(NamedTuple):
    """One figure of one system at one work: where it stands in the results."""

    work: str
    system: str
    path: str


class Goal(NamedTuple):
    """Two figures, and what the one must be beside the other."""

    work: str
    than: str
    limit: float
    #: "x": that many times; "ms": that much more.
    unit: str
    is_at_most: bool
    top: Figure
    bottom: Figure


class Verdict(NamedTuple):
    """What a run says to a goal."""

    goal: Goal
    #: None if it was not measured; then ``reason`` says why.
    found: Spread | None
    reason: str

    @property
    def is_met(self) -> bool | None:
        """Whether the median of the rounds is within the limit; None if there is none."""
        if self.found is None:
            return None
        if self.goal.is_at_most:
            return self.found.median <= self.goal.limit
        return self.found.median >= self.goal.limit


def judge(goal: Goal, results: Results, missing: Mapping[str, str]) -> Verdict:
    """The verdict of these results; ``missing`` says why a system is not among them."""
    sides = []
    for side in (goal.top, goal.bottom):
        found = series(rounds_of(results, side.work, side.system), side.path)
        if not found:
            why = missing.get(side.system, f"{side.system} took no part in {side.work}")
            return Verdict(goal, None, why)
        sides.append(found)
    compare = ratios if goal.unit == "x" else differences
    return Verdict(goal, spread(compare(*sides)), "")


def goals_of(results: Results) -> Sequence[Goal]:
    """The goals that this run was about: those of which both works were done."""
    return [goal for goal in GOALS if {goal.top.work, goal.bottom.work} <= results.keys()]


def _p50(work: str, kind: str, limit: float, system: str, than: str) -> Goal:
    path = f"{kind}.p50_us"
    ours, theirs = Figure(work, "assetstore", path), Figure(work, system, path)
    return Goal(f"{work}, p50", than, limit, "x", True, ours, theirs)


def _rate(work: str, limit: float, system: str, than: str) -> Goal:
    ours, theirs = Figure(work, "assetstore", "per_s"), Figure(work, system, "per_s")
    return Goal(f"{work}, throughput", than, limit, "x", False, ours, theirs)


def _cost_at_scale(work: str) -> Goal:
    # The time a call takes is the inverse of how many there are in a second.
    small, large = (
        Figure(work, system, "per_s") for system in ("assetstore-100", "assetstore-100k")
    )
    return Goal(f"{work} of 100,000, time", "of 100", 1.3, "x", True, small, large)


def _life(work: str, other: str, limit: float, unit: str, than: str) -> Goal:
    ours, theirs = Figure(work, "assetstore", "p50_ms"), Figure(work, other, "p50_ms")
    return Goal(work, than, limit, unit, True, ours, theirs)


_ALWAYS = "Redis always"

GOALS = [
    _p50("get-1", "get", 1.3, "echo", "blocking echo floor"),
    _p50("get-1", "get", 0.5, "redis", "Redis"),
    _rate("get-16", 3.0, "redis", "Redis"),
    _rate("set-1", 1.0, "redis", _ALWAYS),
    _rate("set-4", 1.0, "redis", _ALWAYS),
    _rate("set-16", 1.0, "redis", _ALWAYS),
    _rate("set-64", 1.5, "redis", _ALWAYS),
    _p50("set-1", "set", 2.2, "disk", "fdatasync floor"),
    _rate("mix-16", 2.5, "redis", _ALWAYS),
    Goal(
        "mix-16, p99 of get",
        "its own get-16",
        3.0,
        "x",
        True,
        Figure("mix-16", "assetstore", "get.p99_us"),
        Figure("get-16", "assetstore", "get.p99_us"),
    ),
    _rate("async-get", 3.0, "redis", "redis.asyncio, a pool"),
    _rate("async-get", 3.0, "redis-single", "redis.asyncio, one connection"),
    _rate("async-set", 3.0, "redis", "redis.asyncio, a pool"),
    _rate("async-set", 3.0, "redis-single", "redis.asyncio, one connection"),
    _cost_at_scale("assets-get-1"),
    _cost_at_scale("assets-get-16"),
    _cost_at_scale("assets-set-1"),
    _cost_at_scale("assets-set-16"),
    _life("life", "redis", 0.5, "x", "redis-py"),
    _life("import", "msgspec", 15.0, "ms", "import msgspec"),
]

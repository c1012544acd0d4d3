"""The goals, as ratios within one round, and whether a run met them.

Rule: pure. What is measured is in works.py; how a goal is shown, in tables.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from benchmarks.figures import Sample, Spread, ratios, series, spread

#: Work -> system -> a sample for each round.
Results = Mapping[str, Mapping[str, Sequence[Sample]]]


class Figure(NamedTuple):
    """One figure of one system at one work: where it stands in the results."""

    work: str
    system: str
    path: str


class Goal(NamedTuple):
    """A ratio of two figures, and what it must be."""

    work: str
    ratio: str
    limit: float
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
        found = series(results.get(side.work, {}).get(side.system, ()), side.path)
        if not found:
            why = missing.get(side.system, f"{side.work} of {side.system} was not in this run")
            return Verdict(goal, None, why)
        sides.append(found)
    return Verdict(goal, spread(ratios(*sides)), "")


def _p50(work: str, kind: str, limit: float, system: str, than: str) -> Goal:
    path = f"{kind}.p50_us"
    ours, theirs = Figure(work, "assetstore", path), Figure(work, system, path)
    return Goal(f"{work}, p50", than, limit, True, ours, theirs)


def _rate(work: str, limit: float, system: str, than: str) -> Goal:
    ours, theirs = Figure(work, "assetstore", "per_s"), Figure(work, system, "per_s")
    return Goal(f"{work}, throughput", than, limit, False, ours, theirs)


def _cost_at_scale(kind: str) -> Goal:
    large, small = (
        Figure(f"assets-{kind}", system, f"{kind}.mean_us")
        for system in ("assetstore-100k", "assetstore-100")
    )
    return Goal(f"assets-{kind}, mean", "100,000 assets / 100", 1.3, True, large, small)


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
        True,
        Figure("mix-16", "assetstore", "get.p99_us"),
        Figure("get-16", "assetstore", "get.p99_us"),
    ),
    _rate("async-get", 3.0, "redis", "redis.asyncio, a pool"),
    _rate("async-get", 3.0, "redis-single", "redis.asyncio, one connection"),
    _rate("async-set", 3.0, "redis", "redis.asyncio, a pool"),
    _rate("async-set", 3.0, "redis-single", "redis.asyncio, one connection"),
    _cost_at_scale("get"),
    _cost_at_scale("set"),
]

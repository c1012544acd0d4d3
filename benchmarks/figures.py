"""Figures from latencies, and medians and ratios from rounds.

Rule: pure. Nothing is measured, read or printed here.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

#: What one system did at one work in one round, as it stands in the JSON:
#: {"per_s": ..., "get": {"count": ..., "p50_us": ..., "p99_us": ...}, "cpu_us": {"all": ...}}.
Sample = dict[str, Any]

#: All of a run, as it stands in the JSON:
#: {work: {"title": ..., "systems": {name: {"title": ..., "survives": ..., "rounds": [sample]}}}}.
Results = dict[str, dict[str, Any]]


class Spread(NamedTuple):
    """The middle of the rounds, with the lowest and the highest."""

    median: float
    low: float
    high: float


def percentile(ordered: Sequence[int], part: float) -> float:
    """The least of these ordered values that at least this part of them do not exceed."""
    if not ordered:
        raise ValueError("there is no percentile of nothing")
    # Counted in thousandths, as 0.99 * 100 is a little more than 99.
    rank = -(-len(ordered) * round(part * 1000) // 1000)
    return ordered[max(rank, 1) - 1]


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest of the rounds."""
    return Spread(statistics.median(values), min(values), max(values))


def load_sample(
    latencies_ns: Mapping[str, Sequence[int]],
    late: int,
    seconds: float,
    cpu_ns: Mapping[str, int],
) -> Sample:
    """The sample of a load of that many seconds, which ``late`` of the calls outlasted.

    ``cpu_ns`` is how long each process of the system was on a processor for all these calls.
    """
    calls = sum(map(len, latencies_ns.values()))
    sample: Sample = {"per_s": round((calls - late) / seconds, 1)}
    for kind, found in latencies_ns.items():
        ordered = sorted(found)
        if ordered:
            sample[kind] = {
                "count": len(ordered),
                "p50_us": round(percentile(ordered, 0.5) / 1000, 2),
                "p99_us": round(percentile(ordered, 0.99) / 1000, 2),
            }
    if cpu_ns:
        parts = {name: round(used / calls / 1000, 2) for name, used in cpu_ns.items()}
        sample["cpu_us"] = {"all": round(sum(parts.values()), 2), **parts}
    return sample


def life_sample(took_ns: Sequence[int]) -> Sample:
    """The sample of a program that was run again and again."""
    return {"count": len(took_ns), "p50_ms": round(percentile(sorted(took_ns), 0.5) / 1e6, 2)}


def figure(sample: Sample, path: str) -> float | None:
    """What stands in a sample under a path such as "per_s" or "get.p99_us"; None if nothing."""
    found: Any = sample
    for step in path.split("."):
        if not isinstance(found, dict) or step not in found:
            return None
        found = found[step]
    return float(found)


def rounds_of(results: Results, work: str, system: str) -> list[Sample]:
    """A sample for each round; none if this system took no part in this work."""
    found = results.get(work, {}).get("systems", {}).get(system, {})
    samples: list[Sample] = found.get("rounds", [])
    return samples


def series(samples: Sequence[Sample], path: str) -> list[float]:
    """That figure of each round; empty unless each round has it."""
    found = [figure(sample, path) for sample in samples]
    return [each for each in found if each is not None] if None not in found else []


def ratios(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    """One ratio a round: both took their turns in the same round, under the same weather."""
    return [above / below for above, below in zip(top, bottom, strict=True)]


def differences(top: Sequence[float], bottom: Sequence[float]) -> list[float]:
    """As ``ratios``, for what one has more than the other."""
    return [above - below for above, below in zip(top, bottom, strict=True)]

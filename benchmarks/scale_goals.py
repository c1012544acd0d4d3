"""What was measured against what, as a table and as JSON.

Rule: pure.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

#: No request may wait longer than this because of what goes on beside it.
LIMIT_MS = 20.0


class Figure(NamedTuple):
    """One figure for each round. ``goal`` is what the median may be at most; None: no goal."""

    name: str
    goal: float | None
    values: list[float]
    unit: str
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the median is within the goal; None where there is no goal or no figure."""
        if self.goal is None or not self.values:
            return None
        return statistics.median(self.values) <= self.goal


class Beside(NamedTuple):
    """The waits of one kind of request, in seconds: beside an operation, and without it."""

    name: str
    #: One list for each round.
    beside: list[list[float]]
    without: list[list[float]]
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether nobody waited longer than the limit because of the operation.

        Where some wait longer without it too, as on a disk that others use, it is not to make them
        more.
        """
        with_it, without = _flat(self.beside), _flat(self.without)
        if not with_it or not without:
            return None
        over = _over(with_it)
        return not over or over / len(with_it) <= _over(without) / len(without)


def as_json(found: Iterable[Figure | Beside], machine: dict[str, Any]) -> dict[str, Any]:
    """All of it, for programs."""
    return {"goals": [_json_of(each) for each in found], "machine": machine}


def _json_of(each: Figure | Beside) -> dict[str, Any]:
    if isinstance(each, Figure):
        goal, unit, values = each.goal, each.unit, each.values
        more: dict[str, Any] = {}
    else:
        goal, unit = LIMIT_MS, "ms, longest wait"
        values = [_longest_ms(waits) for waits in each.beside]
        more = {"beside": _waits_json(each.beside), "without": _waits_json(each.without)}
    return {
        "name": each.name,
        "goal": goal,
        "measured": statistics.median(values) if values else None,
        "low": min(values, default=None),
        "high": max(values, default=None),
        "unit": unit,
        "met": each.met,
        "note": each.note,
        **more,
    }


def _waits_json(rounds: list[list[float]]) -> dict[str, Any]:
    waits = _flat(rounds)
    return {
        "requests": len(waits),
        "over_20_ms": _over(waits),
        "longest_ms": [_longest_ms(each) for each in rounds],
        "p99_ms": _p99_ms(waits) if waits else None,
    }


def as_lines(found: Sequence[Figure | Beside]) -> list[str]:
    """All of it, for people: two tables in Markdown."""
    figures = [each for each in found if isinstance(each, Figure)]
    besides = [each for each in found if isinstance(each, Beside)]
    lines: list[str] = []
    if figures:
        lines += ["| what | goal | measured | | |", "|---|---:|---:|---|---|"]
        lines += [_figure_line(each) for each in figures]
    if figures and besides:
        lines.append("")
    if besides:
        lines += [
            "| requests beside | longest wait, ms | without | p99, ms | without "
            "| over 20 ms, of all | without | |",
            "|---|---:|---:|---:|---:|---:|---:|---|",
        ]
        lines += [_beside_line(each) for each in besides]
    return lines


def _figure_line(each: Figure) -> str:
    goal = "" if each.goal is None else f"{each.goal:g} {each.unit}"
    measured = "not measured"
    if each.values:
        low, middle, high = min(each.values), statistics.median(each.values), max(each.values)
        measured = f"{_number(middle)} {each.unit}"
        if len(each.values) > 1:
            measured += f" ({_number(low)} to {_number(high)})"
    return f"| {each.name} | {goal} | {measured} | {_word(each.met)} | {each.note} |"


def _beside_line(each: Beside) -> str:
    cells = [each.name]
    sides = [each.beside, each.without]
    cells += [
        f"{_number(max(_flat([[_longest_ms(one)] for one in side]), default=0.0))}"
        for side in sides
    ]
    cells += [_number(_p99_ms(_flat(side))) if _flat(side) else "" for side in sides]
    cells += [f"{_over(_flat(side)):,} of {len(_flat(side)):,}" for side in sides]
    cells.append(_word(each.met))
    return f"| {' | '.join(cells)} |"


def _word(met: bool | None) -> str:
    return "" if met is None else "met" if met else "**not met**"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _flat(rounds: list[list[float]]) -> list[float]:
    return [value for each in rounds for value in each]


def _over(waits: list[float]) -> int:
    return sum(waited * 1e3 > LIMIT_MS for waited in waits)


def _longest_ms(waits: list[float]) -> float:
    return max(waits, default=0.0) * 1e3


def _p99_ms(waits: list[float]) -> float:
    return sorted(waits)[int(len(waits) * 0.99)] * 1e3

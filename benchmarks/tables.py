"""A run as tables: text that is Markdown and reads as well on a terminal.

Rule: pure; takes what a run's JSON holds and returns lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.figures import Sample, Spread, series, spread
from benchmarks.goals import GOALS, Verdict, judge

#: A run, as its JSON has it; run.py says what is in it.
Report = dict[str, Any]


def report_lines(report: Report) -> Iterator[str]:
    """All tables of a run."""
    yield from _about(report)
    yield ""
    yield from goal_lines(report)
    for work, title in report["works"].items():
        if report["results"].get(work):
            yield ""
            yield from work_lines(report, work, title)
    cpu = list(cpu_lines(report))
    if len(cpu) > 2:
        yield ""
        yield "**Time on a processor for each call, us**"
        yield ""
        yield from cpu


def goal_lines(report: Report) -> Iterator[str]:
    """The goals, and whether they are met."""
    rows = [_goal_row(judge(goal, report["results"], report["missing"])) for goal in GOALS]
    yield from table(["work", "ratio to", "goal", "measured (lowest to highest)", "met"], rows)


def work_lines(report: Report, work: str, title: str) -> Iterator[str]:
    """One work: a row for each system that took part."""
    found: Mapping[str, Sequence[Sample]] = report["results"][work]
    kinds = [kind for kind in ("get", "set") if series(next(iter(found.values())), f"{kind}.count")]
    is_durable = "set" in kinds
    header = [f"{work}: {title}", "per second (lowest to highest)"]
    for kind in kinds:
        name = f"{kind} " if len(kinds) > 1 else ""
        header += [f"{name}p50, us", f"{name}p99, us"]
    if is_durable:
        header.append("survives")
    rows = []
    for system, samples in found.items():
        about = report["systems"][system]
        row = [about["title"], _with_range(spread(series(samples, "per_s")))]
        for kind in kinds:
            for path in (f"{kind}.p50_us", f"{kind}.p99_us"):
                values = series(samples, path)
                row.append(number(spread(values).median) if values else "")
        if is_durable:
            row.append(about["survives"])
        rows.append(row)
    yield from table(header, rows)


def cpu_lines(report: Report) -> Iterator[str]:
    """How long the processes of each server were at work for one call."""
    rows = []
    for work, systems in report["results"].items():
        for system, samples in systems.items():
            for part in samples[0].get("cpu_us", {}):
                found = series(samples, f"cpu_us.{part}")
                if found:
                    title = report["systems"][system]["title"]
                    rows.append([work, title, part, _with_range(spread(found))])
    yield from table(["work", "system", "process", "us a call (lowest to highest)"], rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, padded; the columns after the first that hold figures stand right."""
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    are_figures = [
        at > 0 and all(row[at][:1].isdigit() or not row[at] for row in rows)
        for at in range(len(header))
    ]
    sides = list(zip(widths, are_figures, strict=True))

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, (width, is_right) in zip(cells, sides, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    yield line(header)
    yield line(["-" * (width - is_right) + ":" * is_right for width, is_right in sides])
    for row in rows:
        yield line(row)


def number(value: float) -> str:
    """Three digits that matter; whole where there are as many before the point."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _with_range(found: Spread) -> str:
    return f"{number(found.median)} ({number(found.low)} to {number(found.high)})"


def _goal_row(verdict: Verdict) -> list[str]:
    goal, found = verdict.goal, verdict.found
    limit = f"at {'most' if goal.is_at_most else 'least'} {goal.limit:g} x"
    if found is None:
        return [goal.work, goal.ratio, limit, "", f"not measured: {verdict.reason}"]
    return [goal.work, goal.ratio, limit, _with_range(found), "yes" if verdict.is_met else "NO"]


def _about(report: Report) -> Iterator[str]:
    machine = report["machine"]
    yield (
        f"{report['rounds']} rounds of {report['seconds']:g} s; {machine['cores']} cores "
        f"({machine['processor']}), {machine['memory_mib']:,} MiB, {machine['kernel']}, "
        f"{machine['file_system']} on {machine['device']}, {machine['python']}."
    )
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    yield f"Versions: {versions}."
    for system, reason in report["missing"].items():
        yield f"Not measured: {system}: {reason}."

"""A run as tables: text that is Markdown and reads as well on a terminal.

Rule: pure; takes what a run's JSON holds and returns lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.figures import Results, Spread, differences, rounds_of, series, spread
from benchmarks.goals import Verdict, goals_of, judge
from benchmarks.record import Report


def report_lines(report: Report) -> Iterator[str]:
    """All of a run."""
    results: Results = report["results"]
    yield from _about(report)
    if goals_of(results):
        yield from ("", "**Goals**", "", *goal_lines(report))
    for work, found in results.items():
        lines = life_lines if work in ("life", "import") else load_lines
        yield from ("", f"**{work}: {found['title']}**", "", *lines(results, work))
    if any(_cpu_rows(results)):
        header = ["work", "system", "us a call (lowest to highest)", "of it"]
        rows = table(header, list(_cpu_rows(results)))
        yield from ("", "**Time on a processor for each call**", "", *rows)


def goal_lines(report: Report) -> Iterator[str]:
    """The goals, and whether they are met."""
    results = report["results"]
    rows = [_goal_row(judge(goal, results, report["missing"])) for goal in goals_of(results)]
    yield from table(["work", "beside", "goal", "measured (lowest to highest)", "met"], rows)


def load_lines(results: Results, work: str) -> Iterator[str]:
    """A work of client processes: a row for each system that took part."""
    systems = results[work]["systems"]
    first = next(iter(systems.values()))["rounds"]
    kinds = [kind for kind in ("get", "set") if series(first, f"{kind}.count")]
    header = ["system", "per second (lowest to highest)"]
    for kind in kinds:
        name = f"{kind} " if len(kinds) > 1 else ""
        header += [f"{name}p50, us", f"{name}p99, us"]
    if "set" in kinds:
        header.append("survives")
    rows = []
    for about in systems.values():
        row = [about["title"], _with_range(spread(series(about["rounds"], "per_s")))]
        for kind in kinds:
            for path in (f"{kind}.p50_us", f"{kind}.p99_us"):
                values = series(about["rounds"], path)
                row.append(number(spread(values).median) if values else "-")
        if "set" in kinds:
            row.append(about["survives"])
        rows.append(row)
    yield from table(header, rows)


def life_lines(results: Results, work: str) -> Iterator[str]:
    """A work of whole processes; where bare Python is among them, also what is beyond it."""
    bare = series(rounds_of(results, work, "python"), "p50_ms")
    header = ["program", "p50, ms (lowest to highest)"]
    if bare:
        header.append("more than nothing, ms")
    rows = []
    for about in results[work]["systems"].values():
        found = series(about["rounds"], "p50_ms")
        row = [about["title"], _with_range(spread(found))]
        if bare:
            row.append(number(spread(differences(found, bare)).median))
        rows.append(row)
    yield from table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table, padded; the columns after the first that hold figures stand right."""
    widths = [max(len(row[at]) for row in [header, *rows]) for at in range(len(header))]
    are_figures = [
        at > 0 and all(row[at].lstrip("-")[:1].isdigit() or row[at] in ("", "-") for row in rows)
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
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _with_range(found: Spread) -> str:
    return f"{number(found.median)} ({number(found.low)} to {number(found.high)})"


def _goal_row(verdict: Verdict) -> list[str]:
    goal, found = verdict.goal, verdict.found
    limit = f"at {'most' if goal.is_at_most else 'least'} {goal.limit:g} {goal.unit}"
    if goal.unit != "x":
        limit += " more"
    if found is None:
        return [goal.work, goal.than, limit, "-", f"not measured: {verdict.reason}"]
    return [goal.work, goal.than, limit, _with_range(found), "yes" if verdict.is_met else "**no**"]


def _cpu_rows(results: Results) -> Iterator[list[str]]:
    for work, found in results.items():
        for about in found["systems"].values():
            used = series(about["rounds"], "cpu_us.all")
            if used and about["survives"] != "nothing":
                parts = [part for part in about["rounds"][0]["cpu_us"] if part != "all"]
                medians = [
                    f"{part} {number(spread(series(about['rounds'], f'cpu_us.{part}')).median)}"
                    for part in parts
                ]
                of_it = " + ".join(medians) if len(parts) > 1 else ""
                yield [work, about["title"], _with_range(spread(used)), of_it]


def _about(report: Report) -> Iterator[str]:
    machine = report["machine"]
    yield (
        f"{report['rounds']} rounds of {report['seconds']:g} s on {machine['cores']} cores "
        f"({machine['processor']}) with {machine['memory_mib']:,} MiB; {machine['kernel']}; "
        f"{machine['file_system']} on {machine['device']}; {machine['python']}."
    )
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    yield f"Versions: {versions}."
    for system, reason in report["missing"].items():
        yield f"Not measured: {system}, as {reason}."

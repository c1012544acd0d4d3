"""Publish a run: its tables in docs/performance.md, its figures beside this file.

    python -m benchmarks.report [PATH]

PATH is what --json wrote; without it the document is written anew from what is published.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.record import PUBLISHED, Report, read, write
from benchmarks.tables import report_lines

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"

_BEGIN = "<!-- written by python -m benchmarks.report: begin -->\n"
_END = "<!-- written by python -m benchmarks.report: end -->\n"


def with_tables(document: str, report: Report) -> str:
    """The document with the tables of this run in place of those that it has."""
    before, _, rest = document.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"the document lacks the lines {_BEGIN!r} and {_END!r}")
    tables = "\n".join(report_lines(report))
    return f"{before}{_BEGIN}\n{tables}\n\n{_END}{after}"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description="Writes the tables of a run into docs/performance.md.",
    )
    parser.add_argument("path", nargs="?", type=Path, default=PUBLISHED, metavar="PATH")
    report = read(parser.parse_args().path)
    write(report, PUBLISHED)
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(), report))


if __name__ == "__main__":
    main()

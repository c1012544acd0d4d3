"""Publish a run: its tables in docs/performance.md, its figures beside this file.

    python -m benchmarks.report [PATH] [--scale PATH]

PATH is what --json wrote; without it the document is written anew from what is published. With
--scale, the text that python -m benchmarks.scale has printed takes its place there too.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.record import PUBLISHED, Report, read, write
from benchmarks.tables import report_lines

DOCUMENT = Path(__file__).parent.parent / "docs" / "performance.md"


def with_text(document: str, block: str, text: str) -> str:
    """The document with this text in the block of that name, in place of what is in it."""
    begin, end = (f"<!-- {block}, by benchmarks.report: {edge} -->\n" for edge in ("begin", "end"))
    before, is_there, rest = document.partition(begin)
    _, is_closed, after = rest.partition(end)
    if not (is_there and is_closed):
        raise ValueError(f"the document lacks the lines {begin!r} and {end!r}")
    return f"{before}{begin}\n{text.strip()}\n\n{end}{after}"


def with_tables(document: str, report: Report) -> str:
    """The document with the tables of this run."""
    return with_text(document, "tables", "\n".join(report_lines(report)))


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.report",
        description="Writes the tables of a run into docs/performance.md.",
    )
    add = parser.add_argument
    add("path", nargs="?", type=Path, default=PUBLISHED, metavar="PATH", help="of --json")
    add("--scale", type=Path, metavar="PATH", help="what python -m benchmarks.scale has printed")
    arguments = parser.parse_args()
    report = read(arguments.path)
    write(report, PUBLISHED)
    document = with_tables(DOCUMENT.read_text(), report)
    if arguments.scale:
        document = with_text(document, "scale", arguments.scale.read_text())
    DOCUMENT.write_text(document)


if __name__ == "__main__":
    main()

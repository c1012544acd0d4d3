"""Write the counts of the last ``make test-faults`` into docs/reliability.md.

    python scripts/reliability_tables.py faults.jsonl

Each section of the page that has counts holds a pair of marks, with the fault's name:

    <!-- counts: Bit rot -->
    <!-- counts end -->

Rule: figures as they were said; nothing is computed here.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "reliability.md"
_MARKED = re.compile(r"(<!-- counts: (?P<fault>.+?) -->\n).*?(<!-- counts end -->)", re.DOTALL)


def with_counts(page: str, said: list[dict[str, object]]) -> str:
    """The page with a table between each pair of marks. Raises ValueError for counts without."""
    by_fault: dict[str, list[dict[str, object]]] = {}
    for each in said:
        by_fault.setdefault(str(each["fault"]), []).append(each)
    known = {match["fault"] for match in _MARKED.finditer(page)}
    if missing := by_fault.keys() - known:
        raise ValueError(f"the page has no marks for: {', '.join(sorted(missing))}")

    def table(match: re.Match[str]) -> str:
        rows = by_fault.get(match["fault"])
        return match[0] if rows is None else match[1] + _table(rows) + match[3]

    return _MARKED.sub(table, page)


def _table(rows: list[dict[str, object]]) -> str:
    lines = ["| test | counts |", "|---|---|"]
    for row in rows:
        figures = row["figures"]
        assert isinstance(figures, dict)
        counts = ", ".join(
            f"{name.replace('_', ' ')}: {value:,}"
            if isinstance(value, int | float)
            else f"{name.replace('_', ' ')}: {value}"
            for name, value in figures.items()
        )
        words = str(row["test"]).removeprefix("test_").replace("_", " ")
        lines.append(f"| {words} | {counts} |")
    return "\n" + "\n".join(lines) + "\n\n"


def main() -> None:
    said = [json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    PAGE.write_text(with_counts(PAGE.read_text(), said))


if __name__ == "__main__":
    main()

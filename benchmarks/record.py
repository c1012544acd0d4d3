"""A run as a file: JSON with a line for each sample.

Rule: pure but for the file itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: What a run left: format, made, rounds, seconds, machine, versions, missing, results.
Report = dict[str, Any]

#: That of the run that docs/performance.md shows.
PUBLISHED = Path(__file__).parent / "results" / "published.json"


def dumps(report: Report) -> str:
    """The text of the file."""
    samples: list[str] = []

    def hold(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: hold(each) for key, each in value.items()}
        if isinstance(value, list):
            samples.extend(json.dumps(each) for each in value)
            return [f"\0{len(samples) - len(value) + at}" for at in range(len(value))]
        return value

    text = json.dumps(hold(report), indent=1, ensure_ascii=False)
    for at, sample in enumerate(samples):
        text = text.replace(f'"\\u0000{at}"', sample, 1)
    return text + "\n"


def write(report: Report, path: Path) -> None:
    """Write the file, and the directory it is in if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dumps(report))


def read(path: Path) -> Report:
    """What ``write`` has written there."""
    report: Report = json.loads(path.read_text())
    return report

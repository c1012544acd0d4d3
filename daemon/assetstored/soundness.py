"""Whether a copy that nobody serves is sound, as backups and restores ask.

Rule: what is checked is verifying.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from assetstored import datadir, engine
from assetstored.findings import Finding, Part, Progress
from assetstored.verifying import verify

#: So much of a part is done.
Tell: TypeAlias = Callable[[Part, int, int], None]


def problems_of(directory: Path, tell: Tell) -> list[str]:
    """What is wrong with the store in a directory; empty where nothing is. Raises CannotVerify."""
    problems = []
    for step in verify(directory):
        if isinstance(step, Progress):
            tell(step.part, step.done, step.total)
        elif isinstance(step, Finding):
            problems.append(str(step))
    return problems


def check_before_use(directory: Path) -> None:
    """Raise StartRefused where LMDB might end the process over the data file."""
    marker = datadir.read_marker(directory)
    if datadir.look_at_data_file(directory, marker) is not datadir.DataFile.SHORT:
        return
    if problems := engine.problems_of(str(directory)):
        raise datadir.StartRefused(
            f"{directory / datadir.DATA_FILE} is damaged ({len(problems)} problems, first: "
            f"{problems[0]}); use another backup, or restore this directory from one"
        )

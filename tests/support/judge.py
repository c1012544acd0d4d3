"""Says whether a data directory opens, is whole, and holds what it may: in a process of its own.

    python -m tests.support.judge

For each line on standard input, a JSON array of a directory and the states that are allowed
(asset -> key -> value), one line on standard output: null, or what is wrong.

The write-ahead log in it is a small one (small_log.py).

Rule: an unsound file may be the end of whoever opens it; so nobody else does.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support import small_log
from tests.support.checkout import ROOT
from tests.support.inspect_store import inspect

from assetstored import datadir
from assetstored.writer import StoreOfWriter

#: asset -> key -> value
State = dict[str, dict[str, Any]]


class Judge:
    """Asks the program, and starts it anew when a file was the end of it."""

    def __init__(self) -> None:
        self._start()

    def problem_of(self, data_dir: Path, allowed: list[State]) -> str | None:
        """What is wrong with the directory, or None. It is opened, and may be changed by that."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([str(data_dir), allowed]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if line:
            problem: str | None = json.loads(line)
            return problem
        status = self._stop()
        assert status < 0, f"the judge failed with status {status}"
        self._start()
        return f"whoever opens it dies of {signal.Signals(-status).name}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.judge"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _stop(self) -> int:
        self._process.communicate()
        return self._process.returncode


def judge(data_dir: Path, allowed: list[State]) -> str | None:
    """None if a store starts from this directory, is whole, and holds one of the states."""
    try:
        StoreOfWriter(data_dir).close()
    except datadir.StartRefused as exc:
        return f"it does not start: {exc}"
    found = inspect(data_dir)
    if found.problems:
        return found.problems[0]
    held = {
        name: {key: value for key, (value, _) in contents.items()}
        for name, contents in found.active.items()
    }
    return None if held in allowed else "it does not hold what was acknowledged"


if __name__ == "__main__":
    small_log.shrink()
    for question in sys.stdin:
        directory, states = json.loads(question)
        print(json.dumps(judge(Path(directory), states)), flush=True)

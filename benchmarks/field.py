"""The systems that are compared: all of them run from the begin of a run to its end.

Rule: measures nothing. Whatever ends a run, nothing of it is left.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.interrupts import held
from benchmarks.systems.registry import Missing, system
from benchmarks.systems.system import System, SystemFailed
from benchmarks.turns import Work


class Field:
    """The systems that run, in a directory that is gone with them."""

    def __init__(self, directory: Path) -> None:
        self._stack = ExitStack()
        enter = self._stack.enter_context
        with held():
            # A socket's path has at most 107 bytes, so it does not lie with the data.
            self._sockets = Path(enter(tempfile.TemporaryDirectory(prefix="bench-")))
            self._disk = Path(
                enter(tempfile.TemporaryDirectory(prefix="assetstore-bench-", dir=directory))
            )
        self.systems: list[System] = []
        #: Name -> why it is not among them.
        self.missing: dict[str, str] = {}

    def start(
        self,
        names: Sequence[str],
        works: Sequence[Work],
        airflow: str,
        say: Callable[[str], None],
    ) -> None:
        """Start the systems of these names that any of these works needs.

        What cannot be started here is missing. ``airflow`` is the interpreter that has Airflow.
        """
        for name in names:
            sockets = self._sockets / name
            sockets.mkdir()
            try:
                found = system(name, airflow)
                if not any(work.is_for(found) for work in works):
                    continue
                say(f"starting {name}")
                # Before it starts, as it may be interrupted half-way.
                self._stack.callback(found.stop)
                found.start(self._disk / name, sockets)
            except (Missing, SystemFailed) as exc:
                self.missing[name] = str(exc)
            else:
                self.systems.append(found)

    def versions(self) -> dict[str, str]:
        """Of all that takes part."""
        found: dict[str, str] = {}
        for each in self.systems:
            found |= each.versions()
        return found

    def __enter__(self) -> Field:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with held():
            self._stack.close()

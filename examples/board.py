"""What the demo shows: a line for each event, and on a terminal a bar for each worker below them.

Rule: nothing is decided here.
"""

from __future__ import annotations

import os
import shutil
from typing import TextIO

#: What stands beside a bar: year, brackets, days, the last day.
_BESIDE_CELLS = 32


class Board:
    """Lines scroll by, and the bars stay below them. Elsewhere than on a terminal: lines only."""

    def __init__(self, out: TextIO, totals: dict[int, int]) -> None:
        self._out = out
        self._totals = totals
        self._loaded = dict.fromkeys(totals, 0)
        self._until = dict.fromkeys(totals, "")
        self._bar_cells = min(40, shutil.get_terminal_size().columns - _BESIDE_CELLS)
        # A line that wraps could not be erased again.
        self._on_terminal = (
            out.isatty() and os.environ.get("TERM", "dumb") != "dumb" and self._bar_cells > 0
        )
        self._drawn = 0

    @property
    def loaded(self) -> int:
        """The days loaded so far, of all years."""
        return sum(self._loaded.values())

    def say(self, line: str = "") -> None:
        standing = self._drawn > 0
        self._erase()
        print(line, file=self._out, flush=True)
        if standing:
            self._draw()

    def act(self, title: str) -> None:
        """Begin a part of the show; the bars of the one before stay where they are."""
        self._drawn = 0
        self.say()
        self.say(f"\x1b[1m{title}\x1b[0m" if self._on_terminal else f"== {title}")

    def advance(self, year: int, added: int, until: str) -> None:
        """Move the bar of this year on; elsewhere than on a terminal, say so at each quarter."""
        total = self._totals[year]
        quarters_before = 4 * self._loaded[year] // total
        self._loaded[year] += added
        self._until[year] = until
        if self._on_terminal:
            self._erase()
            self._draw()
        elif 4 * self._loaded[year] // total > quarters_before:
            self.say(f"   {year}: {self._loaded[year]} of {total} days, until {until}")

    def _erase(self) -> None:
        if self._drawn:
            # Up over the bars, then clear from there to the end of the screen.
            self._out.write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        for year, total in self._totals.items():
            filled = self._bar_cells * self._loaded[year] // total
            bar = "#" * filled + "." * (self._bar_cells - filled)
            self._out.write(
                f"   {year} [{bar}] {self._loaded[year]:3}/{total} {self._until[year]}\n"
            )
        self._out.flush()
        self._drawn = len(self._totals)

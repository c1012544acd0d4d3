"""How far long work has come: one line on standard error, where somebody sees it.

Rule: draws; what is done, and of how much, is told to it. Standard output is not touched.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from assetstore_cli.options import Settings
from assetstore_cli.render import Screen, cut, display_width
from assetstore_cli.screens import is_terminal, screen_of

#: Called with how much is done, of how much.
Tell = Callable[[int, int], None]

#: Drawn more often than this it would cost time, and nobody sees it.
_PAUSE_S: Final = 0.1

#: A longer bar says no more.
_MOST_CELLS: Final = 40
_LEAST_CELLS: Final = 5


@contextmanager
def progress_bar(title: str, settings: Settings) -> Iterator[Tell | None]:
    """Something to tell progress to, or None where standard error is no terminal.

    What was drawn is wiped out at the end, however it ends.
    """
    stream = sys.stderr
    if stream is None or not is_terminal(stream):
        yield None
        return
    bar = _Bar(stream, screen_of(stream, settings), title)
    try:
        yield bar.tell
    finally:
        bar.wipe()


def bar_text(title: str, done: int, total: int, screen: Screen) -> str:
    """The line: title, a bar where there is room for one, how much of how much.

    A total of 0 is one that is not known.
    """
    width = (screen.width or 80) - 1
    if total <= 0:
        return cut(f"{title} {done:,}", width, screen.encoding)
    share = min(done / total, 1.0)
    # The same width from beginning to end, so that nothing jumps.
    counts = f"{int(share * 100):3d} % {min(done, total):{len(f'{total:,}')},} of {total:,}"
    cells = min(width - display_width(title) - len(counts) - 4, _MOST_CELLS)
    if cells < _LEAST_CELLS:
        return cut(f"{title} {counts}", width, screen.encoding)
    full = int(share * cells)
    return f"{title} [{'#' * full}{'.' * (cells - full)}] {counts}"


class _Bar:
    """A line that is drawn again and again."""

    def __init__(self, stream: TextIO, screen: Screen, title: str) -> None:
        self._stream = stream
        self._screen = screen
        self._title = title
        self._next = 0.0
        self._drawn = 0

    def tell(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PAUSE_S
            text = bar_text(self._title, done, total, self._screen)
            self._draw(text.ljust(self._drawn))
            self._drawn = len(text)

    def wipe(self) -> None:
        if self._drawn:
            self._draw(" " * self._drawn)
            self._draw("")

    def _draw(self, text: str) -> None:
        # Without an escape sequence: it works on a dumb terminal too.
        self._stream.write(f"\r{text}")
        self._stream.flush()

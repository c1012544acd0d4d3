"""Rows and fields as aligned lines.

Rule: pure, as render.py is. Every cell is made printable here, unless its column says that it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from assetstore_cli.render import Screen, cut, display_width, printable, styled

#: Column widths are settled by this many rows, so that a listing of a million keys
#: starts at once and is never held in memory.
ROWS_MEASURED = 1_000

_GAP = "  "
_LEAST_WIDTH = 6


class Column(NamedTuple):
    """A column of a table.

    ``fixed``: never made narrower than its cells. ``safe``: cells are printable already.
    ``style``: cell -> name of a style, or None. ``least``: as wide as that at least, for cells that
    are still to come.
    """

    title: str
    right: bool = False
    fixed: bool = False
    safe: bool = False
    style: Callable[[str], str | None] | None = None
    least: int = 0


class Layout:
    """Columns whose widths are settled, by some of the rows that they are to hold."""

    def __init__(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], screen: Screen
    ) -> None:
        self._columns = columns
        self._screen = screen
        self._titles = tuple(column.title for column in columns)
        shown = [self._titles, *(self._printable(row) for row in rows)]
        self._widths = [
            max(column.least, *(display_width(row[place]) for row in shown))
            for place, column in enumerate(columns)
        ]
        if screen.width is not None:
            _shrink(self._widths, columns, screen.width)

    def titles(self) -> str:
        """The line over all others."""
        heads = [column._replace(style=lambda _: "bold") for column in self._columns]
        return _line(self._titles, self._widths, heads, self._screen)

    def line(self, row: Sequence[str]) -> str:
        """The line of a row, whose cells are made printable here."""
        return _line(self._printable(row), self._widths, self._columns, self._screen)

    def _printable(self, row: Sequence[str]) -> tuple[str, ...]:
        return tuple(
            cell if column.safe else printable(cell, self._screen.encoding)
            for column, cell in zip(self._columns, row, strict=True)
        )


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], screen: Screen
) -> Iterator[str]:
    """Titles and rows as aligned lines that fit the screen, where there is one.

    No rows: no lines, not even the titles.
    """
    rest = iter(rows)
    measured = list(islice(rest, ROWS_MEASURED))
    if not measured:
        return
    layout = Layout(columns, measured, screen)
    yield layout.titles()
    for row in chain(measured, rest):
        yield layout.line(row)


def fields(pairs: Iterable[tuple[str, str]], screen: Screen) -> Iterator[str]:
    """Label and text, one a line, the texts below one another. Texts are made printable."""
    known = list(pairs)
    width = max((display_width(label) for label, _ in known), default=0)
    for label, text in known:
        padding = " " * (width - display_width(label))
        yield f"{styled(label, 'bold', screen)}{padding}{_GAP}{printable(text, screen.encoding)}"


def _shrink(widths: list[int], columns: Sequence[Column], limit: int) -> None:
    """Take from the widest column that may be cut until the line fits."""
    excess = sum(widths) + len(_GAP) * (len(widths) - 1) - limit
    while excess > 0:
        able = [
            place
            for place, column in enumerate(columns)
            if not column.fixed and widths[place] > _LEAST_WIDTH
        ]
        if not able:
            return
        widest = max(able, key=lambda place: widths[place])
        widths[widest] -= 1
        excess -= 1


def _line(
    row: Sequence[str], widths: Sequence[int], columns: Sequence[Column], screen: Screen
) -> str:
    line: list[str] = []
    room = screen.width
    gap = ""
    for place, (text, width, column) in enumerate(zip(row, widths, columns, strict=True), 1):
        if room is not None:
            if place == len(row) and not column.right:
                # Nothing stands behind it.
                width = room
            # What has no room at all is left out: a line never wraps.
            width = min(width, room - len(gap))
            if width <= 0:
                break
            room -= width + len(gap)
            text = cut(text, width, screen.encoding)
        padding = " " * (width - display_width(text))
        style = column.style(text) if column.style else None
        coloured = styled(text, style, screen)
        line += [gap, padding, coloured] if column.right else [gap, coloured, padding]
        gap = _GAP
    return "".join(line).rstrip()

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
    ``style``: cell -> name of a style, or None.
    """

    title: str
    right: bool = False
    fixed: bool = False
    safe: bool = False
    style: Callable[[str], str | None] | None = None


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], screen: Screen
) -> Iterator[str]:
    """Titles and rows as aligned lines that fit the screen, where there is one.

    Cells are made printable here. No rows: no lines, not even the titles.
    """
    shown = (
        tuple(
            cell if column.safe else printable(cell, screen.encoding)
            for column, cell in zip(columns, row, strict=True)
        )
        for row in rows
    )
    measured = list(islice(shown, ROWS_MEASURED))
    if not measured:
        return
    titles = tuple(column.title for column in columns)
    widths = [
        max(display_width(row[place]) for row in [titles, *measured])
        for place in range(len(columns))
    ]
    if screen.width is not None:
        _shrink(widths, columns, screen.width)
    heads = [column._replace(style=lambda _: "bold") for column in columns]
    yield _line(titles, widths, heads, screen)
    for row in chain(measured, shown):
        yield _line(row, widths, columns, screen)


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
    for text, width, column in zip(row, widths, columns, strict=True):
        if room is not None:
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

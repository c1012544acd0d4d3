"""Values to text: what is safe to show, how wide it is, tables, times, sizes, JSON lines.

Names, keys and values are other people's words: a key may hold the escape sequence that
renames a terminal's window. So everything that is shown to a person goes through ``printable``.

Rule: pure. No click, no clock, no streams: what the screen is like comes in as a ``Screen``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, NamedTuple

from assetstore.values import encode_value

#: Column widths are settled by this many rows, so that a listing of a million keys
#: starts at once and is never held in memory.
ROWS_MEASURED = 1_000

_GAP = "  "
_LEAST_WIDTH = 6
_SGR = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


class Screen(NamedTuple):
    """Where text will be seen.

    ``width`` is None where it is no terminal: nothing is cut to fit then.
    ``now`` is None where times are to be absolute.
    """

    width: int | None = None
    colour: bool = False
    now: datetime | None = None
    encoding: str = "utf-8"


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


# --- text


def printable(text: str, encoding: str = "utf-8") -> str:
    """The text in a form that cannot drive a terminal and that ``encoding`` can write.

    Control characters, invisible ones and those that turn the reading direction are shown as
    escapes; so is a backslash, so that two different texts never look the same.
    """
    if "\\" not in text and text.isprintable() and _is_encodable(text, encoding):
        return text
    return "".join(
        char
        if char != "\\" and char.isprintable() and _is_encodable(char, encoding)
        else _escape(char)
        for char in text
    )


def display_width(text: str) -> int:
    """How many columns of a terminal the (printable) text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0
        if unicodedata.category(char) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )


def cut(text: str, width: int, encoding: str = "utf-8") -> str:
    """The text, or as much of it as fits with a sign that there is more."""
    if display_width(text) <= width:
        return text
    sign = "…" if _is_encodable("…", encoding) else "..."
    room = width - len(sign)
    if room <= 0:
        return sign[: max(width, 0)]
    kept: list[str] = []
    for char in text:
        room -= display_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + sign


def styled(text: str, style: str | None, screen: Screen) -> str:
    """The text in a style ("bold", "dim", "red", "green", "yellow"), where there is colour."""
    if not screen.colour or style is None or not text:
        return text
    return f"\x1b[{_SGR[style]}m{text}\x1b[0m"


def _is_encodable(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _escape(char: str) -> str:
    if char == " ":
        return char
    return char.encode("unicode_escape").decode()


# --- times and quantities


def timestamp(when: datetime, *, fraction: bool = True) -> str:
    """RFC 3339 in UTC: 2026-01-31T08:15:30.250000Z."""
    spec = "microseconds" if fraction else "seconds"
    return when.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def moment(when: datetime | None, screen: Screen) -> str:
    """A time for a person: relative on a terminal ("3 min ago"), absolute elsewhere."""
    if when is None:
        return "-"
    if screen.now is None:
        return timestamp(when, fraction=False)
    seconds = (screen.now - when).total_seconds()
    if abs(seconds) < 2:
        return "just now"
    span = abs(seconds)
    # Beyond that nobody counts days.
    if span >= 60 * 86_400:
        return when.astimezone(UTC).date().isoformat()
    return f"{duration(span)} ago" if seconds > 0 else f"in {duration(span)}"


def duration(seconds: float) -> str:
    """The length of time in its largest fitting unit, rounded: "45 s", "3 min", "7 days"."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    if seconds < 59.5 * 60:
        return f"{seconds / 60:.0f} min"
    if seconds < 23.5 * 3600:
        return f"{seconds / 3600:.0f} h"
    days = f"{seconds / 86_400:.0f}"
    return f"{days} day" if days == "1" else f"{days} days"


def size(size_bytes: int) -> str:
    """The size in binary units, with three digits at most before the unit: "1.2 MiB"."""
    if size_bytes < 1024:
        return f"{size_bytes} B"
    amount = size_bytes / 1024
    units = iter(("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))
    unit = next(units)
    while amount >= 999.5:
        amount /= 1024
        unit = next(units)
    return f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:,.0f} {unit}"


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """The number with its noun: "1 entry", "1,200 entries"."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


# --- JSON


def json_text(value: Any, screen: Screen, *, for_eyes: bool = False) -> str:
    """JSON text that reads back as exactly this value.

    What the encoding cannot write, and on a terminal or ``for_eyes`` what ``printable`` would
    not let through, is escaped in JSON's own way: the text stays JSON of the same value.
    """
    text = encode_value(value).decode()
    if screen.width is None and not for_eyes and _is_encodable(text, screen.encoding):
        return text
    # All of JSON's own characters are ASCII, so what is replaced here stands within a string.
    return re.sub(r"[^ -~]", lambda match: _json_escape(match[0], screen.encoding), text)


def json_line(record: Mapping[str, Any], screen: Screen) -> str:
    """One flat record as one line; datetimes become RFC 3339 text in UTC."""
    plain = {
        name: timestamp(field) if isinstance(field, datetime) else field
        for name, field in record.items()
    }
    return json_text(plain, screen)


def _json_escape(char: str, encoding: str) -> str:
    if char.isprintable() and _is_encodable(char, encoding):
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))


# --- tables


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

"""Values to text: what is safe to show, how wide it is, times, sizes, JSON lines.

Names, keys and values are other people's words: a key may hold the escape sequence that
renames a terminal's window. So everything that is shown to a person goes through ``printable``.

Rule: pure. No click, no clock, no streams: what the screen is like comes in as a ``Screen``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from assetstore.values import encode_value

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


def json_text(value: Any, screen: Screen) -> str:
    """JSON text that reads back as exactly this value.

    What the encoding cannot write, and on a terminal what ``printable`` would not let through,
    is escaped in JSON's own way: the text stays JSON of the same value.
    """
    return _json_for(_json(value), screen)


def json_cell(value: Any, screen: Screen) -> str:
    """As much of the JSON text as a line of the screen can show, printable anywhere."""
    text = _json(value)
    # A value may have a million characters: there is no need to look at all of them.
    return _safe_json(text if screen.width is None else text[: screen.width + 1], screen)


def json_line(record: Mapping[str, Any], screen: Screen) -> str:
    """One record as one line; datetimes become RFC 3339 text in UTC."""
    # Field by field: a value nested as deep as may be has no level to spare for the record.
    pairs = (
        f"{_json(name)}:{_json(timestamp(field) if isinstance(field, datetime) else field)}"
        for name, field in record.items()
    )
    return _json_for("{" + ",".join(pairs) + "}", screen)


def _json(value: Any) -> str:
    return "null" if value is None else encode_value(value).decode()


def _json_for(text: str, screen: Screen) -> str:
    # To a program it goes as it is.
    if screen.width is None and _is_encodable(text, screen.encoding):
        return text
    return _safe_json(text, screen)


def _safe_json(text: str, screen: Screen) -> str:
    # All of JSON's own characters are ASCII, so what is replaced here stands within a string.
    return re.sub(r"[^ -~]", lambda match: _json_escape(match[0], screen.encoding), text)


def _json_escape(char: str, encoding: str) -> str:
    if char.isprintable() and _is_encodable(char, encoding):
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))

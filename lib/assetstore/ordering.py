"""Which of two values is the greater: the rule of ``advance``.

Numbers have an order, strings have one (by code point, or as instants), and so have lists of these,
item by item. Nothing else has: a mixture that compared somehow would move a watermark somewhere.

Rule: pure, over values as decode_value returns them, and in time proportional to their length.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Any, Final, TypeAlias

from assetstore.errors import InvalidRequest
from assetstore.messages import Order
from assetstore.values import place_of

__all__ = ["check_ordered", "is_greater", "kind_of"]

Path: TypeAlias = list[str | int]

# Minutes since an epoch, seconds (60 is a leap second), digits of the fraction. Offsets from UTC
# are whole minutes, so that a leap second falls between :59 and the next minute by itself.
Instant: TypeAlias = tuple[int, int, str]

# By exact type: bool is a subclass of int, and no number here.
_KINDS: Final[dict[type, str]] = {int: "number", float: "number", str: "string", list: "list"}
_SCALARS: Final = frozenset({int, float, str})

_WORDS: Final[dict[type, str]] = {int: "an int", type(None): "None"}
_RULES: Final[dict[Order, str]] = {
    "value": "numbers are compared with numbers, strings with strings, and lists of these",
    "time": 'with order "time" strings that are RFC 3339 instants are compared, and lists of these',
}

# RFC 3339, 5.6, with what its notes allow: lower case, and a space before the time. The offset may
# be missing here, to tell such a time from other strings. Kept as text: re compiles it when it is
# used first, and most programs never use it.
_INSTANT: Final = (
    r"(\d{4})-(\d\d)-(\d\d)[Tt ]([01]\d|2[0-3]):([0-5]\d):([0-5]\d|60)(?:\.(\d++))?"
    r"([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)?"
)
_CYCLE_YEARS: Final = 400
_CYCLE_MINUTES: Final = 146_097 * 24 * 60


def is_greater(new: Any, old: Any, order: Order, *, path: Path | None = None) -> bool:
    """Whether new comes after old, the value that is stored.

    Of lists the first difference decides, and what stands behind it is not looked at; a list comes
    after its own beginning. With order "time" all strings are RFC 3339 instants.

    Raises InvalidRequest where there is no order between the two. ``path`` is where they stand in
    a larger value, for that message.
    """
    return _compare(new, old, order, [] if path is None else path) > 0


def check_ordered(value: Any, order: Order, *, path: Path | None = None) -> None:
    """Raise InvalidRequest if any part of value has no order with anything.

    What passes can be compared with itself; so the first ``advance`` of a key, which has nothing
    to compare with, refuses what the second would.
    """
    _check(value, order, [] if path is None else path)


def kind_of(value: Any) -> str:
    """The type of value in words, for messages: "an int", "a str", "None"."""
    return _WORDS.get(type(value)) or f"a {type(value).__name__}"


def _compare(new: Any, old: Any, order: Order, path: Path) -> int:
    """Below, at or above 0, as new comes before old, is equal, or comes after it."""
    kind = _KINDS.get(type(new))
    if kind is None or kind != _KINDS.get(type(old)) or (order == "time" and kind == "number"):
        raise InvalidRequest(
            f"{place_of(path)} is {kind_of(new)} and cannot be compared with {kind_of(old)}, "
            f"which is stored there; {_RULES[order]}"
        )
    if kind != "list":
        if order == "time":
            new, old = _instant(new, "", path), _instant(old, "the stored ", path)
        sign: int = (new > old) - (new < old)
        return sign
    for step, (left, right) in enumerate(zip(new, old, strict=False)):
        # In line, since a list may hold 500,000 of these. If they are equal, so are their kinds.
        if (
            type(left) in _SCALARS
            and type(right) in _SCALARS
            and order == "value"
            and left == right
        ):
            continue
        path.append(step)
        sign = _compare(left, right, order, path)
        path.pop()
        if sign:
            return sign
    return len(new) - len(old)


def _check(value: Any, order: Order, path: Path) -> None:
    kind = _KINDS.get(type(value))
    if kind is None or (order == "time" and kind == "number"):
        raise InvalidRequest(f"{place_of(path)} is {kind_of(value)}; {_RULES[order]}")
    if kind == "list":
        for step, item in enumerate(value):
            if type(item) in _SCALARS and order == "value":
                continue
            path.append(step)
            _check(item, order, path)
            path.pop()
    elif order == "time":
        _instant(value, "", path)


def _instant(text: str, whose: str, path: Path) -> Instant:
    """The instant that text names, as something that sorts by time.

    Raises InvalidRequest; ``whose`` and ``path`` say in it which text this is.
    """
    match = re.fullmatch(_INSTANT, text, re.ASCII)
    found = match and _instant_of(match)
    if found:
        return found
    what = f"{whose}{place_of(path)} is {text[:40]!r}{'...' * (len(text) > 40)}"
    if match and not match[8]:
        raise InvalidRequest(
            f"{what}, which has no offset from UTC and so is no instant; "
            'it takes a "Z" at its end, or an offset such as "+02:00"'
        )
    raise InvalidRequest(
        f'{what}, which is no RFC 3339 instant; one is written as "2024-01-31T08:00:00Z"'
    )


def _instant_of(match: re.Match[str]) -> Instant | None:
    """None where the offset is missing, or there is no such day or leap second."""
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, offset = match[7] or "", match[8]
    if not offset:
        return None
    # RFC 3339 begins with year 0 and date with 1; after 400 years the calendar repeats.
    cycle, year_of_cycle = divmod(year, _CYCLE_YEARS)
    try:
        days = date(5 * _CYCLE_YEARS + year_of_cycle, month, day).toordinal()
    except ValueError:
        return None
    minutes = (days * 24 + hour) * 60 + minute
    if offset not in "Zz":
        minutes -= int(offset[0] + "1") * (int(offset[1:3]) * 60 + int(offset[4:]))
    if second == 60 and not _ends_month(minutes):
        return None
    # Without zeros at their end, digits of a fraction sort as text, however many there are.
    return minutes + cycle * _CYCLE_MINUTES, second, fraction.rstrip("0")


def _ends_month(minutes: int) -> bool:
    """Whether this is the last minute of a month in UTC, the only one that is ever 61 s long."""
    days, minute = divmod(minutes + 1, 24 * 60)
    return minute == 0 and date.fromordinal(days).day == 1

"""WHEN: a moment in the past of the store, as a person names it.

Rule: strict; what could be meant in two ways is refused, with what to write instead.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from assetstore_cli.render import timestamp

#: A revision, or an aware datetime.
Moment: TypeAlias = int | datetime

_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS_S)})(?: +ago)?", re.ASCII)

_DAY = r"\d{4}-\d\d-\d\d"
_TIME = re.compile(
    rf"{_DAY}(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?P<zone>[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII
)

_FORMS = (
    'it is a revision, as 42, a time with its zone, as 2026-01-31T08:15:30Z, or an age, as "2h ago"'
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


if TYPE_CHECKING:
    _MomentType = click.ParamType[Moment]
    _AgeType = click.ParamType[float]
    _RevisionType = click.ParamType[int]
else:  # generic since click 8.4
    _MomentType = _RevisionType = _AgeType = click.ParamType


class When(_MomentType):
    """An argument that names a moment: a revision, RFC 3339, or how long ago."""

    name = "when"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Moment:
        if not isinstance(value, str):
            given: Moment = value
            return given
        try:
            return moment_of(value, datetime.now(UTC))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Revision(_RevisionType):
    """A revision that a condition names; 0 is that of a key that is absent."""

    name = "revision"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, str) and not _is_number(value):
            self.fail(f"{value[:40]!r} is no revision: it is a number, as 42", param, ctx)
        try:
            return _revision(str(value))
        except ValueError as exc:
            self.fail(str(exc), param, ctx)


class Age(_AgeType):
    """An argument that is a length of time with a unit, in seconds."""

    name = "age"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = _AGE.fullmatch(str(value))
        if found is None or str(value).endswith("ago"):
            self.fail(
                f"{str(value)[:40]!r} is no length of time; write a number with one of "
                f"{', '.join(_UNITS_S)}, as 2h",
                param,
                ctx,
            )
        return float(found[1]) * _UNITS_S[found[2]]


def moment_of(text: str, now: datetime) -> Moment:
    """The moment that text names at this time. Raises ValueError, which says what to write."""
    if _is_number(text):
        return _revision(text)
    if age := _AGE.fullmatch(text):
        return _ago(text, float(age[1]) * _UNITS_S[age[2]], now)
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} names no moment; {_FORMS}")
    if found["zone"] is None:
        example = f"{text[:10]}T{text[11:] or '00:00:00'}"
        raise ValueError(
            f"{text!r} is another moment in every time zone; write {example}Z for UTC, or "
            f"{example}+02:00"
        )
    try:
        moment = datetime.fromisoformat(text.upper())
        is_past = _EPOCH <= moment <= now
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is no time that there is") from None
    if not is_past:
        when = "before 1970" if moment < _EPOCH else f"still to come: it is {timestamp(now)}"
        raise ValueError(f"{text!r} is {when}")
    return moment


def moment_text(moment: Moment) -> str:
    """The moment in words: "revision 42", "2026-01-31T08:15:30.000000Z"."""
    return f"revision {moment}" if isinstance(moment, int) else timestamp(moment)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _revision(text: str) -> int:
    # int() refuses very long ones, and no revision is as long.
    if len(text) > 20 or int(text) >= 2**63:
        raise ValueError(f"{text[:40]!r} is no revision: they are less than 2**63")
    return int(text)


def _ago(text: str, seconds: float, now: datetime) -> datetime:
    try:
        moment = now - timedelta(seconds=seconds)
    except OverflowError:
        moment = None
    if moment is None or moment < _EPOCH:
        raise ValueError(f"{text[:40]!r} ago is before 1970")
    return moment

"""Revisions and times as a caller gives them, checked.

Rule: pure, and no clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from assetstore.entries import time_to_us
from assetstore.errors import InvalidRequest


class Moment(NamedTuple):
    """A place in the journal: after the change of this revision, or at this time in us since 1970.

    One of them is given.
    """

    revision: int | None
    time: int | None


def check_revision(revision: object, what: str) -> int:
    """Return the revision, or raise TypeError or InvalidRequest if it can be none."""
    if isinstance(revision, bool) or not isinstance(revision, int):
        raise TypeError(f"{what} must be a revision, which is an int, not {_kind(revision)}")
    if not 0 <= revision < 2**63:
        raise InvalidRequest(f"{what} is {revision}, which is no revision: they are 0 to 2**63 - 1")
    return revision


def check_moment(moment: object, what: str) -> Moment:
    """The moment that an int, a revision, or an aware datetime means, or raise as check_revision.

    A naive datetime means another moment on every host, so it is refused.
    """
    if isinstance(moment, datetime):
        if moment.utcoffset() is None:
            raise InvalidRequest(
                f"{what} is {moment.isoformat()}, which has no time zone; "
                "give it one, as datetime.now(UTC) has"
            )
        microseconds = time_to_us(moment)
        if microseconds < 0:
            raise InvalidRequest(f"{what} is {moment.isoformat()}, which is before 1970")
        return Moment(None, microseconds)
    if isinstance(moment, bool) or not isinstance(moment, int):
        raise TypeError(f"{what} must be a revision or an aware datetime, not {_kind(moment)}")
    return Moment(check_revision(moment, what), None)


def _kind(value: object) -> str:
    return type(value).__name__

"""Revisions and times as a caller gives them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from assetstore.entries import time_from_us, time_to_us
from assetstore.errors import InvalidRequest
from assetstore.moments import Moment, check_moment, check_revision


@pytest.mark.parametrize("revision", [0, 1, 2**63 - 1])
def test_a_revision_is_a_counter(revision: int) -> None:
    assert check_revision(revision, "since") == revision
    assert check_moment(revision, "at") == Moment(revision, None)


@pytest.mark.parametrize("revision", [-1, 2**63])
def test_an_int_beyond_all_revisions_is_refused(revision: int) -> None:
    with pytest.raises(InvalidRequest, match=r"since is -?\d+, which is no revision"):
        check_revision(revision, "since")
    with pytest.raises(InvalidRequest, match="which is no revision"):
        check_moment(revision, "at")


@pytest.mark.parametrize("thing", [True, 1.0, "7", None])
def test_what_is_no_int_is_no_revision(thing: Any) -> None:
    with pytest.raises(TypeError, match="if_revision must be a revision, which is an int, not"):
        check_revision(thing, "if_revision")
    with pytest.raises(TypeError, match="at must be a revision or an aware datetime, not"):
        check_moment(thing, "at")


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=9))])
def test_an_aware_datetime_is_a_time_to_the_microsecond(zone: timezone) -> None:
    # A float of seconds cannot hold this one to the microsecond.
    time = time_from_us(9_007_199_254_740_993)

    assert check_moment(time.astimezone(zone), "at") == Moment(None, 9_007_199_254_740_993)
    assert time_to_us(time) == 9_007_199_254_740_993


def test_a_naive_datetime_means_another_moment_on_every_host() -> None:
    with pytest.raises(InvalidRequest, match=r"at is 2026-01-31T00:00:00, which has no time zone"):
        check_moment(datetime(2026, 1, 31), "at")  # noqa: DTZ001 - that is what is refused


def test_nothing_was_stored_before_1970() -> None:
    with pytest.raises(InvalidRequest, match="before 1970"):
        check_moment(datetime(1969, 12, 31, tzinfo=UTC), "to")

"""WHEN: which moment a person's words mean, and what is said of words that mean none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from assetstore_cli.when import moment_of, moment_text

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "revision"), [("0", 0), ("42", 42), ("007", 7), (str(2**63 - 1), 2**63 - 1)]
)
def test_a_number_is_a_revision(text: str, revision: int) -> None:
    assert moment_of(text, NOW) == revision


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-31T08:15:30Z", datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)),
        ("2026-01-31t08:15:30z", datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)),
        ("2026-01-31 08:15:30Z", datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)),
        ("2026-01-31T09:15:30+01:00", datetime(2026, 1, 31, 8, 15, 30, tzinfo=UTC)),
        ("2026-01-31T08:15:30.25-00:30", datetime(2026, 1, 31, 8, 45, 30, 250_000, tzinfo=UTC)),
        ("2026-01-31T08:15:30.123456789Z", datetime(2026, 1, 31, 8, 15, 30, 123_456, tzinfo=UTC)),
        ("2026-03-04T12:00:00Z", NOW),
        ("1970-01-01T00:00:00Z", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_a_time_with_its_zone_is_that_time(text: str, utc: datetime) -> None:
    assert moment_of(text, NOW) == utc


@pytest.mark.parametrize(
    ("text", "age"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("15min", timedelta(minutes=15)),
        ("2h", timedelta(hours=2)),
        ("2h ago", timedelta(hours=2)),
        ("2 h ago", timedelta(hours=2)),
        ("1.5h", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("1w", timedelta(days=7)),
        ("0s", timedelta()),
    ],
)
def test_an_age_is_so_long_ago(text: str, age: timedelta) -> None:
    assert moment_of(text, NOW) == NOW - age


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "yesterday", "now", "ago", "h", "2H", "2 hours", "1h30m", "-2h", "+2h"),
        *("1e3s", "2h  2m", " 42", "42 ", "4_2", "٤٢", "-1", "1.5", "0x10", "2hago", "½h"),
        *("2026-01-31T08:15Z", "2026-01-31T08:15:30+01", "2026-01-31T08:15:30+0100"),
        *("2026-1-31T08:15:30Z", "20260131T081530Z", "2026-W05-6", "2026-01-31T08:15:30Z\n"),
        *("2026-01-31T08:15:30,5Z", "2026-01-31  08:15:30Z", "26-01-31T08:15:30Z"),
    ],
)
def test_what_names_no_moment_is_refused_with_the_forms_that_do(text: str) -> None:
    with pytest.raises(ValueError, match=r"names no moment; .* 42, .*2026-01-31T08:15:30Z.*2h ago"):
        moment_of(text, NOW)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("2026-01-31", r"write 2026-01-31T00:00:00Z for UTC, or 2026-01-31T00:00:00\+02:00"),
        ("2026-01-31T08:15:30", "write 2026-01-31T08:15:30Z for UTC"),
        ("2026-01-31 08:15:30.5", "write 2026-01-31T08:15:30.5Z for UTC"),
    ],
)
def test_a_time_without_a_zone_is_refused_with_the_remedy(text: str, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        moment_of(text, NOW)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-02-30T00:00:00Z", "no time that there is"),
        ("2026-01-31T25:00:00Z", "no time that there is"),
        ("2026-01-31T08:15:60Z", "no time that there is"),
        ("0000-01-01T00:00:00Z", "no time that there is"),
        ("2026-01-31T08:15:30+24:00", "no time that there is"),
        ("2026-03-04T12:00:01Z", "still to come: it is 2026-03-04T12:00:00"),
        ("9999-12-31T23:59:59-23:59", "still to come"),
        ("1969-12-31T23:59:59Z", "before 1970"),
        ("0001-01-01T00:00:00+23:59", "before 1970"),
        ("100000d", "before 1970"),
        ("9" * 400 + "d", "before 1970"),
        (str(2**63), "no revision"),
        ("9" * 5000, "no revision"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        moment_of(text, NOW)


def test_a_moment_is_shown_as_it_can_be_given() -> None:
    assert moment_text(42) == "revision 42"
    assert moment_of(moment_text(NOW), NOW) == NOW

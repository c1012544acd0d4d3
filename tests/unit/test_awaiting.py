"""What ``wait_for`` takes for an answer."""

from __future__ import annotations

import math
from typing import Any

import pytest

from assetstore.awaiting import Awaited, check_wait
from assetstore.entries import Entry, RecordedWriter, time_from_us
from assetstore.errors import InvalidRequest, WaitTimeout

WRITER = RecordedWriter("worker", None, None, None, None, 1, 2, 3)


def entry(value: Any, revision: int = 7) -> Entry:
    return Entry("k", value, revision, time_from_us(5), WRITER)


@pytest.mark.parametrize(
    ("at_least", "met", "unmet"),
    [
        (7, [7, 8, 7.0], [6, 6.9]),
        ("2026-02", ["2026-02", "2026-02-01", "2027"], ["2026-01", ""]),
        (["a", 2], [["a", 2], ["a", 3], ["b", 0]], [["a", 1], ["a"]]),
    ],
)
def test_a_value_is_at_least_another_by_the_rule_of_advance(
    at_least: Any, met: list[Any], unmet: list[Any]
) -> None:
    awaited = Awaited(at_least, None, "value")

    assert [awaited.is_met_by(entry(value)) for value in met] == [True] * len(met)
    assert [awaited.is_met_by(entry(value)) for value in unmet] == [False] * len(unmet)


def test_instants_are_compared_as_such_where_that_is_asked_for() -> None:
    awaited = Awaited("2026-01-01T02:00:00+02:00", None, "time")

    assert awaited.is_met_by(entry("2026-01-01T00:00:00Z"))
    assert not awaited.is_met_by(entry("2025-12-31T23:59:59Z"))


def test_a_revision_is_after_another_if_it_is_greater() -> None:
    awaited = Awaited(None, 7, "value")

    assert not awaited.is_met_by(entry(1, revision=7))
    assert awaited.is_met_by(entry(1, revision=8))


def test_values_without_an_order_are_refused_and_the_stored_one_is_named_as_such() -> None:
    with pytest.raises(InvalidRequest, match="an int and cannot be compared with a str, which is"):
        Awaited(7, None, "value").is_met_by(entry("seven"))


@pytest.mark.parametrize("at_least", [True, {"a": 1}, [None]])
def test_what_nothing_can_be_compared_with_is_refused_before_anything_is_asked(
    at_least: Any,
) -> None:
    with pytest.raises(InvalidRequest):
        Awaited(at_least, None, "value")


@pytest.mark.parametrize("given", [{"at_least": None, "after": None}, {"at_least": 1, "after": 1}])
def test_one_thing_is_waited_for(given: Any) -> None:
    with pytest.raises(TypeError, match="either at_least or after"):
        Awaited(order="value", **given)


def test_a_bad_order_or_revision_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="order is"):
        Awaited(1, None, "size")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="after is -1"):
        Awaited(None, -1, "value")


def test_the_error_says_what_was_waited_for_and_what_is_there() -> None:
    error = Awaited("x" * 200, None, "value").timed_out("k", 1.5, entry(1, revision=9))
    assert isinstance(error, WaitTimeout)
    assert str(error).startswith("'k' was awaited for 1.5 s, with a value at least 'xxx")
    assert str(error).endswith("; it stands at revision 9")
    assert len(str(error)) < 200

    error = Awaited(None, 9, "value").timed_out("k", 1.5, None)
    assert "with a value after revision 9; it is absent" in str(error)


def test_a_wait_is_as_long_as_it_is_said_or_without_end() -> None:
    assert check_wait(None) == math.inf
    assert check_wait(0) == 0
    assert check_wait(1_000_000) == 1_000_000


@pytest.mark.parametrize("timeout", [-1, float("nan")])
def test_a_wait_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidRequest):
        check_wait(timeout)


@pytest.mark.parametrize("timeout", ["1", True])
def test_a_wait_is_a_number(timeout: Any) -> None:
    with pytest.raises(TypeError):
        check_wait(timeout)

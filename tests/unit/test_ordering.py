"""Which of two values is the greater, and what has no order at all."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest

from assetstore.errors import InvalidRequest
from assetstore.messages import Order
from assetstore.ordering import check_ordered, is_greater

#: Each is greater than the one before it.
ASCENDING: dict[str, list[Any]] = {
    "numbers": [-(10**400), -1.5, -1, 0, 5e-324, 0.1, 1, 1.5, 2**53, 2**53 + 1, 1e300, 10**400],
    # Unlike in UTF-16, characters beyond the first 65,536 come last.
    "strings": ["", "\x00", "0", "10", "9", "A", "a", "a\x00", "aa", "é", "\uffff", "\U00010000"],
    "lists": [[], [1], [1, "a"], [1, "a", 0], [1, "b"], [1.5], [2, "a"]],
    "lists in lists": [[], [[]], [[], []], [[1], 5], [[1, 2]], [[1, 3]], [[2]]],
}

ASCENDING_TIMES = [
    "0000-01-01T00:00:00+23:59",
    "0000-02-29T23:59:59Z",
    "0001-01-01T00:00:00+00:01",
    "0000-12-31T23:59:59Z",
    "0001-01-01T00:00:00Z",
    "1900-02-28T23:59:59.999999999999Z",
    "1900-03-01T00:00:00Z",
    "2000-02-29T12:00:00Z",
    "2024-01-31T10:00:00+02:00",
    "2024-01-31T08:00:00.000000000000000000000000000001Z",
    "2024-01-31T08:00:00.0000001Z",
    "2024-01-31T08:00:00.00000010001Z",
    "2024-01-31T08:00:00.1-00:00",
    "2024-01-31t08:00:00.11z",
    "2024-01-31 08:00:00.2Z",
    "2024-01-31T08:00:01+00:00",
    "2024-01-31T07:00:00-01:01",
    "2024-06-30T23:59:59.999Z",
    "2024-06-30T15:59:60-08:00",
    "2024-06-30T23:59:60.5Z",
    "2024-07-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "9999-12-31T23:59:59-23:59",
]

EQUAL_TIMES = [
    "2024-02-29T23:30:00Z",
    "2024-02-29t23:30:00z",
    "2024-02-29 23:30:00.000-00:00",
    "2024-03-01T01:00:00.0+01:30",
    "2024-02-29T00:00:00-23:30",
]

NAIVE = ["2024-01-31T08:00:00", "2024-01-31 08:00:00.5", "0000-01-01t00:00:00"]

NO_INSTANTS = [
    "",
    "yesterday",
    "2024-01-31",
    "2024-01-31T08:00Z",
    "2024-01-31T08:00:00+0200",
    "2024-01-31T08:00:00+02",
    "2024-01-31T08:00:00+24:00",
    "2024-01-31T08:00:00+02:60",
    "2024-01-31T08:00:00 Z",
    "2024-01-31T08:00:00.Z",
    "2024-01-31T08:00:00,5Z",
    "2024-01-31_08:00:00Z",
    "2024-01-31T24:00:00Z",
    "2024-01-31T08:60:00Z",
    "2024-01-31T08:00:61Z",
    "2024-01-31T08:00:60Z",
    "2024-06-29T23:59:60Z",
    "2024-06-30T23:59:60+01:00",
    "2024-07-01T00:59:60Z",
    "2023-02-29T08:00:00Z",
    "1900-02-29T08:00:00Z",
    "2024-00-01T08:00:00Z",
    "2024-13-01T08:00:00Z",
    "2024-01-00T08:00:00Z",
    "20240131T080000Z",
    "12024-01-31T08:00:00Z",
    "-2024-01-31T08:00:00Z",
    " 2024-01-31T08:00:00Z",
    "2024-01-31T08:00:00Z\n",
    "2024-01-31T08:00:00\u221202:00",
    "\u0662\u0660\u0662\u0664-01-31T08:00:00Z",
    "1706688000",
]

UNORDERED = [None, True, False, {}, {"a": 1}]
ORDERED = [0, -0.5, 2**70, "", "a", [], [1, "a"]]


def nested(core: Any, levels: int) -> Any:
    for _ in range(levels):
        core = [core]
    return core


def refusal(new: Any, old: Any, order: Order = "value") -> str:
    with pytest.raises(InvalidRequest) as caught:
        is_greater(new, old, order)
    return str(caught.value)


def refusal_of_one(value: Any, order: Order = "value") -> str:
    with pytest.raises(InvalidRequest) as caught:
        check_ordered(value, order)
    return str(caught.value)


# --- by value


@pytest.mark.parametrize("kind", ASCENDING)
def test_of_two_values_of_a_kind_the_later_in_order_is_greater(kind: str) -> None:
    for smaller, greater in combinations(ASCENDING[kind], 2):
        assert is_greater(greater, smaller, "value"), (smaller, greater)
        assert not is_greater(smaller, greater, "value"), (smaller, greater)


def test_equal_values_are_not_greater() -> None:
    for value in [value for values in ASCENDING.values() for value in values]:
        assert not is_greater(value, value, "value")
    assert not is_greater(1, 1.0, "value")
    assert not is_greater(-0.0, 0, "value")
    assert not is_greater([1, ["a"]], [1.0, ["a"]], "value")


def test_integers_and_floats_are_compared_exactly() -> None:
    assert is_greater(2**53 + 1, float(2**53), "value")
    assert not is_greater(float(2**53), 2**53 + 1, "value")
    assert is_greater(10**400, 1.7e308, "value")


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (1, "1", "value is an int and cannot be compared with a str"),
        ("1", 1.5, "value is a str and cannot be compared with a float"),
        (True, 1, "value is a bool and cannot be compared with an int"),
        (1, False, "value is an int and cannot be compared with a bool"),
        (True, False, "value is a bool and cannot be compared with a bool"),
        (None, 1, "value is None and cannot be compared with an int"),
        ({}, {}, "value is a dict and cannot be compared with a dict"),
        ([1], 1, "value is a list and cannot be compared with an int"),
        ([1, "a"], [1, 2], "value[1] is a str and cannot be compared with an int"),
        ([1, True], [1, 1], "value[1] is a bool and cannot be compared with an int"),
        ([0], [False], "value[0] is an int and cannot be compared with a bool"),
        ([1, None], [1, None], "value[1] is None and cannot be compared with None"),
        ([{}], [{}], "value[0] is a dict and cannot be compared with a dict"),
        ([0, [1, ["a"]]], [0, [1, [2]]], "value[1][1][0] is a str and cannot be compared with"),
        ([[1]], [1], "value[0] is a list and cannot be compared with an int"),
    ],
)
def test_two_that_have_no_order_are_refused_with_both_types_and_the_place(
    new: Any, old: Any, said: str
) -> None:
    assert refusal(new, old).startswith(said)
    assert "numbers are compared with numbers, strings with strings" in refusal(new, old)


def test_of_lists_nothing_is_looked_at_behind_the_first_difference() -> None:
    assert is_greater([2, None, "a"], [1, {}, 5], "value")
    assert not is_greater([1, {}], [2, None], "value")
    assert is_greater([[2, None], 1], [[1, None], "a"], "value")
    assert is_greater([1, None], [1], "value")


def test_the_place_within_a_larger_value_is_in_the_message() -> None:
    with pytest.raises(InvalidRequest, match=r'^value\["a"\]\[0\]\[1\] is a str'):
        is_greater([1, "a"], [1, 2], "value", path=["a", 0])
    with pytest.raises(InvalidRequest, match=r'^value\["a"\]\[0\]\[1\] is None'):
        check_ordered([1, None], "value", path=["a", 0])


def test_a_path_is_left_as_it_was_where_nothing_is_refused() -> None:
    path: list[str | int] = ["a"]
    for order, small, great in [("value", 1, 2), ("time", *ASCENDING_TIMES[:2])]:
        is_greater([[small]], [[great]], order, path=path)  # type: ignore[arg-type]
        check_ordered([[small]], order, path=path)  # type: ignore[arg-type]

    assert path == ["a"]


# --- by time


def test_of_two_instants_the_later_is_greater_however_it_is_written() -> None:
    for earlier, later in combinations(ASCENDING_TIMES, 2):
        assert is_greater(later, earlier, "time"), (earlier, later)
        assert not is_greater(earlier, later, "time"), (earlier, later)


def test_one_instant_written_in_different_ways_is_never_greater() -> None:
    for new in EQUAL_TIMES:
        for old in EQUAL_TIMES:
            assert not is_greater(new, old, "time"), (new, old)


def test_a_difference_in_the_last_of_100_000_digits_counts() -> None:
    second = "2024-01-31T08:00:00." + "123456789" * 11_111

    assert is_greater(second + "1Z", second + "Z", "time")
    assert is_greater(second + "2Z", second + "1000Z", "time")
    assert not is_greater(second + "000Z", second + "Z", "time")


@pytest.mark.parametrize("naive", NAIVE)
def test_a_time_without_an_offset_is_refused_with_the_remedy(naive: str) -> None:
    good = "2024-01-31T08:00:00Z"

    said = refusal(naive, good, "time")
    assert said.startswith(f"value is '{naive}', which has no offset from UTC")
    assert '"Z"' in said
    assert '"+02:00"' in said
    assert refusal(good, naive, "time").startswith(f"the stored value is '{naive}', which has no")
    assert refusal([good, naive], [good, good], "time").startswith(f"value[1] is '{naive}', which")
    assert refusal([good, good], [good, naive], "time").startswith("the stored value[1] is")
    assert refusal_of_one(naive, "time") == said


@pytest.mark.parametrize("text", NO_INSTANTS)
def test_what_is_no_instant_is_refused(text: str) -> None:
    good = "2024-01-31T08:00:00Z"

    said = refusal(text, good, "time")
    assert said.startswith(f"value is {text!r}, which is no RFC 3339 instant")
    assert '"2024-01-31T08:00:00Z"' in said
    assert refusal(good, text, "time").startswith(f"the stored value is {text!r}, which is no RFC")
    assert refusal_of_one(text, "time") == said


def test_of_a_long_text_the_message_shows_the_beginning() -> None:
    said = refusal_of_one("x" * 1_000_000, "time")

    assert said.startswith(f"value is '{'x' * 40}'..., which is no RFC 3339 instant")
    assert len(said) < 200


def test_two_equal_texts_that_are_no_instants_are_refused_by_time() -> None:
    assert "no RFC 3339 instant" in refusal("a", "a", "time")
    assert "no RFC 3339 instant" in refusal(["a"], ["a"], "time")


@pytest.mark.parametrize(
    ("new", "old", "said"),
    [
        (1, 2, "value is an int and cannot be compared with an int"),
        (1.5, ASCENDING_TIMES[0], "value is a float and cannot be compared with a str"),
        ([1], [1], "value[0] is an int and cannot be compared with an int"),
        (None, ASCENDING_TIMES[0], "value is None and cannot be compared with a str"),
    ],
)
def test_by_time_nothing_but_instants_has_an_order(new: Any, old: Any, said: str) -> None:
    assert refusal(new, old, "time").startswith(said)
    assert "RFC 3339 instants" in refusal(new, old, "time")


def test_lists_of_instants_are_compared_item_by_item() -> None:
    noon_in_utc, noon_further_east = "2024-01-31T12:00:00Z", "2024-01-31T12:00:00+02:00"

    assert is_greater([noon_in_utc], [noon_further_east], "time")
    assert is_greater([noon_in_utc, noon_in_utc], [noon_in_utc, noon_further_east], "time")
    assert is_greater([[noon_in_utc], noon_in_utc], [["2024-01-31T14:00:00+02:00"]], "time")
    assert not is_greater([noon_in_utc], ["2024-01-31T14:00:00+02:00"], "time")
    # As text it is the other way round.
    assert is_greater("2024-01-31T10:00:00Z", "2024-01-31T11:00:00+02:00", "time")


# --- what has an order at all


@pytest.mark.parametrize("value", ORDERED, ids=repr)
def test_what_can_be_compared_with_itself_is_ordered(value: Any) -> None:
    check_ordered(value, "value")
    check_ordered([value, [value]], "value")
    assert not is_greater(value, value, "value")


@pytest.mark.parametrize("value", UNORDERED, ids=repr)
@pytest.mark.parametrize("order", ["value", "time"])
def test_what_never_compares_is_refused_wherever_it_stands(value: Any, order: Order) -> None:
    good = ASCENDING_TIMES[0]

    assert refusal_of_one(value, order).startswith("value is ")
    assert refusal_of_one([good, value], order).startswith("value[1] is ")
    assert refusal_of_one([good, [[], [value]]], order).startswith("value[1][1][0] is ")


def test_by_time_only_instants_and_lists_of_them_are_ordered() -> None:
    for value in [*ASCENDING_TIMES, [], ASCENDING_TIMES, [[ASCENDING_TIMES[0]], []]]:
        check_ordered(value, "time")
    assert refusal_of_one(1, "time").startswith("value is an int; with order")
    assert refusal_of_one([0.5], "time").startswith("value[0] is a float; with order")


# --- large and deep


def test_values_nested_255_levels_deep_are_compared() -> None:
    assert is_greater(nested(2, 255), nested(1, 255), "value")
    assert not is_greater(nested(1, 255), nested(1, 255), "value")
    check_ordered(nested(ASCENDING_TIMES[0], 255), "time")
    said = refusal(nested("a", 255), nested(1, 255))
    assert said.startswith("value" + "[0]" * 8 + "..." + "[0]" * 8 + " is a str")


def test_integers_that_python_refuses_to_write_are_compared_and_refused() -> None:
    assert is_greater(10**5_000 + 1, 10**5_000, "value")
    assert refusal(10**5_000, "a").startswith("value is an int")

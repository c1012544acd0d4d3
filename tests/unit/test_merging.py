"""Laying the fields of one object over those of another."""

from __future__ import annotations

import json
from typing import Any, Literal

import pytest

from assetstore.errors import InvalidRequest
from assetstore.messages import Order
from assetstored.merging import merged

#: The cases of RFC 7396, appendix A, between objects, with the nulls of a patch as paths to remove.
RFC_CASES: list[tuple[Any, Any, list[list[str]], Any]] = [
    ({"a": "b"}, {"a": "c"}, [], {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, [], {"a": "b", "b": "c"}),
    ({"a": "b"}, {}, [["a"]], {}),
    ({"a": "b", "b": "c"}, {}, [["a"]], {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, [], {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, [], {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d"}}, [["a", "c"]], {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, [], {"a": [1]}),
    ({"e": None}, {"a": 1}, [], {"e": None, "a": 1}),
    ({}, {"a": {"bb": {}}}, [["a", "bb", "ccc"]], {"a": {"bb": {}}}),
]

SAME = [
    ({}, {}),
    ({"a": 1}, {}),
    ({"a": 1}, {"a": 1}),
    ({"a": None}, {"a": None}),
    ({"a": {"b": [1, {"c": 0.5}]}}, {"a": {"b": [1, {"c": 0.5}]}}),
    ({"a": [{"b": 1, "c": 2}]}, {"a": [{"c": 2, "b": 1}]}),
    ({"a": {}}, {"a": {}}),
]

DIFFERENT = [
    ({}, {"a": None}),
    ({}, {"a": {}}),
    ({"a": 1}, {"a": 1.0}),
    ({"a": 1}, {"a": True}),
    ({"a": 0.0}, {"a": False}),
    ({"a": 0.0}, {"a": -0.0}),
    ({"a": None}, {"a": {}}),
    ({"a": []}, {"a": {}}),
    ({"a": [1, 2]}, {"a": [1]}),
    ({"a": [1]}, {"a": [1.0]}),
    ({"a": [{"b": 1}]}, {"a": [{"b": 1, "c": 2}]}),
    ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}),
    ({"a": {"b": {"c": 1}}}, {"a": {"b": {"c": "1"}}}),
]


def merge(
    current: dict[str, Any],
    patch: dict[str, Any],
    *paths: list[str],
    how: Literal["replace", "max"] = "replace",
    order: Order = "value",
) -> tuple[dict[str, Any], bool]:
    """merged, and a look at whether it has changed what it was given."""
    before = json.dumps([current, patch, paths])
    try:
        return merged(current, patch, remove=list(paths), how=how, order=order)
    finally:
        assert json.dumps([current, patch, paths]) == before


def largest(current: dict[str, Any], patch: dict[str, Any], order: Order = "value") -> Any:
    return merge(current, patch, how="max", order=order)


def refusal(current: dict[str, Any], patch: dict[str, Any], order: Order = "value") -> str:
    with pytest.raises(InvalidRequest) as caught:
        largest(current, patch, order)
    return str(caught.value)


def nested(core: Any, levels: int) -> Any:
    for _ in range(levels):
        core = {"k": core}
    return core


# --- replace


@pytest.mark.parametrize(("current", "patch", "paths", "result"), RFC_CASES)
def test_objects_are_merged_as_rfc_7396_says(
    current: Any, patch: Any, paths: list[list[str]], result: Any
) -> None:
    assert merge(current, patch, *paths) == (result, result != current)


@pytest.mark.parametrize(("current", "patch"), SAME)
def test_a_patch_that_says_what_is_there_makes_no_difference(current: Any, patch: Any) -> None:
    assert merge(current, patch) == (current, False)


@pytest.mark.parametrize(("current", "patch"), DIFFERENT)
def test_another_type_or_sign_of_zero_is_a_difference(current: Any, patch: Any) -> None:
    result, differs = merge(current, patch)

    assert differs
    assert json.dumps(result) == json.dumps(patch)


def test_null_is_a_value_and_removes_nothing() -> None:
    assert merge({"a": 1, "b": {"c": 2}}, {"a": None, "b": {"c": None}}) == (
        {"a": None, "b": {"c": None}},
        True,
    )


def test_what_the_patch_does_not_name_stays_at_every_depth() -> None:
    current = {"a": {"b": {"c": 1, "d": 2}, "e": 3}, "f": 4}

    assert merge(current, {"a": {"b": {"d": 5}}}) == (
        {"a": {"b": {"c": 1, "d": 5}, "e": 3}, "f": 4},
        True,
    )


# --- remove


def test_paths_lead_to_fields_at_any_depth() -> None:
    current = {"a": {"b": {"c": 1, "d": 2}, "e": 3}, "f": 4, "g": {"h": 5}}

    assert merge(current, {}, ["a", "b", "c"], ["a", "e"], ["g"]) == (
        {"a": {"b": {"d": 2}}, "f": 4},
        True,
    )


def test_an_object_that_has_lost_its_last_field_stays_as_an_empty_one() -> None:
    assert merge({"a": {"b": 1}}, {}, ["a", "b"]) == ({"a": {}}, True)


@pytest.mark.parametrize(
    "path", [["x"], ["x", "y"], ["a", "x"], ["a", "x", "y"], ["n", "x"], ["l", "0"], ["s", "x"]]
)
def test_a_path_that_leads_nowhere_removes_nothing(path: list[str]) -> None:
    current = {"a": {"b": 1}, "n": None, "l": [{"x": 1}], "s": "x"}

    assert merge(current, {}, path) == (current, False)


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="a path to remove is empty"):
        merge({"a": 1}, {}, ["a"], [])


def test_removing_comes_first_so_that_the_patch_can_put_something_else_there() -> None:
    assert merge({"a": {"b": 1}}, {"a": {"c": 2}}, ["a"]) == ({"a": {"c": 2}}, True)
    assert merge({"a": 5}, {"a": 3}, ["a"], how="max") == ({"a": 3}, True)


def test_what_is_removed_and_comes_back_the_same_makes_no_difference() -> None:
    current = {"a": {"b": 1, "c": 2}, "d": 3}

    assert merge(current, {"a": {"c": 2, "b": 1}}, ["a"]) == (current, False)
    assert merge(current, {"a": {"b": 1}}, ["a", "b"]) == (current, False)
    assert merge(current, {"a": {"b": 1.0}}, ["a", "b"])[1]
    assert merge(current, {"a": {"b": 1}}, ["a"])[1]


def test_the_same_path_twice_or_below_another_is_as_good_as_once() -> None:
    current = {"a": {"b": {"c": 1}}}

    assert merge(current, {}, ["a", "b"], ["a", "b"]) == ({"a": {}}, True)
    for paths in ([["a", "b", "c"], ["a"]], [["a"], ["a", "b", "c"]]):
        assert merge(current, {}, *paths) == ({}, True)


# --- max


def test_by_max_each_field_is_taken_where_it_is_absent_or_greater() -> None:
    current = {"a": 1, "b": 5, "c": "x", "d": [1, 2]}

    assert largest(current, {"a": 2, "b": 4, "c": "y", "d": [1, 1], "e": 0}) == (
        {"a": 2, "b": 5, "c": "y", "d": [1, 2], "e": 0},
        True,
    )


def test_by_max_what_is_equal_is_kept_and_makes_no_difference() -> None:
    result, differs = largest({"a": 1, "b": {"c": 2.0}}, {"a": 1.0, "b": {"c": 2}})

    assert not differs
    assert json.dumps(result) == json.dumps({"a": 1, "b": {"c": 2.0}})


def test_by_max_objects_are_merged_by_the_same_rule() -> None:
    current = {"a": {"b": 1, "c": {"d": 5}}}

    assert largest(current, {"a": {"b": 0, "c": {"d": 6, "e": 1}, "f": {}}}) == (
        {"a": {"b": 1, "c": {"d": 6, "e": 1}, "f": {}}},
        True,
    )


def test_by_max_instants_are_compared_in_time() -> None:
    earlier, later = "2024-01-31T11:00:00+02:00", "2024-01-31T10:00:00Z"

    assert largest({"a": earlier}, {"a": later}, "time") == ({"a": later}, True)
    assert largest({"a": later}, {"a": earlier}, "time") == ({"a": later}, False)
    assert refusal({"a": later}, {"a": "2024-01-31"}, "time").startswith('value["a"] is ')
    assert refusal({"a": "x"}, {"a": later}, "time").startswith('the stored value["a"] is ')


@pytest.mark.parametrize(
    ("current", "patch", "said"),
    [
        ({"a": 1}, {"a": "x"}, 'value["a"] is a str and cannot be compared with an int'),
        (
            {"a": {"b": None}},
            {"a": {"b": 1}},
            'value["a"]["b"] is an int and cannot be compared with None',
        ),
        ({"a": 1}, {"a": {}}, 'value["a"] is a dict and cannot be compared with an int'),
        ({"a": {}}, {"a": [1]}, 'value["a"] is a list and cannot be compared with a dict'),
        ({"a": True}, {"a": True}, 'value["a"] is a bool and cannot be compared with a bool'),
        (
            {"a": {"b c": [1, [2]]}},
            {"a": {"b c": [1, ["x"]]}},
            'value["a"]["b c"][1][0] is a str and cannot be compared with an int',
        ),
    ],
)
def test_by_max_what_has_no_order_with_what_is_there_is_refused(
    current: Any, patch: Any, said: str
) -> None:
    assert refusal(current, {"0": 0, **patch}).startswith(said)


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"a": None}, 'value["a"] is None'),
        ({"a": {"b": True}}, 'value["a"]["b"] is a bool'),
        ({"a": {"b": {"c": [0, {}]}}}, 'value["a"]["b"]["c"][1] is a dict'),
        ({"there": [2, None]}, 'value["there"][1] is None'),
    ],
)
def test_by_max_what_the_next_merge_would_refuse_is_refused_at_once(patch: Any, said: str) -> None:
    assert refusal({"there": [1, 0]}, patch).startswith(said)


# --- large and deep


def test_objects_nested_255_levels_deep_are_merged() -> None:
    small, great, other = (nested(core, 255) for core in (1, 2, "x"))

    assert merge(small, great) == (great, True)
    assert merge(small, nested(1, 255)) == (small, False)
    assert merge({"a": small["k"]}, {"a": nested([great], 10)})[1]
    assert largest(small, great) == (great, True)
    assert largest({}, great) == (great, True)
    assert merge(small, {}, ["k"] * 255) == (nested({}, 254), True)
    assert merge(small, great, ["k"] * 100) == (great, True)
    said = refusal(small, other)
    assert said.startswith("value" + '["k"]' * 8 + "..." + '["k"]' * 8 + " is a str")


def test_lists_nested_255_levels_deep_are_told_apart() -> None:
    deep: list[Any] = [1, 1, 1.0]
    for place in range(3):
        for _ in range(254):
            deep[place] = [deep[place]]

    assert not merge({"a": deep[0]}, {"a": deep[1]})[1]
    assert merge({"a": deep[0]}, {"a": deep[2]})[1]


def test_many_paths_and_long_ones_are_walked_once() -> None:
    names = [str(number) for number in range(20_000)]
    current = {"a": {"b": dict.fromkeys(names, 1)}}

    assert merge(current, {}, *(["a", "b", name] for name in names)) == ({"a": {"b": {}}}, True)
    assert merge(current, {}, ["a"] * 100_000) == (current, False)

"""What a caller may give to a change, and what is refused before it is sent."""

from __future__ import annotations

from typing import Any

import pytest

from assetstore import messages as m
from assetstore.errors import InvalidRequest
from assetstore.operations import (
    advance_key,
    check_key_at,
    delete_key,
    increment_key,
    merge_key,
    pairs_of,
    set_key,
)

ORDERS = m.AssetRef("orders")


def merged(patch: Any = None, remove: Any = (), how: Any = "replace", order: Any = "value") -> Any:
    return merge_key(ORDERS, "k", {} if patch is None else patch, remove, how, order)


def test_operations_hold_json_and_conditions() -> None:
    assert set_key(ORDERS, "k", [1], None) == m.SetKey(ORDERS, "k", b"[1]", None)
    assert set_key(ORDERS, "k", "x", 0) == m.SetKey(ORDERS, "k", b'"x"', 0)
    assert delete_key(ORDERS, "k", 7) == m.DeleteKey(ORDERS, "k", 7)
    assert advance_key(ORDERS, "k", 5, "time") == m.AdvanceKey(ORDERS, "k", b"5", "time")
    assert increment_key(ORDERS, "k", 1, 0.5) == m.IncrementKey(ORDERS, "k", b"1", b"0.5")
    assert check_key_at(ORDERS, "k", 0) == m.CheckKey(ORDERS, "k", 0)


def test_fields_to_remove_are_names_or_paths() -> None:
    assert merged({"a": None}, ["a", ["b", "c"], ("d",)], "max") == m.MergeKey(
        ORDERS, "k", b'{"a":null}', [["a"], ["b", "c"], ["d"]], "max", "value"
    )
    assert merged(remove={"a": 1}.keys()).remove == [["a"]]


@pytest.mark.parametrize(
    ("remove", "complaint"),
    [("field", r"remove=\['field'\]"), ([7], "not by 7"), ([["a", 7]], r"not by \['a', 7\]")],
)
def test_what_names_no_field_is_refused(remove: Any, complaint: str) -> None:
    with pytest.raises(TypeError, match=complaint):
        merged(remove=remove)


def test_an_empty_path_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="names no field"):
        merged(remove=[[]])


@pytest.mark.parametrize("patch", [[("a", 1)], "a", 7])
def test_a_patch_is_a_dict(patch: Any) -> None:
    with pytest.raises(TypeError, match="a patch is a dict, not"):
        merged(patch)


def test_words_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="how is 'min'"):
        merged(how="min")
    with pytest.raises(InvalidRequest, match="order is 'size'"):
        merged(order="size")
    with pytest.raises(InvalidRequest, match="order is 'size'"):
        advance_key(ORDERS, "k", 1, "size")  # type: ignore[arg-type]


@pytest.mark.parametrize("number", [True, "1", None, [1]])
def test_only_numbers_can_be_added(number: Any) -> None:
    with pytest.raises(TypeError, match="by must be a number, not"):
        increment_key(ORDERS, "k", number, 0)
    with pytest.raises(TypeError, match="default must be a number, not"):
        increment_key(ORDERS, "k", 1, number)


def test_a_number_that_json_cannot_hold_cannot_be_added() -> None:
    with pytest.raises(InvalidRequest):
        increment_key(ORDERS, "k", float("inf"), 0)


@pytest.mark.parametrize("if_revision", [-1, 2**63])
def test_a_condition_is_a_revision(if_revision: int) -> None:
    with pytest.raises(InvalidRequest, match="if_revision is"):
        set_key(ORDERS, "k", 1, if_revision)


class LikeAMapping:
    """As much of one as dict() asks for."""

    def keys(self) -> list[str]:
        return ["a", "b"]

    def __getitem__(self, key: str) -> str:
        return key * 2


@pytest.mark.parametrize(
    "source",
    [
        {"a": "aa", "b": "bb"},
        [("a", "aa"), ("b", "bb")],
        (pair for pair in [("a", "aa"), ["b", "bb"]]),
        LikeAMapping(),
    ],
)
def test_pairs_are_had_from_whatever_a_dict_can_be_made_of(source: Any) -> None:
    assert pairs_of(source) == [("a", "aa"), ("b", "bb")]


@pytest.mark.parametrize("source", [7, [7], ["abc"]])
def test_what_is_no_pairs_is_refused_as_by_dict(source: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        pairs_of(source)

"""Adding to a stored number."""

from __future__ import annotations

from typing import Any

import pytest

from assetstore.errors import InvalidRequest
from assetstored.numbers import incremented


@pytest.mark.parametrize(
    ("current", "by", "total"),
    [
        (1, 2, 3),
        (0, -1, -1),
        (2**64, 1, 2**64 + 1),
        (10**4_000, 10**4_000 + 1, 2 * 10**4_000 + 1),
        (10**4_000, -(10**4_000), 0),
        (0.5, 1, 1.5),
        (1, 0.5, 1.5),
        (1.5, -1.5, 0.0),
        (1, 1.0, 2.0),
        (2**53, 1.0, 9007199254740992.0),
        (10**308, 0.0, 1e308),
    ],
)
def test_the_sum_is_pythons_and_so_is_its_type(current: float, by: float, total: float) -> None:
    assert incremented(current, by) == total
    assert type(incremented(current, by)) is type(total)


def test_integers_beyond_what_a_float_tells_apart_are_counted_exactly() -> None:
    total: float = 2**53
    for _ in range(10):
        total = incremented(total, 1)

    assert total == 2**53 + 10


def test_integers_that_python_refuses_to_write_are_added_and_refused() -> None:
    assert incremented(10**5_000, 10**5_000) == 2 * 10**5_000
    with pytest.raises(InvalidRequest, match="an integer too large for one"):
        incremented(10**5_000, 0.5)


@pytest.mark.parametrize(
    ("current", "by", "said"),
    [
        ("1", 1, "value is a str and cannot be incremented by an int"),
        (1, "1", "value is an int and cannot be incremented by a str"),
        (True, 1, "value is a bool and cannot be incremented by an int"),
        (1.5, False, "value is a float and cannot be incremented by a bool"),
        (None, None, "value is None and cannot be incremented by None"),
        ([1], [2], "value is a list and cannot be incremented by a list"),
        ({}, 1, "value is a dict and cannot be incremented by an int"),
    ],
)
def test_what_is_no_number_is_refused_with_both_types(current: Any, by: Any, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        incremented(current, by)


@pytest.mark.parametrize(("current", "by"), [(1.7e308, 1e308), (-1.7e308, -1e308)])
def test_a_sum_that_no_float_holds_is_refused(current: float, by: float) -> None:
    with pytest.raises(InvalidRequest, match="the sum is too large for a float"):
        incremented(current, by)


@pytest.mark.parametrize(
    ("current", "by"), [(10**400, 0.5), (0.5, -(10**400)), (10**4_000, 1.0), (2**1024, 0.0)]
)
def test_a_float_and_an_integer_beyond_all_floats_are_refused(current: float, by: float) -> None:
    with pytest.raises(InvalidRequest, match="an integer too large for one"):
        incremented(current, by)

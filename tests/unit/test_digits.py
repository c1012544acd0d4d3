"""Integers of any size to decimal text and back, whatever Python's own limit is."""

from __future__ import annotations

import random
import sys

import pytest

from assetstore.digits import from_digits, to_digits

EDGES = [0, 1, 9, 10, 2**63, 2**64, 10**599, 10**600, 10**601 - 1, 2**1_900, 2**1_901, 3**1_200]
HUGE = [10**4_299, 10**4_300, 10**4_300 - 1, 7**20_000, 10**50_000 + 1]


@pytest.mark.parametrize("number", EDGES, ids=int.bit_length)
def test_small_numbers_are_written_as_python_writes_them(number: int) -> None:
    assert to_digits(number) == str(number)
    assert to_digits(-number) == str(-number)
    assert from_digits(str(-number)) == -number


@pytest.mark.parametrize("number", HUGE, ids=int.bit_length)
def test_huge_numbers_come_back_exactly(number: int) -> None:
    assert from_digits(to_digits(number)) == number
    assert from_digits(to_digits(-number)) == -number


def test_the_digits_of_a_huge_number_are_the_right_ones() -> None:
    assert to_digits(10**5_000) == "1" + "0" * 5_000
    assert to_digits(10**5_000 - 1) == "9" * 5_000
    assert from_digits("-" + "9" * 5_000) == 1 - 10**5_000


def test_random_numbers_of_all_sizes_come_back_exactly(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        number = rng.getrandbits(rng.randrange(1, 40_000)) * rng.choice([1, -1])
        assert from_digits(to_digits(number)) == number


def test_a_program_that_has_lowered_pythons_limit_changes_nothing() -> None:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(640)
    try:
        assert from_digits(to_digits(10**2_000)) == 10**2_000
    finally:
        sys.set_int_max_str_digits(before)


def test_pythons_limit_is_left_as_it_was() -> None:
    before = sys.get_int_max_str_digits()
    from_digits(to_digits(10**10_000))

    assert sys.get_int_max_str_digits() == before

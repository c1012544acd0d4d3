"""The order of values, and what is built on it, against plain models that decide another way.

Values are made of few parts, so that equal ones and beginnings of one another are common.
"""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cmp_to_key
from typing import Any, Literal

import pytest
from tests.support.amount import amount

from assetstore.errors import InvalidRequest
from assetstore.ordering import check_ordered, is_greater
from assetstored.merging import merged
from assetstored.numbers import incremented

ROUNDS = amount(1_000, whole=3_000)

NUMBERS: list[Any] = [
    0,
    -0.0,
    1,
    1.0,
    -1,
    0.5,
    2**53,
    2**53 + 1,
    float(2**53),
    1e300,
    10**300,
    -(10**400),
]
STRINGS: list[Any] = ["", "a", "b", "ab", "a\x00", "é", "\uffff", "\U0001f600", "0", "10", "9"]
UNORDERED: list[Any] = [None, True, False, {}, {"a": 1}]
LEAVES: list[Any] = [*NUMBERS, *STRINGS, *UNORDERED]


class Unordered(Exception):
    """What the model says where InvalidRequest is due."""


def copied(value: Any) -> Any:
    """value as if decoded anew: no two parts of it are one object."""
    return json.loads(json.dumps(value))


def value_of(rng: random.Random, leaves: list[Any], depth: int) -> Any:
    if depth and rng.random() < 0.5:
        return [value_of(rng, leaves, depth - 1) for _ in range(rng.randrange(4))]
    return rng.choice(leaves)


def similar(rng: random.Random, value: Any, leaves: list[Any]) -> Any:
    """value with a part exchanged, cut off or added here and there."""
    if type(value) is not list or rng.random() < 0.1:
        return value if rng.random() < 0.7 else value_of(rng, leaves, 1)
    items = [similar(rng, item, leaves) for item in value]
    if rng.random() < 0.2:
        return items[: rng.randrange(len(items) + 1)]
    return items + [value_of(rng, leaves, 1)] * (rng.random() < 0.2)


def tokens(value: Any) -> list[Any]:
    """value as a flat sequence, in which a list ends with a token below all items."""
    if isinstance(value, list):
        return ["list", *(token for item in value for token in tokens(item)), "end"]
    if isinstance(value, str):
        return [("string", [ord(character) for character in value])]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return [("unordered", id(value))]
    return [("number", Fraction(value))]


def model_is_greater(new: Any, old: Any) -> bool:
    for left, right in zip(tokens(new), tokens(old), strict=False):
        if left == "end" or right == "end":
            if left != right:
                return bool(right == "end")
        elif left[0] != right[0] or left[0] == "unordered":
            raise Unordered
        elif left != right:
            return bool(left > right)
    return False


def model_is_ordered(value: Any) -> bool:
    return all(token[0] != "unordered" for token in tokens(value))


def instant(rng: random.Random) -> tuple[Fraction, str]:
    """A moment in seconds since some epoch, and one of the ways to write it."""
    second = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC) + timedelta(seconds=rng.randrange(4))
    digits = rng.choice(["", "0", "5", "50", "05", "4999999999999", "500000000000000000001"])
    offset = timedelta(minutes=rng.choice([0, 0, 1, 90, 330, 23 * 60 + 59])) * rng.choice([1, -1])
    minutes = abs(offset) // timedelta(minutes=1)
    sign = "-" if offset < timedelta(0) else "+"
    zones = [f"{sign}{minutes // 60:02}:{minutes % 60:02}"]
    if not minutes:
        zones += ["Z", "z", "-00:00"]
    local = (second + offset).strftime(f"%Y-%m-%d{rng.choice('Tt ')}%H:%M:%S")
    fraction = "." + digits if digits else ""
    moment = int(second.timestamp()) + Fraction(int(digits or 0), 10 ** len(digits))
    return moment, f"{local}{fraction}{rng.choice(zones)}"


def test_any_two_values_are_compared_or_refused_as_the_model_says(seed: int) -> None:
    rng = random.Random(seed)
    said = {True: 0, False: 0, None: 0}
    for _ in range(ROUNDS):
        leaves = rng.choice([LEAVES, NUMBERS, STRINGS])
        old = value_of(rng, leaves, rng.choice([0, 1, 2, 4]))
        new = similar(rng, old, leaves)
        try:
            expected: bool | None = model_is_greater(new, old)
        except Unordered:
            expected = None
        said[expected] += 1
        if expected is None:
            with pytest.raises(InvalidRequest, match="cannot be compared with"):
                is_greater(new, old, "value")
        else:
            assert is_greater(new, old, "value") is expected, (new, old)
    assert min(said.values()) > ROUNDS / 50, said


def test_what_is_ordered_by_itself_is_what_can_be_compared_with_itself(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        value = value_of(rng, rng.choice([LEAVES, NUMBERS, STRINGS]), rng.choice([0, 1, 2, 4]))
        if model_is_ordered(value):
            check_ordered(value, "value")
            assert not is_greater(value, copied(value), "value")
        else:
            with pytest.raises(InvalidRequest, match=" is "):
                check_ordered(value, "value")
            with pytest.raises(InvalidRequest, match="cannot be compared with"):
                is_greater(value, copied(value), "value")


@pytest.mark.parametrize("kind", ["number", "string", "cursor"])
def test_values_taken_only_if_greater_end_at_the_greatest(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        values: list[Any] = {
            "number": NUMBERS,
            "string": STRINGS,
            "cursor": [[text, number] for text in STRINGS for number in NUMBERS],
        }[kind]
        offered = rng.choices(values, k=20)
        taken = offered[:1]
        for value in offered[1:]:
            if is_greater(value, taken[-1], "value"):
                taken.append(value)

        in_order = sorted(offered, key=cmp_to_key(lambda a, b: 1 if model_is_greater(a, b) else -1))
        assert not any(is_greater(value, taken[-1], "value") for value in offered)
        assert not model_is_greater(in_order[-1], taken[-1])


def test_instants_are_compared_in_time_however_they_are_written(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        (new, new_text), (old, old_text) = instant(rng), instant(rng)
        assert is_greater(new_text, old_text, "time") is (new > old), (new_text, old_text)
        lists = [old_text, new_text], [old_text, old_text]
        assert is_greater(*lists, "time") is (new > old), lists


def test_an_instant_with_a_character_damaged_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        _, text = instant(rng)
        place = rng.randrange(len(text))
        text = text[:place] + rng.choice(["", *"0123456789:.+-TZ \n٣"]) + text[place + 1 :]
        try:
            check_ordered(text, "time")
        except InvalidRequest as exc:
            assert repr(text[:40]) in str(exc)  # noqa: PT017 - both ends are right
        else:
            assert not is_greater(text, text, "time")


# --- objects


def object_of(rng: random.Random, leaves: list[Any], depth: int) -> dict[str, Any]:
    return {
        name: object_of(rng, leaves, depth - 1)
        if depth and rng.random() < 0.5
        else value_of(rng, leaves, 1)
        for name in rng.sample("abcd", rng.randrange(4))
    }


def model_without(value: dict[str, Any], path: list[str]) -> None:
    for name in path[:-1]:
        value = value.get(name)  # type: ignore[assignment]
        if not isinstance(value, dict):
            return
    value.pop(path[-1], None)


def model_merged(
    current: dict[str, Any], patch: dict[str, Any], remove: list[list[str]], how: str
) -> dict[str, Any]:
    """Changes a copy of current in place, field by field."""

    def lay(value: dict[str, Any], over: dict[str, Any]) -> None:
        for name, new in over.items():
            there = name in value
            if there and isinstance(value[name], dict) and isinstance(new, dict):
                lay(value[name], new)
            elif how == "replace" or not there or model_is_greater(new, value[name]):
                value[name] = copied(new)

    result: dict[str, Any] = copied(current)
    for path in remove:
        model_without(result, path)
    lay(result, patch)
    return result


def text_of(value: Any) -> str:
    """The same for two objects that hold the same, type for type."""
    return json.dumps(value, sort_keys=True)


@pytest.mark.parametrize("how", ["replace", "max"])
def test_objects_are_merged_as_the_model_says(how: Literal["replace", "max"], seed: int) -> None:
    rng = random.Random(seed)
    differing = 0
    for _ in range(ROUNDS):
        leaves = LEAVES if how == "replace" else rng.choice([NUMBERS, STRINGS])
        current = object_of(rng, leaves, 3)
        patch = object_of(rng, leaves, 3) if rng.random() < 0.8 else copied(current)
        remove = [
            rng.choices("abcd", k=rng.choice([1, 1, 2, 3])) for _ in range(rng.choice([0, 0, 1, 3]))
        ]
        before = text_of([current, patch, remove])
        try:
            expected = model_merged(current, patch, remove, how)
        except Unordered:
            with pytest.raises(InvalidRequest, match="cannot be compared with"):
                merged(current, patch, remove=remove, how=how, order="value")
            continue

        result, differs = merged(current, patch, remove=remove, how=how, order="value")

        assert text_of(result) == text_of(expected), (current, patch, remove)
        assert differs is (text_of(result) != text_of(current)), (current, patch, remove)
        assert text_of([current, patch, remove]) == before
        differing += differs
    assert ROUNDS / 10 < differing < ROUNDS * 9 / 10


def test_shards_that_merge_by_max_end_at_the_same_object_in_whatever_order(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        cursors = [
            {name: {"at": rng.choice(STRINGS), "count": rng.randrange(5)}}
            for name in rng.choices("abcd", k=8)
        ]
        ends = set()
        for _ in range(3):
            rng.shuffle(cursors)
            held: dict[str, Any] = {}
            for cursor in cursors:
                held, _ = merged(held, cursor, remove=[], how="max", order="value")
            ends.add(text_of(held))
        assert len(ends) == 1


def test_integers_are_added_exactly_in_whatever_order(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(200):
        steps = [
            rng.getrandbits(rng.choice([1, 53, 64, 20_000])) * rng.choice([1, -1])
            for _ in range(10)
        ]
        total: float = 0
        for step in steps:
            total = incremented(total, step)
        assert type(total) is int
        assert total == sum(steps)

"""Whatever encode_value accepts comes back equal and of the same types at every depth.

Random values are built from what users have at hand, the forbidden included, so that the
test knows of each value whether it must pass.
"""

from __future__ import annotations

import datetime
import math
import random
import struct
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.amount import amount

from assetstore.errors import InvalidRequest
from assetstore.values import check_json, decode_value, encode_value

ROUNDS = amount(1_000, whole=3_000)

Make = Callable[[random.Random], Any]


class Text(str):
    __slots__ = ()


def text(rng: random.Random) -> str:
    ranges = [(0, 0x20), (0x20, 0x7F), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x110000)]
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(8)))


def number(rng: random.Random) -> int:
    bits = rng.choice([1, 8, 31, 32, 53, 63, 64, 65, 128, 2_000, 14_284, 14_285, 20_000])
    return rng.getrandbits(bits) * rng.choice([1, -1])


def real(rng: random.Random) -> float:
    while True:
        value: float = struct.unpack("d", rng.randbytes(8))[0]
        if math.isfinite(value):
            return value


SCALARS: list[Make] = [
    text,
    number,
    real,
    lambda rng: rng.choice([True, False]),
    lambda rng: None,
    lambda rng: rng.choice([0, 1, 0.0, -0.0, 1.0, "", "0", "null", "[", "{"]),
]

FORBIDDEN: list[Make] = [
    lambda rng: (1,),
    lambda rng: b"x",
    lambda rng: {1},
    lambda rng: math.nan,
    lambda rng: math.inf,
    lambda rng: "\ud800",
    lambda rng: Text("x"),
    lambda rng: {1: 2},
    lambda rng: {Text("k"): 2},
    lambda rng: {"\udc00": 2},
    lambda rng: OrderedDict(),
    lambda rng: datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    lambda rng: object(),
]


def build(rng: random.Random, depth: int, poison: Make | None) -> Any:
    """A random value; with poison, that stands somewhere in it."""
    if depth == 0:
        return (poison or rng.choice(SCALARS))(rng)
    width = rng.choice([1, 1, 2, 3, 5])
    poisoned = rng.randrange(width)
    inner = [
        build(rng, rng.randrange(depth), poison if place == poisoned else None)
        for place in range(width)
    ]
    if rng.random() < 0.5:
        return inner
    keys = [f"{text(rng)}{place}" for place in range(width)]
    return dict(zip(keys, inner, strict=True))


def is_same(left: Any, right: Any) -> bool:
    """Equal, and of the same types in the same order at every depth."""
    if type(left) is not type(right):
        return False
    if type(left) is list:
        return len(left) == len(right) and all(map(is_same, left, right))
    if type(left) is dict:
        return list(left) == list(right) and all(
            is_same(left[key], right[key]) and all(type(k) is str for k in right) for key in left
        )
    if type(left) is float:
        return struct.pack("d", left) == struct.pack("d", right)
    return bool(left == right)


def test_what_is_accepted_comes_back_the_same(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        value = build(rng, rng.choice([0, 1, 2, 3, 4, 6]), None)
        if value is None:
            continue
        encoded = encode_value(value)
        assert is_same(decode_value(encoded), value)
        check_json(encoded)


def test_one_forbidden_part_anywhere_is_enough_to_refuse(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        value = build(rng, rng.choice([0, 1, 2, 3, 4, 6]), rng.choice(FORBIDDEN))
        with pytest.raises((TypeError, InvalidRequest), match=r"^(a key of )?value"):
            encode_value(value)


def test_values_nested_at_random_pass_up_to_255_levels_and_no_further(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        levels = rng.choice([1, 100, 250, 254, 255, 256, 257, 300])
        value: Any = "core"
        for _ in range(levels):
            value = [value, *([0] * rng.randrange(3))] if rng.random() < 0.5 else {"k": value}
        if levels <= 255:
            assert is_same(decode_value(encode_value(value)), value)
        else:
            with pytest.raises(InvalidRequest, match="255"):
                encode_value(value)


def test_any_bytes_are_json_that_can_be_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    scraps = [
        b"[", b"]", b"{", b"}", b'"', b"\\", b",", b":", b"null", b"true", b"1", b"-", b".", b"e",
        b"0", b"9" * 4_400, b"\\ud800", b"\\u00e9", b"\xff", b"\xc3\xa9", b" ", b"\x00", b"NaN",
        b'"a":', b"1e400",
    ]  # fmt: skip
    for _ in range(ROUNDS):
        text = b"".join(rng.choice(scraps) for _ in range(rng.randrange(1, 12)))
        try:
            check_json(text)
        except InvalidRequest:
            continue
        value = decode_value(text)
        assert is_same(decode_value(encode_value(value)), value)


def test_good_json_with_a_few_bytes_damaged_is_read_or_refused(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        text = bytearray(encode_value(build(rng, 3, None) or 0))
        for _ in range(rng.randrange(1, 4)):
            text[rng.randrange(len(text))] = rng.randrange(256)
        try:
            check_json(bytes(text))
        except InvalidRequest:
            continue
        value = decode_value(bytes(text))
        assert is_same(decode_value(encode_value(value)), value)

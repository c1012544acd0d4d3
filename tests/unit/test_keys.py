"""How keys of callers become keys of LMDB: within its limit, in order, and never mistaken."""

from __future__ import annotations

import random

import pytest

from assetstore.limits import MAX_KEY_CHARS
from assetstored import keys
from assetstored.engine import MAX_KEY_BYTES


def test_lmdb_takes_keys_of_511_bytes_and_478_of_them_lead_a_digest() -> None:
    assert (MAX_KEY_BYTES, keys.HEAD_BYTES) == (511, 478)


@pytest.mark.parametrize("key", ["k", "\0", "x" * 478, "x" * 479, "x" * 511, "ü" * 255, "😀" * 127])
def test_a_key_of_up_to_511_bytes_is_stored_as_it_is(key: str) -> None:
    stored = keys.stored_key(key)

    assert stored == key.encode()
    assert not keys.is_digest(stored)


@pytest.mark.parametrize("key", ["x" * 512, "ü" * 256, "€" * 171, "😀" * 128, "\U0010ffff" * 512])
def test_a_longer_key_is_stored_as_its_head_and_a_digest(key: str) -> None:
    stored = keys.stored_key(key)

    assert len(stored) == MAX_KEY_BYTES
    assert stored.startswith(key.encode()[:478] + b"\xff")
    assert keys.is_digest(stored)


@pytest.mark.parametrize("character", ["x", "ü", "€", "😀", "\0", "\U0010ffff"])
def test_no_key_within_the_limits_is_too_long_for_lmdb(character: str) -> None:
    for length in range(1, MAX_KEY_CHARS + 1):
        assert 0 < len(keys.stored_key(character * length)) <= MAX_KEY_BYTES


def test_long_keys_that_differ_anywhere_are_stored_apart(seed: int) -> None:
    rng = random.Random(seed)
    made = {"x" * 512, "x" * 511 + "y", "y" + "x" * 511, "x" * 478 + "y" * 34}
    for _ in range(2_000):
        characters = ["x"] * 512
        characters[rng.randrange(512)] = chr(rng.randrange(0x20, 0xD800))
        made.add("".join(characters))

    assert len({keys.stored_key(key) for key in made}) == len(made)


def test_no_key_that_is_stored_as_it_is_can_be_taken_for_a_digest(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(2_000):
        # Of exactly 511 bytes, with anything at the place where a digest has its mark.
        text = "x" * 478 + chr(rng.choice([0x7F, 0xFF, 0x7FF, 0xFFFF, 0x10FFFF]))
        text += "y" * (511 - len(text.encode()))
        stored = keys.stored_key(text)

        assert stored == text.encode()
        assert not keys.is_digest(stored)
        assert b"\xff" not in stored


def test_outside_clusters_stored_keys_are_in_the_order_of_the_keys(seed: int) -> None:
    rng = random.Random(seed)
    characters = "a\0\x7füß€\ud7ff\ue000\uffff😀"
    made = {
        "".join(rng.choices(characters, k=rng.choice([1, 2, 3, 50, 118, 119, 120, 512])))
        for _ in range(1_000)
    }
    by_key = sorted(made, key=str.encode)
    by_stored = sorted(made, key=keys.stored_key)

    assert [keys.stored_key(key)[: keys.HEAD_BYTES] for key in by_key] == [
        keys.stored_key(key)[: keys.HEAD_BYTES] for key in by_stored
    ]
    assert [key for key in by_key if not keys.in_cluster(keys.stored_key(key))] == [
        key for key in by_stored if not keys.in_cluster(keys.stored_key(key))
    ]


@pytest.mark.parametrize(("size", "expected"), [(477, False), (478, False), (479, True)])
def test_a_key_is_in_a_cluster_from_479_bytes_on(size: int, expected: bool) -> None:
    assert keys.in_cluster(keys.stored_key("x" * size)) is expected


def test_a_key_of_exactly_the_head_comes_before_the_cluster_that_begins_with_it() -> None:
    head = "x" * 478

    assert keys.stored_key(head) < keys.stored_key(head + "\0")
    assert keys.stored_key(head) < keys.stored_key(head + "a" * 34)

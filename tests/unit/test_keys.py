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


def test_keys_that_are_stored_as_they_are_are_in_the_order_of_the_keys(seed: int) -> None:
    made = random_keys(seed)
    short = [key for key in made if not keys.is_digest(keys.stored_key(key))]

    assert sorted(short, key=str.encode) == sorted(short, key=keys.stored_key)


def test_all_keys_are_in_order_as_far_as_their_heads_go(seed: int) -> None:
    made = random_keys(seed)

    assert [key.encode()[: keys.HEAD_BYTES] for key in sorted(made, key=str.encode)] == [
        key.encode()[: keys.HEAD_BYTES] for key in sorted(made, key=keys.stored_key)
    ]


def test_the_digests_of_a_head_lie_together_after_the_short_keys_with_that_head(seed: int) -> None:
    rng = random.Random(seed)
    head = "x" * keys.HEAD_BYTES
    short = [head, *(head + "".join(rng.choices("a\U0010ffff", k=n)) for n in range(1, 9))]
    long = [head + "".join(rng.choices("\0a\U0010ffff", k=34)) for _ in range(100)]
    others = [head[:-1] + "y", "y", head[:-1]]

    stored = sorted(keys.stored_key(key) for key in [*short, *long, *others])

    beginning = keys.digests_of(keys.stored_key(short[-1]))
    place = [each.startswith(beginning) for each in stored]
    first = place.index(True)
    assert place == [False] * first + [True] * len(long) + [False] * (
        len(place) - first - len(long)
    )
    assert {keys.stored_key(key) for key in short} <= set(stored[:first])
    assert all(keys.is_digest(each) for each in stored if each.startswith(beginning))


@pytest.mark.parametrize(("size", "expected"), [(477, False), (478, False), (479, True)])
def test_a_key_of_more_than_478_bytes_may_stand_among_digests(size: int, expected: bool) -> None:
    assert keys.is_longer_than_head(keys.stored_key("x" * size)) is expected


def random_keys(seed: int) -> set[str]:
    """Keys of all lengths, many of which begin alike."""
    rng = random.Random(seed)
    characters = "a\0\x7füß€\ud7ff\ue000\uffff😀"
    lengths = [1, 2, 3, 50, 118, 119, 120, 512]
    made = {"".join(rng.choices(characters, k=rng.choice(lengths))) for _ in range(1_000)}
    made |= {
        "a" * 477 + "".join(rng.choices(characters, k=rng.randrange(1, 36))) for _ in range(200)
    }
    return made

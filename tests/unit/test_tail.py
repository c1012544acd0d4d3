"""The tail: what is found in it, what covers what, and which revisions are in it."""

from __future__ import annotations

import random

import pytest

from assetstored.tables import JOURNAL, META, id_key
from assetstored.tail import ELSEWHERE, Delta, Tail, decode_delta, encode_delta

STORE = 7


@pytest.fixture
def tail() -> Tail:
    return Tail()


def journal(*revisions: int) -> Delta:
    """Rows of these revisions, and a key that each of them sets."""
    return {
        JOURNAL: {id_key(revision): b"row %d" % revision for revision in revisions},
        STORE: {b"k": b"%d" % revisions[-1]},
    }


def test_a_new_one_knows_nothing(tail: Tail) -> None:
    assert tail.is_empty
    assert not tail.has_recent
    assert not tail.is_frozen
    assert tail.spaces == 0
    assert tail.find(STORE, b"k") is ELSEWHERE
    assert tail.of(STORE) == {}
    assert list(tail.revisions()) == []
    assert tail.revisions() == range(0)


def test_what_is_taken_is_found_and_what_was_removed_is_known_to_be_gone(tail: Tail) -> None:
    tail.take({STORE: {b"k": b"1", b"gone": None}, META: {b"k": b"other"}}, 1, 2)

    assert tail.find(STORE, b"k") == b"1"
    assert tail.find(STORE, b"gone") is None
    assert tail.find(META, b"k") == b"other"
    assert tail.find(STORE, b"l") is ELSEWHERE
    assert tail.find(8, b"k") is ELSEWHERE
    assert tail.of(STORE) == {b"k": b"1", b"gone": None}
    assert not tail.is_empty
    assert tail.spaces == 2


def test_the_last_change_of_a_key_counts(tail: Tail) -> None:
    tail.take({STORE: {b"k": b"1", b"l": b"1"}}, 1, 1)
    tail.take({STORE: {b"k": None}}, 2, 2)
    assert tail.find(STORE, b"k") is None
    tail.take({STORE: {b"k": b"3"}}, 3, 3)

    assert tail.of(STORE) == {b"k": b"3", b"l": b"1"}
    assert tail.revisions() == range(1, 4)


def test_what_is_newer_covers_what_is_on_its_way_into_the_data_file(tail: Tail) -> None:
    tail.take({STORE: {b"a": b"old", b"b": b"old", b"c": None, b"d": b"old"}}, 1, 4)
    older = tail.freeze()
    assert older == {STORE: {b"a": b"old", b"b": b"old", b"c": None, b"d": b"old"}}
    assert tail.is_frozen
    assert not tail.has_recent
    assert tail.find(STORE, b"a") == b"old"

    tail.take({STORE: {b"b": b"new", b"c": b"new", b"d": None}}, 5, 7)

    assert tail.of(STORE) == {b"a": b"old", b"b": b"new", b"c": b"new", b"d": None}
    assert [tail.find(STORE, key) for key in (b"a", b"b", b"c", b"d")] == [
        *(b"old", b"new", b"new", None)
    ]
    assert older == {STORE: {b"a": b"old", b"b": b"old", b"c": None, b"d": b"old"}}
    assert tail.revisions() == range(1, 8)


def test_when_the_data_file_has_the_older_part_only_the_newer_one_is_left(tail: Tail) -> None:
    tail.take(journal(1, 2), 1, 2)
    tail.freeze()
    tail.take(journal(3), 3, 3)

    tail.drop_frozen()

    assert not tail.is_empty
    assert not tail.is_frozen
    assert tail.revisions() == range(3, 4)
    assert tail.journal_row(3) == b"row 3"
    assert tail.find(JOURNAL, id_key(2)) is ELSEWHERE
    tail.freeze()
    tail.drop_frozen()
    assert tail.is_empty
    assert tail.revisions() == range(0)
    assert tail.of(STORE) == {}


def test_after_it_was_empty_it_begins_with_the_next_revision(tail: Tail) -> None:
    tail.take(journal(1), 1, 1)
    tail.freeze()
    tail.drop_frozen()
    # Meanwhile the writer has made some changes by itself.
    tail.take(journal(9), 9, 9)

    assert tail.revisions() == range(9, 10)
    assert tail.journal_row(9) == b"row 9"


def test_a_store_whose_changes_were_all_taken_back_is_none_of_it(tail: Tail) -> None:
    tail.take({STORE: {}, META: {b"counters": b"1"}}, 1, 1)

    assert tail.spaces == 1
    assert tail.of(STORE) == {}


def test_changes_come_back_as_they_were_written() -> None:
    delta: Delta = {
        1: {b"k": b"value", b"gone": None, b"": b""},
        2**40: {bytes(range(256)): bytes(1_000)},
        JOURNAL: {id_key(2**40): b"row"},
        META: {},
    }

    found = decode_delta(encode_delta(delta))

    assert found == delta
    assert {type(space) for space in found} == {int, bytes}
    assert encode_delta(found) == encode_delta(delta)


def test_it_is_as_a_dict_that_takes_all_changes(tail: Tail, seed: int) -> None:
    rng = random.Random(seed)
    in_file: dict[tuple[int, bytes], bytes | None] = {}
    older: dict[tuple[int, bytes], bytes | None] = {}
    newer: dict[tuple[int, bytes], bytes | None] = {}
    revision = first = 0
    for _ in range(2_000):
        chance = rng.random()
        if chance < 0.05 and not tail.is_frozen and tail.has_recent:
            tail.freeze()
            older, newer, frozen_last = newer, {}, revision
        elif chance < 0.1 and tail.is_frozen:
            tail.drop_frozen()
            in_file |= older
            older, first = {}, frozen_last + 1
        else:
            revision += 1
            changes = {
                rng.choice(b"abcdefgh").to_bytes(1, "big"): rng.choice([None, b"%d" % revision])
                for _ in range(rng.randrange(1, 4))
            }
            store = rng.randrange(1, 4)
            tail.take({store: changes}, revision, revision)
            newer |= {(store, key): value for key, value in changes.items()}
        both = older | newer
        assert tail.is_empty == (not both)
        for store in (1, 2, 3):
            here = {key: value for (where, key), value in both.items() if where == store}
            assert tail.of(store) == here
            for key in (b"a", b"h"):
                assert tail.find(store, key) == both.get((store, key), ELSEWHERE)
        if both:
            assert tail.revisions() == range(max(first, 1), revision + 1)


def is_long(key: bytes) -> bool:
    return len(key) > 3


def test_keys_are_in_order_by_part_and_some_are_kept_apart(tail: Tail) -> None:
    assert tail.orders(STORE, is_long) == []
    tail.take({STORE: {b"b": b"1", b"long": b"1", b"a": None}}, 1, 3)
    (order,) = tail.orders(STORE, is_long)
    assert (order.keys, order.apart) == ([b"a", b"b"], [b"long"])
    # What has come since is taken in, and what was changed again is there already.
    tail.take({STORE: {b"b": b"2", b"aa": b"1", b"longer": b"1"}}, 4, 6)
    assert tail.orders(STORE, is_long) == [order]
    assert (order.keys, order.apart) == ([b"a", b"aa", b"b"], [b"long", b"longer"])

    tail.freeze()
    tail.take({STORE: {b"b": None, b"c": b"1"}}, 7, 8)
    older, newer = tail.orders(STORE, is_long)
    assert older is order
    assert newer.keys == [b"b", b"c"]
    assert tail.orders(8, is_long) == []

    tail.drop_frozen()
    assert tail.orders(STORE, is_long) == [newer]


def test_the_order_is_that_of_the_keys_however_they_came(tail: Tail, seed: int) -> None:
    rng = random.Random(seed)
    for revision in range(1, 200):
        changes = {rng.randbytes(rng.randrange(1, 6)): b"1" for _ in range(rng.randrange(5))}
        tail.take({STORE: {**changes}}, revision, revision)
        for order in tail.orders(STORE, is_long) if rng.random() < 0.3 else ():
            found = tail.of(STORE)
            assert order.keys == sorted(key for key in found if not is_long(key))
            assert sorted(order.apart) == sorted(filter(is_long, found))

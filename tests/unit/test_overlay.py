"""What a transaction is going to write: seen before it is written, and taken back wholly."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assetstored import engine
from assetstored.overlay import Overlay
from assetstored.stores import StoreHandles
from assetstored.tables import CATALOG, DELETED, JOURNAL, META, Space, Tables, id_key, store_name

STORE = 7
SOME_S = 60.0


class Opened:
    """An environment with its tables, and transactions on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.env = engine.open_for_writing(str(path))
        with self.env.begin(write=True) as txn:
            self.tables = Tables(self.env, txn, create=True)
        self.handles = StoreHandles(self.env)

    @contextmanager
    def transaction(self) -> Iterator[Overlay]:
        """An overlay whose changes are committed in the end."""
        with self.env.begin(write=True) as txn:
            overlay = Overlay(txn, self.tables, self.handles)
            yield overlay
            overlay.flush()
        self.handles.committed()

    def content(self, space: Space) -> dict[bytes, bytes]:
        """What is on disk."""
        with self.env.begin() as txn:
            if isinstance(space, bytes):
                database = self.tables[space]
            else:
                database = self.env.open_db(store_name(space), txn=txn, create=False)
            with txn.cursor(db=database) as cursor:
                return dict(cursor)

    def has_store(self, store_id: int) -> bool:
        with self.env.begin() as txn:
            return txn.get(store_name(store_id)) is not None


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """The store 7 holds a, b and c."""
    opened = Opened(tmp_path)
    with opened.transaction() as overlay:
        overlay.create(STORE)
        for key in (b"a", b"b", b"c"):
            overlay.put(STORE, key, b"old")
    yield opened
    opened.env.close()


# --- what is seen


def test_what_was_put_and_removed_is_seen_before_it_is_written(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.put(STORE, b"d", b"new")
        overlay.put(STORE, b"a", b"new")
        overlay.remove(STORE, b"b")
        overlay.put(META, b"m", b"row")

        assert [overlay.get(STORE, key) for key in (b"a", b"b", b"c", b"d")] == [
            b"new",
            None,
            b"old",
            b"new",
        ]
        assert overlay.get(META, b"m") == b"row"
        assert overlay.get(META, b"n") is None

    assert opened.content(STORE) == {b"a": b"new", b"c": b"old", b"d": b"new"}
    assert opened.content(META) == {b"m": b"row"}


def test_nothing_is_seen_in_a_store_that_is_not_there(opened: Opened) -> None:
    with opened.transaction() as overlay:
        assert overlay.get(99, b"a") is None
        assert overlay.measure(99) == (0, 0)
        assert overlay.count(99, b"", 10) == 0
        assert not overlay.changed


def test_a_new_store_is_seen_before_it_is_made(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.create(8)
        assert overlay.get(8, b"a") is None
        assert overlay.measure(8) == (0, 0)

        overlay.put(8, b"a", b"1")

        assert overlay.get(8, b"a") == b"1"
        assert overlay.measure(8) == (1, 0)
        assert overlay.count(8, b"", 10) == 1
        assert not opened.has_store(8)

    assert opened.content(8) == {b"a": b"1"}


def test_a_store_that_was_made_and_never_written_to_is_made_all_the_same(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.create(8)
        assert overlay.changed

    assert opened.content(8) == {}


def test_measuring_counts_what_is_not_written_yet(opened: Opened) -> None:
    with opened.transaction() as overlay:
        assert overlay.measure(STORE)[0] == 3
        for key, entries in ((b"d", 4), (b"d", 4), (b"a", 4), (b"e", 5)):
            overlay.put(STORE, key, b"new")
            assert overlay.measure(STORE)[0] == entries
        for key, entries in ((b"a", 4), (b"a", 4), (b"e", 3), (b"never", 3)):
            overlay.remove(STORE, key)
            assert overlay.measure(STORE)[0] == entries

        assert overlay.measure(STORE)[1] == 4_096


def test_counting_keys_that_begin_alike_counts_what_is_not_written_yet(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for key in (b"x1", b"x2", b"x3", b"y1"):
            overlay.put(STORE, key, b"")
    with opened.transaction() as overlay:
        overlay.put(STORE, b"x2", b"new")
        overlay.put(STORE, b"x4", b"new")
        overlay.remove(STORE, b"x1")
        overlay.remove(STORE, b"x0")

        assert overlay.count(STORE, b"x", 10) == 3
        assert overlay.count(STORE, b"x", 2) == 2
        assert overlay.count(STORE, b"y", 10) == 1
        assert overlay.count(STORE, b"z", 10) == 0


# --- what is written


def test_each_key_is_written_once_however_often_it_was_changed(opened: Opened) -> None:
    with opened.transaction() as overlay:
        # A large and then a small value in one transaction is what py-lmdb's verify complains of.
        for value in (b"x" * 9_000, b"x" * 100, b"y" * 20_000, b"last"):
            overlay.put(STORE, b"a", value)
            overlay.put(STORE, b"b", value)
        overlay.remove(STORE, b"b")

    assert opened.content(STORE) == {b"a": b"last", b"c": b"old"}
    opened.env.close()
    assert engine.verify(str(opened.path)) == []


def test_a_key_that_was_made_and_removed_is_not_there(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.put(STORE, b"new", b"1")
        overlay.remove(STORE, b"new")
        overlay.remove(STORE, b"never")

    assert opened.content(STORE).keys() == {b"a", b"b", b"c"}


def test_the_journal_grows_at_its_end(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for revision in (1, 2, 3):
            overlay.put(JOURNAL, id_key(revision), b"row")
    with opened.transaction() as overlay:
        for revision in (5, 256, 4):
            overlay.put(JOURNAL, id_key(revision), b"row")
        overlay.remove(JOURNAL, id_key(2))

    assert list(opened.content(JOURNAL)) == [id_key(revision) for revision in (1, 3, 4, 5, 256)]


# --- taking back


def test_what_is_taken_back_is_gone(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.put(STORE, b"kept", b"1")
        overlay.put(STORE, b"b", b"1")
        overlay.create(8)
        overlay.begin()
        overlay.put(STORE, b"kept", b"2")
        overlay.put(STORE, b"kept", b"3")
        overlay.put(STORE, b"new", b"2")
        overlay.remove(STORE, b"a")
        overlay.remove(STORE, b"b")
        overlay.put(META, b"m", b"2")
        overlay.create(9)
        overlay.put(9, b"k", b"2")

        overlay.take_back()

        assert overlay.get(STORE, b"kept") == b"1"
        assert overlay.get(STORE, b"new") is None
        assert overlay.get(STORE, b"a") == b"old"
        assert overlay.get(STORE, b"b") == b"1"
        assert overlay.get(META, b"m") is None
        assert overlay.get(9, b"k") is None
        assert overlay.measure(STORE)[0] == 4
        assert overlay.measure(9) == (0, 0)

    assert opened.content(STORE) == {b"a": b"old", b"b": b"1", b"c": b"old", b"kept": b"1"}
    assert opened.content(META) == {}
    assert opened.has_store(8)
    assert not opened.has_store(9)


def test_where_all_was_taken_back_nothing_is_changed(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.begin()
        overlay.create(8)
        overlay.put(8, b"k", b"1")
        overlay.remove(STORE, b"a")
        overlay.take_back()
        overlay.take_back()

        assert not overlay.changed


def test_a_store_that_was_taken_back_can_be_made_again(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.begin()
        overlay.create(8)
        overlay.put(8, b"first", b"1")
        overlay.take_back()
        overlay.begin()
        overlay.create(8)
        overlay.put(8, b"second", b"2")

    assert opened.content(8) == {b"second": b"2"}


def test_what_was_done_before_the_last_job_stays_when_that_is_taken_back(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for number in range(5):
            overlay.begin()
            overlay.put(STORE, b"k", b"%d" % number)
            if number % 2:
                overlay.take_back()

    assert opened.content(STORE)[b"k"] == b"4"


def test_random_jobs_some_of_them_taken_back_leave_what_a_dict_holds(
    opened: Opened, seed: int
) -> None:
    rng = random.Random(seed)
    held = {STORE: opened.content(STORE)}
    for _ in range(20):
        with opened.transaction() as overlay:
            for _ in range(rng.randrange(1, 6)):
                before = {space: dict(content) for space, content in held.items()}
                overlay.begin()
                for _ in range(rng.randrange(6)):
                    space = rng.randrange(STORE, STORE + 4)
                    key = b"%d" % rng.randrange(8)
                    if space not in held:
                        overlay.create(space)
                        held[space] = {}
                    if rng.random() < 0.6:
                        held[space][key] = b"x" * rng.choice([1, 300, 5_000])
                        overlay.put(space, key, held[space][key])
                    else:
                        held[space].pop(key, None)
                        overlay.remove(space, key)
                if rng.random() < 0.4:
                    overlay.take_back()
                    held = before
                for space, content in held.items():
                    assert overlay.measure(space)[0] == len(content)
                    assert all(overlay.get(space, key) == content[key] for key in content)

        for space, content in held.items():
            assert opened.content(space) == content
    assert not opened.has_store(STORE + 4)


# --- what is written at once


def test_a_small_store_is_dropped_at_once_and_a_large_one_bit_by_bit(opened: Opened) -> None:
    with opened.transaction() as overlay:
        overlay.create(8)
        for number in range(5_000):
            overlay.put(8, b"%d" % number, b"x" * 100)
    with opened.transaction() as overlay:
        assert overlay.drop_some(STORE, budget_s=SOME_S, small_bytes=4_096) is False
        # However little time there is, something goes.
        assert overlay.drop_some(8, budget_s=0.0, small_bytes=4_096) is False
        assert overlay.changed

    assert not opened.has_store(STORE)
    assert 0 < len(opened.content(8)) < 5_000
    with opened.transaction() as overlay:
        while not overlay.drop_some(8, budget_s=SOME_S, small_bytes=4_096):
            pass
    assert not opened.has_store(8)


def test_dropping_a_store_that_is_not_there_changes_nothing(opened: Opened) -> None:
    with opened.transaction() as overlay:
        assert overlay.drop_some(99, budget_s=SOME_S, small_bytes=1) is True
        assert not overlay.changed


def test_rows_are_removed_by_the_beginning_of_their_keys(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for number in range(300):
            overlay.put(DELETED, id_key(5) + b"%03d" % number, b"row")
        overlay.put(DELETED, id_key(4) + b"other", b"row")
        overlay.put(DELETED, id_key(6), b"row")
    with opened.transaction() as overlay:
        assert overlay.remove_some(DELETED, id_key(5), budget_s=SOME_S) is True
        assert overlay.changed
    with opened.transaction() as overlay:
        assert overlay.remove_some(DELETED, id_key(5), budget_s=SOME_S) is True
        assert not overlay.changed

    assert list(opened.content(DELETED)) == [id_key(4) + b"other", id_key(6)]


def test_removing_rows_ends_with_its_time_and_goes_on_the_next_time(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for number in range(3_000):
            overlay.put(DELETED, id_key(5) + b"%04d" % number, b"row")
    transactions = 0
    done = False
    while not done:
        with opened.transaction() as overlay:
            done = overlay.remove_some(DELETED, id_key(5), budget_s=0.0002)
        transactions += 1

    assert transactions > 1
    assert opened.content(DELETED) == {}


def test_rows_are_removed_as_it_is_said_of_each_until_none_is_said(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for number in range(8):
            overlay.put(CATALOG, id_key(number), b"%d" % number)
    said: dict[bytes, bool | None] = {b"2": True, b"3": True, b"4": False, b"5": True, b"6": None}
    with opened.transaction() as overlay:
        overlay.remove_where(CATALOG, id_key(6), lambda key, row: said[row])
        overlay.remove_where(CATALOG, id_key(8), lambda key, row: True)
        overlay.remove_where(META, b"", lambda key, row: True)
        assert not overlay.changed

        overlay.remove_where(CATALOG, id_key(2), lambda key, row: said[row])
        assert overlay.changed

    assert [*opened.content(CATALOG).values()] == [b"0", b"1", b"4", b"6", b"7"]
    with opened.transaction() as overlay:
        overlay.remove_where(CATALOG, b"", lambda key, row: True)
    assert opened.content(CATALOG) == {}


def test_rows_are_read_from_a_key_on_and_backwards_as_they_were(opened: Opened) -> None:
    with opened.transaction() as overlay:
        for number in (1, 2, 3):
            overlay.put(CATALOG, id_key(number), b"%d" % number)
        assert list(overlay.rows(CATALOG, b"")) == []
    with opened.transaction() as overlay:
        overlay.put(CATALOG, id_key(4), b"4")

        assert list(overlay.rows(CATALOG, id_key(2))) == [(id_key(2), b"2"), (id_key(3), b"3")]
        assert [row for _, row in overlay.rows_backwards(CATALOG)] == [b"3", b"2", b"1"]
        assert list(overlay.rows_backwards(META)) == []

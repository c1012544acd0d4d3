"""The checkers of the crash tests notice what they are there for: lost, half and made-up changes.

A check that never fails proves nothing, so each rule of it is broken here once, on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lmdb
import msgspec
import pytest
from tests.support.inspect_store import Inspection, inspect
from tests.support.ledger import BrokenPromise, Ledger, Seen
from tests.support.store import Store

from assetstored.tables import (
    DELETED,
    JOURNAL,
    META,
    TRASH,
    Counters,
    DeletedRow,
    JournalRow,
    Snapshot,
    Tables,
    read_row,
    store_name,
    write_row,
)

PART = ["orders", ""]


def told(*events: list[Any]) -> Ledger:
    """A ledger that one writer told these events."""
    ledger = Ledger()
    for event in events:
        ledger.tell("writer", event)
    return ledger


def acknowledged_set(key: str, value: Any, revision: int) -> list[list[Any]]:
    return [["do", PART, "set", key, value], ["ok", revision]]


FIRST = acknowledged_set("a", 1, 10)
SECOND = acknowledged_set("b", 2, 11)
BOTH: Seen = {"a": (1, 10), "b": (2, 11)}


def test_a_store_that_holds_what_was_acknowledged_is_accepted() -> None:
    told(*FIRST, *SECOND).check({"orders": BOTH}, 11)


@pytest.mark.parametrize(
    ("seen", "revision"),
    [
        ({"a": (1, 10)}, 11),
        ({}, 11),
        ({**BOTH, "b": (1, 11)}, 11),
        ({**BOTH, "b": (2, 12)}, 12),
        ({**BOTH, "c": (3, 12)}, 12),
        (BOTH, 10),
    ],
    ids=[
        "a write is lost",
        "all is lost",
        "another value",
        "another revision",
        "a key that nobody wrote",
        "the store's revision went back",
    ],
)
def test_anything_else_than_what_was_acknowledged_is_noticed(seen: Seen, revision: int) -> None:
    with pytest.raises(BrokenPromise):
        told(*FIRST, *SECOND).check({"orders": seen}, revision)


def test_what_is_under_way_may_be_there_or_not_and_nothing_between() -> None:
    clearing = [*FIRST, *SECOND, ["do", PART, "clear", "", None]]

    told(*clearing).check({"orders": BOTH}, 11)
    told(*clearing).check({"orders": {}}, 12)
    with pytest.raises(BrokenPromise):
        told(*clearing).check({"orders": {"a": (1, 10)}}, 12)


def test_an_unknown_outcome_is_either_and_once_seen_it_is_settled() -> None:
    unknown = [*FIRST, ["do", PART, "delete", "a", None], ["unknown", "no answer"]]

    told(*unknown).check({"orders": {"a": (1, 10)}}, 10)
    ledger = told(*unknown)
    ledger.check({}, 11)
    with pytest.raises(BrokenPromise):
        ledger.check({"orders": {"a": (1, 10)}}, 11)


def test_a_refused_change_must_not_be_there() -> None:
    refused = [*FIRST, ["do", PART, "delete", "a", None], ["no", "the daemon is stopping"]]

    with pytest.raises(BrokenPromise):
        told(*refused).check({}, 11)


def test_a_revision_that_goes_back_or_is_given_out_twice_is_noticed() -> None:
    with pytest.raises(BrokenPromise):
        told(*FIRST, *acknowledged_set("b", 2, 9))
    ledger = told(*FIRST)
    ledger.tell("another", ["do", ["customers", ""], "set", "c", 3])
    with pytest.raises(BrokenPromise):
        ledger.tell("another", ["ok", 10])


def test_a_read_that_does_not_show_the_last_acknowledged_write_is_noticed() -> None:
    with pytest.raises(BrokenPromise):
        told(*FIRST, *acknowledged_set("a", 2, 11), ["saw", PART, {"a": [1, 10]}])


def test_an_answer_that_does_not_fit_what_was_there_is_noticed() -> None:
    with pytest.raises(BrokenPromise):
        told(*FIRST, ["do", PART, "delete", "a", None], ["ok", False])
    with pytest.raises(BrokenPromise):
        told(*FIRST, *SECOND, ["do", PART, "clear", "", None], ["ok", 1])


# --- the inspection of a store


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A store with three entries in use, and one cleared and one left store in the trash."""
    path = tmp_path / "data"
    with Store(path) as store:
        store.activate("orders", "customers", "gone", "never-written")
        for name in ("customers", "gone", "orders"):
            for key in ("a", "b", "ü" * 300):
                store.put(name, key, b'"value"')
        store.put("orders", "d", b'"value"')
        store.remove("orders", "d")
        store.clear("customers")
        store.put("customers", "c", b"1")
        store.deactivate("gone")
    return path


@contextmanager
def meddling(data_dir: Path) -> Iterator[tuple[lmdb.Environment, Any]]:
    """A transaction on a store behind the daemon's back."""
    with (
        lmdb.open(str(data_dir), max_dbs=32, map_size=1 << 40, lib_version=0) as env,
        env.begin(write=True) as txn,
    ):
        yield env, txn


def store_of(env: Any, txn: Any, store_id: int) -> Any:
    return env.open_db(store_name(store_id), txn=txn, create=False)


def test_a_sound_store_has_no_problems_and_shows_all_it_holds(data_dir: Path) -> None:
    found = inspect(data_dir)

    assert found.problems == []
    assert found.active["orders"].keys() == {"a", "b", "ü" * 300}
    assert found.active["customers"].keys() == {"c"}
    assert found.active["never-written"] == {}
    assert sorted((each.name, each.reason, len(each.contents)) for each in found.trash) == [
        ("customers", "cleared", 3),
        ("gone", "deactivated", 3),
    ]


def remove_a_record_of_an_asset(env: Any, txn: Any) -> None:
    txn.delete(b"a", db=store_of(env, txn, 3))


def remove_a_record_in_the_trash(env: Any, txn: Any) -> None:
    txn.delete(b"a", db=store_of(env, txn, 1))


def flip_a_bit(env: Any, txn: Any) -> None:
    db = store_of(env, txn, 3)
    record = bytearray(txn.get(b"a", db=db))
    record[-2] ^= 1
    txn.put(b"a", bytes(record), db=db)


def move_a_record_to_another_store(env: Any, txn: Any) -> None:
    txn.put(b"a", txn.get(b"a", db=store_of(env, txn, 3)), db=store_of(env, txn, 4))


def leave_a_sub_database_behind(env: Any, txn: Any) -> None:
    env.open_db(store_name(99), txn=txn, create=True)


def drop_a_sub_database(env: Any, txn: Any) -> None:
    txn.drop(store_of(env, txn, 3), delete=True)


def lose_a_row_of_the_trash(env: Any, txn: Any) -> None:
    txn.delete((1).to_bytes(8, "big"), db=env.open_db(TRASH, txn=txn, create=False))


def change_a_row_of_the_journal(at: int, **changes: Any) -> Callable[[Any, Any], None]:
    """The row is one of the last, counted from the end; without changes it is gone."""

    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        found = list(txn.cursor(db=tables[JOURNAL]))
        key = found[at][0]
        if changes:
            row = read_row(Snapshot(txn, tables), JOURNAL, key, JournalRow)
            assert row is not None
            write_row(txn, tables, JOURNAL, key, msgspec.structs.replace(row, **changes))
        else:
            txn.delete(key, db=tables[JOURNAL])

    return meddle


def repeat_a_request(env: Any, txn: Any) -> None:
    request = (b"r" * 16, msgspec.Raw(b"\x90"))
    change_a_row_of_the_journal(-1, request=request)(env, txn)
    change_a_row_of_the_journal(-2, request=request)(env, txn)


def forget_a_deletion(env: Any, txn: Any) -> None:
    tables = Tables(env, txn, create=False)
    ((key, _),) = txn.cursor(db=tables[DELETED])
    txn.delete(key, db=tables[DELETED])


def take_a_deletion_for_that_of_another_key(env: Any, txn: Any) -> None:
    tables = Tables(env, txn, create=False)
    ((key, _),) = txn.cursor(db=tables[DELETED])
    deleted = read_row(Snapshot(txn, tables), DELETED, key, DeletedRow)
    write_row(txn, tables, DELETED, key[:-1] + b"?", deleted)


def set_the_counters_back(**changes: int) -> Callable[[Any, Any], None]:
    def meddle(env: Any, txn: Any) -> None:
        tables = Tables(env, txn, create=False)
        counters = read_row(Snapshot(txn, tables), META, b"counters", Counters)
        assert counters is not None
        for name, value in changes.items():
            setattr(counters, name, value)
        write_row(txn, tables, META, b"counters", counters)

    return meddle


@pytest.mark.parametrize(
    ("meddle", "complaint"),
    [
        (remove_a_record_in_the_trash, "holds 2, says"),
        (flip_a_bit, "fails its checksum"),
        (move_a_record_to_another_store, "fails its checksum"),
        (leave_a_sub_database_behind, "belongs to nobody"),
        (drop_a_sub_database, "is missing"),
        (lose_a_row_of_the_trash, "belongs to nobody"),
        (set_the_counters_back(revision=3), "the counter is at 3"),
        (set_the_counters_back(store_id=2), "the counter is at 2"),
        (set_the_counters_back(trash_id=0), "the counter is at 0"),
        (set_the_counters_back(asset_id=1), "the counter is at 1"),
        (set_the_counters_back(active=4), "3 assets are active"),
        (set_the_counters_back(compacted=99), "forgotten revision 99 is in use"),
        (change_a_row_of_the_journal(-1), "the journal lacks"),
        (change_a_row_of_the_journal(-2), "the journal has no change 1"),
        (change_a_row_of_the_journal(-2, value=b"2"), "and the journal says"),
        (change_a_row_of_the_journal(-2, sequence=7), "is not change 1"),
        (change_a_row_of_the_journal(-2, previous=99), "has a later one before it"),
        (change_a_row_of_the_journal(-2, asset_id=99), "is of no asset"),
        (repeat_a_request, "was carried out twice"),
        (forget_a_deletion, "is nowhere said to be deleted"),
        (take_a_deletion_for_that_of_another_key, "is that of another key"),
    ],
)
def test_the_inspection_notices_what_is_wrong(
    data_dir: Path, meddle: Callable[[Any, Any], None], complaint: str
) -> None:
    with meddling(data_dir) as (env, txn):
        meddle(env, txn)

    problems = inspect(data_dir).problems

    assert any(complaint in problem for problem in problems), problems


def test_a_record_that_is_missing_without_a_trace_is_noticed_by_the_ledger(
    data_dir: Path,
) -> None:
    ledger = Ledger()
    promised = inspect(data_dir)
    for key, (value, revision) in promised.active["orders"].items():
        ledger.tell("writer", ["do", PART, "set", key, value])
        ledger.tell("writer", ["ok", revision])
    check_orders(ledger, promised)

    with meddling(data_dir) as (env, txn):
        remove_a_record_of_an_asset(env, txn)

    found = inspect(data_dir)
    assert found.problems == []
    with pytest.raises(BrokenPromise):
        check_orders(ledger, found)


def check_orders(ledger: Ledger, found: Inspection) -> None:
    ledger.check({"orders": found.active["orders"]}, found.revision)

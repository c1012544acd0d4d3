"""The checkers of the crash tests notice what they are there for: lost, half and made-up changes.

A check that never fails proves nothing, so each rule of it is broken here once, on purpose.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.inspect_store import Inspection, inspect
from tests.support.ledger import BrokenPromise, Ledger, Seen
from tests.support.meddling import flip_a_bit, meddling, remove_a_record, repeat_a_request
from tests.support.store import Store

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


def test_the_inspection_shows_what_the_check_of_the_product_finds(data_dir: Path) -> None:
    with meddling(data_dir) as (env, txn):
        flip_a_bit(3, b"a")(env, txn)

    assert inspect(data_dir).problems == ["asset 'orders', key 'a': its record fails its checksum"]


def test_the_inspection_notices_a_request_that_was_carried_out_twice(data_dir: Path) -> None:
    with meddling(data_dir) as (env, txn):
        repeat_a_request(env, txn)

    (problem,) = inspect(data_dir).problems
    assert "was carried out twice" in problem


def test_a_record_that_is_missing_is_noticed_by_the_ledger_too(data_dir: Path) -> None:
    ledger = Ledger()
    promised = inspect(data_dir)
    for key, (value, revision) in promised.active["orders"].items():
        ledger.tell("writer", ["do", PART, "set", key, value])
        ledger.tell("writer", ["ok", revision])
    check_orders(ledger, promised)

    with meddling(data_dir) as (env, txn):
        remove_a_record(3, b"a")(env, txn)

    with pytest.raises(BrokenPromise):
        check_orders(ledger, inspect(data_dir))


def check_orders(ledger: Ledger, found: Inspection) -> None:
    ledger.check({"orders": found.active["orders"]}, found.revision)

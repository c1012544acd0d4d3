"""Changes that lose nobody's change: conditions, create, advance, increment, merge, update.

Most run with both clients.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tests.support.daemon import Daemon

from assetstore import (
    Advance,
    Client,
    Conflict,
    InactiveAsset,
    InvalidRequest,
    Store,
    UnknownAsset,
)

# --- if_revision and create


def test_a_set_with_the_keys_revision_goes_through(each_store: Any) -> None:
    first = each_store.set("k", 1)

    second = each_store.set("k", 2, if_revision=first)

    assert second > first
    assert each_store.entry("k").revision == second


def test_with_another_revision_it_is_a_conflict_that_has_the_entry_and_nothing_changed(
    each_store: Any,
) -> None:
    first = each_store.set("k", 1)
    each_store.set("k", 2)
    before = each_store.entry("k")

    with pytest.raises(Conflict, match="'k' of asset 'orders'") as caught:
        each_store.set("k", 3, if_revision=first)

    assert caught.value.entry == each_store.entry("k") == before
    assert (caught.value.detail["operation"], caught.value.detail["key"]) == (0, "k")


def test_a_key_that_was_deleted_and_set_again_is_another(each_store: Any) -> None:
    first = each_store.set("k", 1)
    each_store.delete("k")

    with pytest.raises(Conflict) as caught:
        each_store.set("k", 2, if_revision=first)
    assert caught.value.entry is None

    each_store.set("k", 1)
    with pytest.raises(Conflict):
        each_store.set("k", 2, if_revision=first)


def test_create_writes_what_is_absent_and_nothing_else(each_store: Any) -> None:
    revision = each_store.create("k", "mine")

    with pytest.raises(Conflict) as caught:
        each_store.create("k", "yours")
    with pytest.raises(Conflict):
        each_store.set("k", "yours", if_revision=0)

    assert (caught.value.entry.value, caught.value.entry.revision) == ("mine", revision)
    assert each_store.get("k") == "mine"
    each_store.delete("k")
    assert each_store.create("k", "yours") > revision


def test_a_conditional_delete_deletes_what_was_seen_and_nothing_else(each_store: Any) -> None:
    first = each_store.set("k", 1)
    second = each_store.set("k", 2)

    with pytest.raises(Conflict):
        each_store.delete("k", if_revision=first)
    assert each_store.get("k") == 2

    assert each_store.delete("k", if_revision=second) is True
    assert each_store.get("k") is None
    # "Is absent" holds, and there is nothing to delete; that revision does not.
    assert each_store.delete("k", if_revision=0) is False
    with pytest.raises(Conflict):
        each_store.delete("k", if_revision=second)


def test_of_many_who_create_a_key_at_once_one_succeeds(shared_daemon: Daemon, store: Store) -> None:
    start = threading.Barrier(16)

    def work(number: int) -> bool:
        with shared_daemon.client() as client:
            mine = client.store("orders")
            mine.get("leader")
            start.wait(20.0)
            try:
                mine.create("leader", number)
            except Conflict:
                return False
            return True

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(work, range(16)))

    assert won.count(True) == 1
    assert store.get("leader") == won.index(True)


# --- advance


def test_advance_writes_what_is_absent_or_less_and_says_what_stands_there(each_store: Any) -> None:
    first = each_store.advance("k", "2026-01-31")
    assert isinstance(first, Advance)
    assert first.applied
    assert first.entry == each_store.entry("k")

    assert each_store.advance("k", "2026-01-31").applied is False
    back = each_store.advance("k", "2026-01-30")
    assert (back.applied, back.entry) == (False, first.entry)

    on = each_store.advance("k", "2026-02-01")
    assert (on.applied, on.entry.value) == (True, "2026-02-01")
    assert on.entry.revision > first.entry.revision


@pytest.mark.parametrize(
    ("stored", "value", "applied"),
    [
        (1, 1.5, True),
        (2**70, 2**70 + 1, True),
        (1, True, None),
        ("a", 1, None),
        (["eu", 5], ["eu", 6], True),
        (["eu", 5], ["eu", 5], False),
        (["eu", 5], ["us", 0], True),
        ({"a": 1}, {"a": 2}, None),
    ],
)
def test_only_what_has_an_order_can_be_advanced(
    each_store: Any, stored: Any, value: Any, applied: bool | None
) -> None:
    revision = each_store.set("k", stored)

    if applied is None:
        with pytest.raises(InvalidRequest):
            each_store.advance("k", value)
    else:
        assert each_store.advance("k", value).applied is applied
    assert (each_store.entry("k").revision > revision) is bool(applied)


def test_instants_are_ordered_by_time_where_that_is_asked_for(each_store: Any) -> None:
    each_store.advance("k", "2026-01-31T02:00:00+02:00", order="time")

    assert not each_store.advance("k", "2026-01-31T00:00:00Z", order="time").applied
    assert each_store.advance("k", "2026-01-30T23:00:00.5-01:30", order="time").applied
    with pytest.raises(InvalidRequest, match="no offset"):
        each_store.advance("k", "2026-02-01T00:00:00", order="time")
    with pytest.raises(InvalidRequest, match="no offset"):
        each_store.advance("new", "2026-02-01T00:00:00", order="time")


# --- increment


def test_increment_adds_and_returns_the_sum(each_store: Any) -> None:
    assert each_store.increment("n") == 1
    assert each_store.increment("n", 41) == 42
    assert each_store.increment("n", -2) == 40
    assert each_store.increment("n", 0.5) == 40.5
    assert each_store.increment("new", 1, default=9) == 10
    assert type(each_store.increment("new")) is int


def test_integers_of_any_size_are_added_exactly(each_store: Any) -> None:
    each_store.set("n", 10**400)

    assert each_store.increment("n") == 10**400 + 1


def test_what_is_no_number_cannot_be_counted(each_store: Any) -> None:
    each_store.set("k", "7")

    with pytest.raises(InvalidRequest):
        each_store.increment("k")
    with pytest.raises(TypeError, match="by must be a number"):
        each_store.increment("n", "1")
    assert each_store.get("k") == "7"


# --- merge


def test_merge_lays_fields_over_those_that_are_there(each_store: Any) -> None:
    assert each_store.merge("m", {"a": 1, "b": {"c": 2}}) == {"a": 1, "b": {"c": 2}}
    assert each_store.merge("m", {"b": {"d": None}}) == {"a": 1, "b": {"c": 2, "d": None}}
    assert each_store.merge("m", {"e": 3}, remove=["a", ["b", "c"]]) == {"b": {"d": None}, "e": 3}
    assert each_store.get("m") == {"b": {"d": None}, "e": 3}


def test_merge_by_max_keeps_the_cursor_of_each_shard(each_store: Any) -> None:
    each_store.merge("cursors", {"a": 5, "b": 7}, how="max")

    assert each_store.merge("cursors", {"a": 6, "b": 1}, how="max") == {"a": 6, "b": 7}
    with pytest.raises(InvalidRequest):
        each_store.merge("cursors", {"a": "seven"}, how="max")
    assert each_store.get("cursors") == {"a": 6, "b": 7}


def test_what_is_no_object_cannot_be_merged(each_store: Any) -> None:
    each_store.set("k", [1])

    with pytest.raises(InvalidRequest):
        each_store.merge("k", {"a": 1})
    assert each_store.get("k") == [1]


# --- update


def test_update_writes_what_the_function_makes_of_the_value(each_store: Any) -> None:
    assert each_store.update("k", lambda value: [*value, 1], default=[]) == [1]
    assert each_store.update("k", lambda value: [*value, 2], []) == [1, 2]
    assert each_store.get("k") == [1, 2]


def test_a_default_is_never_changed_by_the_function(each_store: Any) -> None:
    default: dict[str, int] = {}

    def add(value: dict[str, int]) -> dict[str, int]:
        value["n"] = value.get("n", 0) + 1
        return value

    each_store.update("k", add, default)

    assert (default, each_store.get("k")) == ({}, {"n": 1})


def test_what_is_written_meanwhile_is_what_the_function_gets_next(store: Store) -> None:
    store.set("k", 1)
    seen: list[int] = []

    def interfered(value: int) -> int:
        seen.append(value)
        if len(seen) < 4:
            # Another writer comes between, each time.
            store.set("k", 10 * len(seen))
        return value + 1

    assert store.update("k", interfered) == 31
    assert seen == [1, 10, 20, 30]


def test_a_key_that_was_deleted_meanwhile_is_given_as_the_default(store: Store) -> None:
    store.set("k", 1)
    seen: list[int] = []

    def interfered(value: int) -> int:
        seen.append(value)
        if value == 1:
            store.delete("k")
        return value + 1

    assert store.update("k", interfered, default=100) == 101
    assert seen == [1, 100]


def test_if_the_function_raises_or_makes_no_value_nothing_happened(each_store: Any) -> None:
    revision = each_store.set("k", 0)

    with pytest.raises(ZeroDivisionError):
        each_store.update("k", lambda value: 1 // value)
    with pytest.raises(InvalidRequest, match="Cannot set value as None"):
        each_store.update("k", lambda value: None)

    assert each_store.entry("k").revision == revision


def test_an_update_that_never_gets_through_ends_with_the_last_conflict(
    shared_daemon: Daemon, store: Store
) -> None:
    with shared_daemon.client(timeout=0.5) as client:

        def interfered(value: int) -> int:
            store.increment("k")
            return value + 1

        with pytest.raises(Conflict) as caught:
            client.store("orders").update("k", interfered, 0)

        assert caught.value.entry == store.entry("k")


@pytest.mark.parametrize("way", ["update", "increment", "if_revision", "advance", "merge"])
def test_no_change_of_many_threads_is_lost(
    shared_daemon: Daemon, shared_client: Client, way: str
) -> None:
    def by_condition(store: Store, number: int) -> None:
        while True:
            entry = store.entry("n")
            value, revision = (entry.value, entry.revision) if entry else (0, 0)
            try:
                store.set("n", value + 1, if_revision=revision)
            except Conflict:
                continue
            return

    ways: dict[str, Callable[[Store, int], object]] = {
        "update": lambda store, number: store.update("n", lambda value: value + 1, 0),
        "increment": lambda store, number: store.increment("n"),
        "if_revision": by_condition,
        "advance": lambda store, number: store.advance("n", number + 1),
        "merge": lambda store, number: store.merge("m", {str(number): 1}),
    }

    with shared_daemon.client(timeout=30.0) as client, ThreadPoolExecutor(8) as pool:
        store = client.store("orders")
        list(pool.map(lambda number: ways[way](store, number), range(200)))

        if way == "merge":
            assert store.get("m") == {str(number): 1 for number in range(200)}
        else:
            assert store.get("n") == 200


# --- set_many and get_many


def test_set_many_writes_all_and_returns_the_last_revision(each_store: Any) -> None:
    revision = each_store.set_many({"a": 1, "b": [2]})

    assert each_store.get_many(["b", "a", "absent"]) == {"b": [2], "a": 1}
    assert max(each_store.entry(key).revision for key in "ab") == revision
    assert each_store.set_many([("a", 3), ("a", 4)]) > revision
    assert each_store.get("a") == 4
    assert each_store.set_many({}) is None
    assert each_store.get_many([]) == {}


def test_set_many_refuses_all_where_it_refuses_one(each_store: Any) -> None:
    with pytest.raises(InvalidRequest):
        each_store.set_many({"a": 1, "b": None})
    with pytest.raises(InvalidRequest, match="1,001 operations are too many"):
        each_store.set_many({f"k{number}": number for number in range(1_001)})

    assert each_store.count() == 0


def test_get_many_of_the_client_reads_any_assets_in_one_snapshot(each_client: Any) -> None:
    each_client.store("orders").set("k", 1)
    revision = each_client.store("customers").set("k", 2)

    entries = each_client.get_many([("customers", "k"), ("invoices", "k"), ("orders", "k")])

    assert [entry and entry.value for entry in entries] == [2, None, 1]
    assert entries[0].revision == revision
    with pytest.raises(UnknownAsset):
        each_client.get_many([("orders", "k"), ("unheard-of", "k")])
    with pytest.raises(InvalidRequest, match="1,001 keys are too many"):
        each_client.get_many([("orders", "k")] * 1_001)


# --- of every kind


CHANGES: list[tuple[str, tuple[Any, ...]]] = [
    ("create", ("k", 1)),
    ("advance", ("k", 1)),
    ("increment", ("k",)),
    ("merge", ("k", {})),
    ("update", ("k", str)),
    ("set_many", ({"k": 1},)),
    ("get_many", (["k"],)),
]


@pytest.mark.parametrize(("call", "arguments"), CHANGES)
def test_an_asset_that_is_not_active_is_closed_to_them_too(
    forsaken_client: Client, call: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(InactiveAsset):
        getattr(forsaken_client.store("orders"), call)(*arguments)
    with pytest.raises(UnknownAsset):
        getattr(forsaken_client.store("unheard-of"), call)(*arguments)


def test_a_container_of_one_asset_has_them_as_shorthand(shared_client: Client) -> None:
    container = shared_client.asset_store(["orders"])

    revision = container.create("k", 1)
    assert container.set("k", 2, if_revision=revision) > revision
    assert container.advance("k", 5).applied
    assert container.increment("k") == 6
    assert container.update("k", lambda value: value * 2) == 12
    assert container.merge("m", {"a": 1}) == {"a": 1}
    container.set_many({"x": 1})
    assert container.get_many(["k", "x"]) == {"k": 12, "x": 1}
    with pytest.raises(Conflict):
        container.delete("k", if_revision=revision)

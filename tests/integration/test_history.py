"""The past of a store, with a real daemon: history, get(at=...), rewind, log. With both clients."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import (
    AssetRef,
    Conflict,
    InactiveAsset,
    InvalidRequest,
    UnknownAsset,
    Writer,
)

ORDERS = AssetRef("orders", "s3://data/orders/")


def wait_for_a_later_time(moment: datetime) -> datetime:
    """A time after this one, and after nothing that is written later."""
    wait_until(lambda: datetime.now(UTC) > moment, 5.0, "the clock to go on")
    return datetime.now(UTC)


# --- history


def test_the_history_of_a_key_is_what_was_done_to_it_newest_first(each_store: Any) -> None:
    each_store.set("other", 0)
    each_store.set("k", 1)
    each_store.advance("k", 5)
    each_store.increment("k")
    each_store.set("other", 1)
    each_store.delete("k")
    each_store.merge("k", {"a": 1})

    events = list(each_store.history("k"))

    assert [(event.kind, event.value) for event in events[:5]] == [
        ("merge", {"a": 1}),
        ("delete", None),
        ("increment", 6),
        ("advance", 5),
        ("set", 1),
    ]
    assert {event.key for event in events[:5]} == {"k"}
    assert {event.asset for event in events} == {ORDERS}
    assert [event.previous for event in events[:4]] == [event.revision for event in events[1:5]]
    newest = each_store.entry("k")
    assert (events[0].revision, events[0].updated_at) == (newest.revision, newest.updated_at)


def test_a_clear_is_part_of_the_history_of_every_key_that_was_there(each_store: Any) -> None:
    each_store.set("k", 1)
    each_store.clear()
    each_store.set("k", 2)

    events = list(each_store.history("k", limit=3))

    assert [(event.kind, event.key, event.value) for event in events] == [
        ("set", "k", 2),
        ("clear", None, None),
        ("set", "k", 1),
    ]
    assert events[1].detail == {"entries": 1}


def test_a_history_is_as_long_as_is_asked_for(each_store: Any) -> None:
    for number in range(1_050):
        each_store.set("k", number)

    assert [event.value for event in each_store.history("k", limit=3)] == [1_049, 1_048, 1_047]
    assert list(each_store.history("k", limit=0)) == []
    whole = list(islice(each_store.history("k"), 1_050))
    assert [event.value for event in whole] == list(reversed(range(1_050)))


def test_a_key_that_never_was_has_no_history(each_store: Any) -> None:
    assert [event for event in each_store.history("never") if event.key is not None] == []


def test_history_says_who(daemon: Daemon) -> None:
    run: dict[str, Any] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": 3}
    with daemon.client(writer=Writer(kind="task", **run)) as client:
        client.store("orders").set("k", 1)
        [event] = client.store("orders").history("k")

    who = event.updated_by
    assert (who.kind, who.dag_id, who.map_index) == ("task", "d", 3)
    assert (who.uid, who.pid) == (os.getuid(), os.getpid())


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("",), InvalidRequest), (("k", -1), InvalidRequest), ((7,), TypeError)],
)
def test_a_history_that_makes_no_sense_is_refused_when_it_is_asked_for(
    each_store: Any, arguments: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        each_store.history(*arguments)


# --- get(at=...)


def test_a_value_is_had_as_it_stood_after_a_revision(each_store: Any) -> None:
    first = each_store.set("k", "a")
    second = each_store.set("k", "b")
    each_store.delete("k")
    last = each_store.set("other", 1)

    assert each_store.get("k", at=first) == "a"
    assert each_store.get("k", at=second) == "b"
    assert each_store.get("k", "gone", at=last) == "gone"
    assert each_store.get("k", at=first - 1) is None
    assert each_store.get("k") is None


def test_a_value_is_had_as_it_stood_at_a_time(each_store: Any) -> None:
    each_store.set("k", "a")
    between = wait_for_a_later_time(each_store.entry("k").updated_at)
    wait_for_a_later_time(between)
    each_store.set("k", "b")

    assert each_store.get("k", at=between) == "a"
    assert each_store.get("k", at=each_store.entry("k").updated_at) == "b"
    assert each_store.get("k", at=datetime.now(UTC) + timedelta(days=1)) == "b"
    assert each_store.get("k", at=datetime(1999, 1, 1, tzinfo=UTC)) is None


def test_what_was_cleared_is_still_there_at_its_time(each_store: Any) -> None:
    each_store.set("a", 1)
    before = each_store.set("b", 2)
    each_store.clear()

    assert [each_store.get(key, at=before) for key in "ab"] == [1, 2]
    assert each_store.get("a") is None


def test_a_time_to_come_or_without_a_zone_is_refused(each_store: Any) -> None:
    revision = each_store.set("k", 1)

    with pytest.raises(InvalidRequest, match="is to come"):
        each_store.get("k", at=revision + 1)
    with pytest.raises(InvalidRequest, match="no time zone"):
        each_store.get("k", at=datetime.now())  # noqa: DTZ005 - that is what is refused


# --- rewind


def test_a_key_is_rewound_by_writing_its_old_value_again(each_store: Any) -> None:
    good = each_store.set("k", "good")
    each_store.set("k", "bad")
    each_store.set("other", "stays")

    rewound = each_store.rewind("k", to=good)

    [difference] = rewound.differences
    assert (difference.key, difference.now.value, difference.then.value) == ("k", "bad", "good")
    assert each_store.get("k") == "good"
    assert each_store.get("other") == "stays"
    assert rewound.revision == each_store.entry("k").revision > good
    # The past stays what it was.
    assert [(event.kind, event.value) for event in each_store.history("k", limit=3)] == [
        ("rewind", "good"),
        ("set", "bad"),
        ("set", "good"),
    ]


def test_a_whole_asset_is_rewound_at_once_after_a_look(each_store: Any) -> None:
    each_store.set_many({"changed": 1, "deleted": 2, "untouched": 3})
    good = each_store.set("last", 4)
    each_store.set("changed", -1)
    each_store.delete("deleted")
    each_store.set("new", -1)

    look = each_store.rewind(to=good, dry_run=True)
    assert each_store.get("changed") == -1

    rewound = each_store.rewind(to=good, expected=look.revision)

    assert rewound.differences == look.differences
    assert [
        (each.key, each.now and each.now.value, each.then and each.then.value)
        for each in rewound.differences
    ] == [("changed", -1, 1), ("deleted", None, 2), ("new", -1, None)]
    assert each_store.get_many(["changed", "deleted", "untouched", "last", "new"]) == {
        "changed": 1,
        "deleted": 2,
        "untouched": 3,
        "last": 4,
    }


def test_what_was_changed_after_the_look_is_a_conflict(each_store: Any) -> None:
    good = each_store.set("k", 1)
    each_store.set("k", 2)
    look = each_store.rewind(to=good, dry_run=True)
    each_store.set("another", 1)

    with pytest.raises(Conflict):
        each_store.rewind(to=good, expected=look.revision)

    assert each_store.get("k") == 2


def test_a_rewind_can_be_rewound_and_one_without_a_difference_writes_nothing(
    each_store: Any,
) -> None:
    good = each_store.set("k", 1)
    bad = each_store.set("k", 2)
    each_store.rewind(to=good)

    each_store.rewind(to=bad)
    assert each_store.get("k") == 2

    again = each_store.rewind(to=bad)
    assert (again.revision, again.differences) == (None, [])


def test_a_clear_is_rewound(each_store: Any) -> None:
    each_store.set("a", 1)
    good = each_store.set("b", 2)
    each_store.clear()
    each_store.set("c", 3)

    each_store.rewind(to=good)

    assert each_store.get_many(["a", "b", "c"]) == {"a": 1, "b": 2}


def test_a_time_may_be_rewound_to(each_store: Any) -> None:
    each_store.set("k", "a")
    between = wait_for_a_later_time(each_store.entry("k").updated_at)
    wait_for_a_later_time(between)
    each_store.set("k", "b")

    each_store.rewind("k", to=between)

    assert each_store.get("k") == "a"


# --- log


def test_the_log_of_an_asset_is_what_happened_to_it_newest_first(each_client: Any) -> None:
    store = each_client.store("orders")
    first = store.set("a/1", 1)
    each_client.store("customers").set("a/1", 1)
    store.set("b/1", 2)
    store.clear()

    events = list(store.log(since=first))
    assert [(event.kind, event.key) for event in events] == [
        ("clear", None),
        ("set", "b/1"),
        ("set", "a/1"),
    ]
    assert [event.key for event in store.log("a/", since=first)] == [None, "a/1"]
    assert [event.key for event in store.log(limit=2)] == [None, "b/1"]


def test_the_log_of_all_assets_tells_what_happened_to_them_too(daemon: Daemon) -> None:
    with daemon.client() as client:
        since = client.store("orders").set("k", 1)
        client.store("customers").set("k", 1)
        daemon.activate("customers")
        events = list(client.log(since=since))

        what = [(event.kind, event.asset and event.asset.name, event.key) for event in events]
        assert what[-2:] == [("set", "customers", "k"), ("set", "orders", "k")]
        assert ("deactivated", "orders", None) in what
        assert ("manifest", None, None) in what
        # And of one that has left, why it did.
        assert next(client.store("orders").log()).kind == "deactivated"
        with pytest.raises(UnknownAsset):
            list(client.store("unheard-of").log())


def test_a_log_reaches_back_to_a_time(each_store: Any) -> None:
    each_store.set("k", "a")
    between = wait_for_a_later_time(each_store.entry("k").updated_at)
    wait_for_a_later_time(between)
    each_store.set("k", "b")
    each_store.set("k", "c")

    assert [event.value for event in each_store.log(since=between)] == ["c", "b"]


def test_a_log_longer_than_a_page_is_whole(each_store: Any) -> None:
    since = each_store.set("first", 0)
    for start in range(0, 2_500, 500):
        each_store.set_many({f"k{number}": number for number in range(start, start + 500)})

    values = [event.value for event in each_store.log(since=since)]

    assert values == [*reversed(range(2_500)), 0]
    assert len(list(each_store.log(limit=1_500))) == 1_500


def test_the_past_of_an_inactive_asset_is_closed_but_for_its_log(daemon: Daemon) -> None:
    with daemon.client() as client:
        store = client.store("customers")
        revision = store.set("k", 1)
        daemon.activate("orders")

        with pytest.raises(InactiveAsset):
            list(store.history("k"))
        with pytest.raises(InactiveAsset):
            store.get("k", at=revision)
        with pytest.raises(InactiveAsset):
            store.rewind(to=revision)
        assert [event.kind for event in store.log(limit=2)] == ["deactivated", "set"]


def test_a_container_of_one_asset_has_its_past_as_shorthand(each_client: Any) -> None:
    container = each_client.asset_store(["orders"])

    good = container.set("k", 1)
    container.set("k", 2)
    assert container.get("k", at=good) == 1
    assert len(container.rewind(to=good).differences) == 1
    assert next(container.history("k")).kind == "rewind"
    assert next(container.log()).value == 1

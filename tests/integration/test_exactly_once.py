"""Changes whose answers are lost on the way happen once, and are answered as they happened.

With a real daemon, and both clients; the daemon itself is killed in tests/crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.both_clients import AsBlocking
from tests.support.daemon import Daemon
from tests.support.lossy import Lossy

import assetstore
from assetstore import Conflict

PLENTY_S = 30.0


@pytest.fixture
def relay(shared_daemon: Daemon, shared_client: assetstore.Client) -> Iterator[Lossy]:
    """On the way to the shared daemon, whose stores are empty: every second answer is lost."""
    with Lossy(shared_daemon.socket, every=2) as relay:
        yield relay


@pytest.fixture(params=[assetstore.Client, AsBlocking], ids=["blocking", "asynchronous"])
def client(request: pytest.FixtureRequest, relay: Lossy) -> Iterator[Any]:
    """A client behind the relay, of either kind."""
    with request.param(relay.path, timeout=PLENTY_S) as client:
        yield client


def test_no_increment_is_lost_and_none_counts_twice(client: Any, relay: Lossy) -> None:
    store = client.store("orders")

    assert [store.increment("n") for _ in range(50)] == list(range(1, 51))
    assert relay.lost >= 25


def test_each_call_answers_as_if_nothing_had_been_lost(client: Any, relay: Lossy) -> None:
    store = client.store("orders")
    for number in range(8):
        key = f"k{number}"
        created = store.create(key, 1)
        assert store.set(key, 2, if_revision=created) == created + 1
        advanced = store.advance(key, 3)
        assert (advanced.applied, advanced.entry.revision) == (True, created + 2)
        assert store.merge(f"m{number}", {"a": 1}) == {"a": 1}
        assert store.update(key, lambda value: value + 1) == 4
        assert store.delete(key, if_revision=created + 4) is True
    assert store.clear() == 8
    assert relay.lost >= 20


def test_a_transaction_happens_once(client: Any, relay: Lossy) -> None:
    for number in range(1, 21):
        with client.transaction() as tx:
            first = tx.store("orders").increment("n")
            second = tx.store("customers").increment("n", 10)
            gone = tx.store("orders").delete("once")
            tx.store("orders").create("once", number)
        assert (first.result(), second.result()) == (number, 10 * number)
        assert gone.result() is (number > 1)
    assert relay.lost >= 10


def test_a_rewind_happens_once_and_says_what_differed(client: Any, relay: Lossy) -> None:
    store = client.store("orders")
    good = store.set_many({"a": 1, "b": 2})
    for number in range(10):
        bad = store.set("a", f"bad {number}")
        rewound = store.rewind(to=good)
        assert rewound.revision == bad + 1
        assert [(each.key, each.then.value) for each in rewound.differences] == [("a", 1)]
    assert relay.lost >= 10


def test_a_refusal_is_the_truth_though_its_answer_was_lost_first(client: Any, relay: Lossy) -> None:
    store = client.store("orders")
    store.set("k", 1)

    for _ in range(10):
        with pytest.raises(Conflict) as caught:
            store.create("k", 2)
        assert caught.value.entry.value == 1
    assert relay.lost >= 5


def test_a_watch_over_a_bad_line_sees_each_change_once(client: Any, relay: Lossy) -> None:
    store = client.store("orders")
    watch = store.watch("n").start()
    revisions = [store.set("n", number) for number in range(20)]

    assert [next(watch).revision for _ in range(20)] == revisions


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda client, trash_id: client.restore(trash_id).count, id="restore"),
        pytest.param(lambda client, trash_id: client.purge([trash_id]), id="purge"),
        pytest.param(lambda client, trash_id: client.move("invoices", "customers"), id="move"),
    ],
)
def test_what_operators_change_happens_once(
    client: Any, shared_client: assetstore.Client, act: Callable[[Any, int], int]
) -> None:
    for _ in range(4):
        shared_client.store("customers").clear()
        shared_client.store("invoices").set("k", 1)
        shared_client.store("orders").set("k", 1)
        shared_client.store("orders").clear()
        newest = [each.id for each in shared_client.trash() if each.name == "orders"][-1]

        assert act(client, newest) == 1

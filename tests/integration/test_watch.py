"""Waiting for what others write, with a real daemon that may be killed. With both clients."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import (
    AsyncClient,
    Client,
    InactiveAsset,
    InvalidRequest,
    NotConnected,
    Store,
    UnknownAsset,
    WaitTimeout,
)

PLENTY_S = 30.0


def take(watch: Any, number: int) -> list[tuple[str, Any]]:
    return [(event.key, event.value) for event in islice(watch, number)]


# --- watch


def test_a_watch_shows_what_is_committed_from_its_beginning_on(each_store: Any) -> None:
    each_store.set("before", 0)
    watch = each_store.watch().start()
    each_store.set("k", 1)
    each_store.delete("k")
    each_store.set("k", [2])

    assert take(watch, 3) == [("k", 1), ("k", None), ("k", [2])]


def test_a_watch_since_a_revision_begins_with_it(each_store: Any) -> None:
    first = each_store.set("k", 1)
    second = each_store.set("k", 2)

    watch = each_store.watch(since=first)
    assert [event.revision for event in islice(watch, 2)] == [first, second]
    assert watch.since == second + 1
    assert take(each_store.watch(since=second), 1) == [("k", 2)]
    with pytest.raises(InvalidRequest):
        next(each_store.watch(since=second + 1_000))


def test_a_watch_of_a_prefix_shows_its_keys_and_what_happens_to_the_asset(
    each_client: Any,
) -> None:
    store = each_client.store("orders")
    watch = store.watch("a/").start()
    store.set("b/1", 0)
    store.set("a/1", 1)
    each_client.store("customers").set("a/1", 2)
    store.clear()

    assert [(event.kind, event.key) for event in islice(watch, 2)] == [
        ("set", "a/1"),
        ("clear", None),
    ]


def test_a_watch_of_the_client_shows_all_assets_and_what_happens_to_them(daemon: Daemon) -> None:
    with daemon.client() as client:
        watch = client.watch()
        client.store("orders").set("k", 1)
        client.store("customers").set("k", 2)
        client.store("orders").clear()
        daemon.activate({"name": "orders", "uri": "s3://data/orders/"}, "invoices")

        seen = {(event.kind, event.asset and event.asset.name) for event in islice(watch, 6)}
        assert {
            ("set", "orders"),
            ("set", "customers"),
            ("clear", "orders"),
            ("deactivated", "customers"),
            ("activated", "invoices"),
            ("manifest", None),
        } == seen


def test_an_event_that_comes_later_is_waited_for(deserted_daemon: Daemon) -> None:
    with deserted_daemon.client() as client, ThreadPoolExecutor(1) as pool:
        watch = client.store("orders").watch()
        pending = pool.submit(next, watch)
        wait_for_waiting(client, 1)

        client.store("orders").set("k", 1)

        assert pending.result(PLENTY_S).value == 1


def wait_for_waiting(client: Client, connections: int) -> None:
    """Return when so many connections beside the client's own are there."""
    wait_until(
        lambda: client.status()["connections"] == connections + 1,
        PLENTY_S,
        f"{connections} connections that wait",
    )


def test_each_of_a_transactions_changes_is_an_event_and_all_come_together(each_client: Any) -> None:
    watch = each_client.watch().start()
    with each_client.transaction() as tx:
        for name in ("orders", "customers", "invoices"):
            tx.store(name).set("k", name)

    events = list(islice(watch, 3))
    assert [event.value for event in events] == ["orders", "customers", "invoices"]
    assert [event.revision for event in events] == list(range(tx.revision - 2, tx.revision + 1))


def test_a_watch_goes_on_across_kills_and_sees_each_change_once(daemon: Daemon) -> None:
    number = 400
    with daemon.client(timeout=PLENTY_S) as client, ThreadPoolExecutor(3) as pool:
        store = client.store("orders")
        first = store.watch("n")
        second = client.watch()

        revisions: list[int] = []

        def write() -> None:
            for each in range(number):
                revisions.append(store.set("n", each))

        def follow(watch: Any) -> list[tuple[int, int]]:
            # The manifest is judged anew at each start, which may be an event too.
            of_the_key = (event for event in watch if event.key == "n")
            return [(event.revision, event.value) for event in islice(of_the_key, number)]

        written = pool.submit(write)
        followed = [pool.submit(follow, watch) for watch in (first, second)]
        for part in range(1, 5):
            wait_until(lambda: len(revisions) > part * 75, PLENTY_S, "some changes")  # noqa: B023
            daemon.kill()
            daemon.start()
        written.result(PLENTY_S)

        expected = [(revision, each) for each, revision in enumerate(revisions)]
        assert [each.result(PLENTY_S) for each in followed] == [expected] * 2


def test_without_a_daemon_a_watch_ends_and_another_goes_on_where_it_stood(daemon: Daemon) -> None:
    with daemon.client(timeout=1.0) as client:
        store = client.store("orders")
        watch = store.watch()
        last = store.set("k", 1)
        assert next(watch).revision == last

        daemon.stop()
        with pytest.raises(NotConnected):
            next(watch)

        daemon.start()
        store.set("k", 2)
        assert take(store.watch(since=last + 1), 1) == [("k", 2)]
        assert take(watch, 1) == [("k", 2)]


def test_many_threads_watch_and_the_client_goes_on(deserted_daemon: Daemon) -> None:
    with deserted_daemon.client() as client, ThreadPoolExecutor(20) as pool:
        store = client.store("orders")
        pending = [pool.submit(next, store.watch()) for _ in range(20)]
        wait_for_waiting(client, 20)

        assert store.get("k") is None
        store.set("k", 1)

        assert {each.result(PLENTY_S).value for each in pending} == {1}


def test_many_coroutines_watch_over_one_connection(daemon: Daemon) -> None:
    async def program() -> None:
        async with AsyncClient(daemon.socket) as client:
            store = client.store("orders")
            watches = [await store.watch().start() for _ in range(200)]
            watching = asyncio.gather(*(anext(watch) for watch in watches))
            waiting = asyncio.gather(*(store.wait_for("k", at_least=1) for _ in range(200)))

            # More are under way than a connection may have at a time, if they did not wait.
            assert await store.get("other") is None
            assert (await client.status())["connections"] == 1
            await store.set("k", 1)

            assert {event.value for event in await watching} == {1}
            assert {entry.value for entry in await waiting} == {1}

    asyncio.run(asyncio.wait_for(program(), PLENTY_S))


def test_a_coroutine_that_watches_can_be_cancelled_and_asked_again(deserted_daemon: Daemon) -> None:
    async def program() -> None:
        async with AsyncClient(deserted_daemon.socket) as client:
            store = client.store("orders")
            watch = await store.watch().start()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(watch), 0.2)
            await store.set("k", 1)
            assert (await anext(watch)).value == 1

    asyncio.run(program())


def test_an_asset_that_is_not_known_cannot_be_watched(each_client: Any) -> None:
    with pytest.raises(UnknownAsset):
        next(each_client.store("unheard-of").watch())


@pytest.mark.parametrize("arguments", [("", -1), ("x" * 513,)])
def test_a_watch_that_makes_no_sense_is_refused_when_it_is_asked_for(
    each_store: Any, arguments: Any
) -> None:
    with pytest.raises(InvalidRequest):
        each_store.watch(*arguments)


# --- wait_for


def test_what_is_there_is_returned_at_once(each_store: Any) -> None:
    revision = each_store.set("k", 7)

    assert each_store.wait_for("k", at_least=7) == each_store.entry("k")
    assert each_store.wait_for("k", at_least=6.5, timeout=0).revision == revision
    assert each_store.wait_for("k", after=revision - 1).value == 7


def waiting(daemon: Daemon, **options: Any) -> Callable[[ThreadPoolExecutor], Future[Any]]:
    """Starts to wait for key k in a thread, and returns when the daemon has been asked."""

    def start(pool: ThreadPoolExecutor) -> Future[Any]:
        def work() -> Any:
            with daemon.client() as client:
                return client.store("orders").wait_for("k", **options)

        with daemon.client() as client:
            future = pool.submit(work)
            # Its own, and one for the wait.
            wait_for_waiting(client, 2)
            return future

    return start


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda store: store.set("k", 7), id="set"),
        pytest.param(lambda store: store.advance("k", 8), id="advance"),
        pytest.param(lambda store: store.increment("k", 100), id="increment"),
        pytest.param(lambda store: store.set_many({"a": 1, "k": 9}), id="set_many"),
        pytest.param(lambda store: (store.set("k", 9), store.delete("k")), id="soon deleted"),
    ],
)
def test_a_value_that_is_great_enough_ends_the_wait(
    deserted_daemon: Daemon, act: Callable[[Store], Any]
) -> None:
    with ThreadPoolExecutor(1) as pool, deserted_daemon.client() as client:
        store = client.store("orders")
        client.store("orders").set("k", 1)
        client.close()

        pending = waiting(deserted_daemon, at_least=7)(pool)
        with deserted_daemon.client() as other:
            store = other.store("orders")
            store.set("k", 6)
            assert not pending.done()
            act(store)

        assert pending.result(PLENTY_S).value >= 7


def test_a_store_that_comes_back_from_the_trash_ends_the_wait(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.store("orders").set("k", 9)
        client.store("orders").clear()
        [trashed] = client.trash()
    with ThreadPoolExecutor(1) as pool:
        pending = waiting(daemon, at_least=7)(pool)
        began = time.monotonic()
        with daemon.client() as client:
            client.restore(trashed.id)

        assert pending.result(PLENTY_S).value == 9
        assert time.monotonic() - began < 8.0


def test_an_asset_that_leaves_ends_the_wait(daemon: Daemon) -> None:
    with ThreadPoolExecutor(1) as pool:
        pending = waiting(daemon, after=0)(pool)
        daemon.activate("customers")

        with pytest.raises(InactiveAsset):
            pending.result(PLENTY_S)


def test_a_wait_goes_on_across_a_kill(daemon: Daemon) -> None:
    with ThreadPoolExecutor(1) as pool:
        pending = waiting(daemon, after=0)(pool)
        daemon.kill()
        daemon.start()
        with daemon.client() as client:
            revision = client.store("orders").set("k", 1)

        assert pending.result(PLENTY_S).revision == revision


def test_a_wait_ends_with_its_timeout(each_store: Any) -> None:
    each_store.set("k", 6)

    began = time.monotonic()
    with pytest.raises(WaitTimeout, match=r"'k' was awaited for 0\.3 s, with a value at least 7"):
        each_store.wait_for("k", at_least=7, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 5.0
    with pytest.raises(TimeoutError, match="it is absent"):
        each_store.wait_for("absent", after=0, timeout=0)


def test_values_that_cannot_be_compared_are_refused(each_store: Any) -> None:
    each_store.set("k", "seven")

    with pytest.raises(InvalidRequest, match="cannot be compared"):
        each_store.wait_for("k", at_least=7)


def test_many_threads_wait_and_the_client_goes_on(deserted_daemon: Daemon) -> None:
    with deserted_daemon.client() as client, ThreadPoolExecutor(20) as pool:
        store = client.store("orders")
        began = threading.Semaphore(0)

        def work() -> Any:
            began.release()
            return store.wait_for("k", at_least=1).value

        pending = [pool.submit(work) for _ in range(20)]
        for _ in pending:
            assert began.acquire(timeout=PLENTY_S)
        wait_until(
            lambda: client.status()["connections"] >= 21, PLENTY_S, "all of them to be waiting"
        )
        store.set("k", 1)

        assert [each.result(PLENTY_S) for each in pending] == [1] * 20

"""The asynchronous client, with a real daemon: the same calls as the blocking one, awaitable."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC
from typing import Any

import pytest
from tests.support.daemon import Daemon

from assetstore import (
    Asset,
    AssetRef,
    AsyncClient,
    Client,
    InactiveAsset,
    InvalidRequest,
    UnknownAsset,
    Writer,
)

ORDERS = Asset("orders", uri="s3://data/orders/")

Program = Callable[[AsyncClient], Awaitable[None]]


@pytest.fixture
def run(shared_daemon: Daemon, shared_client: Client) -> Callable[[Program], None]:
    """Runs a program with a client of the shared daemon, whose stores are empty."""
    return lambda program: run_with(shared_daemon, program)


def run_with(daemon: Daemon, program: Program, **options: Any) -> None:
    async def main() -> None:
        async with AsyncClient(daemon.socket, **options) as client:
            await program(client)

    asyncio.run(main())


def test_get_set_delete_clear_entry_and_count(run: Callable[[Program], None]) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        assert await store.get("k") is None
        assert await store.get("k", default=0) == 0
        revision = await store.set("k", {"a": [1, None]})
        assert await store.get("k", default=0) == {"a": [1, None]}
        entry = await store.entry("k")
        assert entry is not None
        assert (entry.value, entry.revision) == ({"a": [1, None]}, revision)
        assert entry.updated_at.tzinfo is UTC
        assert await store.entry("absent") is None
        assert await store.set("k", 2) > revision
        assert await store.delete("k") is True
        assert await store.delete("k") is False
        for number in range(3):
            await store.set(f"k{number}", number)
        assert (await store.count(), await store.count("k1")) == (3, 1)
        assert await store.clear() == 3
        assert await store.count() == 0

    run(program)


def test_listings_are_walked_with_async_for(run: Callable[[Program], None]) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        keys = [f"{number:04}" for number in range(1_234)]
        await asyncio.gather(*(store.set(key, key) for key in keys))

        assert [key async for key in store] == keys
        assert [key async for key in store.keys("00", "0041", 7)] == keys[42:49]
        assert [pair async for pair in store.items("12")] == [(key, key) for key in keys[1_200:]]
        assert [each.key async for each in store.entries(limit=2)] == keys[:2]
        listing = store.keys(limit=3)
        assert [key async for key in listing] == [key async for key in listing] == keys[:3]

    run(program)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [({"prefix": 7}, TypeError), ({"limit": -1}, InvalidRequest), ({"after": b"k"}, TypeError)],
)
def test_a_listing_that_makes_no_sense_is_refused_when_it_is_asked_for(
    run: Callable[[Program], None], arguments: dict[str, Any], error: type[Exception]
) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        for listing in (store.keys, store.items, store.entries):
            with pytest.raises(error):
                listing(**arguments)

    run(program)


def test_values_and_keys_are_refused_as_by_the_blocking_client(
    run: Callable[[Program], None],
) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        await store.set("k", "old")
        for value, error, message in [
            (None, ValueError, "^Cannot set value as None$"),
            ([float("nan")], ValueError, r"value\[0\] is nan"),
            ((1,), TypeError, "value is of type tuple"),
            ("x" * 2**20, InvalidRequest, "the limit is 1,048,576"),
        ]:
            with pytest.raises(error, match=message):
                await store.set("k", value)
        with pytest.raises(InvalidRequest, match="key is empty"):
            await store.get("")
        assert await store.get("k") == "old"

    run(program)


def test_an_asset_that_is_not_active_is_refused_by_every_call(forsaken_daemon: Daemon) -> None:
    async def program(client: AsyncClient) -> None:
        calls: list[Callable[[Any], Awaitable[Any]]] = [
            lambda store: store.get("k", default="default"),
            lambda store: store.set("k", 1),
            lambda store: store.delete("k"),
            lambda store: store.clear(),
            lambda store: store.entry("k"),
            lambda store: store.count(),
            lambda store: anext(aiter(store.keys())),
            lambda store: anext(aiter(store.items())),
            lambda store: anext(store.entries()),
        ]
        for call in calls:
            with pytest.raises(InactiveAsset):
                await call(client.store(ORDERS))
            with pytest.raises(UnknownAsset):
                await call(client.store("nobody"))

    run_with(forsaken_daemon, program)


def test_the_writer_is_recorded(shared_daemon: Daemon, shared_client: Client) -> None:
    async def program(client: AsyncClient) -> None:
        await client.store(ORDERS).set("k", 1)
        entry = await client.store(ORDERS).entry("k")
        assert entry is not None
        assert (entry.updated_by.kind, entry.updated_by.dag_id) == ("worker", "d")

    run_with(shared_daemon, program, writer=Writer(kind="worker", dag_id="d"))


def test_catalog_status_and_the_calls_of_operators(daemon: Daemon) -> None:
    async def program(client: AsyncClient) -> None:
        assert {info.name async for info in client.assets()} == {"orders", "customers"}
        assert (await client.status())["health"] == "ok"
        assert await client.resolve(["orders", "nobody"]) == [
            AssetRef("orders", "s3://data/orders/"),
            None,
        ]
        store = client.store(ORDERS)
        await store.set("k", 1)
        await store.clear()
        await store.set("new", 1)
        [trashed] = [each async for each in client.trash()]
        assert (await client.restore(trashed.id)).count == 1
        assert await client.purge([each.id async for each in client.trash()]) == 1
        assert await client.sweep(dry_run=True) == []
        assert await client.sweep() == []
        assert await client.move(ORDERS, "customers") == 1
        assert await client.store("customers").get("k") == 1
        daemon.set_manifest("orders", "customers")
        assert (await client.reload_manifest())["manifest"]["state"] == "accepted"
        with pytest.raises(InvalidRequest):
            await client.accept_manifest("no such digest")

    run_with(daemon, program)


def test_a_thousand_coroutines_share_one_connection_and_no_thread(
    run: Callable[[Program], None],
) -> None:
    async def program(client: AsyncClient) -> None:
        before = (await client.status())["connections"]
        threads = threading.active_count()
        stores = [client.store(name) for name in ("orders", "customers", "invoices")]

        async def work(number: int) -> None:
            store = stores[number % 3]
            await store.set(f"k{number}", number)
            assert await store.get(f"k{number}") == number

        await asyncio.gather(*map(work, range(1_000)))

        assert (await client.status())["connections"] <= before
        assert threading.active_count() == threads

    run(program)


def test_writes_of_many_coroutines_share_commits(run: Callable[[Program], None]) -> None:
    async def program(client: AsyncClient) -> None:
        before = await client.status()
        store = client.store(ORDERS)
        await asyncio.gather(*(store.set(f"k{number}", number) for number in range(200)))
        after = await client.status()

        assert after["batched"] - before["batched"] == 200
        assert after["commits"] - before["commits"] < 100

    run(program)


def test_cancelled_calls_disturb_nobody(run: Callable[[Program], None]) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        await store.set("k", "x" * 100_000)
        for _ in range(20):
            doomed = [asyncio.create_task(store.get("k")) for _ in range(10)]
            others = [asyncio.create_task(store.get("k")) for _ in range(10)]
            # They have begun, and none has its answer.
            await asyncio.wait(doomed, timeout=0)
            for task in doomed:
                task.cancel()
            assert [len(value) for value in await asyncio.gather(*others)] == [100_000] * 10
            for task in doomed:
                with pytest.raises(asyncio.CancelledError):
                    await task

    run(program)


def test_a_restart_of_the_daemon_is_not_seen(daemon: Daemon) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        await store.set("k", 1)

        await asyncio.to_thread(daemon.restart)
        assert await store.delete("k") is True

        daemon.kill()
        daemon.start()
        # The loop stood still meanwhile: it has not been told that the connection is gone.
        assert await store.delete("k") is False

    run_with(daemon, program)


def test_calls_under_way_when_the_daemon_is_killed_end_well_or_say_that_they_do_not_know(
    daemon: Daemon,
) -> None:
    async def program(client: AsyncClient) -> None:
        store = client.store(ORDERS)
        calls = [asyncio.create_task(store.set(f"k{number}", number)) for number in range(500)]
        await store.set("first", 1)
        await asyncio.to_thread(daemon.kill)
        await asyncio.to_thread(daemon.start)

        # A set may be repeated: every one of them gets there in the end.
        await asyncio.gather(*calls)
        assert await store.count() == 501

    run_with(daemon, program, timeout=30.0)

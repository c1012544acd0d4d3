"""The container of a task's inlets and outlets, where the daemon has to say what is what."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.daemon import Daemon

from assetstore import Asset, AssetAlias, AsyncClient, Client, InactiveAsset, UnknownAsset

ORDERS = Asset("orders", uri="s3://data/orders/")
ORDERS_NAME = Asset.ref(name="orders")
ORDERS_URI = Asset.ref(uri="s3://data/orders/")
CUSTOMERS_URI = Asset.ref(uri="customers")


@pytest.fixture
def client(shared_client: Client) -> Client:
    """The shared daemon will do."""
    return shared_client


def requests(client: Client) -> int:
    """How many requests the daemon has had so far, this one included."""
    count = client.status()["requests"]
    assert isinstance(count, int)
    return count


def test_a_task_reads_its_watermark_does_its_work_and_advances_it(client: Client) -> None:
    asset_store = client.asset_store(inlets=[ORDERS], outlets=[ORDERS])

    watermark = asset_store[ORDERS].get("watermark", default="1970-01-01T00:00:00Z")
    assert watermark == "1970-01-01T00:00:00Z"
    asset_store.set("watermark", "2024-01-01T00:00:00Z")

    assert client.store("orders").get("watermark") == "2024-01-01T00:00:00Z"


def test_the_shorthand_is_the_store_of_the_one_asset(client: Client) -> None:
    asset_store = client.asset_store([ORDERS], [ORDERS_NAME, ORDERS_URI, AssetAlias("x")])

    revision = asset_store.set("a", 1)
    asset_store.set("b", [2])

    assert asset_store.get("a") == 1
    assert asset_store.get("z", default="absent") == "absent"
    entry = asset_store.entry("a")
    assert entry is not None
    assert entry.revision == revision
    assert list(asset_store.keys()) == ["a", "b"]
    assert list(asset_store.keys("b", None, 1)) == ["b"]
    assert dict(asset_store.items(after="a")) == {"b": [2]}
    assert [each.value for each in asset_store.entries()] == [1, [2]]
    assert asset_store.count("b") == 1
    assert asset_store.delete("a") is True
    assert asset_store.clear() == 1


def test_a_name_and_a_uri_that_mean_the_same_asset_are_one(client: Client) -> None:
    asset_store = client.asset_store([ORDERS_NAME], [ORDERS_URI])

    assert len(asset_store) == 1
    assert list(asset_store) == [ORDERS_NAME]
    assert asset_store[ORDERS_NAME] is asset_store[ORDERS_URI] is asset_store[ORDERS]
    assert asset_store.set("k", 1) > 0


def test_a_name_and_a_uri_that_mean_two_assets_are_two(client: Client) -> None:
    asset_store = client.asset_store([ORDERS_NAME], [CUSTOMERS_URI])

    assert len(asset_store) == 2
    asset_store[ORDERS_NAME].set("k", "orders")
    assert asset_store[CUSTOMERS_URI].get("k") is None
    with pytest.raises(ValueError, match=r"there are 2 \('orders', uri 'customers'\)"):
        asset_store.get("k")


def test_the_daemon_is_asked_once_and_only_where_nobody_else_can_tell(client: Client) -> None:
    clear = client.asset_store([ORDERS, "customers"], [ORDERS_NAME, ORDERS_URI])
    unclear = client.asset_store([ORDERS_NAME], [ORDERS_URI])
    before = requests(client)

    assert (len(clear), ORDERS in clear, "other" in clear) == (2, True, False)
    clear[ORDERS]
    unclear[ORDERS_NAME]
    unclear[ORDERS_URI]
    assert requests(client) == before + 1

    assert (len(unclear), len(list(unclear)), ORDERS in unclear) == (1, 1, True)
    assert requests(client) == before + 3


def test_an_asset_is_found_by_a_reference_of_the_other_kind(client: Client) -> None:
    asset_store = client.asset_store([ORDERS_NAME])

    assert ORDERS_URI in asset_store
    assert asset_store[ORDERS_URI].asset == ORDERS_NAME
    assert CUSTOMERS_URI not in asset_store
    with pytest.raises(KeyError, match="uri 'customers' is not among the inlets and outlets"):
        asset_store[CUSTOMERS_URI]


def test_references_to_assets_that_nobody_knows_stay_apart(client: Client) -> None:
    asset_store = client.asset_store(["nobody"], [Asset.ref(uri="s3://nobody/")])

    assert len(asset_store) == 2
    with pytest.raises(UnknownAsset):
        asset_store["nobody"].get("k", default="default")


def test_an_asset_that_is_not_active_is_in_the_container_and_its_store_is_closed(
    forsaken_client: Client,
) -> None:
    asset_store = forsaken_client.asset_store([ORDERS])

    assert len(asset_store) == 1
    with pytest.raises(InactiveAsset):
        asset_store.get("k", default="default")


# --- the asynchronous container


def test_the_shorthand_can_be_awaited(shared_daemon: Daemon, client: Client) -> None:
    async def program() -> None:
        async with AsyncClient(str(shared_daemon.socket)) as client:
            asset_store = client.asset_store([ORDERS_NAME], [ORDERS_URI])
            await asset_store.set("a", 1)
            await asset_store.set("b", [2])

            assert await asset_store.get("a") == 1
            assert await asset_store.get("z", default="absent") == "absent"
            entry = await asset_store.entry("a")
            assert entry is not None
            assert entry.value == 1
            assert [key async for key in asset_store.keys(limit=9)] == ["a", "b"]
            assert [pair async for pair in asset_store.items("b")] == [("b", [2])]
            assert [each.key async for each in asset_store.entries(limit=1)] == ["a"]
            assert await asset_store.count() == 2
            assert await asset_store.delete("a") is True
            assert await asset_store.clear() == 1

    asyncio.run(program())


def test_what_cannot_wait_says_that_the_daemon_must_be_asked_first(
    shared_daemon: Daemon, client: Client
) -> None:
    async def program() -> None:
        async with AsyncClient(str(shared_daemon.socket)) as client:
            asset_store = client.asset_store([ORDERS_NAME], [ORDERS_URI])
            for ask in (len, list, lambda it: it.keys()):
                with pytest.raises(RuntimeError, match=r"await asset_store\.resolve"):
                    ask(asset_store)
            assert asset_store[ORDERS_NAME].asset == ORDERS_NAME

            await asset_store.resolve()

            assert (len(asset_store), list(asset_store)) == (1, [ORDERS_NAME])
            assert asset_store[ORDERS_URI] is asset_store[ORDERS_NAME]

            asset_store = client.asset_store([ORDERS_NAME])
            with pytest.raises(RuntimeError, match=r"await asset_store\.resolve"):
                asset_store[ORDERS_URI]
            await asset_store.resolve(ORDERS_URI)
            assert asset_store[ORDERS_URI].asset == ORDERS_NAME

    asyncio.run(program())


def test_its_errors_are_those_of_the_blocking_one(shared_daemon: Daemon, client: Client) -> None:
    async def program() -> None:
        async with AsyncClient(str(shared_daemon.socket)) as client:
            asset_store = client.asset_store([ORDERS], ["customers"])
            with pytest.raises(ValueError, match=r"exactly one .* there are 2"):
                await asset_store.get("k")
            with pytest.raises(KeyError, match="'other' is not among"):
                asset_store["other"]
            with pytest.raises(TypeError, match="names no asset"):
                asset_store[7]

    asyncio.run(program())

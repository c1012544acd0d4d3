"""One list of behaviours, tried by tasks of a real run; each task writes down what it saw.

Loaded by Airflow from its Dags folder.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, task
from airflow.sdk.execution_time.context import AssetStateStoreAccessor

import assetstore.airflow

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

ORDERS = Asset(name="conf/orders", uri="s3://conf/orders")
CUSTOMERS = Asset(name="conf/customers", uri="s3://conf/customers")
UNLISTED = Asset(name="conf/unlisted", uri="s3://conf/unlisted")
OTHER = Asset(name="conf/other", uri="s3://conf/other")
ALIAS = AssetAlias("conf/alias")

VALUES: dict[str, Any] = {
    "a str": "2026-01-31T00:00:00Z",
    "an empty str": "",
    "text with any characters": "näme\n\u2028 🎲 \x00",
    "an int": 7,
    "an int beyond 64 bits": 10**30,
    "a float": 0.1,
    "the greatest float": 1.7976931348623157e308,
    "minus zero": -0.0,
    "a whole float": 3.0,
    "a bool": True,
    "a list": [1, "a", None, [2.5]],
    "a dict": {"b": 1, "a": {"c": [None]}},
    "an empty dict": {},
    "a tuple": (1, 2),
    "a dict with an int as key": {1: "a"},
    "a set": {1},
    "bytes": b"a",
    "a datetime": datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC),
    "None": None,
    "NaN": math.nan,
    "infinity": math.inf,
    "NaN in a list": [math.nan],
    "a lone surrogate": "\ud800",
    "70 KB": "x" * 70_000,
    "900 KB": "x" * 900_000,
    "2 MB": "x" * 2_000_000,
    "a list 100 levels deep": json.loads("[" * 100 + "]" * 100),
    "a list 300 levels deep": json.loads("[" * 300 + "]" * 300),
    "an object with a wrapper's key": {"__airflow_state_ref__": "s3://bucket/object"},
}

KEYS: dict[str, Any] = {
    "a key with slashes": "a/b/../c",
    "a key with any characters": "k ey?&#%é🎲",
    "a key with a line break": "a\nb",
    "a key of 512 characters": "k" * 512,
    "a key of 513 characters": "k" * 513,
    "an empty key": "",
    "a key with NUL": "a\x00b",
    "an int as key": 7,
}


class Seen:
    """What was seen, by behaviour, for the test to compare."""

    def __init__(self, name: str) -> None:
        self._file = Path(os.environ["SEEN_DIR"]) / f"{name}.json"
        self._seen: dict[str, str] = {}

    def see(self, behaviour: str, function: Callable[..., Any], *args: Any) -> None:
        """Try it, and write down what came of it."""
        try:
            outcome = shown(function(*args))
        except Exception as exc:
            outcome = raised(exc)
        assert behaviour not in self._seen, behaviour
        self._seen[behaviour] = outcome
        self._file.write_text(json.dumps(self._seen))


def shown(value: Any) -> str:
    """The value, with its types; long ones by their length."""
    text = repr(value)
    return text if len(text) < 80 else f"{type(value).__name__} of {len(text):,} characters"


def raised(exc: Exception) -> str:
    """The error by its class, and by the answer of Airflow's API where there was one."""
    name = type(exc).__name__
    error = getattr(exc, "error", None)
    if error is not None:
        detail = getattr(error, "detail", None) or {}
        status = detail.get("status_code")
        name += f" {getattr(error.error, 'value', error.error)}" + (f" {status}" if status else "")
    return name


def set_and_get(store: Any, key: Any, value: Any) -> Any:
    store.set(key, value)
    return store.get(key)


def try_values(seen: Seen, store: Any) -> None:
    for number, (name, value) in enumerate(VALUES.items()):
        key = f"value-{number}"
        store.set(key, "before")
        seen.see(f"set {name}, get it", set_and_get, store, key, value)
        if value is None or type(value) not in (str, int, float, bool, list, dict):
            seen.see(f"what {name} leaves of the value before", store.get, key)


def try_keys(seen: Seen, store: Any) -> None:
    for name, key in KEYS.items():
        seen.see(f"set and get {name}", set_and_get, store, key, 1)
        seen.see(f"delete {name}", store.delete, key)


def try_calls(seen: Seen, store: Any) -> None:
    seen.see("get a key that is absent", lambda: store.get("absent"))
    seen.see("get a key that is absent with a default", lambda: store.get("absent", default=[1]))
    seen.see("set returns", lambda: store.set("a", 1))
    seen.see("get a key that is there with a default", lambda: store.get("a", default=2))
    seen.see("set again, get it", lambda: set_and_get(store, "a", 3))
    seen.see("delete returns", lambda: store.delete("a"))
    seen.see("get what was deleted", lambda: store.get("a", "gone"))
    seen.see("delete a key that is absent", lambda: store.delete("a"))
    store.set("b", 1)
    store.set("c", 1)
    seen.see("clear returns", lambda: store.clear())
    seen.see("get what was cleared", lambda: [store.get("b"), store.get("c")])
    seen.see("clear an empty store", lambda: store.clear())
    seen.see("set after a clear, get it", lambda: set_and_get(store, "b", 2))


async def try_async_calls(seen: dict[str, Any], store: Any) -> None:
    seen["aget a key that is absent with a default"] = await store.aget("absent", "default")
    seen["aset returns"] = await store.aset("async", {"n": 1})
    seen["aget what was aset"] = await store.aget("async")
    seen["get what was aset"] = store.get("async")
    seen["adelete returns"] = await store.adelete("async")
    seen["aget what was adeleted"] = await store.aget("async")
    await store.aset("async", 1)
    seen["aclear returns"] = await store.aclear()
    seen["aget what was acleared"] = await store.aget("async", "cleared")
    try:
        await store.aset("async", None)
    except Exception as exc:
        seen["aset None"] = raised(exc)
    many = [store.aset(f"many-{number}", number) for number in range(5)]
    await asyncio.gather(*many)
    seen["aset of five at once"] = [await store.aget(f"many-{number}") for number in range(5)]


with DAG("conformance", schedule=None, start_date=START, catchup=False):

    @task(inlets=[ORDERS], outlets=[ORDERS])
    def one(asset_state_store: Any = None) -> None:
        seen = Seen("one asset")
        store = asset_state_store[ORDERS]
        try_calls(seen, store)
        try_values(seen, store)
        try_keys(seen, store)
        found: dict[str, Any] = {}
        asyncio.run(try_async_calls(found, store))
        for behaviour in found:
            seen.see(behaviour, dict.get, found, behaviour)
        seen.see("the shorthand", lambda: set_and_get(asset_state_store, "short", 1))
        seen.see("an asset that is no inlet and no outlet", lambda: asset_state_store[OTHER])
        seen.see("an asset by its name as a str", lambda: asset_state_store["conf/orders"])
        seen.see(
            "the asset by a reference to its name",
            lambda: asset_state_store[Asset.ref(name="conf/orders")].get("short"),
        )
        seen.see(
            "the asset by a reference to its uri",
            lambda: asset_state_store[Asset.ref(uri="s3://conf/orders")].get("short"),
        )

    @task(inlets=[ORDERS], outlets=[CUSTOMERS])
    def two(asset_state_store: Any = None) -> None:
        seen = Seen("two assets")
        seen.see("the shorthand", lambda: asset_state_store.get("short"))
        seen.see("of the inlet", lambda: asset_state_store[ORDERS].get("short"))
        seen.see("of the outlet", lambda: set_and_get(asset_state_store[CUSTOMERS], "k", 2))
        seen.see("one key is not the other's", lambda: asset_state_store[ORDERS].get("k"))

    @task(inlets=[Asset.ref(name="conf/orders")])
    def by_name(asset_state_store: Any = None) -> None:
        seen = Seen("a reference to a name")
        seen.see("get what was set by the asset", lambda: asset_state_store.get("short"))
        seen.see("set and get", lambda: set_and_get(asset_state_store, "by name", 1))

    @task(inlets=[Asset.ref(uri="s3://conf/orders")])
    def by_uri(asset_state_store: Any = None) -> None:
        seen = Seen("a reference to a uri")
        seen.see("get what was set by the asset", lambda: asset_state_store.get("short"))
        seen.see("get what was set by the name", lambda: asset_state_store.get("by name"))
        seen.see("set and get", lambda: set_and_get(asset_state_store, "by uri", 1))
        seen.see(
            "delete, get",
            lambda: [asset_state_store.delete("by uri"), asset_state_store.get("by uri", "gone")],
        )

    @task(outlets=[ALIAS])
    def emit(*, outlet_events: Any) -> None:
        outlet_events[ALIAS].add(ORDERS)

    @task(inlets=[ALIAS])
    def by_alias(asset_state_store: Any = None) -> None:
        seen = Seen("an alias")
        seen.see("get what was set by the asset", lambda: asset_state_store.get("short"))

    @task
    def direct() -> None:
        with assetstore.airflow.task_client() as client:
            client.store(CUSTOMERS).advance("direct", 7)

    # A task whose inlets or outlets are not active does not start; but one may leave meanwhile.
    @task(inlets=[ORDERS])
    def closed() -> None:
        try_closed(Seen("an asset that nobody knows"), AssetStateStoreAccessor(name="conf/nowhere"))
        try_closed(Seen("an asset that is not active"), AssetStateStoreAccessor(name="conf/left"))

    @task(inlets=[UNLISTED])
    def unlisted(asset_state_store: Any = None) -> None:
        try_closed(Seen("an asset that is not in the manifest yet"), asset_state_store)

    def try_closed(seen: Seen, store: Any) -> None:
        seen.see("get", lambda: store.get("k"))
        seen.see("set", lambda: store.set("k", 1))
        seen.see("delete", lambda: store.delete("k"))
        seen.see("clear", lambda: store.clear())

    (
        one()
        >> two()
        >> by_name()
        >> by_uri()
        >> emit()
        >> by_alias()
        >> direct()
        >> closed()
        >> unlisted()
    )


with DAG("conformance_down", schedule=None, start_date=START, catchup=False):

    @task(inlets=[ORDERS])
    def down(asset_state_store: Any = None) -> None:
        seen = Seen("the daemon is down")
        store = asset_state_store[ORDERS]
        seen.see("get with a default", store.get, "short", "default")
        seen.see("set", store.set, "short", 2)
        seen.see("delete", store.delete, "by name")
        seen.see("clear", store.clear)

    down()

"""What is tried within Airflow's own interpreter: the backends by themselves.

    python -m tests.airflow.inside.backends NAME

Each function is one trial; it asserts, and the test looks at the exit code. The asset with the id 1
is "orders", a run of "dag" is there for the scopes of tasks.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest
from airflow._shared.state import AssetStateStoreWriterKind
from airflow.sdk.state import AssetScope as WorkerAssetScope
from airflow.sdk.state import TaskScope as WorkerTaskScope
from airflow.state import AssetScope, TaskScope, get_state_backend
from airflow.utils.session import create_session, create_session_async

import assetstore
from assetstore import AssetStoreError, InvalidRequest, NotConnected
from assetstore.airflow import ServerBackend, WorkerBackend
from assetstore.airflow.worker import LostValue

ORDERS = AssetScope(asset_id=1)
TASK = TaskScope("dag", "run-1", "task", -1)


def refused(call: Callable[[], Any], status: int) -> Exception:
    """The error that a call raises, as an answer of Airflow's API with this status."""
    with pytest.raises(AssetStoreError) as caught:
        call()
    assert getattr(caught.value, "status_code", None) == status, repr(caught.value)
    return caught.value


def entry(key: str) -> Any:
    with assetstore.connect(os.environ["AIRFLOW__ASSETSTORE__SOCKET"]) as client:
        return client.store("orders").entry(key)


def server_calls() -> None:
    """Both kinds of scopes, with a session and without."""
    backend = get_state_backend()
    assert isinstance(backend, ServerBackend)
    for scope in (ORDERS, TASK):
        for number, session_of in enumerate((None, create_session)):
            key = f"k{number}"
            given: dict[str, Any] = {}
            session = None
            if session_of is not None:
                session = session_of()
                given = {"session": session.__enter__()}
            assert backend.get(scope, key, **given) is None
            backend.set(scope, key, '{"a": [1, null]}', **given)
            assert json.loads(backend.get(scope, key, **given) or "") == {"a": [1, None]}
            backend.set(scope, key, "2", **given)
            assert backend.get(scope, key, **given) == "2"
            backend.delete(scope, key, **given)
            backend.delete(scope, key, **given)
            assert backend.get(scope, key, **given) is None
            backend.set(scope, key, "3", **given)
            backend.clear(scope, **given)
            assert backend.get(scope, key, **given) is None
            backend.set(scope, f"left {number}", "4", **given)
            if session is not None:
                session.__exit__(None, None, None)
    assert entry("left 1").value == 4
    with create_session() as session:
        from_table = session.connection().exec_driver_sql
        assert from_table("select count(*) from asset_state_store").scalar() == 0
        assert from_table("select count(*) from task_state_store").scalar() == 1


def server_async_calls() -> None:
    """The same, awaited."""

    async def trial() -> None:
        backend = get_state_backend()
        for scope in (ORDERS, TASK):
            await one(backend, scope, {})
            async with create_session_async() as session:
                await one(backend, scope, {"session": session})
        by_name = AssetScope(name="orders")
        assert await backend.aget(by_name, "left") == "4"

    async def one(backend: Any, scope: Any, given: dict[str, Any]) -> None:
        assert await backend.aget(scope, "a", **given) is None
        await backend.aset(scope, "a", '"x"', **given)
        assert await backend.aget(scope, "a", **given) == '"x"'
        await backend.adelete(scope, "a", **given)
        assert await backend.aget(scope, "a", **given) is None
        await backend.aset(scope, "a", '"y"', **given)
        await backend.aclear(scope, **given)
        assert await backend.aget(scope, "a", **given) is None
        await backend.aset(scope, "left", "4", **given)
        await asyncio.gather(*(backend.aset(scope, f"n{n}", str(n), **given) for n in range(1)))

    asyncio.run(trial())


def writers() -> None:
    """Who writes is recorded as Airflow says."""
    backend: Any = get_state_backend()
    kinds = AssetStateStoreWriterKind
    run = {"dag_id": "dag", "run_id": "run-1", "task_id": "task", "map_index": 3}
    backend.set_asset_state_store(ORDERS, "task", "1", kind=kinds.TASK, **run)
    backend.set_asset_state_store(ORDERS, "watcher", "1", kind=kinds.WATCHER)
    backend.set(ORDERS, "nobody", "1")
    asyncio.run(backend.aset_asset_state_store(ORDERS, "atask", "1", kind=kinds.TASK, **run))
    for key in ("task", "atask"):
        by = entry(key).updated_by
        assert (by.kind, by.dag_id, by.run_id, by.task_id, by.map_index) == (
            *("task", "dag", "run-1", "task", 3),
        ), by
    assert entry("watcher").updated_by.kind == "watcher"
    assert entry("nobody").updated_by.kind == "api"
    with pytest.raises(ValueError, match="must not carry task fields"):
        backend.set_asset_state_store(ORDERS, "bad", "1", kind=kinds.WATCHER, **run)
    assert entry("bad") is None


def errors() -> None:
    """What is wrong is said with a status that Airflow's client understands; none is a 404."""
    backend = get_state_backend()
    nowhere = AssetScope(asset_id=4711)
    assert "4711" in str(refused(lambda: backend.get(nowhere, "k"), 503))
    assert "'unlisted'" in str(refused(lambda: backend.get(AssetScope(asset_id=2), "k"), 503))
    refused(lambda: backend.set(ORDERS, "k", "NaN"), 422)
    refused(lambda: backend.set(ORDERS, "k", "null"), 422)
    refused(lambda: backend.set(ORDERS, "k" * 513, "1"), 422)
    refused(lambda: backend.get(ORDERS, ""), 422)
    assert entry("k") is None


def down() -> None:
    """Without a daemon nothing is answered, and no loop is held up by waiting for one."""
    backend = get_state_backend()
    refused(lambda: backend.get(ORDERS, "k"), 503)
    refused(lambda: backend.set(ORDERS, "k", "1"), 503)
    assert backend.get(TASK, "k") is None

    async def trial() -> float:
        longest = 0.0
        call = asyncio.create_task(backend.aget(ORDERS, "k"))
        while not call.done():
            began = time.monotonic()
            await asyncio.wait([call], timeout=0.01)
            longest = max(longest, time.monotonic() - began)
        refused(call.result, 503)
        return longest

    began = time.monotonic()
    longest = asyncio.run(trial())
    # The timeout is 1 s.
    assert time.monotonic() - began > 0.9
    assert longest < 0.5, longest

    worker = WorkerBackend()
    scope = WorkerAssetScope(name="orders")
    with pytest.raises(NotConnected):
        worker.serialize_asset_state_store_to_ref(value=1, key="k", scope=scope)


def worker_calls() -> None:
    """The worker's backend by itself: what the accessors of a task do not call as well."""
    backend = WorkerBackend()
    for scope in (WorkerAssetScope(name="orders"), WorkerAssetScope(uri="s3://data/orders")):
        ref = backend.serialize_asset_state_store_to_ref(value={"a": 1}, key="k", scope=scope)
        again = backend.serialize_asset_state_store_to_ref(value={"a": 2}, key="k", scope=scope)
        assert ref == again
        assert backend.deserialize_asset_state_store_from_ref(ref) == {"a": 2}
        assert backend.get(scope, "k") == '{"a":2}'
        backend.set(scope, "k", "3")
        assert backend.deserialize_asset_state_store_from_ref(ref) == 3
        backend.delete(scope, "k")
        assert backend.get(scope, "k") is None
        with pytest.raises(LostValue, match="holds no 'k'"):
            backend.deserialize_asset_state_store_from_ref(ref)

        async def trial(scope: Any = scope) -> None:
            await backend.aset(scope, "k", "[4]")
            assert await backend.aget(scope, "k") == "[4]"
            await backend.adelete(scope, "k")
            assert await backend.aget(scope, "k") is None
            await backend.aset(scope, "k", "5")
            await backend.aclear(scope)
            assert await backend.aget(scope, "k") is None

        asyncio.run(trial())
        backend.set(scope, "k", "6")
        backend.clear(scope)
        assert backend.get(scope, "k") is None
    with pytest.raises(InvalidRequest):
        backend.deserialize_asset_state_store_from_ref("s3://bucket/object")
    # What tasks keep for themselves is not the daemon's.
    task = WorkerTaskScope("dag", "run-1", "task", -1)
    text = backend.serialize_task_state_store_to_ref(value=[1], key="k", scope=task)
    assert backend.deserialize_task_state_store_from_ref(text) == [1]
    backend.delete(task, "k")
    backend.clear(task, all_map_indices=True)
    asyncio.run(backend.adelete(task, "k"))
    asyncio.run(backend.aclear(task))


def forks() -> None:
    """A process that was forked off writes on connections of its own."""
    backend: Any = get_state_backend()
    worker = WorkerBackend()
    scope = WorkerAssetScope(name="orders")
    backend.set(ORDERS, "parent", "1")
    worker.set(scope, "parent too", "1")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            worker.set(scope, "child", "1")
            assert worker.get(scope, "parent") == "1"
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert entry("child").updated_by.pid == child
    assert entry("parent too").updated_by.pid == os.getpid()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    print("passed")

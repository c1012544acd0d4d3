"""The backend of Airflow's servers: ``[state_store] backend = assetstore.airflow.ServerBackend``.

The state of tasks stays where it was, in the metadata database; the stores of assets are the
daemon's. It is a MetastoreBackend because Airflow 3.3 tells only such a one who writes, and
cleans only such a one (``airflow state-store clean``).

Rule: no SQL but the look-up of an asset, and no knowledge of what a worker does.
"""

from __future__ import annotations

from typing import Any

from airflow.configuration import conf
from airflow.models.asset import AssetModel
from airflow.state import AssetScope
from airflow.state.metastore import MetastoreBackend
from airflow.utils.session import create_session, create_session_async
from sqlalchemy import select

from assetstore.airflow.answers import answered
from assetstore.airflow.clients import Clients, Settings
from assetstore.airflow.references import is_wrapped
from assetstore.airflow.texts import text_of, value_of
from assetstore.airflow.writers import API, WATCHER, running_task
from assetstore.asynchronous.client import AsyncClient
from assetstore.entries import Writer
from assetstore.errors import UnknownAsset
from assetstore.messages import AssetRef


class ServerBackend(MetastoreBackend):
    """Asset scopes go to the daemon, task scopes to Airflow's metadata database as before.

    What is set is on the daemon's disk when the call returns. Each of its errors is an answer that
    Airflow's API passes on to the task, and an AssetStoreError; none of them reads as "no such
    key". The asynchronous calls connect for each call, as Airflow 3.3 makes none of them.
    """

    def __init__(self) -> None:
        self._settings = Settings(conf)
        self._clients = Clients(self._settings)

    def get(self, scope: Any, key: str, *, session: Any = None) -> str | None:
        """The JSON text of the value, or None if the asset is active and has no such key."""
        if not isinstance(scope, AssetScope):
            return _text_or_none(super().get(scope, key, **_given(session)))
        with answered(), self._clients.lend(running_task() or API) as client:
            return text_of(client.store(_look_up(scope, session)).get(key))

    def set(
        self,
        scope: Any,
        key: str,
        value: str,
        *,
        expires_at: Any = None,
        session: Any = None,
    ) -> None:
        """Write the value of key; when this returns, it is on disk."""
        if isinstance(scope, AssetScope):
            self._set(scope, key, value, running_task() or API, session)
        else:
            super().set(scope, key, value, expires_at=expires_at, **_given(session))

    def set_asset_state_store(
        self,
        scope: Any,
        key: str,
        value: str,
        *,
        kind: Any,
        dag_id: str | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        map_index: int | None = None,
        session: Any = None,
    ) -> None:
        """As ``set``, by the writer that Airflow names."""
        kind.validate_writer_fields(dag_id, run_id, task_id, map_index)
        writer = Writer(kind.value, dag_id, run_id, task_id, map_index)
        self._set(scope, key, value, _best(writer), session)

    def delete(self, scope: Any, key: str, *, session: Any = None) -> None:
        """Delete key, if it is there; when this returns, it is gone on disk."""
        if not isinstance(scope, AssetScope):
            super().delete(scope, key, **_given(session))
            return
        with answered(), self._clients.lend(running_task() or API) as client:
            client.store(_look_up(scope, session)).delete(key)

    def clear(self, scope: Any, *, all_map_indices: bool = False, session: Any = None) -> None:
        """Delete all keys; those of an asset stay in the daemon's trash for its grace."""
        if not isinstance(scope, AssetScope):
            super().clear(scope, all_map_indices=all_map_indices, **_given(session))
            return
        with answered(), self._clients.lend(running_task() or API) as client:
            client.store(_look_up(scope, session)).clear()

    async def aget(self, scope: Any, key: str, *, session: Any = None) -> str | None:
        """As ``get``."""
        if not isinstance(scope, AssetScope):
            return _text_or_none(await super().aget(scope, key, session=session))
        with answered():
            ref = await _alook_up(scope, session)
            async with self._async_client(running_task() or API) as client:
                return text_of(await client.store(ref).get(key))

    async def aset(
        self,
        scope: Any,
        key: str,
        value: str,
        *,
        expires_at: Any = None,
        session: Any = None,
    ) -> None:
        """As ``set``."""
        if isinstance(scope, AssetScope):
            await self._aset(scope, key, value, running_task() or API, session)
        else:
            await super().aset(scope, key, value, expires_at=expires_at, session=session)

    async def aset_asset_state_store(
        self,
        scope: Any,
        key: str,
        value: str,
        *,
        kind: Any,
        dag_id: str | None = None,
        run_id: str | None = None,
        task_id: str | None = None,
        map_index: int | None = None,
        session: Any = None,
    ) -> None:
        """As ``set_asset_state_store``."""
        kind.validate_writer_fields(dag_id, run_id, task_id, map_index)
        writer = Writer(kind.value, dag_id, run_id, task_id, map_index)
        await self._aset(scope, key, value, _best(writer), session)

    async def adelete(self, scope: Any, key: str, *, session: Any = None) -> None:
        """As ``delete``."""
        if not isinstance(scope, AssetScope):
            await super().adelete(scope, key, session=session)
            return
        with answered():
            ref = await _alook_up(scope, session)
            async with self._async_client(running_task() or API) as client:
                await client.store(ref).delete(key)

    async def aclear(
        self, scope: Any, *, all_map_indices: bool = False, session: Any = None
    ) -> None:
        """As ``clear``."""
        if not isinstance(scope, AssetScope):
            await super().aclear(scope, all_map_indices=all_map_indices, session=session)
            return
        with answered():
            ref = await _alook_up(scope, session)
            async with self._async_client(running_task() or API) as client:
                await client.store(ref).clear()

    def _set(self, scope: Any, key: str, text: str, writer: Writer, session: Any) -> None:
        with answered():
            value = value_of(text)
            # The worker's backend has written the value already, under this very key.
            if is_wrapped(value):
                return
            with self._clients.lend(writer) as client:
                client.store(_look_up(scope, session)).set(key, value)

    async def _aset(self, scope: Any, key: str, text: str, writer: Writer, session: Any) -> None:
        with answered():
            value = value_of(text)
            if is_wrapped(value):
                return
            ref = await _alook_up(scope, session)
            async with self._async_client(writer) as client:
                await client.store(ref).set(key, value)

    def _async_client(self, writer: Writer) -> AsyncClient:
        return AsyncClient(self._settings.socket, timeout=self._settings.timeout_s, writer=writer)


def _best(named: Writer) -> Writer:
    """The writer that Airflow names; but a "watcher" in a process that runs a task is that task.

    Within one process, as in ``airflow dags test``, its API has no token that would tell.
    """
    if named == WATCHER:
        return running_task() or named
    return named


# An id is looked up each time: a primary key, in the session of the request that has just found
# the id in the same table. What was remembered would be another asset's after a reset of the
# database, which gives ids again.


def _look_up(scope: Any, session: Any) -> AssetRef:
    """The asset of a scope, by name and uri, so that it cannot come to mean another one."""
    if scope.asset_id is None:
        return AssetRef(name=scope.name, uri=scope.uri)
    if session is None:
        with create_session() as own:
            return _found(scope, own.execute(_asset_of(scope)).one_or_none())
    return _found(scope, session.execute(_asset_of(scope)).one_or_none())


async def _alook_up(scope: Any, session: Any) -> AssetRef:
    if scope.asset_id is None:
        return AssetRef(name=scope.name, uri=scope.uri)
    if session is None:
        async with create_session_async() as own:
            return _found(scope, (await own.execute(_asset_of(scope))).one_or_none())
    return _found(scope, (await session.execute(_asset_of(scope))).one_or_none())


def _asset_of(scope: Any) -> Any:
    return select(AssetModel.name, AssetModel.uri).where(AssetModel.id == scope.asset_id)


def _found(scope: Any, row: Any) -> AssetRef:
    if row is None:
        raise UnknownAsset(f"Airflow's database has no asset with the id {scope.asset_id}")
    return AssetRef(name=row.name, uri=row.uri)


def _given(session: Any) -> dict[str, Any]:
    # What is not given, MetastoreBackend makes itself; None it would use.
    return {} if session is None else {"session": session}


def _text_or_none(text: Any) -> str | None:
    return None if text is None else str(text)

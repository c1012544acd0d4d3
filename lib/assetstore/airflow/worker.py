"""The backend of Airflow's workers: ``[workers] state_store_backend``.

Values of assets go straight from the process that runs the task to the daemon; Airflow's database
keeps a reference. What tasks keep for themselves goes where it went before.

Rule: needs Airflow's task SDK only; how a reference looks is for references.py.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.configuration import conf
from airflow.sdk.state import AssetScope, BaseStoreBackend

from assetstore.airflow.clients import Clients, Settings
from assetstore.airflow.references import parse_reference, reference_to
from assetstore.airflow.texts import text_of, value_of
from assetstore.airflow.writers import worker
from assetstore.assets import describe
from assetstore.asynchronous.client import AsyncClient
from assetstore.errors import AssetStoreError, InvalidRequest
from assetstore.messages import AssetRef


class LostValue(AssetStoreError, LookupError):
    """Airflow's database refers to a value that the daemon has not."""


class WorkerBackend(BaseStoreBackend):
    """Raises the errors of ``assetstore`` as they are: a daemon that is down is NotConnected.

    Values that were written before it was configured are in Airflow's database, and are read from
    there. Airflow 3.3 makes and follows references without awaiting, also in its asynchronous
    calls: those hold up an event loop for one exchange with the daemon.
    """

    def __init__(self) -> None:
        self._settings = Settings(conf)
        self._clients = Clients(self._settings)

    def serialize_asset_state_store_to_ref(self, *, value: Any, key: str, scope: Any) -> str:
        """Write the value; when this returns it is on disk, and this is where."""
        ref = _asset_of(scope)
        with self._clients.lend(worker()) as client:
            client.store(ref).set(key, value)
        return reference_to(ref, key)

    def deserialize_asset_state_store_from_ref(self, stored: str) -> Any:
        """The value that a reference leads to.

        Raises LostValue if it is not there any more. It cannot be None, as that would be handed to
        the task in place of its default.
        """
        ref, key = parse_reference(stored)
        with self._clients.lend(worker()) as client:
            value = client.store(ref).get(key)
        if value is None:
            raise LostValue(
                f"the daemon holds no {key!r} of {describe(ref)}, and Airflow's database still "
                "refers to it: it was deleted or cleared beside Airflow. Set the key, or delete it "
                "through asset_state_store"
            )
        return value

    def get(self, scope: Any, key: str, *, session: Any = None) -> str | None:
        """The JSON text of the value of an asset's key, or None."""
        with self._clients.lend(worker()) as client:
            return text_of(client.store(_asset_of(scope)).get(key))

    def set(
        self, scope: Any, key: str, value: str, *, expires_at: Any = None, session: Any = None
    ) -> None:
        """Write the value of an asset's key; when this returns, it is on disk."""
        decoded = value_of(value)
        with self._clients.lend(worker()) as client:
            client.store(_asset_of(scope)).set(key, decoded)

    def delete(self, scope: Any, key: str, *, session: Any = None) -> None:
        """Delete an asset's key. Of a task nothing is here."""
        if _is_asset(scope):
            with self._clients.lend(worker()) as client:
                client.store(_asset_of(scope)).delete(key)

    def clear(self, scope: Any, *, all_map_indices: bool = False, session: Any = None) -> None:
        """Delete all keys of an asset; they stay in the daemon's trash for its grace."""
        if _is_asset(scope):
            with self._clients.lend(worker()) as client:
                client.store(_asset_of(scope)).clear()

    async def aget(self, scope: Any, key: str, *, session: Any = None) -> str | None:
        """As ``get``."""
        async with self._async_client() as client:
            return text_of(await client.store(_asset_of(scope)).get(key))

    async def aset(
        self, scope: Any, key: str, value: str, *, expires_at: Any = None, session: Any = None
    ) -> None:
        """As ``set``."""
        decoded = value_of(value)
        async with self._async_client() as client:
            await client.store(_asset_of(scope)).set(key, decoded)

    async def adelete(self, scope: Any, key: str, *, session: Any = None) -> None:
        """As ``delete``."""
        if _is_asset(scope):
            async with self._async_client() as client:
                await client.store(_asset_of(scope)).delete(key)

    async def aclear(
        self, scope: Any, *, all_map_indices: bool = False, session: Any = None
    ) -> None:
        """As ``clear``."""
        if _is_asset(scope):
            async with self._async_client() as client:
                await client.store(_asset_of(scope)).clear()

    def _async_client(self) -> AsyncClient:
        return AsyncClient(self._settings.socket, timeout=self._settings.timeout_s, writer=worker())


def _is_asset(scope: Any) -> bool:
    return isinstance(scope, AssetScope)


def _asset_of(scope: Any) -> AssetRef:
    """The asset of a scope: a worker is told its name, or its uri."""
    if not _is_asset(scope):
        raise InvalidRequest(
            "the state of a task is in Airflow's database, and no worker reads it from here"
        )
    if scope.name:
        return AssetRef(name=scope.name)
    if scope.uri:
        return AssetRef(uri=scope.uri)
    raise InvalidRequest(f"a worker knows an asset by name or uri, and {scope} has neither")

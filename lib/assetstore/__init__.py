"""The client of assetstore: a durable key/value store scoped to assets.

    import assetstore
    from assetstore import Asset

    orders = Asset("orders", uri="s3://data/orders/")

    with assetstore.connect() as client:
        watermark = client.store(orders).get("watermark", default="1970-01-01T00:00:00Z")

Rule: re-exports only. ``AsyncClient`` is loaded when it is first asked for: it needs asyncio,
and a worker that does not use it does not wait for that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assetstore.assets import Asset, AssetAlias
from assetstore.client import Client, connect
from assetstore.container import AssetStore
from assetstore.entries import Entry, RecordedWriter, Writer
from assetstore.errors import (
    AssetStoreError,
    Busy,
    Conflict,
    Damaged,
    DeadlineExceeded,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    ServerFault,
    StoreFull,
    UnknownAsset,
)
from assetstore.listing import AssetInfo, Restored, TrashInfo
from assetstore.messages import AssetRef
from assetstore.store import Store
from assetstore.version import VERSION

if TYPE_CHECKING:
    from assetstore.asynchronous.client import AsyncClient

__version__ = VERSION

__all__ = [
    "Asset",
    "AssetAlias",
    "AssetInfo",
    "AssetRef",
    "AssetStore",
    "AssetStoreError",
    "AsyncClient",
    "Busy",
    "Client",
    "Conflict",
    "Damaged",
    "DeadlineExceeded",
    "Entry",
    "Forbidden",
    "InactiveAsset",
    "InvalidRequest",
    "NotConnected",
    "OutcomeUnknown",
    "ProtocolError",
    "RecordedWriter",
    "Refused",
    "Restored",
    "ServerFault",
    "Store",
    "StoreFull",
    "TrashInfo",
    "UnknownAsset",
    "Writer",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        value = importlib.import_module("assetstore.asynchronous.client").AsyncClient
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

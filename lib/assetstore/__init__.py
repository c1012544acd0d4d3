"""The client of assetstore: a durable key/value store scoped to assets.

    import assetstore
    from assetstore import Asset

    orders = Asset("orders", uri="s3://data/orders/")

    with assetstore.connect() as client:
        watermark = client.store(orders).get("watermark", default="1970-01-01T00:00:00Z")

Rule: re-exports only. What is asynchronous is loaded when it is first asked for: it needs asyncio,
and a worker that does not use it does not wait for that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from assetstore.assets import Asset, AssetAlias
from assetstore.client import Client, connect
from assetstore.collecting import Pending
from assetstore.container import AssetStore
from assetstore.entries import Advance, Entry, RecordedWriter, Writer
from assetstore.errors import (
    AssetStoreError,
    Busy,
    Compacted,
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
    WaitTimeout,
)
from assetstore.events import Difference, Event, Rewound
from assetstore.listing import AssetInfo, Restored, TrashInfo
from assetstore.messages import AssetRef
from assetstore.store import Store
from assetstore.transaction import Transaction
from assetstore.version import VERSION

if TYPE_CHECKING:
    from assetstore.asynchronous.client import AsyncClient
    from assetstore.asynchronous.transaction import AsyncTransaction

__version__ = VERSION

_ASYNCHRONOUS = {
    "AsyncClient": "assetstore.asynchronous.client",
    "AsyncTransaction": "assetstore.asynchronous.transaction",
}

__all__ = [
    "Advance",
    "Asset",
    "AssetAlias",
    "AssetInfo",
    "AssetRef",
    "AssetStore",
    "AssetStoreError",
    "AsyncClient",
    "AsyncTransaction",
    "Busy",
    "Client",
    "Compacted",
    "Conflict",
    "Damaged",
    "DeadlineExceeded",
    "Difference",
    "Entry",
    "Event",
    "Forbidden",
    "InactiveAsset",
    "InvalidRequest",
    "NotConnected",
    "OutcomeUnknown",
    "Pending",
    "ProtocolError",
    "RecordedWriter",
    "Refused",
    "Restored",
    "Rewound",
    "ServerFault",
    "Store",
    "StoreFull",
    "Transaction",
    "TrashInfo",
    "UnknownAsset",
    "WaitTimeout",
    "Writer",
    "__version__",
    "connect",
]


def __getattr__(name: str) -> Any:
    if name in _ASYNCHRONOUS:
        value = getattr(importlib.import_module(_ASYNCHRONOUS[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""Airflow 3.3 on this store: what its configuration names.

    [state_store]
    backend = assetstore.airflow.ServerBackend

Rule: re-exports only, and loaded when they are asked for: the server's needs Airflow's core, the
worker's only its task SDK, and the provider's metadata is read while Airflow is still loading.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assetstore.airflow.direct import task_client
    from assetstore.airflow.server import ServerBackend
    from assetstore.airflow.worker import WorkerBackend

_HOMES = {
    "ServerBackend": "assetstore.airflow.server",
    "WorkerBackend": "assetstore.airflow.worker",
    "task_client": "assetstore.airflow.direct",
}

__all__ = ["ServerBackend", "WorkerBackend", "task_client"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

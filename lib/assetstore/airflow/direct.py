"""The daemon for a task's own code, with no supervisor and no API server in between.

Rule: makes a client; what a client can do is not Airflow's business.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk.configuration import conf

from assetstore.airflow.clients import Settings
from assetstore.airflow.writers import worker, writer_of
from assetstore.client import Client


def task_client(context: Any = None) -> Client:
    """A client for the daemon that Airflow is configured for; its changes are this run's.

    For what ``context["asset_state_store"]`` has not: ``advance``, transactions, history, waiting.
    Beside a ServerBackend both see the same values. To be closed: ``with task_client() as client``.
    """
    writer = worker() if context is None else writer_of(context)
    return Settings(conf).client(writer)

"""A Dag with an asset that no other Dag has, to be taken away and put back.

Loaded by Airflow from its Dags folder.
"""

from __future__ import annotations

import datetime
from typing import Any

from airflow.sdk import DAG, Asset, task

TEMPORARY = Asset(name="live/temporary", uri="file://live/temporary", group="passing")

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

with DAG("temporary", schedule=None, start_date=START, catchup=False):

    @task(outlets=[TEMPORARY])
    def keep(asset_state_store: Any = None) -> None:
        asset_state_store.set("kept", {"from": "the first run"})

    keep()

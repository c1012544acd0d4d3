"""A Dag that a watcher sets going, which reads what the watcher keeps and keeps something itself.

Loaded by Airflow from its Dags folder.
"""

from __future__ import annotations

import datetime
import os
from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task
from counting_trigger import CountingTrigger

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

INCOMING = Asset(
    name="live/incoming",
    uri="file://live/incoming",
    watchers=[
        AssetWatcher(name="lines", trigger=CountingTrigger(path=os.environ["SEEN_DIR"] + "/lines"))
    ],
)
RESULTS = Asset(name="live/results", uri="file://live/results")

with DAG("watched", schedule=[INCOMING], start_date=START, catchup=False):

    @task(inlets=[INCOMING], outlets=[RESULTS])
    def process(asset_state_store: Any = None) -> None:
        asset_state_store[RESULTS].set("processed", asset_state_store[INCOMING].get("seen"))

    process()

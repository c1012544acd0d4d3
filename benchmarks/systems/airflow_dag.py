"""The tasks that benchmarks/airflow_tasks.py times. Loaded by Airflow from its Dags folder."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from airflow.sdk import DAG, Asset, task

import assetstore.airflow

ORDERS = Asset(name="bench/orders", uri="s3://bench/orders")
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

_CALLS = 200
_WARMING = 20


def seconds(call: Callable[[int], Any]) -> list[float]:
    """How long each call took, without the first ones, which connect and import."""
    found = []
    for number in range(_WARMING + _CALLS):
        began = perf_counter()
        call(number)
        found.append(perf_counter() - began)
    return found[_WARMING:]


def time_calls(name: str, store: Any) -> None:
    found = {
        "set": seconds(lambda number: store.set("watermark", f"2026-01-01T00:00:00.{number:06}Z")),
        "get": seconds(lambda number: store.get("watermark")),
    }
    (Path(os.environ["SEEN_DIR"]) / f"{name}.json").write_text(json.dumps(found))


with DAG("bench", schedule=None, start_date=START, catchup=False):

    @task(inlets=[ORDERS])
    def through_airflow(asset_state_store: Any = None) -> None:
        time_calls("through airflow", asset_state_store)

    @task(inlets=[ORDERS])
    def direct() -> None:
        with assetstore.airflow.task_client() as client:
            time_calls("direct", client.store(ORDERS))

    through_airflow() >> direct()

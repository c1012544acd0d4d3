"""The load of orders_load.py as a task of Airflow's. To be put into the Dags folder with it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Asset, dag, task
from orders_load import SOURCE, load

ORDERS = Asset("orders", uri="orders")


@dag(schedule=None)
def orders() -> None:
    @task(outlets=[ORDERS])
    def load_orders(asset_state_store: Any = None) -> list[str]:
        # The name that Airflow 3.3 gives it; its documents call it asset_store.
        days: list[str] = load({"asset_store": asset_state_store}, SOURCE)
        return days

    load_orders()


orders()

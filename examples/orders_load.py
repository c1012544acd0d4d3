"""A load that runs in a task of Airflow's and without Airflow: orders_dag.py has the task.

    python -m examples.orders_load

``load`` knows neither. It takes a context with the store of its one asset in it, as Airflow's tasks
are given one; what it calls on that store is alike in both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import assetstore
from assetstore import Asset, Writer

#: What a source would answer: days, and what was sold.
SOURCE = {"2026-01-01": 3, "2026-01-02": 5, "2026-01-03": 8}


def load(context: Mapping[str, Any], source: Mapping[str, int]) -> list[str]:
    """Load the days after the watermark, move the watermark there, and return them."""
    store = context["asset_store"]
    watermark = store.get("watermark", default="")
    days = sorted(day for day in source if day > watermark)
    if days:
        store.set("total", store.get("total", default=0) + sum(source[day] for day in days))
        # Last: a run that dies before it loads these days again, and never skips one.
        store.set("watermark", days[-1])
    return days


def main() -> None:
    """One run without Airflow."""
    with assetstore.connect(writer=Writer(dag_id="orders", task_id="load")) as client:
        context = {"asset_store": client.asset_store(outlets=[Asset("orders")])}
        print(f"loaded {len(load(context, SOURCE))} days")


if __name__ == "__main__":
    main()

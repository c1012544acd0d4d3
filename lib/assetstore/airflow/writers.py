"""Who makes a change: the run that Airflow says is running here.

Airflow keeps the context of the task that a process executes, and nothing of the kind for a
trigger: what is written in a triggerer without one is a watcher's, as Airflow's own store has it.

Rule: asks Airflow's task SDK only, which workers have.
"""

from __future__ import annotations

import sys
from typing import Any

from airflow.sdk import get_current_context

from assetstore.entries import Writer

WATCHER = Writer("watcher")

#: Through Airflow's API, which does not say for whom.
API = Writer("api")


def writer_of(context: Any) -> Writer:
    """The run of a task's context."""
    ti = context["ti"]
    map_index = getattr(ti, "map_index", None)
    return Writer(
        "task",
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=-1 if map_index is None else map_index,
    )


def running_task() -> Writer | None:
    """The run that this very process executes, or None."""
    try:
        context = get_current_context()
    except RuntimeError:
        return None
    return writer_of(context)


def worker() -> Writer:
    """Who writes in a process that runs the code of tasks and triggers."""
    if (task := running_task()) is not None:
        return task
    # Loaded where there is a supervisor to speak to; its kind is what tells a triggerer.
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    channel = getattr(runner, "SUPERVISOR_COMMS", None)
    return WATCHER if type(channel).__name__ == "TriggerCommsDecoder" else Writer()

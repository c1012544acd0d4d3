"""Airflow's shipped example of its asset state store, unchanged, on each backend."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.airflow.deployment import WORKER, Deployment, example_dag
from tests.support.checkout import ROOT
from tests.support.command import Cli
from tests.support.daemon import Daemon

ORDERS = {"name": "orders/daily", "uri": "s3://warehouse/orders/daily"}

EXAMPLES = ROOT / "examples"

#: A run of Airflow takes 10 s of a processor: both at once is for test_conformance.py.
BACKENDS = ["airflow", "server", "worker"]

PRODUCER = "example_asset_state_store_producer"
CONSUMER = "example_asset_state_store_consumer"


def run_example(deployment: Deployment) -> list[str]:
    """What the producer's two runs and the consumer's one after them printed."""
    deployment.add_dags(example_dag())
    return [deployment.test_dag(dag) for dag in (PRODUCER, PRODUCER, CONSUMER)]


@pytest.fixture(scope="module")
def daemons(start_daemon: Callable[..., Daemon]) -> dict[str, Daemon]:
    return {name: start_daemon(ORDERS) for name in BACKENDS}


@pytest.fixture(scope="module")
def deployments(
    make_deployment: Callable[..., Deployment], daemons: dict[str, Daemon]
) -> dict[str, Deployment]:
    return {name: make_deployment(name, daemons[name]) for name in BACKENDS}


@pytest.fixture(scope="module")
def printed(deployments: dict[str, Deployment]) -> dict[str, list[str]]:
    """What the runs printed on each combination of backends; two go at a time."""
    with ThreadPoolExecutor(2) as threads:
        return dict(zip(deployments, threads.map(run_example, deployments.values()), strict=True))


def loaded(output: str) -> tuple[str, str]:
    """How many records the producer says that it has loaded, and up to when."""
    found = re.search(r"Loaded (\d+) records. Watermark advanced to (\S+)\.$", output, re.MULTILINE)
    assert found, output
    return found[1], found[2]


@pytest.mark.parametrize("backends", BACKENDS)
def test_the_consumer_sees_what_the_second_run_of_the_producer_wrote(
    printed: dict[str, list[str]], backends: str
) -> None:
    _, second, consumer = printed[backends]
    rows, watermark = loaded(second)

    assert f"Processing {rows} rows up to watermark {watermark}. Total runs so far: 2." in consumer


@pytest.mark.parametrize("backends", ["server", "worker"])
def test_the_watermark_of_the_first_run_is_where_the_second_begins(
    printed: dict[str, list[str]], daemons: dict[str, Daemon], backends: str
) -> None:
    first, second, _ = printed[backends]

    with daemons[backends].client() as client:
        stored = client.store("orders/daily")
        assert stored.get("total_runs") == 2
        assert stored.get("last_run_summary")["prev_watermark"] == loaded(first)[1]
        assert stored.get("watermark") == loaded(second)[1]


@pytest.mark.parametrize("backends", ["server", "worker"])
def test_the_log_names_the_runs(
    printed: dict[str, list[str]],
    daemons: dict[str, Daemon],
    deployments: dict[str, Deployment],
    backends: str,
) -> None:
    runs = [
        run
        for (run,) in deployments[backends].rows(
            f"select run_id from dag_run where dag_id = '{PRODUCER}' order by id"
        )
    ]

    listed = Cli(daemons[backends].socket).process("log", "orders/daily")

    assert listed.code == 0, listed.err
    for run in runs:
        lines = [line for line in listed.out.splitlines() if run in line]
        assert len(lines) == 3, listed.out
        assert all(f"task {PRODUCER}.load" in line for line in lines)


@pytest.mark.parametrize(
    ("backends", "holds"), [("airflow", "values"), ("worker", "references"), ("server", "nothing")]
)
def test_what_the_metadata_database_holds(
    printed: dict[str, list[str]],
    deployments: dict[str, Deployment],
    backends: str,
    holds: str,
) -> None:
    rows = dict(deployments[backends].rows("select key, value from asset_state_store"))

    if holds == "nothing":
        assert rows == {}
    else:
        assert set(rows) == {"watermark", "total_runs", "last_run_summary"}
        references = {key for key, value in rows.items() if "__airflow_state_ref__" in value}
        assert references == (set(rows) if holds == "references" else set())


def test_what_was_kept_before_the_workers_backend_came_is_read_where_it_is(
    printed: dict[str, list[str]], deployments: dict[str, Deployment]
) -> None:
    rows, watermark = loaded(printed["airflow"][1])
    deployment = deployments["airflow"]
    deployment.settings |= {"WORKERS__STATE_STORE_BACKEND": WORKER}

    consumer = deployment.test_dag(CONSUMER)

    assert f"Processing {rows} rows up to watermark {watermark}. Total runs so far: 2." in consumer


@pytest.fixture(scope="module")
def daemon_of_orders(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon("orders")


def test_one_function_runs_in_a_task_and_without_airflow(
    make_deployment: Callable[..., Deployment], daemon_of_orders: Daemon
) -> None:
    daemon = daemon_of_orders
    deployment = make_deployment("server", daemon)
    deployment.add_dags(EXAMPLES / "orders_dag.py", EXAMPLES / "orders_load.py")

    deployment.test_dag("orders")

    without = subprocess.run(
        [sys.executable, "-m", "examples.orders_load"],
        cwd=ROOT,
        env={**os.environ, "ASSETSTORE_SOCKET": str(daemon.socket)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert without.stdout == "loaded 0 days\n"
    with daemon.client() as client:
        entry = client.store("orders").entry("total")
    assert entry is not None
    assert entry.value == 16
    assert (entry.updated_by.kind, entry.updated_by.task_id) == ("task", "load_orders")

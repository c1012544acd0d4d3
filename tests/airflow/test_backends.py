"""The two backends by themselves, in Airflow's interpreter: what its own code calls, and what not.

The trials are in inside/backends.py, a process for each.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable

import pytest
from tests.airflow.deployment import Deployment
from tests.support.checkout import ROOT
from tests.support.daemon import Daemon

THEN = "2026-01-31 12:00:00"


@pytest.fixture(scope="module")
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon({"name": "orders", "uri": "s3://data/orders"})


@pytest.fixture(scope="module")
def deployment(make_deployment: Callable[..., Deployment], daemon: Daemon) -> Deployment:
    deployment = make_deployment("server", daemon, ASSETSTORE__TIMEOUT="1")
    with contextlib.closing(sqlite3.connect(deployment.database)) as database, database:
        database.executemany(
            'INSERT INTO asset (id, name, uri, "group", extra, created_at, updated_at) '
            "VALUES (?, ?, ?, '', '{}', ?, ?)",
            [(1, "orders", "s3://data/orders", THEN, THEN), (2, "unlisted", "u", THEN, THEN)],
        )
        columns = list(database.execute("PRAGMA table_info(dag_run)"))
        # What a run has to have, whatever it is in this version.
        needed = {
            name: "" if "CHAR" in kind.upper() else 1 if "TIME" not in kind.upper() else THEN
            for _, name, kind, not_null, default, _ in columns
            if not_null and default is None
        }
        needed |= {"id": 1, "dag_id": "dag", "run_id": "run-1", "run_type": "manual"}
        database.execute(
            f"INSERT INTO dag_run ({', '.join(needed)}) VALUES ({', '.join('?' * len(needed))})",
            list(needed.values()),
        )
    return deployment


@pytest.fixture(autouse=True)
def empty(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.store("orders").clear()


def attempt(deployment: Deployment, trial: str) -> None:
    printed = deployment.command(
        *("env", f"PYTHONPATH={ROOT}"),
        *(sys.executable, "-m", "tests.airflow.inside.backends", trial),
    )
    # Airflow may complain as it exits.
    assert "passed" in printed.splitlines()


def test_both_kinds_of_scopes_work_with_a_session_and_without(deployment: Deployment) -> None:
    attempt(deployment, "server_calls")


def test_the_asynchronous_calls_do_the_same(deployment: Deployment) -> None:
    attempt(deployment, "server_async_calls")


def test_each_change_has_the_writer_that_airflow_names(deployment: Deployment) -> None:
    attempt(deployment, "writers")


def test_every_error_is_an_answer_that_does_not_read_as_no_such_key(
    deployment: Deployment,
) -> None:
    attempt(deployment, "errors")


def test_the_workers_backend_follows_its_references(deployment: Deployment) -> None:
    attempt(deployment, "worker_calls")


def test_airflow_goes_on_cleaning_the_state_of_tasks(deployment: Deployment) -> None:
    printed = deployment.run("state-store", "clean", "--dry-run")

    assert "skipping" not in printed
    assert "Nothing to delete." in printed


def test_a_forked_process_has_connections_of_its_own(deployment: Deployment) -> None:
    attempt(deployment, "forks")


def test_without_a_daemon_nothing_is_answered_and_no_loop_is_held_up(
    deployment: Deployment, daemon: Daemon
) -> None:
    daemon.stop()
    try:
        attempt(deployment, "down")
    finally:
        daemon.start()

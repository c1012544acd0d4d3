"""One list of behaviours, as tasks see them on Airflow's own store and on this one.

What differs stands in a table of docs/airflow.md, with the reason; the table is held against what
the runs have seen. A task is a process of its own here, with a supervisor, and asks a real API
server over HTTP, as in production.
"""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.airflow.deployment import BACKENDS, DAGS, Deployment
from tests.support.checkout import ROOT
from tests.support.daemon import Daemon

LISTED = (
    {"name": "conf/orders", "uri": "s3://conf/orders"},
    {"name": "conf/customers", "uri": "s3://conf/customers"},
)
LEFT = {"name": "conf/left", "uri": "s3://conf/left"}

DOWN = "the daemon is down"

#: What is tried without a daemon too.
ALONE = ("server", "worker")

#: (what is looked at, behaviour) -> what was seen.
Seen = dict[tuple[str, str], str]

_ROW = re.compile(r"^\| ([^|]+): ([^|]+) \| `(.*)` \| (.+) \| (.+) \| ([^|]+) \|$", re.MULTILINE)


def run_behaviours(name: str, deployment: Deployment, daemon: Daemon) -> Seen:
    """What the tasks of the list have seen on this deployment."""
    deployment.add_dags(DAGS / "conformance.py")
    _add_inactive_asset(deployment.database)
    with deployment.serving("api-server", "--workers", "1"):
        deployment.test_dag("conformance", "--use-executor")
        if name in ALONE:
            daemon.stop()
            deployment.test_dag("conformance_down", "--use-executor")
            daemon.start()
    return {
        (file.stem, behaviour): outcome
        for file in deployment.seen.glob("*.json")
        for behaviour, outcome in json.loads(file.read_text()).items()
    }


def _add_inactive_asset(database: Path) -> None:
    """An asset that some Dag had once: in the table of assets, and not among the active ones."""
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(
            'INSERT INTO asset (name, uri, "group", extra, created_at, updated_at) '
            "VALUES (?, ?, '', '{}', '2026-01-01', '2026-01-01')",
            (LEFT["name"], LEFT["uri"]),
        )


@pytest.fixture(scope="module")
def daemons(start_daemon: Callable[..., Daemon]) -> dict[str, Daemon]:
    daemons = {name: start_daemon(*LISTED, LEFT) for name in BACKENDS}
    for daemon in daemons.values():
        daemon.activate(*LISTED)
    return daemons


@pytest.fixture(scope="module")
def seen(make_deployment: Callable[..., Deployment], daemons: dict[str, Daemon]) -> dict[str, Seen]:
    """What was seen on each combination of backends; two Airflows run at a time."""
    settings = {"CORE__EXECUTOR": "LocalExecutor", "ASSETSTORE__TIMEOUT": "1"}
    deployments = [make_deployment(name, daemons[name], **settings) for name in BACKENDS]
    with ThreadPoolExecutor(2) as threads:
        seen = threads.map(run_behaviours, BACKENDS, deployments, daemons.values())
        return dict(zip(BACKENDS, seen, strict=True))


def differences(seen: dict[str, Seen]) -> dict[tuple[str, str], tuple[str, str, str]]:
    """What Airflow's own store does, the server's backend, and the worker's, where they differ."""
    own = seen["airflow"]
    return {
        place: (own[place], seen["server"][place], seen["worker"][place])
        for place in own
        if place[0] != DOWN and len({own[place], seen["server"][place], seen["worker"][place]}) > 1
    }


def documented() -> dict[tuple[str, str], tuple[str, str, str]]:
    """The rows of the table in docs/airflow.md."""
    rows = _ROW.findall((ROOT / "docs/airflow.md").read_text())
    found = {}
    for what, behaviour, own, server, worker, reason in rows:
        assert reason.strip(), behaviour
        cells = (own if cell == "same" else cell.strip("`") for cell in (server, worker))
        found[what, behaviour] = (own, *cells)
    return found


def table(differing: dict[tuple[str, str], tuple[str, str, str]]) -> str:
    """The rows as the document has them, to be given their reasons."""
    return "\n".join(
        f"| {what}: {behaviour} | `{own}` | "
        + " | ".join("same" if cell == own else f"`{cell}`" for cell in (server, worker))
        + " | |"
        for (what, behaviour), (own, server, worker) in sorted(differing.items())
    )


def test_the_same_behaviours_were_tried_on_each(seen: dict[str, Seen]) -> None:
    assert len(seen["airflow"]) >= 100
    for name in BACKENDS:
        tried = {place for place in seen[name] if place[0] != DOWN}
        assert tried == set(seen["airflow"])


def test_every_difference_is_in_the_document_and_no_other(
    seen: dict[str, Seen], capsys: pytest.CaptureFixture[str]
) -> None:
    found = differences(seen)
    with capsys.disabled():
        print(f"\nOf {len(seen['airflow'])} behaviours these differ:\n{table(found)}")

    assert documented() == found


def test_with_both_backends_the_worker_writes_and_the_server_reads(seen: dict[str, Seen]) -> None:
    unlike = {
        place: (seen["worker"][place], outcome)
        for place, outcome in seen["both"].items()
        if outcome not in (seen["server"][place], seen["worker"][place])
    }

    # What it reads passes through Airflow, which has no such ints, and takes any wrapper for one.
    assert unlike == {
        ("one asset", "set an int beyond 64 bits, get it"): (
            repr(10**30),
            "AirflowRuntimeError API_SERVER_ERROR",
        ),
        ("one asset", "set an object with a wrapper's key, get it"): (
            "{'__airflow_state_ref__': 's3://bucket/object'}",
            "InvalidRequest",
        ),
    }


def test_no_behaviour_of_ours_loses_what_was_there(seen: dict[str, Seen]) -> None:
    for name in ("server", "worker", "both"):
        leaves = {
            place: outcome
            for place, outcome in seen[name].items()
            if place[1].startswith("what ") and "leaves" in place[1]
        }
        assert leaves
        assert set(leaves.values()) == {"'before'"}


@pytest.mark.parametrize("name", ["server", "worker", "both"])
def test_what_tasks_wrote_is_in_the_daemon_and_recorded_as_theirs(
    seen: dict[str, Seen], daemons: dict[str, Daemon], name: str
) -> None:
    with daemons[name].client() as client:
        entry = client.store("conf/customers").entry("k")
        direct = client.store("conf/customers").entry("direct")
        sets = [event for event in client.store("conf/orders").log() if event.kind == "set"]

    assert entry is not None
    assert entry.value == 2
    assert (entry.updated_by.kind, entry.updated_by.dag_id) == ("task", "conformance")
    assert (entry.updated_by.task_id, entry.updated_by.map_index) == ("two", -1)
    assert direct is not None
    assert (direct.updated_by.dag_id, direct.updated_by.task_id) == ("conformance", "direct")
    assert {event.updated_by.task_id for event in sets} == {"one", "by_name", "by_uri"}


@pytest.mark.parametrize(
    ("name", "error"),
    [("server", "AirflowRuntimeError API_SERVER_ERROR 503"), ("worker", "NotConnected")],
)
def test_a_daemon_that_is_down_is_an_error_and_no_absent_key(
    seen: dict[str, Seen], daemons: dict[str, Daemon], name: str, error: str
) -> None:
    outcomes = {
        behaviour: seen[name][DOWN, behaviour]
        for behaviour in ("get with a default", "set", "delete", "clear")
    }

    assert outcomes == dict.fromkeys(outcomes, error)
    with daemons[name].client() as client:
        # None of them was carried out, late or in part.
        assert client.store("conf/orders").get_many(["short", "by name"]) == {
            "short": 1,
            "by name": 1,
        }

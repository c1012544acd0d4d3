"""``assetstore airflow import`` and ``export``, with Airflow's real database, and the manifest."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.airflow.deployment import COMMAND_S, Deployment
from tests.support.command import Ran
from tests.support.daemon import Daemon

from assetstore.airflow.references import reference_to
from assetstore.messages import AssetRef

ORDERS = {"name": "orders", "uri": "s3://data/orders", "group": "sales"}
CUSTOMERS = {"name": "customers", "uri": "customers", "group": "asset"}
LEFT = {"name": "left", "uri": "left", "group": "asset"}

THEN = "2026-01-31 12:00:00.123456"

RUN = ("task", "dag", "run-1", "load", -1)
WATCHER = ("watcher", None, None, None, None)

Rows = list[tuple[dict[str, str], str, Any, tuple[Any, ...]]]

ROWS: Rows = [
    (ORDERS, "watermark", "2026-01-31", RUN),
    (ORDERS, "config", {"b": [1, None, 2.5], "a": "é"}, RUN),
    (CUSTOMERS, "seen", 7, WATCHER),
    (CUSTOMERS, "old", True, (None, None, None, None, None)),
    (ORDERS, "ref", {"__airflow_state_ref__": reference_to(AssetRef(name="orders"), "ref")}, RUN),
    (ORDERS, "theirs", {"__airflow_state_ref__": "s3://bucket/object"}, RUN),
    (LEFT, "kept", 1, RUN),
]


def fill(deployment: Deployment) -> None:
    """Assets, two of them active, and rows of their stores, as Airflow would have written them."""
    with contextlib.closing(sqlite3.connect(deployment.database)) as database, database:
        for number, asset in enumerate((ORDERS, CUSTOMERS, LEFT), 1):
            database.execute(
                'INSERT INTO asset (id, name, uri, "group", extra, created_at, updated_at) '
                "VALUES (?, ?, ?, ?, '{}', ?, ?)",
                (number, asset["name"], asset["uri"], asset["group"], THEN, THEN),
            )
            if asset is not LEFT:
                database.execute(
                    "INSERT INTO asset_active (name, uri) VALUES (?, ?)",
                    (asset["name"], asset["uri"]),
                )
            for of, key, value, by in ROWS:
                if of is asset:
                    database.execute(
                        "INSERT INTO asset_state_store VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                        (number, key, json.dumps(value), THEN, *by),
                    )


class Moving:
    """A deployment with rows, a daemon, and our command in Airflow's environment."""

    def __init__(self, deployment: Deployment, daemon: Daemon) -> None:
        self.deployment = deployment
        self.daemon = daemon

    def __call__(self, *words: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "assetstore_cli", "airflow", *words],
            env={**self.deployment.env, "ASSETSTORE_SOCKET": str(self.daemon.socket)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    def states(self, *words: str) -> dict[str, str]:
        done = self(*words, "--json")
        assert done.code in (0, 1), done.err
        return {record["key"]: record["state"] for record in done.records}

    def rows(self) -> dict[str, tuple[Any, ...]]:
        columns = "key, value, updated_at, last_updated_by_kind, last_updated_by_run_id"
        found = self.deployment.rows(f"SELECT {columns} FROM asset_state_store")
        return {key: (json.loads(value), *rest) for key, value, *rest in found}


@pytest.fixture(scope="module")
def moving(
    make_deployment: Callable[..., Deployment], start_daemon: Callable[..., Daemon]
) -> Moving:
    deployment = make_deployment("airflow")
    fill(deployment)
    return Moving(deployment, start_daemon("another"))


def test_all_that_airflow_kept_moves_in_and_out_again(moving: Moving) -> None:
    # The manifest first: without it nothing is moved.
    refused = moving("import", "--yes")
    assert refused.code == 1
    assert "'customers', 'orders'" in refused.err
    assert "assetstore airflow manifest" in refused.err

    written = moving("manifest", f"--output={moving.daemon.manifest}")
    assert written.code == 0, written.err
    assert json.loads(moving.daemon.manifest.read_text())["assets"] == [CUSTOMERS, ORDERS]
    with moving.daemon.client() as client:
        client.reload_manifest()

        # In.
        would = {"watermark": "new", "config": "new", "seen": "new", "old": "new"}
        rest = {"ref": "skipped", "theirs": "refused", "kept": "skipped"}
        assert moving.states("import", "--dry-run") == {**would, **rest}
        assert not list(client.store("orders"))

        done = moving("import", "--yes")
        assert done.code == 1
        assert "another [workers] state_store_backend" in done.err
        assert dict(client.store("orders")) == {
            "watermark": "2026-01-31",
            "config": {"b": [1, None, 2.5], "a": "é"},
        }
        assert dict(client.store("customers")) == {"seen": 7, "old": True}
        entry = client.store("orders").entry("watermark")
        assert entry is not None
        assert entry.updated_at == datetime.fromisoformat(THEN).replace(tzinfo=UTC)
        by = entry.updated_by
        assert (by.kind, by.dag_id, by.run_id, by.task_id, by.map_index) == RUN
        seen = client.store("customers").entry("seen")
        assert seen is not None
        assert seen.updated_by.kind == "watcher"

        # Again: nothing.
        revision = entry.revision
        assert moving.states("import", "--yes") == {**dict.fromkeys(would, "same"), **rest}
        again = client.store("orders").entry("watermark")
        assert again is not None
        assert again.revision == revision

        # Out, after some work.
        before = moving.rows()
        client.store("orders").set("watermark", "2026-02-01")
        client.store("orders").set("ref", "a value")
        client.store("customers").delete("old")
        plan = {
            "watermark": "changed",
            "config": "same",
            "ref": "changed",
            "theirs": "gone",
            "seen": "same",
            "old": "gone",
        }
        assert moving.states("export", "--dry-run") == plan
        assert moving.rows() == before

        assert moving("export", "--yes").code == 0
        rows = moving.rows()
        assert rows["watermark"][0] == "2026-02-01"
        assert rows["watermark"][2:] == ("api", None)
        assert rows["ref"][0] == "a value"
        assert rows["config"] == before["config"]
        assert rows["old"] == before["old"]

        moved = dict.fromkeys(("watermark", "ref"), "same")
        assert moving.states("export", "--yes") == {**plan, **moved}
        assert moving.rows() == rows

        assert moving("export", "--yes", "--replace").code == 0
        assert set(moving.rows()) == {"watermark", "config", "ref", "seen", "kept"}

        # What Airflow's own store reads then.
        program = (
            "from airflow.state import AssetScope\n"
            "from airflow.state.metastore import MetastoreBackend\n"
            "print(MetastoreBackend().get(AssetScope(asset_id=1), 'watermark'))"
        )
        assert '"2026-02-01"' in moving.deployment.command(sys.executable, "-c", program)

    # A daemon that is down, and a database that is.
    moving.daemon.stop()
    assert moving("export", "--yes", "--timeout=1").code == 4
    moving.daemon.start()
    moving.deployment.database.rename(moving.deployment.home / "elsewhere")
    gone = moving("import", "--yes")
    assert gone.code == 4, gone.err
    assert "Airflow's database does not answer" in gone.err
    assert moving("manifest", f"--output={moving.daemon.manifest}").code == 4
    assert len(json.loads(moving.daemon.manifest.read_text())["assets"]) == 2

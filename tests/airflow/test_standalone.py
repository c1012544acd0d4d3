"""All of Airflow at once, as ``airflow standalone`` runs it, with the manifest that follows it.

One start of it is for all tests here: it takes most of a minute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.airflow.deployment import COMMAND_S, DAGS, Deployment
from tests.support.command import Cli
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

import assetstore
from assetstore import Entry, InactiveAsset, UnknownAsset

#: What makes Airflow look again soon; it would in the end.
IMPATIENT = {
    "CORE__EXECUTOR": "LocalExecutor",
    "CORE__PARALLELISM": "2",
    "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "API__EXPOSE_CONFIG": "True",
    "API__WORKERS": "1",
    "SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
    "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
    "DAG_PROCESSOR__REFRESH_INTERVAL": "1",
    "DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
    "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
    "DAG_PROCESSOR__STALE_DAG_THRESHOLD": "2",
    "DAG_PROCESSOR__PARSING_PROCESSES": "1",
}


@pytest.fixture(scope="module")
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon("written before Airflow's were")


@pytest.fixture(scope="module")
def deployment(make_deployment: Callable[..., Deployment], daemon: Daemon) -> Iterator[Deployment]:
    """Airflow with two Dags, and ``assetstore airflow manifest --watch`` beside it."""
    deployment = make_deployment("server", daemon, **IMPATIENT)
    plugins = deployment.home / "plugins"
    plugins.mkdir()
    shutil.copy(DAGS / "counting_trigger.py", plugins)
    deployment.add_dags(DAGS / "watched.py", DAGS / "temporary.py")
    follow = [sys.executable, "-m", "assetstore_cli", "airflow", "manifest", "--watch"]
    log = deployment.home / "follow.log"
    with deployment.serving("standalone"), log.open("ab") as out:
        follower = subprocess.Popen(
            [*follow, "--interval=0.5", f"--output={daemon.manifest}"],
            env=deployment.env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
        try:
            yield deployment
        finally:
            follower.terminate()
            follower.wait()


@pytest.fixture(scope="module")
def client(daemon: Daemon) -> Iterator[assetstore.Client]:
    with daemon.client() as client:
        # Connected before the first test, which is looked at for what it leaves open.
        client.status()
        yield client


def wait_for_entry(
    client: assetstore.Client, asset: str, key: str, value: object, what: str
) -> Entry:
    """The entry of key once it holds value: until then asset and key may be unknown."""

    def holds() -> Entry | None:
        try:
            entry = client.store(asset).entry(key)
        except UnknownAsset:
            return None
        return entry if entry is not None and entry.value == value else None

    entry = wait_until(holds, COMMAND_S, what)
    assert entry is not None
    return entry


def test_a_watcher_keeps_how_far_it_has_come_and_sets_the_dag_going(
    deployment: Deployment, client: assetstore.Client
) -> None:
    lines = deployment.seen / "lines"
    for count in (1, 2):
        with lines.open("a") as file:
            file.write("a line\n")
        seen = wait_for_entry(client, "live/incoming", "seen", count, "the watcher to have seen it")
        assert (seen.updated_by.kind, seen.updated_by.dag_id) == ("watcher", None)
        processed = wait_for_entry(
            client, "live/results", "processed", count, "the Dag to have processed it"
        )
        assert processed.updated_by.kind == "task"
        assert (processed.updated_by.dag_id, processed.updated_by.task_id) == ("watched", "process")


def test_an_asset_that_loses_its_dag_is_closed_and_comes_back_with_it(
    deployment: Deployment, client: assetstore.Client, daemon: Daemon
) -> None:
    kept = {"from": "the first run"}
    wait_until(lambda: client.resolve(["live/temporary"])[0], COMMAND_S, "the asset to be known")
    deployment.api("/dags/temporary/dagRuns", logical_date=None)
    wait_for_entry(client, "live/temporary", "kept", kept, "the Dag's one run")

    (deployment.dags / "temporary.py").unlink()

    def is_closed() -> bool:
        try:
            client.store("live/temporary").get("kept")
        except InactiveAsset:
            return True
        return False

    wait_until(is_closed, COMMAND_S, "the asset to be orphaned")
    assert [store.name for store in client.trash()] == ["live/temporary"]
    listed = Cli(daemon.socket).process("trash", "list")
    assert "live/temporary" in listed.out

    deployment.add_dags(DAGS / "temporary.py")

    wait_until(lambda: not is_closed(), COMMAND_S, "the asset to be active again")
    assert client.store("live/temporary").get("kept") == kept
    assert list(client.trash()) == []


def test_the_rest_api_tells_the_same_assets_as_the_database(
    deployment: Deployment, client: assetstore.Client, daemon: Daemon, tmp_path: Path
) -> None:
    file = tmp_path / "manifest.json"
    wait_until(
        lambda: "live/temporary" in daemon.manifest.read_text(), COMMAND_S, "all to be active"
    )

    done = Cli("/nowhere").process(
        *("airflow", "manifest", f"--output={file}"),
        f"--url=http://127.0.0.1:{deployment.port}",
        ASSETSTORE_AIRFLOW_TOKEN=deployment.token(),
    )

    assert done.code == 0, done.err
    assert file.read_text() == daemon.manifest.read_text()
    groups = {asset["name"]: asset["group"] for asset in json.loads(file.read_text())["assets"]}
    assert groups["live/temporary"] == "passing"


def test_a_token_that_does_not_do_is_refused(deployment: Deployment, tmp_path: Path) -> None:
    done = Cli("/nowhere").process(
        *("airflow", "manifest", f"--output={tmp_path / 'manifest.json'}"),
        f"--url=http://127.0.0.1:{deployment.port}",
        ASSETSTORE_AIRFLOW_TOKEN="no token",
    )

    assert done.code == 1
    assert "ASSETSTORE_AIRFLOW_TOKEN" in done.err
    assert not (tmp_path / "manifest.json").exists()


def test_the_configuration_page_shows_our_settings(deployment: Deployment, daemon: Daemon) -> None:
    [section] = deployment.api("/config?section=assetstore")["sections"]

    options = {option["key"]: option["value"] for option in section["options"]}
    assert options == {"socket": str(daemon.socket), "timeout": "3.0"}


def test_the_command_line_lists_our_settings(deployment: Deployment, daemon: Daemon) -> None:
    listed = deployment.run("config", "list", "--section", "assetstore", "--show-values")

    assert f"socket = {daemon.socket}" in listed
    assert "timeout = 3.0" in listed

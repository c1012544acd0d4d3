"""Airflows to test with. Each starts from a copy of one database, as migrating takes seconds.

Rule: no knowledge of any one test.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.airflow.deployment import BACKENDS, Deployment
from tests.support.daemon import Daemon


@pytest.fixture(scope="session", autouse=True)
def airflow_is_installed() -> None:
    """Elsewhere these tests say why not."""
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("needs Airflow: make test-airflow")


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A metadata database with its tables and nothing in them."""
    deployment = Deployment(tmp_path_factory.mktemp("migrated"))
    deployment.run("db", "migrate")
    return deployment.database


@pytest.fixture(scope="module")
def make_deployment(
    migrated: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Deployment]:
    """Makes an Airflow with a combination of backends, for a daemon."""

    def make(backends: str, daemon: Daemon | None = None, **settings: str) -> Deployment:
        home = tmp_path_factory.mktemp(backends) / "home"
        deployment = Deployment(home, daemon, **BACKENDS[backends], **settings)
        shutil.copy(migrated, deployment.database)
        return deployment

    return make


@pytest.fixture(scope="module")
def start_daemon(
    starter: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Daemon]]:
    """Starts a daemon with these assets in its manifest."""
    started: list[Daemon] = []

    def start(*assets: str | dict[str, str]) -> Daemon:
        daemon = Daemon(tmp_path_factory.mktemp("daemon"))
        daemon.set_manifest(*assets)
        started.append(daemon.start())
        return daemon

    yield start
    for daemon in started:
        daemon.close()

"""Fixtures of all tests: daemons to talk to, and checks that nothing is left behind.

Rule: no knowledge of any one test.
"""

from __future__ import annotations

import gc
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.starter import Starter
from tests.support.waiting import wait_until

import assetstore


@pytest.fixture(scope="session")
def starter() -> Iterator[None]:
    """Daemons are forked by a process that has made their imports."""
    with Starter() as Daemon.starter:
        yield
    Daemon.starter = None


@pytest.fixture
def by_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Daemons are started as users start them, where the start itself is looked at."""
    monkeypatch.setattr(Daemon, "starter", None)


@pytest.fixture
def daemon(starter: None, tmp_path: Path) -> Iterator[Daemon]:
    """A running daemon with the assets "orders" (with a uri of its own) and "customers"."""
    daemon = Daemon(tmp_path)
    daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers")
    with daemon:
        yield daemon
    assert daemon.verify() == []


@pytest.fixture
def make_daemon(starter: None, tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """Makes daemons, not yet started, with the configuration that a test needs."""
    made: list[Daemon] = []

    def make(name: str = "daemon", **config: Any) -> Daemon:
        daemon = Daemon(tmp_path / name, **config)
        daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers")
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.close()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[assetstore.Client]:
    """A client of the daemon."""
    with daemon.client() as client:
        yield client


@pytest.fixture
def seed() -> int:
    """For random tests: printed on failure; ASSETSTORE_SEED=N runs one again."""
    seed = int(os.environ.get("ASSETSTORE_SEED", random.randrange(2**32)))
    print(f"ASSETSTORE_SEED={seed}")
    return seed


@pytest.fixture(autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """No test leaves a descriptor or a thread behind."""
    before = _descriptors()
    threads = set(threading.enumerate())
    yield
    if _descriptors() > before:
        # What only waits to be collected is reported as a ResourceWarning, and fails the run.
        gc.collect()
    wait_until(
        lambda: _descriptors() <= before, 5.0, f"descriptors closed, {before} were open before"
    )
    wait_until(lambda: set(threading.enumerate()) <= threads, 5.0, "threads to have ended")


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))

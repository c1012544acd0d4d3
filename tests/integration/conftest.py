"""One daemon for all tests that need no more than a store of their own.

Rule: a test that stops, feeds or inspects its daemon takes the ``daemon`` fixture instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import command
from tests.support.both_clients import AsBlocking
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import Asset, Client, Store

ORDERS = Asset("orders", uri="s3://data/orders/")


@pytest.fixture(scope="session")
def shared_daemon(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with "orders" (uri s3://data/orders/), "customers" and "invoices"."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"))
    daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers", "invoices")
    with daemon:
        yield daemon
    assert daemon.verify() == []


@pytest.fixture(scope="session")
def forsaken_daemon(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose manifest "orders" has left, with k = 1 in its store; "customers" is active."""
    daemon = Daemon(tmp_path_factory.mktemp("forsaken"))
    daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers")
    with daemon:
        with daemon.client() as client:
            client.store("orders").set("k", 1)
        daemon.activate("customers")
        yield daemon
    assert daemon.verify() == []


@pytest.fixture
def forsaken_client(forsaken_daemon: Daemon) -> Iterator[Client]:
    """A client of the daemon that "orders" has left."""
    with forsaken_daemon.client() as client:
        yield client


@pytest.fixture
def deserted_daemon(shared_daemon: Daemon) -> Daemon:
    """The shared daemon, to which nobody is connected, and whose stores are empty."""
    with shared_daemon.client() as client:
        for name in ("orders", "customers", "invoices"):
            client.store(name).clear()
        # Those of earlier tests may be on their way out.
        wait_until(lambda: client.status()["connections"] == 1, 10.0, "all others to be gone")
    return shared_daemon


@pytest.fixture
def shared_client(shared_daemon: Daemon) -> Iterator[Client]:
    """A client of the shared daemon, whose stores are empty."""
    with shared_daemon.client() as client:
        for name in ("orders", "customers", "invoices"):
            if client.store(name):
                client.store(name).clear()
        yield client


@pytest.fixture(params=["blocking", "asynchronous"])
def each_client(
    request: pytest.FixtureRequest, shared_daemon: Daemon, shared_client: Client
) -> Iterator[Any]:
    """A client of the shared daemon, of either kind, with the calls of the blocking one."""
    if request.param == "blocking":
        yield shared_client
        return
    with AsBlocking(str(shared_daemon.socket)) as client:
        yield client


@pytest.fixture
def each_store(each_client: Any) -> Any:
    """The store of orders, empty, of either client."""
    return each_client.store(ORDERS)


@pytest.fixture
def store(shared_client: Client) -> Store:
    """The store of orders, empty."""
    return shared_client.store(ORDERS)


@pytest.fixture(scope="module")
def daemon_of_module(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with "orders" (uri s3://data/orders/) and "customers", for one module."""
    with command.shared_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        yield daemon


@pytest.fixture
def renewed_daemon(daemon_of_module: Daemon) -> Iterator[Daemon]:
    """The same, as good as new for each test: for a module whose ``daemon`` it is."""
    yield daemon_of_module
    command.reset(daemon_of_module)


@pytest.fixture
def cli(daemon: Daemon) -> command.Cli:
    """The command, pointed at the daemon of the test."""
    return command.Cli(daemon.socket)

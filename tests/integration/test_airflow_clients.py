"""Clients that are lent to the threads of Airflow's processes, each in the name of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser

import pytest
from tests.support.daemon import Daemon

from assetstore import NotConnected, Writer
from assetstore.airflow.clients import Clients, Settings
from assetstore.airflow.provider import DEFAULT_TIMEOUT_S, get_provider_info


def settings(daemon: Daemon | None = None, **options: object) -> Settings:
    """The settings of a configuration with these options, as Airflow's answers."""
    conf = ConfigParser()
    conf["assetstore"] = {name: str(value) for name, value in options.items()}
    if daemon is not None:
        conf["assetstore"]["socket"] = str(daemon.socket)
    return Settings(conf)


def run(number: int) -> Writer:
    return Writer("task", "dag", f"run-{number}", "task", -1)


@pytest.fixture
def clients(daemon: Daemon) -> Iterator[Clients]:
    clients = Clients(settings(daemon))
    yield clients
    clients.close()


def test_without_settings_the_defaults_of_the_provider_count() -> None:
    found = Settings(ConfigParser())

    assert (found.socket, found.timeout_s) == (None, DEFAULT_TIMEOUT_S)
    options = get_provider_info()["config"]["assetstore"]["options"]
    assert (options["socket"]["default"], options["timeout"]["default"]) == ("", "3.0")


def test_an_empty_socket_is_the_default_one() -> None:
    assert settings(socket="").socket is None
    assert settings(socket="/x", timeout="0.5").socket == "/x"
    assert settings(timeout="0.5").timeout_s == 0.5


def test_each_change_is_recorded_as_the_run_that_it_was_lent_for(
    daemon: Daemon, clients: Clients
) -> None:
    for number in (1, 2, 1):
        with clients.lend(run(number)) as client:
            client.store("orders").set(f"k{number}", number)

    with daemon.client() as client:
        for number in (1, 2):
            entry = client.store("orders").entry(f"k{number}")
            assert entry is not None
            assert entry.updated_by.run_id == f"run-{number}"


def test_a_run_gets_the_connection_again_that_it_has_used(clients: Clients) -> None:
    with clients.lend(run(1)) as first:
        pass
    with clients.lend(run(2)) as other:
        pass
    with clients.lend(run(1)) as again:
        assert again is first
        with clients.lend(run(1)) as meanwhile:
            assert meanwhile not in (first, other)


def test_runs_beyond_the_most_that_are_kept_give_their_connections_back(clients: Clients) -> None:
    with clients.lend(run(0)) as first:
        first.store("orders").get("k")
    for number in range(1, 40):
        with clients.lend(run(number)) as client:
            client.store("orders").get("k")

    with pytest.raises(NotConnected, match="closed"):
        first.store("orders").get("k")


def test_many_threads_write_for_many_runs_at_once(daemon: Daemon, clients: Clients) -> None:
    def write(number: int) -> None:
        with clients.lend(run(number % 5)) as client:
            client.store("orders").set(f"k{number}", number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(200)))

    with daemon.client() as client:
        found = {each.key: each for each in client.store("orders").entries()}
    assert len(found) == 200
    for number in range(200):
        assert found[f"k{number}"].updated_by.run_id == f"run-{number % 5}"


def test_the_child_of_a_fork_writes_on_a_connection_of_its_own(
    daemon: Daemon, clients: Clients
) -> None:
    with clients.lend(run(1)) as client:
        client.store("orders").set("parent", 1)
    # As if another thread had been in the middle of it.
    clients._lock.acquire()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with clients.lend(run(1)) as client:
                client.store("orders").set("child", 1)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    clients._lock.release()

    assert status == 0
    with daemon.client() as client:
        entry = client.store("orders").entry("child")
        assert entry is not None
        assert entry.updated_by.pid == child

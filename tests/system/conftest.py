"""The machine with the asset store on it, for the tests that need a booted systemd.

Those are the tests that ask for ``machine``. They are marked ``system`` and run only where that
mark is asked for (``make test-system``), since they need root and install things.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.system import container, installation
from tests.system.container import booted_container
from tests.system.daemon import Daemon
from tests.system.installation import install, traces, uninstall
from tests.system.machine import Machine

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what needs a machine, and leave it out unless the mark was asked for."""
    booting = [
        item
        for item in items
        if item.path.is_relative_to(_HERE) and "machine" in getattr(item, "fixturenames", ())
    ]
    for item in booting:
        item.add_marker(pytest.mark.system)
    if "system" not in config.option.markexpr:
        config.hook.pytest_deselected(items=booting)
        items[:] = [item for item in items if item not in booting]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with the asset store installed, as it was before once the tests are over."""
    missing = installation.what_is_missing()
    if os.geteuid() == 0 and Path("/run/systemd/system").is_dir():
        # Booted with systemd: this machine will do, if nobody's asset store is on it.
        here = Machine()
        missing = missing or _in_use(here)
        if missing:
            pytest.skip(missing)
        yield from _with_the_asset_store(here, tmp_path_factory.mktemp("build"))
        return
    missing = missing or container.what_is_missing()
    if missing:
        pytest.skip(missing)
    with booted_container(tmp_path_factory.mktemp("container")) as inside:
        yield from _with_the_asset_store(inside, tmp_path_factory.mktemp("build"))


def _with_the_asset_store(machine: Machine, scratch: Path) -> Iterator[Machine]:
    try:
        install(machine, installation.build_wheels(scratch))
        for user in ("insider", "outsider"):
            machine.run("useradd", "--user-group", "--no-create-home", user)
        machine.run("usermod", "--append", "--groups", installation.CLIENTS, "insider")
        yield machine
    finally:
        for user in ("insider", "outsider"):
            machine.run("userdel", user, may_fail=True)
        uninstall(machine)


def _in_use(machine: Machine) -> str | None:
    found = traces(machine)
    return f"there is an asset store on this machine already: {', '.join(found)}" if found else None


@pytest.fixture
def daemon(machine: Machine) -> Iterator[Daemon]:
    """The daemon, running with its default configuration and the assets of Daemon.ASSETS."""
    daemon = Daemon(machine)
    daemon.reset()
    yield daemon
    daemon.remove_drop_in()

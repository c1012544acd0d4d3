"""Whatever ends the daemon, clients notice a pause and nothing else."""

from __future__ import annotations

import pytest
from tests.system.daemon import Daemon
from tests.system.fleet import assert_nothing_surfaced_and_nothing_is_lost, at_work
from tests.system.installation import SERVICE
from tests.system.machine import Machine

# Shorter than the 30 s of the unit, so that the test is; the mechanism is the same.
SHORT_WATCHDOG = "WatchdogSec=2s"

# A hang costs the watchdog's interval at most, then a restart.
PATIENCE_S = 15.0


def test_a_restart_under_load_surfaces_no_error(machine: Machine, daemon: Daemon) -> None:
    with at_work(machine, daemon.ASSETS) as reports:
        for _ in range(3):
            machine.systemctl("restart", SERVICE)

    assert_nothing_surfaced_and_nothing_is_lost(machine, reports)
    # Restarted by hand each time: the daemon ended cleanly and never failed.
    assert machine.show(SERVICE, "NRestarts") == "0"


@pytest.mark.parametrize("process", ["pid", "writer_pid", "syncer_pid"])
def test_kill_9_under_load_surfaces_no_error(
    machine: Machine, daemon: Daemon, process: str
) -> None:
    with at_work(machine, daemon.ASSETS) as reports:
        for _ in range(2):
            status = daemon.status()
            daemon.signal("KILL", status[process])
            daemon.wait_for_a_new_one(status["pid"])

    assert_nothing_surfaced_and_nothing_is_lost(machine, reports)
    assert machine.show(SERVICE, "NRestarts") == "2"


@pytest.mark.parametrize("process", ["pid", "writer_pid", "syncer_pid"])
def test_a_hung_daemon_is_restarted_by_the_watchdog(
    machine: Machine, daemon: Daemon, process: str
) -> None:
    daemon.add_drop_in(SHORT_WATCHDOG)
    since = machine.journal_cursor()

    with at_work(machine, daemon.ASSETS, timeout_s=PATIENCE_S) as reports:
        status = daemon.status()
        daemon.signal("STOP", status[process])
        daemon.wait_for_a_new_one(status["pid"])

    assert_nothing_surfaced_and_nothing_is_lost(machine, reports)
    logged = machine.journal(SERVICE, since)
    assert "Watchdog timeout" in logged
    # Where it hung, for whoever reads the journal.
    assert "most recent call first" in logged

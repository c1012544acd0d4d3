"""SIGKILL at random moments under full load: what was acknowledged is there, and nothing else is.

Rule: after every kill the store is looked at as the crash left it, before any daemon mends it.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.endings import wait_until_deserted
from tests.support.fleet import Fleet
from tests.support.inspect_store import Inspection, inspect
from tests.support.ledger import State, is_shown

pytestmark = pytest.mark.crash

#: Each of SCENARIOS twice, or three times.
KILLS = amount(18, whole=27)
MEMBERS = 64
TOGGLED = "toggled"
TOGGLED_KEYS = [f"key-{n}" for n in range(20)]

#: Who is killed, and what goes on meanwhile beside the writers' load.
SCENARIOS = (
    "the daemon",
    "its writer process",
    "its syncing process",
    "the daemon, then its writer",
    "the writer, then its daemon",
    "a worker, then the daemon",
    "the daemon while the manifest changes",
    "the writer while the manifest changes",
    "the daemon while it starts",
)


class Crashes:
    """One daemon and its fleet, crashed again and again."""

    def __init__(self, daemon: Daemon, fleet: Fleet, seed: int) -> None:
        self.daemon = daemon
        self.fleet = fleet
        self.random = random.Random(seed)
        self.toggled_is_listed = True
        self.done: Counter[str] = Counter()

    def crash(self, scenario: str) -> None:
        """Let the load run for a random while and kill."""
        daemon, rng = self.daemon, self.random
        assert daemon.process is not None
        if scenario == "the daemon while it starts":
            daemon.kill()
            wait_until_deserted(daemon.data_dir)
            daemon.launch()
            self._live_for(rng.random() * 0.3)
            daemon.kill()
        else:
            status = daemon.status()
            writer_pid, syncer_pid = status["writer_pid"], status["syncer_pid"]
            self.fleet.wait_for_acknowledgements(rng.randrange(300))
            if "worker" in scenario:
                self.fleet.kill_one(rng)
            if "manifest" in scenario:
                self.toggled_is_listed = not self.toggled_is_listed
                self.write_manifest()
                self._live_for(rng.random() * 0.5)
            victims = [daemon.process.pid, writer_pid]
            if "syncing" in scenario:
                victims = [syncer_pid]
            elif "writer process" in scenario or "the writer while" in scenario:
                del victims[0]
            elif "the writer, then" in scenario:
                victims.reverse()
            elif "then its writer" not in scenario:
                del victims[1]
            for victim in victims:
                # Each is the end of the other.
                with contextlib.suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
            ended = daemon.wait()
            assert ended in (-signal.SIGKILL, os.EX_IOERR), (scenario, ended)
            if victims in ([writer_pid], [syncer_pid]):
                assert ended == os.EX_IOERR, "a daemon that loses one of them ends, and says so"
        self.done[scenario] += 1
        wait_until_deserted(daemon.data_dir)

    def write_manifest(self) -> None:
        """As an operator does, and without waiting for the daemon's verdict."""
        listed = [TOGGLED] if self.toggled_is_listed else []
        self.daemon.set_manifest(*Fleet.assets(MEMBERS), *listed)

    def _live_for(self, most_s: float) -> None:
        """The daemon may live for so long; then its time has come."""
        assert self.daemon.process is not None
        try:
            self.daemon.process.wait(most_s)
        except subprocess.TimeoutExpired:
            return
        raise AssertionError(f"it ended by itself:\n{self.daemon.log_text()}")


def check_store(crashes: Crashes) -> Inspection:
    """What the crash has left is whole, and is what was acknowledged."""
    found = inspect(crashes.daemon.data_dir)
    assert found.problems == []
    ledger = crashes.fleet.catch_up()
    toggled = found.active.pop(TOGGLED, {})
    assert len(toggled) in (0, len(TOGGLED_KEYS)), toggled
    ledger.check(found.active, found.revision)
    return found


@pytest.mark.parametrize("grace", ["7d", "0s"])
def test_what_was_acknowledged_survives_any_kill_and_no_request_is_half_there(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int, grace: str
) -> None:
    daemon = make_daemon(grace=grace, sweep_interval="100ms")
    daemon.set_manifest(*Fleet.assets(MEMBERS), TOGGLED)
    daemon.start()
    with daemon.client() as client:
        for key in TOGGLED_KEYS:
            client.store(TOGGLED).set(key, "here")
    with Fleet(daemon.socket, tmp_path / "stories", seed) as fleet:
        crashes = Crashes(daemon, fleet, seed)
        order = [SCENARIOS[n % len(SCENARIOS)] for n in range(KILLS)]
        crashes.random.shuffle(order)
        for scenario in order:
            crashes.crash(scenario)
            check_store(crashes)
            daemon.start()
        fleet.wait_for_acknowledgements(100)
        fleet.stop()
        daemon.stop()
        found = check_store(crashes)

        daemon.start()
        with daemon.client() as client:
            for asset, contents in found.active.items():
                entries = client.store(asset).entries()
                assert {e.key: (e.value, e.revision) for e in entries} == contents
        ledger = fleet.ledger
    # Whatever was sent and not answered was sent again, and answered then.
    assert ledger.unknown == []
    if grace == "7d":
        trash = [store.contents for store in found.trash if store.reason == "cleared"]
        for asset, state in ledger.cleared:
            assert is_in_trash(state, trash), f"what was cleared of {asset} is not in the trash"
    print(
        f"{sum(crashes.done.values())} kills, {ledger.acknowledged:,} changes acknowledged, "
        f"{len(ledger.cleared):,} clears; {dict(crashes.done)}"
    )


def is_in_trash(state: State, trash: list[dict[str, tuple[object, int]]]) -> bool:
    """Whether one of the stores in the trash is this one."""
    return any(is_shown(state, contents) for contents in trash)

"""Watchers see each change once, in order, without gaps, though the daemon is killed; and cost it
nothing when they stand still.

Rule: what they saw is held against the log, and that against what writers were answered.
"""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.crew import DEADLINE_S, Crew
from tests.support.daemon import Daemon
from tests.support.fleet import Fleet
from tests.support.outages import kill_and_restart
from tests.support.waiting import wait_until
from tests.support.watching import END, WATCHES, facts

pytestmark = pytest.mark.crash

MEMBERS = 8
ASSET = "shared-0"
PREFIX = "00"

#: What is written while a watcher stands still, and how much memory the daemon may take for it.
PARTS = 30
KEYS_OF_PART = 50
VALUE_CHARS = 20_000
MOST_GROWTH_BYTES = 8 << 20


@pytest.fixture
def ready(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with the assets of a fleet."""
    daemon = make_daemon()
    daemon.set_manifest(*Fleet.assets(MEMBERS))
    return daemon.start()


@pytest.fixture
def watchers(ready: Daemon, tmp_path: Path, seed: int) -> Iterator[Crew]:
    """One watcher of each kind in processes of their own, from the first revision on."""
    with Crew(ready.socket, tmp_path / "watched", seed) as crew:
        for number, watch in enumerate(WATCHES):
            options = {"watch": watch, "asset": ASSET, "prefix": PREFIX, "since": 1}
            crew.launch("watching", str(number), **options)
        yield crew


def log_of(daemon: Daemon) -> list[list[Any]]:
    """All that the journal holds, oldest first, as watchers note it."""
    with daemon.client() as client:
        # As it looks when it has been noted: tuples are lists.
        return list(json.loads(json.dumps([facts(event) for event in client.log()])))[::-1]


def end_of(daemon: Daemon, watchers: Crew) -> dict[str, list[list[Any]]]:
    """Let the watchers end; what each kind has seen."""
    with daemon.client() as client:
        client.store(ASSET).set(PREFIX + END, True)
    assert not watchers.is_at_work(1 << 30, DEADLINE_S), "watchers did not see the end"
    seen: dict[str, list[list[Any]]] = {watch: [] for watch in WATCHES}
    for member, event in watchers.notes():
        seen[WATCHES[int(member)]].append(event)
    return seen


def check_seen(seen: dict[str, list[list[Any]]], log: list[list[Any]]) -> None:
    """Each kind of watcher has seen what it should of the log, in its order, once."""
    # Every revision is one event: nothing is missing, and nothing is there twice.
    assert [event[0] for event in log] == list(range(1, len(log) + 1))
    assert seen["all"] == log
    assert seen["all, asynchronous"] == log
    assert seen["store"] == [event for event in log if event[2] == ASSET]
    assert seen["prefix"] == [
        event for event in log if event[2] == ASSET and (event[3] or PREFIX).startswith(PREFIX)
    ]


def test_watchers_see_each_change_once_and_in_order_though_the_daemon_is_killed(
    ready: Daemon, watchers: Crew, tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with Fleet(ready.socket, tmp_path / "stories", seed, processes=3) as fleet:
        for _ in range(4):
            fleet.wait_for_acknowledgements(rng.randrange(50, 250))
            kill_and_restart(ready, rng)
        fleet.wait_for_acknowledgements(100)
        fleet.stop()
        ledger = fleet.catch_up()
    seen = end_of(ready, watchers)

    log = log_of(ready)
    check_seen(seen, log)
    changed = {event[0]: event for event in log}
    for revision, (asset, key, value) in ledger.revisions.items():
        _, kind, *where, its_value, _ = changed[revision]
        assert [kind, *where] == ["set", asset, key]
        assert its_value.startswith(value)
    kinds = {kind for _, kind, *_ in log}
    assert kinds == {"activated", "manifest", "set", "delete", "clear"}
    assert ledger.unknown == []
    print(f"{len(log):,} events, of which writers were told {len(ledger.revisions):,}")
    assert "Traceback" not in ready.log_text()


def test_a_watcher_that_stands_still_neither_slows_writers_nor_grows_the_daemon(
    ready: Daemon, watchers: Crew
) -> None:
    with ready.client() as client:
        store = client.store(ASSET)
        for part in range(PARTS):
            store.set_many({f"{PREFIX}{n}": "x" * VALUE_CHARS for n in range(KEYS_OF_PART)})
            if part == 5:
                # All of them are in the middle of it, and the daemon is used to them.
                wait_until(watchers.have_all_noted, DEADLINE_S, "every watcher to see something")
                watchers.signal(signal.SIGSTOP)
                before = anonymous_bytes(ready)
        growth = anonymous_bytes(ready) - before
        assert client.status()["revision"] > PARTS * KEYS_OF_PART
    watchers.signal(signal.SIGCONT)

    seen = end_of(ready, watchers)

    check_seen(seen, log_of(ready))
    print(f"the daemon grew by {growth:,} bytes while {PARTS * KEYS_OF_PART:,} values were written")
    assert growth < MOST_GROWTH_BYTES


def anonymous_bytes(daemon: Daemon) -> int:
    """What the serving process has for itself, without the pages of the data file."""
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024


@pytest.mark.parametrize("broken", ["missed", "repeated", "out of order", "of another asset"])
def test_a_watcher_that_saw_something_else_would_be_noticed(broken: str) -> None:
    log = [[number, "set", ASSET, f"{PREFIX}{number}", "1", None] for number in range(1, 6)]
    check_seen(dict.fromkeys(WATCHES, log), log)
    seen = {
        "missed": log[:2] + log[3:],
        "repeated": log[:3] + log[2:],
        "out of order": [log[0], log[2], log[1], *log[3:]],
        "of another asset": [*log, [6, "set", "shared-1", f"{PREFIX}6", "1", None]],
    }[broken]

    for watch in WATCHES:
        with pytest.raises(AssertionError):
            check_seen({**dict.fromkeys(WATCHES, log), watch: seen}, log)

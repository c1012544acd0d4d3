"""A long row of kills under load: of each of the daemon's processes, and of workers.

tests/crash looks at the whole store after each of a few kills, in every situation there is; here it
is the number that counts, and how long those wait who only see that an answer takes longer.

Rule: what clients were told is held against the store; how it got there is not looked at.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support.amount import amount
from tests.support.daemon import COMMAND, Daemon
from tests.support.endings import wait_until_deserted
from tests.support.fleet import Fleet
from tests.support.inspect_store import inspect

#: How often each happens, of ten: one of its processes, one after the other, one that stands still.
WAYS = (
    "the daemon",
    "the daemon",
    "its writer",
    "its writer",
    "its syncer",
    "the daemon, then its writer",
    "the writer, then its daemon",
    "the daemon, as its writer stands still",
    "the writer, as its daemon stands still",
    "a worker",
)

#: Most of a row is waiting, for ends and for starts: so many go on side by side, each with a daemon
#: and a fleet of its own.
ROWS = 4

#: After so many kills the store that the last one left is compared with all that was acknowledged.
CHECKED_EVERY = 20

#: No retrying client may wait longer, on a busy machine: a restart takes a fifth of a second.
LONGEST_S = 15.0


class Counting(threading.Thread):
    """A client that counts, through everything, and knows how long each of its changes took."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self.acknowledged = 0
        self.longest_s = 0.0
        self.error: Exception | None = None
        self.done = threading.Event()

    def run(self) -> None:
        try:
            with self._daemon.client(timeout=60.0) as client:
                while not self.done.is_set():
                    begun = time.monotonic()
                    count = client.store("counted").increment("count")
                    self.longest_s = max(self.longest_s, time.monotonic() - begun)
                    self.acknowledged += 1
                    assert count == self.acknowledged, "exactly once"
        except Exception as exc:
            self.error = exc


def kill(daemon: Daemon, way: str) -> None:
    """Kill as the way says, and wait until all of the daemon's processes are gone."""
    assert daemon.process is not None
    status = daemon.status()
    pids = {word: status[f"{word}_pid"] for word in ("writer", "syncer")}
    pids["daemon"] = daemon.process.pid
    killed, _, still = way.partition(", as its ")
    victims = [word for word in killed.replace(",", "").split() if word in pids]
    halted = [pids[word] for word in still.split() if word in pids]
    for pid in halted:
        os.kill(pid, signal.SIGSTOP)
    for victim in victims:
        # Each is the end of the other.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pids[victim], signal.SIGKILL)
    for pid in halted:
        os.kill(pid, signal.SIGCONT)
    assert daemon.wait() in (-signal.SIGKILL, os.EX_IOERR)
    wait_until_deserted(daemon.data_dir)


class Row(NamedTuple):
    """What came of a row of kills of one daemon."""

    done: Counter[str]
    acknowledged: int
    unknown: list[str]
    longest_s: float


def kill_again_and_again(daemon: Daemon, stories: Path, seed: int, kills: int) -> Row:
    """A row of kills; what was acknowledged is there after each, as far as it is looked at."""
    rng = random.Random(seed)
    order = [WAYS[number % len(WAYS)] for number in range(kills)]
    rng.shuffle(order)
    # Each worker that is killed is followed by two threads with assets of their own.
    daemon.set_manifest(*Fleet.assets(8 + 2 * order.count("a worker")), "counted")
    daemon.start()
    counting = Counting(daemon)
    counting.start()
    done: Counter[str] = Counter()
    try:
        with Fleet(daemon.socket, stories, seed) as fleet:
            for number, way in enumerate(order, 1):
                fleet.wait_for_acknowledgements(rng.randrange(60))
                done[way] += 1
                if way == "a worker":
                    fleet.kill_one(rng)
                    continue
                kill(daemon, way)
                if number % CHECKED_EVERY == 0 or number == kills:
                    check(daemon, fleet)
                daemon.start()
            fleet.wait_for_acknowledgements(50)
            fleet.stop()
            counting.done.set()
            counting.join(60.0)
            daemon.stop()
            check(daemon, fleet)
    finally:
        counting.done.set()
        counting.join(60.0)

    assert counting.error is None
    ledger = fleet.ledger
    acknowledged = ledger.acknowledged + counting.acknowledged
    return Row(done, acknowledged, ledger.unknown, counting.longest_s)


def test_no_kill_loses_halves_or_repeats_anything_or_shows_to_a_client_that_retries(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int, tally: Callable[..., None]
) -> None:
    kills, rows = amount(10, whole=250), amount(1, whole=ROWS)
    with ThreadPoolExecutor(rows) as pool:
        found = list(
            pool.map(
                lambda number: kill_again_and_again(
                    make_daemon(f"{number}", grace="0s", sweep_interval="100ms"),
                    tmp_path / f"stories-{number}",
                    seed + number,
                    kills,
                ),
                range(rows),
            )
        )

    longest_s = max(row.longest_s for row in found)
    assert [row.unknown for row in found] == [[]] * rows
    assert longest_s < LONGEST_S
    tally(
        "Kills",
        kills=kills * rows,
        of_workers=sum(row.done["a worker"] for row in found),
        acknowledged=sum(row.acknowledged for row in found),
        lost=0,
        half_applied=0,
        errors_surfaced=0,
        longest_stall=f"{longest_s:.2f} s",
    )


def check(daemon: Daemon, fleet: Fleet) -> None:
    """What nobody serves at the moment is whole, and is what was acknowledged."""
    found = inspect(daemon.data_dir)
    assert found.problems == []
    ledger = fleet.catch_up()
    found.active.pop("counted")
    ledger.check(found.active, found.revision)


#: Another program that has the data file open: it says so, and is killed as it holds a transaction.
OUTSIDER = """
import sys, lmdb
env = lmdb.open(sys.argv[1], map_size=1 << 40, max_dbs=8, lib_version=0)
with env.begin(write=sys.argv[2] == "writing") as txn:
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("doing", ["reading", "writing"])
def test_another_program_that_is_killed_within_a_transaction_stops_nobody(
    daemon: Daemon, doing: str
) -> None:
    with daemon.client() as client:
        client.store("orders").set_many({f"key-{number}": "x" * 1_000 for number in range(200)})
        with subprocess.Popen(
            [sys.executable, "-c", OUTSIDER, str(daemon.data_dir), doing],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as outsider:
            assert outsider.stdout is not None
            assert outsider.stdout.readline() == b"begun\n"
            outsider.kill()
            outsider.wait()
        # A clear needs a transaction of the writer process: its lock is free again.
        assert client.store("orders").clear() == 200
        assert client.store("orders").set("watermark", 1) > 0
    daemon.restart()
    with daemon.client() as client:
        assert client.store("orders").get("watermark") == 1


def test_a_clock_that_jumps_neither_loses_anything_nor_keeps_anybody_waiting(
    tmp_path: Path,
) -> None:
    """Fifteen years forward and back, between two lives of the daemon."""
    faketime = shutil.which("faketime")
    if faketime is None:
        pytest.skip("needs faketime")
    # Its wrapper would take the daemon's signals.
    library = subprocess.check_output([faketime, "-f", "+0", "printenv", "LD_PRELOAD"], text=True)
    revisions: list[int] = []
    for jump in ("+0", "+15y", "-1y"):
        daemon = Daemon(tmp_path, command=COMMAND, grace="7d")
        daemon.env = {
            "LD_PRELOAD": library.strip(),
            "FAKETIME": jump,
            "DONT_FAKE_MONOTONIC": "1",
        }
        daemon.set_manifest("orders")
        with daemon, daemon.client(timeout=10.0) as client:
            store = client.store("orders")
            assert store.get("life", 0) == len(revisions)
            revisions.append(store.set("life", len(revisions) + 1))
            assert next(iter(store.history("life"))).value == len(revisions)
            # A clock that has gone on is no reason to drop what nobody has deleted.
            assert store.count() == 1
    assert revisions == sorted(revisions)

"""A long run of everything at once: what is acknowledged stays, and nothing grows without end.

ASSETSTORE_SOAK says how long, as a duration of the configuration: "90s", "1h", "2d"; make soak sets
it from SOAK.

Rule: judges what is left at the end, and how far things grew; the faults by themselves are tested
elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.endings import wait_until_deserted
from tests.support.fleet import Fleet
from tests.support.inspect_store import inspect
from tests.support.outages import kill_and_restart
from tests.support.service import Footprint

import assetstore
from assetstore import Compacted
from assetstored.config import duration_s

LASTS_S = duration_s(os.environ.get("ASSETSTORE_SOAK", f"{amount(6, whole=60)}s"))

#: Assets for writers, of which each that is killed is followed by another; then it is enough.
MEMBERS = 512
TOGGLED = [f"toggled-{number}" for number in range(5)]

#: Where something is written that a watcher may end with.
HEARD = "heard"

#: Each life of the daemon lasts so many rounds or more.
ROUNDS_OF_A_LIFE = 8

#: What may come and go whenever it is looked at: descriptors of a manifest's comparison, memory of
#: batches, pages that wait for the last reader.
DESCRIPTORS = 12
MEMORY_BYTES = 32 << 20
FILE_BYTES = 32 << 20

Tally = Callable[..., None]


class Sample(NamedTuple):
    """What a daemon holds at a moment."""

    descriptors: int
    memory_bytes: int
    file_bytes: int


class Watching:
    """A client that watches everything all along; each event once, and in order."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.events = 0
        self.gaps_told = 0
        self.failure: BaseException | None = None

    def __enter__(self) -> Watching:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        # Nobody else may have anything more to tell it. The daemon may be gone where a test fails.
        with contextlib.suppress(assetstore.AssetStoreError), self._daemon.client() as client:
            client.store(HEARD).set("the end", True)
        self._thread.join()

    def _run(self) -> None:
        try:
            with self._daemon.client(timeout=60.0) as client:
                since: int | None = None
                while not self._stop.is_set():
                    since = self._watch(client, since)
        except BaseException as exc:
            self.failure = exc

    def _watch(self, client: assetstore.Client, since: int | None) -> int | None:
        last = 0
        try:
            for event in client.watch(since):
                assert event.revision > last, (event.revision, last)
                last = event.revision
                self.events += 1
                if self._stop.is_set():
                    break
        except Compacted as exc:
            # It fell behind a journal that is kept this short, and was told so.
            self.gaps_told += 1
            return int(exc.detail["oldest"]) if exc.detail else None
        return last + 1


def test_nothing_is_lost_and_nothing_grows_without_end(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int, tally: Tally
) -> None:
    rng = random.Random(seed)
    daemon = make_daemon(
        grace="1s",
        sweep_interval="500ms",
        # After a kill what is repeated is known for certain from a minute of it on.
        journal_max_age="90s",
        max_deactivate_fraction=1.0,
    )
    daemon.set_manifest(*Fleet.assets(MEMBERS), HEARD, *TOGGLED)
    daemon.start()
    done: Counter[str] = Counter()
    samples: list[Sample] = []
    ends = time.monotonic() + LASTS_S
    with Fleet(daemon.socket, tmp_path / "stories", seed) as fleet, Watching(daemon) as watching:
        with daemon.client(timeout=60.0) as client:
            while time.monotonic() < ends:
                for _ in range(ROUNDS_OF_A_LIFE + rng.randrange(4)):
                    done[_round(daemon, fleet, client, rng, done)] += 1
                samples.append(_sample(daemon))
                done[f"kill of {kill_and_restart(daemon, rng)}"] += 1
                fleet.catch_up()
        fleet.wait_for_acknowledgements(100)
        fleet.stop()
        ledger = fleet.catch_up()
    daemon.stop()
    wait_until_deserted(daemon.data_dir)

    found = inspect(daemon.data_dir)
    assert found.problems == []
    others = {HEARD, *TOGGLED}
    ledger.check(
        {name: held for name, held in found.active.items() if name not in others}, found.revision
    )
    assert ledger.unknown == []
    assert watching.failure is None, watching.failure
    assert watching.events > 0
    _check_level(samples)
    tally(
        "Long runs",
        seconds=round(LASTS_S),
        acknowledged=ledger.acknowledged,
        kills=sum(count for what, count in done.items() if what.startswith("kill")),
        clears=len(ledger.cleared),
        activations_and_deactivations=done["manifest"],
        drops_seen=done["drop"],
        events_watched=watching.events,
        lost=0,
        file_at_most=f"{max(sample.file_bytes for sample in samples) >> 20} MiB",
        memory_at_most=f"{max(sample.memory_bytes for sample in samples) >> 20} MiB",
    )


def _round(
    daemon: Daemon,
    fleet: Fleet,
    client: assetstore.Client,
    rng: random.Random,
    done: Counter[str],
) -> str:
    """Let the fleet work for a while, and do one thing beside it; returns what."""
    fleet.wait_for_acknowledgements(rng.randrange(50, 300))
    chance = rng.random()
    if chance < 0.2 and done["kill of a worker"] < MEMBERS // 2 - 8:
        fleet.kill_one(rng)
        return "kill of a worker"
    if chance < 0.6:
        listed = [name for name in TOGGLED if rng.random() < 0.5]
        status = daemon.activate(*Fleet.assets(MEMBERS), HEARD, *listed)
        assert status["manifest"]["state"] in ("accepted", "unchanged"), status
        for name in listed:
            client.store(name).set_many({f"key-{n}": "x" * 1_000 for n in range(100)})
        return "manifest"
    if chance < 0.8:
        for trashed in client.trash():
            with contextlib.suppress(assetstore.Refused):  # swept meanwhile
                client.purge([trashed.id])
                return "drop"
    client.store(rng.choice(Fleet.assets(8))).history("key-1")
    return "look at the past"


def _sample(daemon: Daemon) -> Sample:
    status = daemon.status()
    pids = (status["pid"], status["writer_pid"], status["syncer_pid"])
    return Sample(
        sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        Footprint(pids).now_bytes(),
        (daemon.data_dir / "data.mdb").stat().st_size,
    )


def _check_level(samples: list[Sample]) -> None:
    """What is held in the last third is what was held in the third before, give or take."""
    third = max(1, len(samples) // 3)
    before, after = samples[-2 * third : -third] or samples[:1], samples[-third:]
    for field, slack in (
        ("descriptors", DESCRIPTORS),
        ("memory_bytes", MEMORY_BYTES),
        ("file_bytes", FILE_BYTES),
    ):
        most_before = max(getattr(sample, field) for sample in before)
        most_after = max(getattr(sample, field) for sample in after)
        assert most_after <= most_before * 1.25 + slack, (field, most_before, most_after)

"""Power cuts at every moment of a daemon's life, replayed from a recording of what it wrote.

The daemon serves clients while strace records what its processes write and sync, and what it tells
its clients. From that follows what the disk may hold if power is lost after any of these calls.

Rule: each image is opened by the daemon's own code, and held against what clients were told.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.support import busy_clients, odd_build, small_log
from tests.support.amount import IS_FULL, amount
from tests.support.daemon import COMMAND, Daemon
from tests.support.endings import strace
from tests.support.power_cuts import Study, judge
from tests.support.quick_disk import quick_disk
from tests.support.recording import CALLS, Kept, Made, Renamed, Sent, Synced, Written, events_in
from tests.support.told import Told
from tests.support.wire import Wire

from assetstore import messages as m
from assetstored import engine, wal

CHANGES = amount(80, whole=600)
CHANGES_OF_ODD_BUILD = amount(50, whole=120)

#: Of each of two recordings.
IMAGES = amount(80, whole=9_500)

#: Of real daemons that are started on an image.
DAEMONS = amount(1, whole=20)

#: How many changes each is asked again for: the last ones.
REPEATED = 150

#: Of a build that loses something, or on a disk that lies. One in six shows it at least.
IMAGES_OF_ODD_BUILD = amount(100, whole=600)


def record(directory: Path, seed: int, changes: int, build: str = "") -> Study:
    """Serve clients from the first start on, until they have asked for all; then stop."""
    recording = directory / "strace"
    command = odd_build.command(build) if build else COMMAND
    daemon = Daemon(
        directory,
        command=[*strace(trace=CALLS, output=recording), *command],
        grace="0s",
        sweep_interval="300ms",
        max_deactivate_fraction=1.0,
    )
    daemon.set_manifest(*busy_clients.SHARED, *busy_clients.OWN)
    with daemon:
        pid = daemon.status()["pid"]
        busy_clients.keep_busy(daemon, seed, changes)
        # Not strace, which would let go of it.
        os.kill(pid, signal.SIGTERM)
        assert daemon.wait() == 0, daemon.log_text()
    events = events_in(recording, daemon.data_dir)
    recording.unlink()
    return Study(events, Told(events), seed, has_small_log=build == "small-log")


@pytest.fixture(scope="module", params=["", "small-log"], ids=["as_built", "with_a_small_log"])
def study(request: pytest.FixtureRequest) -> Study:
    seed = int(os.environ.get("ASSETSTORE_SEED", random.randrange(2**32)))
    print(f"ASSETSTORE_SEED={seed}")
    with quick_disk() as path:
        return record(path, seed, CHANGES, request.param)


def test_a_power_cut_at_any_moment_costs_nothing_that_anybody_was_told(
    study: Study, tally: Callable[..., None]
) -> None:
    judged = judge(study, study.everywhere(IMAGES))

    assert judged.problems == []
    kinds = Counter(type(event) for event in study.events)
    tally(
        "Power loss",
        changes=len(study.told.changes),
        writes=kinds[Written],
        syncs=kinds[Synced] + kinds[Kept],
        images=judged.images,
        distinct=judged.distinct,
        lost_or_half_done=len(judged.problems),
    )


def test_a_daemon_after_a_power_cut_serves_and_knows_what_it_has_done(
    study: Study, quick_path: Path, tally: Callable[..., None]
) -> None:
    repeated = 0
    for cut, image in study.images(study.everywhere(DAEMONS)):
        root = quick_path / f"cut-{cut.event}-{cut.sector_bytes}-{cut.number}"
        root.mkdir()
        command = odd_build.command("small-log") if study.has_small_log else COMMAND
        daemon = Daemon(root, command=command)
        image.write(daemon.data_dir)
        daemon.set_manifest(*busy_clients.SHARED, *busy_clients.OWN)
        with daemon:
            repeated += repeat_all(daemon, study, study.told.floors[cut.event + 1])
        # The check of the product would miss the rest of a small log.
        problems = engine.verify(str(daemon.data_dir))
        assert (problems if study.has_small_log else daemon.verify()) == []
    tally("Power loss", daemons_started=DAEMONS, changes_repeated=repeated, done_twice=0)


def repeat_all(daemon: Daemon, study: Study, floor: int) -> int:
    """Ask again for what was acknowledged until then, and for what was not yet: how many."""
    repeated = 0
    with Wire(daemon.socket) as wire:
        wire.greet()
        # And some that nobody was told of, in this order: that of their revisions.
        known = sorted((done for done in study.told.changes if done.last), key=lambda d: d.last)
        for done in [each for each in known if each.last <= floor + 5][-REPEATED:]:
            again = msgspec.structs.replace(done.request, id=repeated + 1, age_ms=120_000)
            answer = wire.ask(again)
            repeated += 1
            if isinstance(answer, m.Changed) and answer.outcomes == done.answer.outcomes:
                continue
            assert done.last > floor, f"{done.request} was answered {done.answer}, now {answer}"
            if isinstance(answer, m.Changed):
                given = [each.revision for each in answer.outcomes if each.revision is not None]
                assert all(revision > floor for revision in given)
    return repeated


@pytest.mark.parametrize("build", ["no-metasync", "unsynced-log", "early"])
def test_a_build_that_loses_something_in_a_power_cut_would_be_noticed(
    quick_path: Path, seed: int, tally: Callable[..., None], build: str
) -> None:
    study = record(quick_path, seed, CHANGES_OF_ODD_BUILD, build)

    judged = judge(study, study.where_told(IMAGES_OF_ODD_BUILD))

    assert len(judged.problems) > judged.images / 50
    tally("Power loss", build=build, images=judged.images, found_wrong=len(judged.problems))


@pytest.mark.parametrize("name", ["data.mdb", "data.wal"])
def test_a_disk_that_lies_about_its_syncs_would_be_noticed(
    study: Study, tally: Callable[..., None], name: str
) -> None:
    lied_to = replace(study, lies_about=(name,))

    judged = judge(lied_to, lied_to.where_told(IMAGES_OF_ODD_BUILD))

    assert len(judged.problems) > judged.images / 20
    tally("Power loss", file=name, images=judged.images, found_wrong=len(judged.problems))


def test_the_recording_has_all_that_a_store_does(study: Study) -> None:
    """The log goes around beside commits of the data file, and changes of every kind are asked."""
    beginnings = Counter(
        event.offset
        for event in study.events
        if isinstance(event, Written) and event.name == "data.wal"
    )
    half = small_log.BLOCKS * wal.BLOCK if study.has_small_log else wal.HALF_BYTES
    assert min(beginnings[wal.BLOCK], beginnings[wal.BLOCK + half]) >= 2
    asked = {type(each) for done in study.told.changes for each in done.request.operations}
    assert asked >= {m.SetKey, m.DeleteKey, m.IncrementKey}
    if IS_FULL:
        assert asked >= {m.ClearStore, m.MoveStore, m.RestoreStore, m.PurgeStores}
        assert asked >= {m.AdvanceKey, m.MergeKey}
        assert len({name for world in study.told.worlds for name in world.inactive}) > 1
    assert sum(len(done.request.operations) > 1 for done in study.told.changes) > CHANGES / 20
    assert sum(isinstance(event, Kept) for event in study.events) > 10
    first = next(n for n, event in enumerate(study.events) if isinstance(event, Sent))
    # From before anything is there.
    assert study.events[0] == Made("data.mdb")
    assert Renamed("store.json.new", "store.json") in study.events[:first]

"""Power cuts at every moment of a store's life, replayed from a recording of its writes.

Rule: each image that a cut may leave is opened by the daemon's own code and compared with what was
acknowledged before the cut.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from copy import deepcopy
from pathlib import Path
from types import UnionType
from typing import NamedTuple

import pytest
from tests.support.amount import amount
from tests.support.checkout import ROOT
from tests.support.endings import strace
from tests.support.judge import Judge, State
from tests.support.power_loss import (
    CALLS,
    Acknowledged,
    Disk,
    Event,
    Kept,
    Synced,
    Written,
    events_in,
)
from tests.support.recorded_log import value_of

pytestmark = pytest.mark.crash

BATCHES = amount(40, whole=120)

#: Of changes that are logged.
ROUNDS = amount(120, whole=400)

#: How many events are cut, of 1,000 to 5,000, spread over all.
IMAGES = amount(60, whole=400)


class Recorded(NamedTuple):
    """All that a store did to its disk, from the first start to the end.

    ``allowed``: for each acknowledgement what the store may hold from then on until the next.
    """

    events: list[Event]
    allowed: list[list[State]]


def record(program: str, count: int, directory: Path) -> list[Event]:
    data_dir, recording = directory / "data", directory / "strace"
    data_dir.mkdir()
    seed = os.environ.get("ASSETSTORE_SEED", str(random.randrange(2**32)))
    print(f"ASSETSTORE_SEED={seed}")
    subprocess.run(
        [
            *strace(trace=CALLS, output=recording),
            *(sys.executable, "-m", f"tests.support.{program}", data_dir, seed, str(count)),
        ],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return list(events_in(recording.read_text(), data_dir))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A writer alone, whose every batch is a commit of LMDB."""
    events = record("recorded_writer", BATCHES, tmp_path_factory.mktemp("written"))
    states: list[State] = [{}]
    states += [json.loads(event.text) for event in events if isinstance(event, Acknowledged)]
    # What was acknowledged last, or what was under way.
    return Recorded(events, [states[n : n + 2] for n in range(len(states))])


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A daemon's processes: changes are logged, and brought into the data file meanwhile."""
    events = record("recorded_log", ROUNDS, tmp_path_factory.mktemp("logged"))
    rounds = [json.loads(event.text) for event in events if isinstance(event, Acknowledged)]
    state: State = {}
    allowed: list[list[State]] = []
    for changes in [*rounds, []]:
        # What was acknowledged last, and of what was under way any number, in its order.
        states = [state]
        for change in changes:
            states.append(state := after(state, change))
        if not allowed:
            # The first has made the assets.
            state = {name: {} for name in ("orders", "customers", "invoices")}
            states.append(state)
        allowed.append(states)
    return Recorded(events, allowed)


def after(state: State, change: list[tuple[str, str | None, str | None]]) -> State:
    """The state with all that a change does."""
    state = deepcopy(state)
    for name, key, tag in change:
        if key is None:
            state[name] = {}
        elif tag is None:
            state[name].pop(key, None)
        else:
            state[name][key] = value_of(tag)
    return state


@pytest.fixture(params=["written", "logged"])
def recorded(request: pytest.FixtureRequest) -> Recorded:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Recorded)
    return found


def problems_after_cuts(
    recorded: Recorded,
    disk: Disk,
    rng: random.Random,
    directory: Path,
    kinds: type[Event] | UnionType = Event,
) -> list[str]:
    """What is wrong with stores that were cut off at random events of these kinds."""
    events, allowed = recorded
    candidates = [number for number, event in enumerate(events) if isinstance(event, kinds)]
    chosen = set(rng.sample(candidates, min(IMAGES, len(candidates))))
    problems = []
    acknowledged = 0
    with Judge() as judge:
        for number, event in enumerate(events):
            disk.take(event)
            acknowledged += isinstance(event, Acknowledged)
            if number in chosen:
                data_dir = directory / f"image-{number}"
                disk.cut(rng, data_dir)
                problem = judge.problem_of(data_dir, allowed[acknowledged])
                if problem is not None:
                    problems.append(f"cut after {type(event).__name__} {number}: {problem}")
    assert acknowledged == len(allowed) - 1
    return problems


@pytest.mark.parametrize("sector_bytes", [512, 4096, 1 << 30])
def test_a_power_cut_at_any_moment_costs_nothing_that_was_acknowledged(
    recorded: Recorded, tmp_path: Path, seed: int, sector_bytes: int
) -> None:
    disk = Disk(sector_bytes)

    problems = problems_after_cuts(recorded, disk, random.Random(seed), tmp_path)

    assert problems == []
    print(f"{IMAGES} cuts among {len(recorded.events)} events, {len(recorded.allowed)} batches")


def test_a_disk_that_lies_about_its_syncs_would_be_noticed(
    written: Recorded, tmp_path: Path, seed: int
) -> None:
    disk = Disk(4096, lies_about=("data.mdb",))

    problems = problems_after_cuts(written, disk, random.Random(seed), tmp_path)

    assert len(problems) > IMAGES / 4


def test_changes_that_were_acknowledged_before_the_sync_of_the_log_would_be_noticed(
    logged: Recorded, tmp_path: Path, seed: int
) -> None:
    events: list[Event] = []
    syncs: list[Event] = []
    for event in logged.events:
        if event == Synced("data.wal"):
            syncs.append(event)
            continue
        events.append(event)
        if isinstance(event, Acknowledged):
            events += syncs
            syncs.clear()
    too_early = logged._replace(events=events)

    problems = problems_after_cuts(
        too_early, Disk(4096), random.Random(seed), tmp_path, Acknowledged
    )

    assert len(problems) > IMAGES / 10


@pytest.mark.parametrize("name", ["data.wal", "data.mdb"])
def test_a_disk_that_lies_about_one_of_the_two_files_would_be_noticed(
    logged: Recorded, tmp_path: Path, seed: int, name: str
) -> None:
    disk = Disk(4096, lies_about=(name,))

    problems = problems_after_cuts(logged, disk, random.Random(seed), tmp_path)

    assert len(problems) > IMAGES / 20


def test_the_recording_has_what_the_log_does(logged: Recorded) -> None:
    """It goes around many times, beside commits of the data file."""
    writes = [event for event in logged.events if isinstance(event, Written)]
    of_log = [event for event in writes if event.name == "data.wal"]
    beginnings = Counter(event.offset for event in of_log if event.offset in (4096, 17 * 4096))
    assert min(beginnings[4096], beginnings[17 * 4096]) >= 3
    assert sum(isinstance(event, Kept) for event in logged.events) > ROUNDS / 20
    assert len(of_log) > ROUNDS / 2
    print(f"{len(of_log)} records, {sum(beginnings.values())} halves, {len(logged.events)} events")

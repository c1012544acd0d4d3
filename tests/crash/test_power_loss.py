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
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.checkout import ROOT
from tests.support.endings import strace
from tests.support.judge import Judge, State
from tests.support.power_loss import CALLS, Acknowledged, Disk, Event, events_in

pytestmark = pytest.mark.crash

BATCHES = 120

#: How many events are cut, of about 1,100, spread over all.
IMAGES = amount(150, whole=600)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    """All that a store did to its disk, from the first start to an orderly end."""
    directory = tmp_path_factory.mktemp("recorded")
    data_dir, recording = directory / "data", directory / "strace"
    data_dir.mkdir()
    seed = os.environ.get("ASSETSTORE_SEED", str(random.randrange(2**32)))
    print(f"ASSETSTORE_SEED={seed}")
    program = [sys.executable, "-m", "tests.support.recorded_writer"]
    subprocess.run(
        [*strace(trace=CALLS, output=recording), *program, data_dir, seed, str(BATCHES)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return list(events_in(recording.read_text(), data_dir))


def states_in(events: list[Event]) -> list[State]:
    return [json.loads(event.text) for event in events if isinstance(event, Acknowledged)]


def problems_after_cuts(
    events: list[Event], disk: Disk, rng: random.Random, directory: Path
) -> list[str]:
    """What is wrong with stores that were cut off at random events."""
    states = states_in(events)
    chosen = set(rng.sample(range(len(events)), min(IMAGES, len(events))))
    problems = []
    acknowledged = 0
    with Judge() as judge:
        for number, event in enumerate(events):
            if number in chosen:
                data_dir = directory / f"image-{number}"
                disk.cut(event, rng, data_dir)
                # What was acknowledged last, or what was under way.
                before: list[State] = [states[acknowledged - 1]] if acknowledged else [{}]
                problem = judge.problem_of(
                    data_dir, before + states[acknowledged : acknowledged + 1]
                )
                if problem is not None:
                    problems.append(f"cut at {type(event).__name__} {number}: {problem}")
            disk.take(event)
            acknowledged += isinstance(event, Acknowledged)
    assert acknowledged == len(states)
    return problems


@pytest.mark.parametrize("sector_bytes", [512, 4096, 1 << 30])
def test_a_power_cut_at_any_moment_costs_nothing_that_was_acknowledged(
    recorded: list[Event], tmp_path: Path, seed: int, sector_bytes: int
) -> None:
    disk = Disk(sector_bytes)

    problems = problems_after_cuts(recorded, disk, random.Random(seed), tmp_path)

    assert problems == []
    print(f"{IMAGES} cuts among {len(recorded)} events, {len(states_in(recorded))} batches")


def test_a_disk_that_lies_about_its_syncs_would_be_noticed(
    recorded: list[Event], tmp_path: Path, seed: int
) -> None:
    disk = Disk(4096, sync_is_a_lie=True)

    problems = problems_after_cuts(recorded, disk, random.Random(seed), tmp_path)

    assert len(problems) > IMAGES / 4

"""Cuts the power after events of a recording, and has what is left opened: a share of all cuts.

    python -m tests.support.power_cuts STUDY DIRECTORY SHARES BEGIN

STUDY is a pickled Study with its cuts. For each cut there is one line on standard output before it
and one after it, in JSON: its number, and [number, what is wrong or null]. DIRECTORY is for the
images, one at a time.

Rule: an unsound file may be the end of whoever opens it; so nobody else does. The store is opened
as a daemon's writer opens it.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tests.support import small_log
from tests.support.checkout import ROOT
from tests.support.inspect_store import inspect
from tests.support.power_loss import Disk, Image
from tests.support.quick_disk import quick_disk
from tests.support.recording import Event, Received, Sent
from tests.support.told import Told

from assetstored.datadir import StartRefused
from assetstored.writer import StoreOfWriter

#: What a disk may write as a whole: a sector, a page, or all that it is given at once.
SECTORS = (512, 4096, 1 << 30)


class Cut(NamedTuple):
    """Power is lost after the event of this number."""

    event: int
    sector_bytes: int
    #: Of several at the same event.
    number: int


@dataclass
class Study:
    """A recording, and what clients were told in it."""

    events: list[Event]
    told: Told
    seed: int
    has_small_log: bool
    #: A file of which the disk says that it is synced, and it is not.
    lies_about: tuple[str, ...] = ()

    def everywhere(self, most: int) -> list[Cut]:
        """So many cuts, after every event that changes anything if they suffice.

        One in ten is before anybody was told anything: of those events there are few.
        """
        where = [n for n, event in enumerate(self.events) if not isinstance(event, Received)]
        first = next(n for n in where if isinstance(self.events[n], Sent))
        early = most // 10
        return sorted(
            self._some(early, [n for n in where if n < first])
            + self._some(most - early, [n for n in where if n >= first])
        )

    def where_told(self, most: int) -> list[Cut]:
        """So many cuts, each at the moment in which somebody may have been told of a change first.

        What is lost anywhere is lost there, and by more of the cuts.
        """
        floors = self.told.floors
        where = [n for n in range(len(self.events)) if floors[n] < floors[n + 1]]
        return sorted(self._some(most, where))

    def _some(self, count: int, where: list[int]) -> list[Cut]:
        """As often as it goes at all of them, and the rest at some."""
        once = len(where) * len(SECTORS)
        whole = count // once
        rounds = [
            [Cut(event, size, n) for event in where for size in SECTORS] for n in range(whole + 1)
        ]
        last = random.Random(self.seed).sample(rounds.pop(), count - whole * once)
        return [cut for each in rounds for cut in each] + last

    def images(self, cuts: list[Cut]) -> Iterator[tuple[Cut, Image]]:
        """What each of the cuts, which are in order, may leave."""
        disk = Disk(self.lies_about)
        taken = 0
        for cut in cuts:
            while taken <= cut.event:
                disk.take(self.events[taken])
                taken += 1
            rng = random.Random(f"{self.seed} {cut}")
            yield cut, disk.cut(rng, cut.sector_bytes)

    def problem_of(self, cut: Cut, data_dir: Path) -> str | None:
        """What is wrong with what the cut has left, or None. It is changed by being opened."""
        if not data_dir.exists():
            data_dir.mkdir()
        try:
            StoreOfWriter(data_dir).close()
        except StartRefused as exc:
            return f"it does not start: {exc}"
        return self.told.problem_of(inspect(data_dir), self.told.floors[cut.event + 1])


class Judged(NamedTuple):
    """What came of the cuts."""

    images: int
    #: Of which each holds something else, or was told more.
    distinct: int
    problems: list[str]


def judge(study: Study, cuts: list[Cut]) -> Judged:
    """Have the cuts judged, by as many processes as there are processors."""
    shares = len(os.sched_getaffinity(0))
    with quick_disk() as directory:
        path = directory / "study"
        path.write_bytes(pickle.dumps((study, cuts)))
        with ThreadPoolExecutor(shares) as pool:
            found = list(pool.map(lambda share: _judge(path, share, shares), range(shares)))
    problems = {number: problem for share in found for number, problem in share.items()}
    wrong = [
        f"cut after {type(study.events[cut.event]).__name__} {cut}: {problems[number]}"
        for number, cut in enumerate(cuts)
        if problems[number] not in (None, _KNOWN)
    ]
    distinct = sum(problem != _KNOWN for problem in problems.values())
    return Judged(len(cuts), distinct, wrong)


#: In the place of a problem: an image like it was judged before.
_KNOWN = "as before"


def _judge(path: Path, share: int, shares: int) -> dict[int, str | None]:
    """The problems of one share, by the number of the cut."""
    found: dict[int, str | None] = {}
    begin = share
    while True:
        directory = path.parent / f"share-{share}"
        command = (sys.executable, "-m", "tests.support.power_cuts")
        arguments = map(str, (path, directory, shares, begin))
        with subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for line in process.stdout:
                match json.loads(line):
                    case [number, problem]:
                        found[number] = problem
                    case number:
                        begin = number
        shutil.rmtree(directory, ignore_errors=True)
        if process.returncode == 0:
            return found
        assert process.returncode < 0, f"it failed with status {process.returncode}"
        name = signal.Signals(-process.returncode).name
        found[begin] = f"whoever opens it dies of {name}"
        begin += shares


def main(argv: list[str]) -> None:
    study: Study
    cuts: list[Cut]
    study, cuts = pickle.loads(Path(argv[0]).read_bytes())
    directory, shares, begin = Path(argv[1]), int(argv[2]), int(argv[3])
    if study.has_small_log:
        small_log.shrink()
    directory.mkdir(exist_ok=True)
    numbers = range(begin, len(cuts), shares)
    seen: set[Hashable] = set()
    images = study.images([cuts[number] for number in numbers])
    for number, (cut, image) in zip(numbers, images, strict=True):
        key = image.key, study.told.floors[cut.event + 1]
        if key in seen:
            print(json.dumps([number, _KNOWN]))
            continue
        seen.add(key)
        print(number, flush=True)
        data_dir = directory / str(number)
        image.write(data_dir)
        print(json.dumps([number, study.problem_of(cut, data_dir)]), flush=True)
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1:])

"""A kill in the first moments of a new data directory: the next start always succeeds.

Rule: every kill is followed by an ordinary start, a write, and a look at the store.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.endings import kill_all, strace
from tests.support.inspect_store import inspect
from tests.support.store import Store

from assetstored.writer import StoreOfWriter

pytestmark = pytest.mark.crash

#: How many new daemons, and new stores, are killed.
DAEMONS = amount(8, whole=20)
STORES = amount(40, whole=100)

#: Makes a store as the writer process does, without what else a daemon is.
MAKE = (
    "import sys; from pathlib import Path; from assetstored.writer import StoreOfWriter;"
    "StoreOfWriter(Path(sys.argv[1]))"
)

#: Each call by which a store and its marker come to be on disk, and how often it is made.
STEPS = [
    ("ftruncate,fallocate", 1),  # lock.mdb
    ("pwrite64", 1),  # data.mdb: two empty meta pages
    ("writev", 1),  # the first commit: its pages, their sync, its meta page
    ("fdatasync", 1),
    ("pwrite64", 2),
    ("pwrite64", 3),  # the log: its beginning, its blocks, their sync, its name, the directory
    ("pwrite64", 7),
    ("fsync", 1),
    ("rename", 1),
    ("fsync", 2),
    ("fsync", 3),  # the directory, and the one above
    ("fsync", 4),
    ("fsync", 5),  # the marker, its name, the directory
    ("rename", 2),
    ("fsync", 6),
]


def check_that_it_keeps_what_it_is_given(data_dir: Path) -> None:
    with Store(data_dir) as store:
        store.activate("orders")
        store.put("orders", "watermark", b"1")
    found = inspect(data_dir)
    assert found.problems == []
    assert {key: value for key, (value, _) in found.active["orders"].items()} == {"watermark": 1}


def remains(data_dir: Path) -> str:
    """What a kill has left, in a word."""
    present = [
        f"{path.name} of {path.stat().st_size:,}"
        for path in sorted(data_dir.iterdir())
        if path.name != "assetstored.lock"
    ]
    return ", ".join(present) or "nothing"


def test_a_new_daemon_killed_in_its_first_moments_starts_and_keeps_what_it_is_given(
    make_daemon: Callable[..., Daemon], seed: int
) -> None:
    rng = random.Random(seed)
    left: Counter[str] = Counter()
    for number in range(DAEMONS):
        daemon = make_daemon(f"new-{number}")
        daemon.launch()
        lock = daemon.data_dir / "assetstored.lock"
        while not lock.exists():
            assert daemon.process is not None
            assert daemon.process.poll() is None
        # Its writer is made a few milliseconds later, and takes about ten to make the store.
        kill_all(daemon, rng.random() * 0.03)
        left[remains(daemon.data_dir)] += 1

        daemon.start()
        with daemon.client() as client:
            client.store("orders").set("watermark", number)
        kill_all(daemon, 0)
        found = inspect(daemon.data_dir)
        assert found.problems == []
        assert found.active["orders"].keys() == {"watermark"}
    print(f"what the kills left: {dict(left)}")


def make_store(data_dir: Path, life_s: float) -> float:
    """Make a store in a process that ends after life_s at the latest; returns how long it took."""
    data_dir.mkdir()
    before = time.monotonic()
    pid = os.fork()
    if pid == 0:
        # An alarm that is not handled ends a process as SIGKILL does: at once.
        signal.setitimer(signal.ITIMER_REAL, life_s)
        StoreOfWriter(data_dir)
        os._exit(0)
    os.waitpid(pid, 0)
    return time.monotonic() - before


def test_a_new_store_killed_in_its_first_milliseconds_opens_and_keeps_what_it_is_given(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    usual_s = min(make_store(tmp_path / f"undisturbed-{number}", 10.0) for number in range(3))
    left: Counter[str] = Counter()
    for number in range(STORES):
        data_dir = tmp_path / str(number)
        make_store(data_dir, usual_s * (0.01 + 1.2 * rng.random()))
        left[remains(data_dir)] += 1
        check_that_it_keeps_what_it_is_given(data_dir)
    print(f"what the kills left: {dict(left)}")
    # Or the moments were none of those that matter.
    assert len(left) > 1


@pytest.mark.parametrize(("call", "number"), STEPS)
def test_a_new_store_killed_before_any_step_opens_and_keeps_what_it_is_given(
    tmp_path: Path, call: str, number: int
) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir()

    killed = subprocess.run(
        [*strace(f"{call}:signal=SIGKILL:when={number}"), sys.executable, "-c", MAKE, data_dir],
        check=False,
    )

    assert killed.returncode == -signal.SIGKILL, f"there is no {call} number {number}"
    check_that_it_keeps_what_it_is_given(data_dir)

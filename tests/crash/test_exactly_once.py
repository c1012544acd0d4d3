"""Each change happens once, however often its answer is lost: sums are exact, and nobody is told.

Rule: the daemon is killed as long as anybody counts; what is left is held against what each was
answered, and against the journal.

A sample; the whole is 1,000 of each from every process, and a kill a second.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import counting
from tests.support.amount import IS_FULL, amount
from tests.support.crew import Crew
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect
from tests.support.outages import kill_until_done

pytestmark = pytest.mark.crash

PROCESSES = 16
ROUNDS = amount(60, whole=1_000)

#: Nothing may take so long that anybody is told of an outage.
TIMEOUT_S = 30.0


def test_what_many_processes_count_is_exact_though_the_daemon_is_killed_again_and_again(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int
) -> None:
    daemon = make_daemon().start()
    total = PROCESSES * ROUNDS * len(counting.WAYS)
    rng = random.Random(seed)
    with Crew(daemon.socket, tmp_path / "counts", seed) as crew:
        for number in range(PROCESSES):
            crew.launch("counting", f"{number:02}", rounds=ROUNDS, timeout_s=TIMEOUT_S)
        if IS_FULL:
            kills = kill_until_done(daemon, crew, rng, every=total, every_s=1.0)
        else:
            kills = kill_until_done(daemon, crew, rng, every=total // 7)
        told = [note for _, note in crew.notes()]

    print(f"{len(told):,} acknowledged, {dict(kills)}")
    assert kills.total() >= 3
    assert len(told) == total
    with daemon.client() as client:
        store = client.store(counting.ASSET)
        for way in counting.WAYS:
            for key in store.keys(f"{way}-"):
                results = [result for _, its_key, result in told if its_key == key]
                events = list(store.history(key))
                values = [event.value for event in reversed(events)]
                if way == "set":
                    assert sorted(results, reverse=True) == [event.revision for event in events]
                    marks = Counter(str(value["mark"]) for value in values)
                    assert set(marks.values()) == {1}
                    values = [value["count"] for value in values]
                else:
                    assert sorted(results) == values
                # Nothing is lost, and nothing was done twice.
                assert values == list(range(1, len(results) + 1))
        held = store.items()
        counts = [value["count"] if isinstance(value, dict) else value for _, value in held]
        assert sum(counts) == total
    assert "Traceback" not in daemon.log_text()
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []

"""Kills while a large store is dropped slice by slice: it is wholly there or wholly gone.

Rule: what is asked is what any client may see; that half of a condemned store still lies in the
file for a moment is the sweeper's business.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.endings import kill_all
from tests.support.inspect_store import inspect
from tests.support.store import Store, change
from tests.support.waiting import wait_until

from assetstored import jobs

pytestmark = pytest.mark.crash

#: Enough that a drop takes several slices: below 16 MiB it would be one.
ENTRIES = 40_000
VALUE = b'"' + b"x" * 1_000 + b'"'

#: Of two kills each: one while it is dropped, one when that is done.
ROUNDS = amount(1, whole=2)


@pytest.fixture(scope="module")
def large_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which asset "customers" holds ENTRIES entries."""
    path = tmp_path_factory.mktemp("large") / "data"
    with Store(path) as store:
        store.activate("customers")
        asset_id = store.asset_id("customers")
        for start in range(0, ENTRIES, 1_000):
            store.run(
                *(
                    change(jobs.SetKey(asset_id, f"key-{number:05}", VALUE, None))
                    for number in range(start, start + 1_000)
                )
            )
    return path


@pytest.mark.parametrize("way", ["cleared", "left the manifest"])
def test_a_large_store_that_is_killed_while_it_is_dropped_is_wholly_there_or_wholly_gone(
    make_daemon: Callable[..., Daemon], large_store: Path, seed: int, way: str
) -> None:
    rng = random.Random(seed)
    daemon = make_daemon(grace="0s", sweep_interval="50ms")
    fates = []
    for _ in range(ROUNDS):
        shutil.rmtree(daemon.data_dir, ignore_errors=True)
        shutil.copytree(large_store, daemon.data_dir)
        daemon.set_manifest("orders", "customers")
        daemon.start()
        with daemon.client() as client:
            slices = client.status()["commits"] + 1 + rng.randrange(8)
            if way == "cleared":
                assert client.store("customers").clear() == ENTRIES
            else:
                daemon.set_manifest("orders")
                client.reload_manifest()
            # Each slice is a commit; when there is no more to drop there are no more commits.
            while (status := client.status())["commits"] < slices and status["trash_stores"]:
                pass
        kill_all(daemon, 0)
        left = inspect(daemon.data_dir)
        assert left.problems == []
        fates += [f"{len(each.contents):,} left" for each in left.trash] or ["gone"]
        for each in left.trash:
            assert each.dropping or len(each.contents) == ENTRIES

        daemon.set_manifest("orders", "customers")
        daemon.start()
        with daemon.client() as client:
            assert client.store("customers").count() in (0, ENTRIES)
            wait_until(lambda: not client.status()["trash_stores"], 20.0, "the drop to end")
        kill_all(daemon, 0)
        assert inspect(daemon.data_dir).problems == []
    print(f"what the kills left in the trash: {fates}")

"""An import whose daemon is killed: each asset has all of it or nothing, and it can be repeated.

Rule: the daemon is killed at random moments; what it holds afterwards is read from a new one.
"""

from __future__ import annotations

import io
import random
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.exports import export
from tests.support.inspect_store import inspect

from assetstore import AssetStoreError
from assetstore.entries import RecordedWriter
from assetstore.importing import import_from
from assetstore.messages import ImportedEntry

pytestmark = pytest.mark.crash

ASSETS = ("a", "b", "c")
ENTRIES = 1_000
WRITER = RecordedWriter("task", "d", "r", "t", -1, 1000, 1000, 4711)


def export_of(value: int) -> bytes:
    """An export in which every entry holds this value."""
    return export(
        {
            name: [
                (7, ImportedEntry(f"k{number}", 5, WRITER, b"%d" % value))
                for number in range(value % 7, ENTRIES)
            ]
            for name in ASSETS
        }
    )


def state_of(daemon: Daemon, name: str) -> tuple[int, set[int]]:
    """How many entries the asset holds, and which values."""
    with daemon.client() as client:
        values = [entry.value for entry in client.store(name).entries()]
    return len(values), set(values)


def test_an_asset_is_imported_as_a_whole_or_not_at_all_whenever_the_daemon_is_killed(
    make_daemon: Callable[..., Daemon], seed: int
) -> None:
    rng = random.Random(seed)
    daemon = make_daemon()
    daemon.set_manifest(*ASSETS)
    daemon.start()
    kept = cut_short = 0
    before = dict.fromkeys(ASSETS, 0)
    for value in range(1, amount(3, whole=20) + 1):
        data = export_of(value)
        begun, may_go_on = threading.Event(), threading.Event()

        def progress(
            done: int,
            total: int,
            begun: threading.Event = begun,
            may_go_on: threading.Event = may_go_on,
        ) -> None:
            if 2 * done >= total:
                begun.set()
                may_go_on.wait(30)

        def run(
            data: bytes = data,
            begun: threading.Event = begun,
            progress: Callable[[int, int], None] = progress,
        ) -> None:
            # Without time to wait for the next daemon, so that what is cut short stays so.
            with daemon.client(timeout=2.0) as client, suppress(AssetStoreError):
                import_from(client, io.BytesIO(data), replace=True, progress=progress)
            begun.set()

        thread = threading.Thread(target=run)
        thread.start()
        begun.wait(30)
        # The first time when one asset is done, and the next waits for the kill; then after so
        # many looks.
        if value > 1:
            may_go_on.set()
        with daemon.client() as client:
            for _ in range((value - 1) * rng.randrange(60)):
                client.status()
        daemon.kill()
        may_go_on.set()
        thread.join()
        daemon.start()
        for name in ASSETS:
            count, values = state_of(daemon, name)
            if values == {value}:
                assert count == ENTRIES - value % 7
                kept += 1
            else:
                assert values == ({before[name]} if before[name] else set())
                assert count == (ENTRIES - before[name] % 7 if before[name] else 0)
                cut_short += 1
        with daemon.client(timeout=30) as client:
            import_from(client, io.BytesIO(data), replace=True)
            assert not any(
                each.differs for each in import_from(client, io.BytesIO(data), replace=True).assets
            )
        before = dict.fromkeys(ASSETS, value)
        for name in ASSETS:
            assert state_of(daemon, name) == (ENTRIES - value % 7, {value})
    print(f"{kept} assets were imported before the kill, {cut_short} were not")
    assert cut_short
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []

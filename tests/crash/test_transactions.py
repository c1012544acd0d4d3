"""A transaction over three assets is seen as a whole or not at all, under load and kills.

Rule: readers say what they saw in one snapshot, writers what they were answered; both are held
against each other, and against the journal.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.crew import Crew
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect
from tests.support.outages import kill_until_done
from tests.support.transacting import ASSETS, NEVER

pytestmark = pytest.mark.crash

WRITERS = 4
READERS = 2
ROUNDS = 80


def check_seen(entries: list[list[Any] | None]) -> None:
    """The three entries are of one transaction: one value, and revisions without a gap."""
    there = [entry for entry in entries if entry is not None]
    assert len(there) in (0, len(ASSETS)), entries
    values, revisions = [value for value, _ in there], [revision for _, revision in there]
    assert len(set(map(str, values))) <= 1, entries
    assert NEVER not in values
    assert [revision - number for number, revision in enumerate(revisions)] == revisions[:1] * len(
        there
    )


def test_a_transaction_over_three_assets_is_never_seen_in_part(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int
) -> None:
    daemon = make_daemon()
    daemon.set_manifest(*ASSETS)
    daemon.start()
    with (
        Crew(daemon.socket, tmp_path / "seen", seed) as readers,
        Crew(daemon.socket, tmp_path / "made", seed) as writers,
    ):
        for number in range(READERS):
            readers.launch("transacting", f"reader-{number}", role="reader")
        for number in range(WRITERS):
            writers.launch("transacting", f"writer-{number}", role="writer", rounds=ROUNDS)
        every = WRITERS * ROUNDS // 5
        kills = kill_until_done(daemon, writers, random.Random(seed), every=every)
        readers.stop()
        made = [note for _, note in writers.notes()]
        seen = list(readers.notes())

    print(f"{len(made)} transactions, {len(seen)} looks that saw a change, {dict(kills)}")
    assert kills.total() >= 2
    assert len(seen) > 50
    for _, (entries,) in seen:
        check_seen(entries[: len(ASSETS)])
        check_seen(entries[len(ASSETS) :])
    with daemon.client() as client:
        events = [event for event in client.log() if event.key is not None][::-1]
    # In the journal nothing stands between the parts of a transaction, and nothing is there twice.
    told = sorted(made, key=lambda note: note[2])
    for part, asset in enumerate(ASSETS):
        found = [(e.key, e.value, e.revision) for e in events[part :: len(ASSETS)]]
        assert found == [(key, v, last - len(ASSETS) + 1 + part) for key, v, last in told]
        assert {event.asset and event.asset.name for event in events[part :: len(ASSETS)]} == {
            asset
        }
    states = [value for key, value, _ in told if key == "state"]
    assert states == list(range(1, len(states) + 1))
    assert "Traceback" not in daemon.log_text()
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []


def test_a_transaction_that_was_seen_in_part_would_be_noticed() -> None:
    check_seen([None, None, None])
    check_seen([["a", 7], ["a", 8], ["a", 9]])
    broken: list[list[list[Any] | None]] = [
        [["a", 7], ["a", 8], None],
        [["a", 7], ["a", 8], ["b", 12]],
        [["a", 7], ["a", 8], ["a", 12]],
        [[NEVER, 7], [NEVER, 8], [NEVER, 9]],
    ]
    for entries in broken:
        with pytest.raises(AssertionError):
            check_seen(entries)

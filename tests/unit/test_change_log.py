"""Which changes are carried out beside the writer, how far a batch goes, and what it leaves.

Rule: what is asked of the log itself; whose turn it is, is in test_commits_logged.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from tests.support.seen import all_keys
from tests.support.serving import Serving, serve
from tests.support.store import change

from assetstore.messages import AssetRef
from assetstored import change_log, jobs
from assetstored.change_log import Carried, ChangeLog
from assetstored.changes import Slice
from assetstored.tables import JOURNAL, META
from assetstored.tail import decode_delta

A = AssetRef("a")


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a batch of one has taken long."""
    monkeypatch.setattr(change_log, "_BATCH_S", 60.0)


def put(key: str = "k", value: bytes = b"1", asset_id: int = 1) -> jobs.Change:
    return change(jobs.SetKey(asset_id, key, value, None))


def play(data_dir: Path, scenario: Callable[[ChangeLog, Serving], Awaitable[None]]) -> None:
    """Run the scenario on the assets a and b, of which a has a store with the key first."""

    async def run(serving: Serving) -> None:
        names = [("a", "a", None), ("b", "b", None)]
        await serving.queue.do(jobs.ApplySlice(Slice([], [*names], [])))
        assert (await serving.change(put("first"))).code is None
        await scenario(serving.log, serving)

    assert serve(data_dir, run, logs=True) == 0


def write(log: ChangeLog, carried: Carried) -> None:
    """Have it on disk, and shown."""
    log.write(carried, None)
    log.logged(carried)


def codes(carried: Carried) -> list[str | None]:
    return [result.code for result in carried.results]


# --- which


ANY: dict[str, jobs.AnyOperation] = {
    "set": jobs.SetKey(1, "k", b"1", None),
    "delete": jobs.DeleteKey(1, "k", None),
    "check": jobs.CheckKey(1, "k", 0),
    "advance": jobs.AdvanceKey(1, "k", b"1", "value"),
    "increment": jobs.IncrementKey(1, "k", b"1", b"0"),
    "merge": jobs.MergeKey(1, "k", b"{}", [], "replace", "value"),
    "clear": jobs.ClearStore(1),
    "check unchanged": jobs.CheckUnchanged(1, 0),
    "restore": jobs.RestoreStore(1),
    "move": jobs.MoveStore(1, 2, True),
    "purge": jobs.PurgeStores([1]),
}
OF_KEYS = {"set", "delete", "check", "advance", "increment", "merge"}


def test_changes_of_keys_are_taken_and_all_else_is_not(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        assert {name for name, operation in ANY.items() if log.takes(change(operation))} == OF_KEYS
        for name, operation in ANY.items():
            both = change(jobs.SetKey(1, "k", b"1", None), operation)
            assert log.takes(both) == (name in OF_KEYS)
        for work in (
            jobs.ApplySlice(Slice([], [], [])),
            jobs.FinishManifest("", ""),
            jobs.Condemn([]),
            jobs.DropSlice(1),
            jobs.TrimSlice(0, 0, 0),
        ):
            assert not log.takes(work)

    play(tmp_path, scenario)


def test_what_would_keep_others_waiting_is_not_taken(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        many = [jobs.SetKey(1, f"k{n}", b"1", None) for n in range(64)]
        computing = [jobs.IncrementKey(1, f"k{n}", b"1", b"0") for n in range(8)]
        assert log.takes(change(*many))
        assert not log.takes(change(*many, many[0]))
        assert log.takes(change(*computing))
        assert not log.takes(change(*computing, many[0]))
        assert log.takes(change(many[0], size=64 * 1024))
        assert not log.takes(change(many[0], size=64 * 1024 + 1))

    play(tmp_path, scenario)


# --- a batch


def test_what_was_carried_out_shows_when_it_is_logged_and_not_before(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        before = serving.reader.counters().revision
        carried = log.carry_out([put("k"), put("l")])

        assert codes(carried) == [None, None]
        assert (carried.first, carried.counters.revision) == (before + 1, before + 2)
        assert carried.touched == {1}
        assert not carried.needs_writer
        assert decode_delta(carried.payload) == carried.delta
        assert {META, JOURNAL} < set(carried.delta)
        assert all_keys(serving.reader, "a", "", 9) == ["first"]
        assert log.is_empty
        write(log, carried)
        assert all_keys(serving.reader, "a", "", 9) == ["first", "k", "l"]
        assert not log.is_empty

    play(tmp_path, scenario)


def test_what_is_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        job = change(jobs.IncrementKey(1, "n", b"1", b"0"))
        revision = serving.reader.counters().revision
        carried = log.carry_out([job])
        log.give_up()
        again = log.carry_out([job])

        assert carried.counters.revision == again.counters.revision == revision + 1
        assert again.results[0].decoded()[0][2][3] == b"1"
        write(log, again)

    play(tmp_path, scenario)


@pytest.mark.parametrize(
    "job",
    [
        put("k", asset_id=2),  # b has no store yet
        put("long" * 128),
        change(jobs.SetKey(1, "taken back", b"1", None), jobs.SetKey(2, "k", b"1", None)),
        change(jobs.IncrementKey(1, "long" * 128, b"1", b"0")),
    ],
    ids=["a new store", "a new long key", "a new store after another change", "a long counter"],
)
def test_a_batch_goes_as_far_as_it_can_without_the_writer(tmp_path: Path, job: jobs.Change) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        carried = log.carry_out([put("before"), job, put("after")])

        assert codes(carried) == [None]
        assert carried.needs_writer
        assert carried.counters.revision == carried.first
        write(log, carried)
        assert all_keys(serving.reader, "a", "", 9) == ["before", "first"]
        # And as the first of a batch.
        nothing = log.carry_out([job, put("after")])
        assert (nothing.results, nothing.needs_writer, nothing.payload) == ([], True, b"")
        await serving.queue.drain()
        assert (await serving.change(job)).code is None

    play(tmp_path, scenario)


def test_the_repeat_of_what_was_sent_before_the_daemon_began_is_for_the_writer(
    tmp_path: Path,
) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        job = msgspec.structs.replace(put(), sent_at=time.monotonic() - 60.0)

        carried = log.carry_out([put("before"), job])

        assert codes(carried) == [None]
        assert carried.needs_writer
        log.give_up()

    play(tmp_path, scenario)


def test_refused_changes_are_results_and_nothing_to_log(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        carried = log.carry_out(
            [
                change(jobs.CheckKey(1, "first", 0)),
                change(jobs.SetKey(1, "taken back", b"1", None), jobs.CheckKey(1, "first", 0)),
                change(jobs.DeleteKey(1, "never", None)),
            ]
        )

        assert codes(carried) == ["conflict", "conflict", None]
        assert not carried.payload
        assert log.is_empty

    play(tmp_path, scenario)


def test_a_conflict_shows_what_stands_there_though_it_is_only_logged(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        write(log, log.carry_out([put("k", b"7")]))
        (result,) = log.carry_out([change(jobs.CheckKey(1, "k", 0))]).results

        assert result.code == "conflict"
        detail = result.decoded()
        assert detail["entry"][3] == b"7"

    play(tmp_path, scenario)


def test_a_batch_ends_where_it_is_large(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        text = b'"%s"' % (b"x" * 50_000)
        carried = log.carry_out([put(f"k{n}", text) for n in range(60)])

        assert 1 <= len(carried.results) <= 11
        assert not carried.needs_writer
        write(log, carried)

    play(tmp_path, scenario)


def test_a_batch_ends_where_it_has_taken_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "_BATCH_S", 0.0)

    async def scenario(log: ChangeLog, serving: Serving) -> None:
        carried = log.carry_out([put(f"k{n}") for n in range(60)])

        assert len(carried.results) == 1
        write(log, carried)

    play(tmp_path, scenario)


def test_a_batch_with_a_bug_is_left_to_the_writer_as_a_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        carried = log.carry_out([put("before"), put("k", asset_id=-1)])

        assert (carried.results, carried.needs_writer, carried.payload) == ([], True, b"")
        assert "a batch failed, and is left to the writer" in caplog.text
        write(log, log.carry_out([put("after")]))
        assert all_keys(serving.reader, "a", "", 9) == ["after", "first"]

    play(tmp_path, scenario)


# --- into the data file


def test_what_is_to_be_brought_in_is_the_same_until_it_is(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        write(log, log.carry_out([put("k")]))
        first = log.checkpoint()
        write(log, log.carry_out([put("l")]))

        assert log.checkpoint() == first
        assert first.last == serving.reader.counters().revision - 1
        assert [revision for _, revision in first.remembered] == [first.last]
        log.checkpointed()
        second = log.checkpoint()
        assert second.last == first.last + 1
        assert [revision for _, revision in second.remembered] == [second.last]
        assert not set(first.changes[JOURNAL]) & set(second.changes[JOURNAL])
        log.checkpointed()
        assert log.is_empty

    play(tmp_path, scenario)


def test_it_is_due_when_so_much_or_so_many_stores_are_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_log, "_CHECKPOINT_BYTES", 3 * 4096)

    async def scenario(log: ChangeLog, serving: Serving) -> None:
        due = []
        for _ in range(4):
            write(log, log.carry_out([put("k")]))
            due.append(log.is_due)
        assert due == [False, False, False, True]
        log.checkpoint()
        assert not log.is_due
        monkeypatch.setattr(change_log, "_CHECKPOINT_STORES", 2)
        write(log, log.carry_out([put("k")]))
        assert log.is_due

    play(tmp_path, scenario)


def test_what_the_writer_has_changed_is_built_upon(tmp_path: Path) -> None:
    async def scenario(log: ChangeLog, serving: Serving) -> None:
        await asyncio.gather(*(serving.change(put(f"k{n}", asset_id=1 + n % 2)) for n in range(10)))
        await serving.change(change(jobs.ClearStore(2)))
        revision = serving.reader.counters().revision

        carried = log.carry_out([put("l")])

        assert carried.first == revision + 1
        write(log, carried)

    play(tmp_path, scenario)

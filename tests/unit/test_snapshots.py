"""What is read while changes are in the data file, on their way there, and in the log only.

Rule: all three at once: the writer stands still while it is read.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest
from tests.support.bit_rot import damage_record
from tests.support.seen import all_items, all_keys, count_all
from tests.support.serving import Serving, next_turn, serve
from tests.support.store import change
from tests.support.waiting import wait_until

from assetstore.errors import Damaged
from assetstore.messages import AssetRef
from assetstored import engine, history, jobs, keys
from assetstored.changes import Slice
from assetstored.feed import Feed, Page, Waiting, Wanted
from assetstored.reader import Reader
from assetstored.tables import META, Counters, read_row
from assetstored.tail import ELSEWHERE, Tail

A, B = AssetRef("a"), AssetRef("b")

#: Too long for LMDB, with a common beginning.
LONG = ["y" * 478 + tail for tail in ("a", "b" * 34, "b" * 33 + "c", "c" * 34)]


class Scene:
    """Changes a store in three layers."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.reader = serving.reader
        self.is_stopped = False

    async def set(self, asset_id: int = 1, **values: int) -> int:
        """Set keys in one change; returns the revision of the last."""
        return await self.set_keys(
            {key.replace("_", "/"): n for key, n in values.items()}, asset_id
        )

    async def set_keys(self, values: dict[str, int], asset_id: int = 1) -> int:
        return await self.do(
            *(jobs.SetKey(asset_id, key, b"%d" % value, None) for key, value in values.items())
        )

    async def delete(self, *names: str, asset_id: int = 1) -> int:
        return await self.do(*(jobs.DeleteKey(asset_id, key, None) for key in names))

    async def do(self, *operations: jobs.AnyOperation) -> int:
        result = await self.serving.change(change(*operations))
        assert result.code is None, result
        revisions = [revision for revision, *_ in result.decoded() if revision is not None]
        return int(max(revisions))

    async def into_file(self) -> None:
        """What there is, is in the data file."""
        await self.serving.queue.drain()

    async def on_its_way(self) -> None:
        """What there is, is on its way into the data file, and does not get there."""
        os.kill(self.serving.writer_pid, signal.SIGSTOP)
        stat = Path(f"/proc/{self.serving.writer_pid}/stat")
        wait_until(
            lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", 10.0, "it to stop"
        )
        self.is_stopped = True
        self.serving.queue._checkpoint()
        assert self.reader.tail.is_frozen
        await next_turn()

    async def arrive(self) -> None:
        """The writer goes on."""
        self.is_stopped = False
        os.kill(self.serving.writer_pid, signal.SIGCONT)
        await self.serving.queue.drain()


def play(data_dir: Path, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    """Run the scenario on the assets a and b, of which a has a store."""

    async def run(serving: Serving) -> None:
        await serving.queue.do(jobs.ApplySlice(Slice([], [("a", "a", None), ("b", "b", None)], [])))
        scene = Scene(serving)
        await scene.do(jobs.SetKey(1, "first", b"0", None))
        await scene.delete("first")
        await scene.into_file()
        try:
            await scenario(scene)
        finally:
            if scene.is_stopped:
                os.kill(serving.writer_pid, signal.SIGCONT)

    assert serve(data_dir, run, logs=True) == 0


def value_of(reader: Reader, ref: AssetRef, key: str) -> Any:
    raw = reader.get(ref, key)
    return None if raw is None else msgspec.json.decode(msgspec.msgpack.decode(raw)[3])


def values_of(reader: Reader, prefix: str = "", limit: int = 1_000) -> dict[str, Any]:
    return {
        key: msgspec.json.decode(msgspec.msgpack.decode(raw)[3])
        for key, raw in all_items(reader, "a", prefix, limit)
    }


# --- entries


def test_an_entry_is_that_of_the_last_change_wherever_that_is(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set(file=1, file_way=1, file_log=1, all=1, gone=1, back=1)
        await scene.into_file()
        await scene.set(file_way=2, way=2, way_log=2, all=2)
        await scene.delete("gone", "back")
        await scene.on_its_way()
        await scene.set(file_log=3, way_log=3, log=3, all=3, back=3)
        expected = {
            "all": 3,
            "back": 3,
            "file": 1,
            "file/log": 3,
            "file/way": 2,
            "log": 3,
            "way": 2,
            "way/log": 3,
        }
        for _ in range(2):
            assert values_of(scene.reader) == expected
            assert {key: value_of(scene.reader, A, key) for key in [*expected, "gone"]} == {
                **expected,
                "gone": None,
            }
            assert scene.reader.count(A, "", None) == (8, None)
            await scene.arrive()

    play(tmp_path, scenario)


@pytest.mark.parametrize("limit", [1, 2, 3, 1_000])
def test_keys_are_listed_in_order_page_by_page(tmp_path: Path, limit: int) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set_keys({f"k/{n:02}": n for n in range(0, 30, 3)} | {"a": 1, "z": 1})
        await scene.into_file()
        await scene.set_keys({f"k/{n:02}": n for n in range(1, 30, 3)})
        await scene.delete("k/03", "z")
        await scene.on_its_way()
        await scene.set_keys({f"k/{n:02}": n for n in range(2, 30, 3)} | {"z": 2})
        await scene.delete("k/04", "k/09")
        there = [f"k/{n:02}" for n in range(30) if n not in (3, 4, 9)]
        for _ in range(2):
            assert all_keys(scene.reader, "a", "", limit) == ["a", *there, "z"]
            assert all_keys(scene.reader, "a", "k/", limit) == there
            assert all_keys(scene.reader, "a", "k/1", limit) == there[7:17]
            assert all_keys(scene.reader, "a", "l", limit) == []
            assert [*values_of(scene.reader, "k/", limit)] == there
            assert count_all(scene.reader, "a", "k/") == 27
            assert count_all(scene.reader, "a", "") == 29
            page, _ = scene.reader.keys(A, "", "k/15", 1)
            assert page == ["k/16"]
            await scene.arrive()

    play(tmp_path, scenario)


@pytest.mark.parametrize("limit", [1, 2, 1_000])
def test_keys_that_are_too_long_for_lmdb_stand_among_the_others(tmp_path: Path, limit: int) -> None:
    async def scenario(scene: Scene) -> None:
        short = ["y" * 477, "y" * 478, "y" * 478 + "b" * 33, "z"]
        everything = dict.fromkeys([*LONG, *short], 1)
        await scene.set_keys(everything)
        await scene.into_file()
        await scene.delete(LONG[1], short[1])
        await scene.set_keys({LONG[0]: 2})
        await scene.on_its_way()
        await scene.delete(LONG[3])
        await scene.set_keys({LONG[2]: 3, short[1]: 3})
        expected = everything | {LONG[0]: 2, LONG[2]: 3, short[1]: 3}
        del expected[LONG[1]], expected[LONG[3]]
        for _ in range(2):
            assert values_of(scene.reader, "", limit) == expected
            assert all_keys(scene.reader, "a", "", limit) == sorted(expected)
            for prefix in ("y" * 478, "y" * 479, "y" * 478 + "b" * 33, "y" * 478 + "c"):
                assert all_keys(scene.reader, "a", prefix, limit) == [
                    key for key in sorted(expected) if key.startswith(prefix)
                ]
            assert scene.reader.count(A, "", None) == (len(expected), None)
            await scene.arrive()

    play(tmp_path, scenario)


def test_assets_have_as_many_entries_as_there_are(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        def entries() -> list[int]:
            return [asset.entries for asset in scene.reader.assets(0, 9)[0]]

        assert entries() == [0, 0]
        await scene.set(a=1, b=1, c=1)
        await scene.set(2, a=1)
        await scene.into_file()
        await scene.delete("a", "b", "never")
        await scene.set(c=2, d=2)
        await scene.set(2, b=1)
        assert entries() == [2, 2]
        await scene.on_its_way()
        assert entries() == [2, 2]
        await scene.set(a=3)
        await scene.delete("d")
        await scene.delete("a", "b", asset_id=2)
        assert entries() == [2, 0]
        await scene.arrive()
        assert entries() == [2, 0]

    play(tmp_path, scenario)


def test_a_key_that_came_and_went_within_the_log_never_was_in_the_data_file(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set(k=1)
        await scene.delete("k")
        assert all_keys(scene.reader, "a", "", 9) == []
        assert scene.reader.count(A, "", None) == (0, None)
        assert value_of(scene.reader, A, "k") is None
        await scene.into_file()
        assert all_keys(scene.reader, "a", "", 9) == []

    play(tmp_path, scenario)


def test_a_page_is_no_work_for_all_that_is_logged(tmp_path: Path) -> None:
    """Each looks at its own keys: those in the data file, and those logged, go on in step."""

    async def scenario(scene: Scene) -> None:
        keys = [f"k{n:04}" for n in range(2_000)]
        await asyncio.gather(*(scene.set_keys(dict.fromkeys(keys[n::50], 1)) for n in range(50)))
        await scene.into_file()
        await asyncio.gather(
            *(scene.set_keys(dict.fromkeys(keys[n:1_900:50], 2)) for n in range(50))
        )
        assert len(scene.reader.tail.of(scene.reader.row_of(1).store_id)) == 1_900
        looked_up = 0

        def count(frame: FrameType, event: str, _: object) -> None:
            nonlocal looked_up
            looked_up += event == "call" and frame.f_code is Tail.find.__code__

        sys.setprofile(count)
        try:
            page, _ = scene.reader.keys(A, "", "k1000", 10)
        finally:
            sys.setprofile(None)

        assert page == keys[1_001 : 1_001 + len(page)]
        assert 0 < looked_up < 100

    play(tmp_path, scenario)


# --- the past


def test_the_history_of_a_key_goes_through_all_of_it_newest_first(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        revisions = [await scene.set(k=1), await scene.set(k=2)]
        await scene.into_file()
        revisions += [await scene.delete("k"), await scene.set(k=3)]
        await scene.on_its_way()
        revisions += [await scene.set(k=4), await scene.delete("k")]
        values: list[int | None] = [1, 2, None, 3, 4, None]
        for _ in range(2):
            steps = list(history.steps(scene.reader, 1, "k"))
            assert [step.revision for step in steps] == revisions[::-1]
            for revision, value in zip(revisions, values, strict=True):
                *_, raw = history.entry_at(scene.reader, 1, "k", revision)
                then = None if raw is None else msgspec.json.decode(msgspec.msgpack.decode(raw)[3])
                assert then == value
            *_, before = history.entry_at(scene.reader, 1, "k", revisions[0] - 1)
            assert before is None
            head = scene.reader.deleted_head(scene.reader.row_of(1).store_id, "k")
            assert head is not None
            assert (head.revision, head.sequence) == (revisions[-1], 6)
            await scene.arrive()

    play(tmp_path, scenario)


def test_events_come_in_order_forwards_and_backwards_from_anywhere(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for number in range(3):
            await scene.set(k=number)
        await scene.into_file()
        for number in range(3):
            await scene.set(2 if number == 1 else 1, k=number)
        await scene.on_its_way()
        last = 0
        for number in range(3):
            last = await scene.set(k=number)
        for _ in range(2):
            for first in range(1, last + 3):
                found = [revision for revision, _ in scene.reader.journal_rows(first)]
                assert found == [*range(first, last + 1)]
            for before in range(last + 3):
                found = [revision for revision, _ in scene.reader.journal_rows_before(before)]
                assert found == [*range(min(before, last + 1) - 1, 0, -1)]
            assert scene.reader.journal_row(last + 1) is None
            sizes = scene.reader.sizes()
            assert sizes["journal_events"] == last == scene.reader.counters().revision
            await scene.arrive()
            last = scene.reader.counters().revision

    play(tmp_path, scenario)


def test_what_was_changed_since_is_found_wherever_it_is(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set(untouched=1, file=1, way=1, log=1, gone_way=1, gone_log=1, gone_file=1)
        await scene.into_file()
        at = scene.reader.counters().revision
        await scene.set(file=2)
        await scene.delete("gone/file")
        await scene.into_file()
        await scene.set(way=2)
        await scene.delete("gone/way")
        await scene.on_its_way()
        await scene.set(log=2, new=2)
        await scene.delete("gone/log")
        for _ in range(2):
            parts = history.keys_changed(scene.reader, 1, at)
            found = {key for part in parts for key in part}
            assert found == {"file", "way", "log", "new", "gone/file", "gone/way", "gone/log"}
            await scene.arrive()

    play(tmp_path, scenario)


class Desk:
    """Where a request waits for events."""

    def __init__(self) -> None:
        self.waiting: set[Waiting] = set()


def test_who_waits_for_events_hears_of_logged_ones_once_and_in_order(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        feed = Feed(scene.reader)
        scene.serving.listeners.append(lambda report: feed.committed(report.first, report.touched))
        scene.serving.log_listeners.append(feed.committed)
        heard: list[int] = []
        since = scene.reader.counters().revision + 1

        async def watch() -> None:
            nonlocal since
            while len(heard) < 60:
                page: asyncio.Future[Page] = asyncio.get_running_loop().create_future()
                feed.ask(Wanted(1, ""), since, 100, 10_000, Desk(), page.set_result)
                events, following = await page
                heard.extend(int(str(event[0])) for event in events)
                assert following is not None
                since = following

        watching = asyncio.ensure_future(watch())
        written = []
        for number in range(60):
            written.append(await scene.set(k=number))
            if number % 7 == 0:
                await scene.set(2, k=number)
            if number % 10 == 0:
                scene.serving.queue._checkpoint()
        await watching
        assert heard == written

    play(tmp_path, scenario)


# --- snapshots


def test_a_row_is_that_of_the_tail_and_that_of_the_data_file_can_be_asked_for(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        before = scene.reader.counters()
        revision = await scene.set(k=1)

        assert scene.reader.counters().revision == revision
        assert read_row(scene.reader.stored(), META, b"counters", Counters) == before
        assert scene.reader.logged_events() == 1
        store_id = scene.reader.row_of(1).store_id
        assert scene.reader.value_of(store_id, b"k") is not None
        assert scene.reader.value_of(store_id, b"never") is None
        assert scene.reader.tail.find(store_id, b"never") is ELSEWHERE
        with pytest.raises(engine.NotFoundError):
            scene.reader.value_of(store_id + 1, b"k")
        assert scene.reader.has_store(store_id)
        assert not scene.reader.has_store(store_id + 1)
        await scene.into_file()
        assert read_row(scene.reader.stored(), META, b"counters", Counters) == (
            scene.reader.counters()
        )
        assert scene.reader.logged_events() == 0

    play(tmp_path, scenario)


def test_a_snapshot_from_before_or_after_the_checkpoint_shows_the_same(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set(a=1, b=1, c=1)
        await scene.into_file()
        await scene.set(b=2, d=2)
        await scene.delete("c")
        expected = values_of(scene.reader)
        assert expected == {"a": 1, "b": 2, "d": 2}
        # The commit is done, and nobody was told of it: both have it now.
        scene.serving.queue._checkpoint()
        assert scene.reader.logged_events() == 3
        assert values_of(scene.reader) == expected

        def is_in_file() -> bool:
            scene.reader.give_up()
            return scene.reader.logged_events() == 0

        wait_until(is_in_file, 10.0, "the commit")
        assert values_of(scene.reader) == expected
        assert scene.reader.count(A, "", None) == (3, None)
        assert not scene.reader.tail.is_empty
        assert scene.reader.sizes()["journal_events"] == scene.reader.counters().revision
        await scene.into_file()
        assert values_of(scene.reader) == expected

    play(tmp_path, scenario)


def test_more_stores_than_handles_are_read_and_changed_under_a_tail(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        count = 2 * engine.READER_HANDLES
        names = [f"n{n}" for n in range(count)]
        await scene.serving.queue.do(
            jobs.ApplySlice(Slice([], [(name, name, None) for name in names], []))
        )
        for value in (1, 2):
            for number in range(count):
                await scene.set(3 + number, k=value, **{f"k{value}": value})
                assert value_of(scene.reader, AssetRef(names[number]), "k") == value
        assert not scene.reader.tail.is_empty
        for name in names:
            assert value_of(scene.reader, AssetRef(name), "k") == 2
            assert all_keys(scene.reader, name, "", 9) == ["k", "k1", "k2"]
        assets, _ = scene.reader.assets(2, 1_000)
        assert [asset.entries for asset in assets] == [3] * count

    play(tmp_path, scenario)


def test_damage_in_the_data_file_is_told_and_covered_by_what_is_logged_over_it(
    tmp_path: Path,
) -> None:
    async def prepare(scene: Scene) -> None:
        await scene.do(jobs.SetKey(1, "k", b'"distinctive"', None))
        await scene.do(jobs.SetKey(1, "l", b"1", None))
        await scene.into_file()

    play(tmp_path, prepare)
    damage_record(tmp_path, b"k", b'"distinctive"', b'"distinctivf"')

    async def scenario(serving: Serving) -> None:
        with pytest.raises(Damaged):
            serving.reader.get(A, "k")
        result = await serving.change(change(jobs.IncrementKey(1, "k", b"1", b"0")))
        assert result.code == "damaged"
        result = await serving.change(change(jobs.IncrementKey(1, "l", b"1", b"0")))
        assert result.code is None
        assert value_of(serving.reader, A, "l") == 2
        assert all_keys(serving.reader, "a", "", 9) == ["k", "l"]

        result = await serving.change(change(jobs.SetKey(1, "k", b"1", None)))
        assert result.code is None
        assert not serving.log.is_empty
        assert values_of(serving.reader) == {"k": 1, "l": 2}

    assert serve(tmp_path, scenario, logs=True) == 0


def test_stored_keys_of_the_tail_are_those_of_the_data_file(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.set_keys({LONG[0]: 1})
        await scene.into_file()
        await scene.set_keys({LONG[0]: 2, "ü": 1})

        store_id = scene.reader.row_of(1).store_id
        assert set(scene.reader.tail.of(store_id)) == {keys.stored_key(LONG[0]), "ü".encode()}

    play(tmp_path, scenario)

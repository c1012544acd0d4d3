"""Changes of clients before they are queued: what they may ask for, and how much of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.callers import caller
from tests.support.serving import Serving, serve

from assetstore import messages as m
from assetstore.entries import RecordedWriter
from assetstore.errors import (
    Busy,
    InactiveAsset,
    InvalidRequest,
    Refused,
    UnknownAsset,
    refusal,
)
from assetstore.limits import (
    MAX_COMPUTED_BYTES,
    MAX_IMPORT_KEYS,
    MAX_OPERATIONS,
    MAX_PURGE,
    MAX_TIME_US,
    MAX_VALUE_DEPTH,
)
from assetstore.requests import new_request_id
from assetstored import jobs
from assetstored.border import Caller
from assetstored.changes import Slice
from assetstored.changing import Changer
from assetstored.sweeper import Sweeper

A = m.AssetRef("a")
B = m.AssetRef("b")
MAX_VALUE_BYTES = 1 << 20

SOMEBODY = caller(4_711)


class Scene:
    """A changer for a store with the assets a and b."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.sweeper = Sweeper(serving.reader, serving.queue, grace_us=2**40, interval_s=3_600.0)
        self.changer = Changer(
            serving.reader, serving.queue, self.sweeper, max_value_bytes=MAX_VALUE_BYTES
        )

    async def ask(self, request: m.Change, caller: Caller = SOMEBODY) -> list[Any]:
        """The outcomes of a change; raises Refused."""
        if self.changer.is_large(request):
            await self.changer.check_aside(request)
        else:
            self.changer.check(request)
        future: asyncio.Future[jobs.Result] = asyncio.get_running_loop().create_future()
        self.changer.submit(request, caller, future.set_result)
        result = await future
        if result.code is not None:
            raise refusal(result.code, result.message, result.decoded())
        outcomes: list[Any] = result.decoded()
        return outcomes

    def is_large(self, *operations: m.AnyOperation) -> bool:
        return self.changer.is_large(change(*operations))


def change(*operations: m.AnyOperation, age_ms: int = 0, timeout_ms: int | None = None) -> m.Change:
    return m.Change(1, timeout_ms, new_request_id(), age_ms, list(operations))


def play(
    data_dir: Path, scenario: Callable[[Scene], Awaitable[None]], *, max_bytes: int = 64 << 20
) -> None:
    """Run the scenario in an event loop, with a writer."""

    async def run(serving: Serving) -> None:
        await serving.queue.do(jobs.ApplySlice(Slice([], [("a", "a", None), ("b", "b", None)], [])))
        scene = Scene(serving)
        await scenario(scene)
        scene.changer._aside.shutdown()

    assert serve(data_dir, run, logs=True, max_bytes=max_bytes) == 0


def set_(key: str, value: bytes = b"1", asset: m.AssetRef = A) -> m.SetKey:
    return m.SetKey(asset, key, value, None)


def merge(patch: bytes, *remove: list[str]) -> m.MergeKey:
    return m.MergeKey(A, "k", patch, list(remove), "replace", "value")


def test_every_operation_reaches_the_writer_as_it_was_asked_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        outcomes = await scene.ask(
            change(
                m.CheckKey(A, "k", 0),
                m.SetKey(A, "k", b"1", 0),
                m.IncrementKey(A, "k", b"2", b"0"),
                m.AdvanceKey(A, "k", b"2", "value"),
                m.DeleteKey(A, "k", None),
                m.MergeKey(A, "o", b'{"a":{"b":1},"c":2}', [["x"]], "max", "value"),
                m.MergeKey(A, "o", b"{}", [["a", "b"]], "replace", "value"),
                m.ClearStore(A),
                m.RestoreStore(1),
                m.MoveStore(A, B, False),
                m.PurgeStores([99]),
            ),
        )

        # The clear took the object along; the restore brought it back, and the move to b.
        assert [count for _, count, *_ in outcomes] == [0, 1, 1, 0, 1, 1, 1, 1, 1, 1, 0]
        entry = scene.serving.reader.get(B, "o")
        assert entry is not None
        assert b'{"a":{},"c":2}' in bytes(entry)

    play(tmp_path, scenario)


# --- what for


def test_what_cannot_be_resolved_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for operation, error in (
            (set_("k", asset=m.AssetRef("never")), UnknownAsset),
            (m.MoveStore(m.AssetRef("never"), A, False), UnknownAsset),
            (m.MoveStore(A, m.AssetRef("never"), False), UnknownAsset),
            (set_("k", asset=m.AssetRef("")), InvalidRequest),
            (set_("k", asset=m.AssetRef()), InvalidRequest),
            (set_(""), InvalidRequest),
            (m.CheckKey(A, "k" * 513, 0), InvalidRequest),
        ):
            with pytest.raises(error):
                await scene.ask(change(set_("first"), operation))
        assert scene.serving.reader.get(A, "first") is None

    play(tmp_path, scenario)


def test_the_store_of_an_asset_that_left_can_be_moved(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.ask(change(set_("k")))
        await scene.serving.queue.do(jobs.ApplySlice(Slice([m.AssetRef("a", "a")], [], [])))
        with pytest.raises(InactiveAsset):
            await scene.ask(change(set_("k")))

        ((_, count, *_),) = await scene.ask(change(m.MoveStore(A, B, False)))
        assert count == 1

    play(tmp_path, scenario)


# --- how much


def test_a_change_has_a_thousand_operations_at_most(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        operations = [set_(f"k{number}") for number in range(MAX_OPERATIONS)]
        assert len(await scene.ask(change(*operations))) == MAX_OPERATIONS
        with pytest.raises(InvalidRequest, match="1,001 operations; one change takes 1,000"):
            await scene.ask(change(*operations, set_("more")))
        assert scene.serving.reader.get(A, "more") is None

    play(tmp_path, scenario)


def test_a_purge_has_two_hundred_stores_at_most(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.ask(change(m.PurgeStores(list(range(MAX_PURGE)))))
        with pytest.raises(InvalidRequest, match="201 stores; one purge takes 200"):
            await scene.ask(change(m.PurgeStores(list(range(MAX_PURGE + 1)))))

    play(tmp_path, scenario)


def test_the_paths_of_fields_to_remove_are_limited(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        deep = ["a"] * MAX_VALUE_DEPTH
        await scene.ask(change(merge(b"{}", *[deep] * MAX_OPERATIONS)))
        for paths, message in (
            ([[]], "the path of a field to remove has 0 steps; it has 1 to 255"),
            ([["a"], [*deep, "a"]], "the path of a field to remove has 256 steps"),
            ([["a"]] * (MAX_OPERATIONS + 1), "1,001 fields to remove; one merge takes 1,000"),
        ):
            with pytest.raises(InvalidRequest, match=message):
                await scene.ask(change(merge(b"{}", *paths)))

    play(tmp_path, scenario)


def test_values_are_held_to_the_limit_in_every_operation(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        largest = b'"%s"' % (b"x" * (MAX_VALUE_BYTES - 2))
        assert scene.is_large(set_("k", largest))
        with pytest.raises(InvalidRequest, match="value is 1,048,577 bytes of JSON; the limit is"):
            scene.is_large(set_("k", largest + b" "))
        # What is computed with is held to less, since all writers wait for it.
        computed = b'"%s"' % (b"x" * (MAX_COMPUTED_BYTES - 2))
        for operations in (
            lambda text: m.AdvanceKey(A, "k", text, "value"),
            lambda text: m.IncrementKey(A, "k", text, b"0"),
            lambda text: m.IncrementKey(A, "k", b"0", text),
            merge,
        ):
            scene.is_large(operations(computed))
            with pytest.raises(InvalidRequest):
                scene.is_large(operations(computed + b" "))

    play(tmp_path, scenario)


def test_large_values_are_told_from_small_ones_by_their_sum(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        half = b'"%s"' % (b"x" * (16 * 1024 - 2))
        assert not scene.is_large(set_("k", half), set_("l", half), m.ClearStore(A))
        assert scene.is_large(set_("k", half), set_("l", half), set_("m"))
        assert scene.is_large(merge(half), merge(half), m.IncrementKey(A, "n", b"1", b"0"))

    play(tmp_path, scenario)


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "large"])
def test_bad_json_is_refused_in_every_operation(tmp_path: Path, size: int) -> None:
    bad = b'"%s' % (b"x" * size)

    async def scenario(scene: Scene) -> None:
        for operation in (
            set_("k", bad),
            m.AdvanceKey(A, "k", bad, "value"),
            m.IncrementKey(A, "k", bad, b"0"),
            m.IncrementKey(A, "k", b"1", bad),
            merge(bad),
        ):
            with pytest.raises(InvalidRequest):
                await scene.ask(change(set_("first"), operation))
        assert scene.serving.reader.get(A, "first") is None

    play(tmp_path, scenario)


def test_what_waits_to_be_checked_is_limited(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        value = b'"%s"' % (b"x" * 500_000)
        asked = [asyncio.ensure_future(scene.ask(change(set_(f"k{n}", value)))) for n in range(4)]
        results = await asyncio.gather(*asked, return_exceptions=True)

        # The second had room to be checked, and may find the first still waiting for the disk.
        kinds = [type(result) for result in results]
        assert kinds in ([list, list, Busy, Busy], [list, Busy, Busy, Busy])
        assert "bytes of values wait to be checked; the limit is 1,048,576" in str(results[3])
        # There is room again.
        await scene.ask(change(set_("k", value)))

    play(tmp_path, scenario, max_bytes=1 << 20)


# --- when


def test_a_change_that_waited_longer_than_its_timeout_is_not_carried_out(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(Busy, match="the request waited longer than its timeout"):
            await scene.ask(change(set_("k"), timeout_ms=0))
        await scene.ask(change(set_("l"), timeout_ms=60_000))
        assert scene.serving.reader.get(A, "k") is None

    play(tmp_path, scenario)


def test_a_purge_has_the_stores_dropped_soon(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.ask(change(set_("k"), m.ClearStore(A)))
        sweeping = asyncio.get_running_loop().create_task(scene.sweeper.run())
        reader = scene.serving.reader
        ((trash_id, _),) = reader.trash_rows()
        await scene.ask(change(set_("k")))
        assert len(list(reader.trash_rows())) == 1

        ((_, count, *_),) = await scene.ask(change(m.PurgeStores([trash_id])))

        assert count == 1
        async with asyncio.timeout(10.0):
            while list(reader.trash_rows()):
                await scene.serving.queue.ping()
        sweeping.cancel()

    play(tmp_path, scenario)


# --- again


def again(request: m.Change) -> m.Change:
    return m.Change(2, None, request.request, 50, request.operations)


def test_a_repeat_is_answered_although_it_would_be_refused_now(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        request = change(set_("k"), m.IncrementKey(A, "n", b"1", b"0"))
        outcomes = await scene.ask(request)
        await scene.serving.queue.do(jobs.ApplySlice(Slice([m.AssetRef("a", "a")], [], [])))

        assert await scene.ask(again(request)) == outcomes

    play(tmp_path, scenario)


def test_a_repeat_of_what_was_refused_is_refused_the_same_way(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for operation, error in (
            (set_("k", asset=m.AssetRef("never")), UnknownAsset),
            (m.MoveStore(A, m.AssetRef("never"), True), UnknownAsset),
            (m.CheckKey(A, "l", 7), Refused),
        ):
            request = change(set_("k"), operation)
            messages = []
            for each in (request, again(request)):
                with pytest.raises(error) as refused:
                    await scene.ask(each)
                messages.append((str(refused.value), refused.value.detail))
            assert messages[0] == messages[1]
        assert scene.serving.reader.get(A, "k") is None

    play(tmp_path, scenario)


# --- imports


def entry(key: str, value: bytes = b"1", time: int = 5, kind: str = "task") -> m.ImportedEntry:
    writer = RecordedWriter(kind, None, None, None, None, 1, 2, 3)
    return m.ImportedEntry(key, time, writer, value)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (entry(""), "key is empty"),
        (entry("k" * 513), "512"),
        (entry("k", b"{"), "not JSON"),
        (entry("k", b"null"), "None"),
        (entry("k", b"1" * (1 << 20) + b"1"), "max_value_bytes"),
        (entry("k", time=MAX_TIME_US + 1), "after the year 9999"),
        (entry("k", kind="x" * 1_501), "1,500"),
    ],
)
def test_an_entry_beyond_a_limit_is_refused_with_all_others(
    tmp_path: Path, wrong: m.ImportedEntry, why: str
) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(InvalidRequest, match=why):
            await scene.ask(change(m.ImportKeys(A, [entry("good"), wrong], False)))
        assert scene.serving.reader.get(A, "good") is None

    play(tmp_path, scenario)


def test_one_import_takes_10000_entries(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        most = [entry(f"k{number}") for number in range(MAX_IMPORT_KEYS)]
        with pytest.raises(InvalidRequest, match="10,001 entries; one import takes 10,000"):
            await scene.ask(change(m.ImportKeys(A, [*most, entry("more")], False)))
        ((_, count, *_),) = await scene.ask(change(m.ImportKeys(A, most, False)))
        assert count == MAX_IMPORT_KEYS

    play(tmp_path, scenario)

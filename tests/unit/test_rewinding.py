"""A rewind: what differs from then, written once as one change, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest
from tests.support.callers import caller
from tests.support.serving import Serving, next_turn, serve
from tests.support.store import Store, change

from assetstore import messages as m
from assetstore.errors import Busy, Compacted, Conflict, InactiveAsset, InvalidRequest
from assetstore.requests import new_request_id
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.changing import Changer
from assetstored.rewinding import Rewinder
from assetstored.sweeper import Sweeper

A = 1
CALLER = caller(os.geteuid())


class Scene:
    """A rewinder for a store with the assets a and b."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.reader = serving.reader
        sweeper = Sweeper(serving.reader, serving.queue, grace_us=2**40, interval_s=3_600.0)
        changer = Changer(serving.reader, serving.queue, sweeper, max_value_bytes=1 << 20)
        self.rewinder = Rewinder(serving.reader, changer)

    @property
    def last(self) -> int:
        return self.reader.counters().revision

    async def do(self, *operations: jobs.AnyOperation) -> int:
        """Carry out a change; returns the last revision."""
        await self.serving.queue.do(change(*operations))
        return self.last

    async def put(self, key: str, value: bytes) -> int:
        return await self.do(jobs.SetKey(A, key, value, None))

    async def delete(self, key: str) -> int:
        return await self.do(jobs.DeleteKey(A, key, None))

    async def rewind(self, request: m.Rewind) -> m.Rewound:
        """The answer as a client reads it."""
        answer = await self.rewinder.rewind(request, CALLER, lambda: None)
        return msgspec.msgpack.decode(msgspec.msgpack.encode(answer), type=m.Rewound)

    def contents(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        more = True
        while more:
            page, more = self.reader.items(m.AssetRef("a"), "", max(found, default=None), 1_000)
            for key, raw in page:
                found[key] = msgspec.msgpack.decode(raw, type=m.WireEntry).value
        return found


def play(
    data_dir: Path, scenario: Callable[[Scene], Awaitable[None]], *, max_bytes: int = 64 << 20
) -> None:
    """Run the scenario in an event loop, with a writer."""

    async def run(serving: Serving) -> None:
        await serving.queue.do(jobs.ApplySlice(Slice([], [("a", "a", None), ("b", "b", None)], [])))
        await scenario(Scene(serving))

    assert serve(data_dir, run, logs=True, max_bytes=max_bytes) == 0


def to(
    revision: int | None,
    key: str | None = None,
    *,
    time_us: int | None = None,
    expected: int | None = None,
    dry_run: bool = False,
) -> m.Rewind:
    """A rewind of the asset a that nobody has asked for before."""
    return m.Rewind(
        1, None, new_request_id(), 0, m.AssetRef("a"), key, revision, time_us, expected, dry_run
    )


def again(request: m.Rewind) -> m.Rewind:
    """The same once more, as of a client that got no answer."""
    return msgspec.structs.replace(request, id=2, age_ms=50)


def values(rewound: m.Rewound) -> dict[str, tuple[bytes | None, bytes | None]]:
    """For each key that differs, what stands there and what stood there."""
    return {
        each.key: (
            None if each.now is None else each.now.value,
            None if each.then is None else each.then.value,
        )
        for each in rewound.differences
    }


# --- a key


def test_a_key_is_set_to_what_it_was_by_a_new_change(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        second = await scene.put("k", b"2")
        await scene.put("other", b"2")

        rewound = await scene.rewind(to(first, "k"))

        assert rewound.revision == scene.last == second + 2
        assert values(rewound) == {"k": (b"2", b"1")}
        ((_, now, then),) = ((each.key, each.now, each.then) for each in rewound.differences)
        assert now is not None
        assert then is not None
        assert (now.revision, then.revision) == (second, first)
        assert scene.contents() == {"k": b"1", "other": b"2"}
        row = scene.reader.journal_row(scene.last)
        assert row is not None
        assert (row.kind, row.value, row.previous) == ("rewind", b"1", second)

    play(tmp_path, scenario)


def test_a_key_that_was_not_there_is_deleted_and_one_that_was_is_back(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        before = scene.last
        there = await scene.put("k", b"1")
        await scene.rewind(to(before, "k"))
        assert scene.contents() == {}
        row = scene.reader.journal_row(scene.last)
        assert row is not None
        assert (row.kind, row.value) == ("rewind", None)

        rewound = await scene.rewind(to(there, "k"))

        assert values(rewound) == {"k": (None, b"1")}
        assert scene.contents() == {"k": b"1"}

    play(tmp_path, scenario)


def test_where_nothing_differs_nothing_is_written(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        last = await scene.put("k", b"1")

        for key in ("k", "never"):
            assert await scene.rewind(to(first, key)) == m.Rewound(1, None, [])
        assert scene.last == last

    play(tmp_path, scenario)


def test_a_rewind_can_be_rewound(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        second = await scene.put("k", b"2")
        await scene.rewind(to(first, "k"))
        await scene.rewind(to(second, "k"))

        assert scene.contents() == {"k": b"2"}

    play(tmp_path, scenario)


def test_a_time_names_what_stood_there_then(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        row = scene.reader.journal_row(first)
        assert row is not None

        await scene.rewind(to(None, "k", time_us=row.updated_at))

        assert scene.contents() == {"k": b"1"}

    play(tmp_path, scenario)


# --- an asset


def test_a_whole_asset_is_set_to_what_it_was_in_one_commit(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put("same", b"0")
        await scene.put("changed", b"1")
        await scene.put("gone", b"2")
        then = await scene.do(jobs.SetKey(2, "k", b"other", None))
        held = scene.contents()
        await scene.put("changed", b"10")
        await scene.put("new", b"11")
        await scene.delete("gone")
        await scene.do(jobs.SetKey(2, "k", b"later", None))
        commits, last = scene.serving.queue.commits, scene.last

        rewound = await scene.rewind(to(then))

        assert scene.contents() == held
        assert values(rewound) == {
            "changed": (b"10", b"1"),
            "gone": (None, b"2"),
            "new": (b"11", None),
        }
        assert [each.key for each in rewound.differences] == ["changed", "gone", "new"]
        assert rewound.revision == scene.last == last + 3
        assert scene.serving.queue.commits == commits + 1
        entry = scene.reader.get(m.AssetRef("b"), "k")
        assert entry is not None
        assert b"later" in bytes(entry)

    play(tmp_path, scenario)


def test_what_was_cleared_is_back_key_by_key(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put("k", b"1")
        then = await scene.put("l", b"2")
        await scene.do(jobs.ClearStore(A))
        await scene.put("m", b"3")

        rewound = await scene.rewind(to(then))

        assert scene.contents() == {"k": b"1", "l": b"2"}
        assert values(rewound) == {"k": (None, b"1"), "l": (None, b"2"), "m": (b"3", None)}
        # What the clear put aside stays there.
        assert len(list(scene.reader.trash_rows())) == 1

    play(tmp_path, scenario)


def test_more_than_a_rewind_may_change_is_refused_with_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 10,000 take their time.
    monkeypatch.setattr("assetstored.rewinding.MAX_REWIND_KEYS", 1_500)

    async def scenario(scene: Scene) -> None:
        before = scene.last
        names = [f"k{number:04}" for number in range(1_501)]
        await scene.do(*(jobs.SetKey(A, name, b"1", None) for name in names))
        last = scene.last

        with pytest.raises(InvalidRequest, match="more than 1,500 keys or 8,388,608 bytes differ"):
            await scene.rewind(to(before))
        assert scene.last == last

        await scene.delete(names[0])
        rewound = await scene.rewind(to(before))
        assert len(rewound.differences) == 1_500
        assert rewound.revision == last + 1 + 1_500
        assert scene.contents() == {}

    play(tmp_path, scenario)


def test_more_bytes_than_a_rewind_may_read_and_write_are_refused(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        value = b'"%s"' % (b"x" * 1_000_000)
        before = scene.last
        for number in range(9):
            await scene.put(f"k{number}", value)

        with pytest.raises(InvalidRequest, match="which is the limit of one rewind; rewind key by"):
            await scene.rewind(to(before))
        for number in range(9):
            await scene.rewind(to(before, f"k{number}"))
        assert scene.contents() == {}

    play(tmp_path, scenario)


def test_a_large_rewind_gives_others_their_turns(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        then = scene.last
        for part in range(3):
            await scene.do(*(jobs.SetKey(A, f"{part}/{n}", b"1", None) for n in range(1_000)))
        task = asyncio.ensure_future(scene.rewind(to(then, dry_run=True)))
        turns = 0
        while not task.done():
            await next_turn()
            turns += 1

        assert len((await task).differences) == 3_000
        assert turns > 20

    play(tmp_path, scenario)


# --- what may be asked for


def test_a_revision_or_a_time_is_asked_for_and_nothing_to_come(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        for request in (to(None), to(1, time_us=1)):
            with pytest.raises(InvalidRequest, match="give either a revision or a time"):
                await scene.rewind(request)
        with pytest.raises(InvalidRequest, match="revision 3 is to come; the last one is 2"):
            await scene.rewind(to(3))
        with pytest.raises(InvalidRequest):
            await scene.rewind(to(1, "k" * 513))
        assert scene.rewinder.revision_of(None, 2**62) == 2
        assert scene.rewinder.revision_of(None, 0) == 0
        assert scene.rewinder.revision_of(2, None) == 2

    play(tmp_path, scenario)


def test_an_asset_that_has_left_is_not_rewound(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put("k", b"1")
        await scene.serving.queue.do(jobs.ApplySlice(Slice([m.AssetRef("a", "a")], [], [])))

        with pytest.raises(InactiveAsset):
            await scene.rewind(to(1))

    play(tmp_path, scenario)


def test_what_the_journal_has_forgotten_is_not_rewound_to(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        then = await scene.put("k", b"1")
        for number in range(15):
            await scene.put("k", b"%d" % number)
        await scene.serving.queue.do(jobs.TrimSlice(0, 2**62, 0))

        for key in ("k", None):
            with pytest.raises(Compacted):
                await scene.rewind(to(then, key))
        assert scene.contents() == {"k": b"14"}

    play(tmp_path, scenario)


# --- looking before


def test_a_dry_run_says_what_differs_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        last = await scene.put("k", b"2")

        looked = await scene.rewind(to(first, dry_run=True))

        assert values(looked) == {"k": (b"2", b"1")}
        assert looked.revision == last == scene.last
        assert await scene.rewind(to(last, dry_run=True)) == m.Rewound(1, last, [])
        # Asked again it is looked at again.
        assert (await scene.rewind(again(to(first, dry_run=True)))).revision == last

    play(tmp_path, scenario)


def test_what_was_looked_at_is_what_is_done_or_it_is_a_conflict(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        looked = await scene.rewind(to(first, dry_run=True))
        assert looked.revision is not None
        await scene.do(jobs.SetKey(2, "k", b"of another", None))

        rewound = await scene.rewind(to(first, expected=looked.revision))
        assert rewound.differences == looked.differences

        await scene.put("other key", b"1")
        for key in ("k", None):
            with pytest.raises(Conflict, match="asset 'a' was changed after revision"):
                await scene.rewind(to(first, key, expected=rewound.revision))
        assert scene.contents() == {"k": b"1", "other key": b"1"}

    play(tmp_path, scenario)


def test_where_the_journal_does_not_tell_of_changes_since_it_is_a_conflict(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        looked = await scene.rewind(to(first, "k", dry_run=True))
        await scene.put("other", b"1")
        await scene.delete("other")
        await scene.serving.queue.do(jobs.TrimSlice(0, 2**62, 0))

        with pytest.raises(Conflict, match="the journal does not tell any more whether asset 'a'"):
            await scene.rewind(to(first, "k", expected=looked.revision))
        # Nor does the writer take what is not there for nothing.
        assert looked.revision is not None
        with pytest.raises(Conflict):
            await scene.do(jobs.CheckUnchanged(A, looked.revision))
        assert scene.contents() == {"k": b"2"}

    play(tmp_path, scenario)


# --- what others do meanwhile


def test_a_change_of_the_key_meanwhile_is_noticed_and_rewound_too(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        for key in ("k", None):
            await scene.put("k", b"2")
            # In the queue before the rewind looks, and on disk after it.
            meanwhile = asyncio.ensure_future(scene.put("k", b"3"))
            await next_turn()
            rewound = await scene.rewind(to(first, key))
            await meanwhile

            assert values(rewound) == {"k": (b"3", b"1")}
            assert scene.contents() == {"k": b"1"}

    play(tmp_path, scenario)


def test_a_change_meanwhile_is_a_conflict_where_something_is_expected(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        last = await scene.put("k", b"2")
        meanwhile = asyncio.ensure_future(scene.put("other", b"3"))
        await next_turn()

        with pytest.raises(Conflict):
            await scene.rewind(to(first, "k", expected=last))
        await meanwhile
        assert scene.contents() == {"k": b"2", "other": b"3"}

    play(tmp_path, scenario)


def test_a_change_of_another_key_meanwhile_is_no_trouble_of_a_key(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        meanwhile = asyncio.ensure_future(scene.put("other", b"3"))
        await next_turn()
        commits = scene.serving.queue.commits

        await scene.rewind(to(first, "k"))

        await meanwhile
        assert scene.serving.queue.commits == commits + 2
        assert scene.contents() == {"k": b"1", "other": b"3"}

    play(tmp_path, scenario)


def test_who_is_always_overtaken_gives_up_and_has_changed_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        queue = scene.serving.queue
        numbers = count(10)

        def put() -> None:
            job = change(jobs.SetKey(A, "k", b"%d" % next(numbers), None))
            queue.submit(job, size=1, deadline=None, done=lambda _: None)

        def put_soon(*_: object) -> None:
            asyncio.get_running_loop().call_soon(put)

        # At any time one waits beside that which is under way, so it is before the rewind.
        scene.serving.listeners.append(put_soon)
        scene.serving.log_listeners.append(put_soon)
        put()
        await next_turn()
        put()

        with pytest.raises(
            Busy, match="was changed 20 times while the rewind looked at it; nothing"
        ):
            await scene.rewind(to(first, "k"))

        scene.serving.listeners.clear()
        scene.serving.log_listeners.clear()
        await next_turn()
        await queue.drain()
        kinds = {row.kind for _, row in scene.reader.journal_rows(first)}
        assert kinds == {"set"}

    play(tmp_path, scenario)


# --- again


def test_a_repeat_is_answered_as_the_first_time_and_changes_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put("gone", b"0")
        then = await scene.put("k", b"1")
        await scene.put("k", b"2")
        await scene.delete("gone")
        await scene.put("new", b"3")
        for key in (None, "k"):
            request = to(then, key)
            rewound = await scene.rewind(request)
            await scene.put("k", b"4")
            last = scene.last

            repeated = await scene.rewind(again(request))

            assert (repeated.id, repeated.revision) == (2, rewound.revision)
            assert values(repeated) == values(rewound)
            assert scene.last == last

    play(tmp_path, scenario)


def test_a_repeat_of_what_never_came_is_carried_out(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")

        rewound = await scene.rewind(again(to(first, "k")))

        assert rewound.revision == scene.last
        assert scene.contents() == {"k": b"1"}

    play(tmp_path, scenario)


@pytest.mark.parametrize("is_expected", [False, True])
@pytest.mark.parametrize("is_overtaken", [False, True])
def test_a_repeat_that_runs_beside_the_first_has_no_effect_of_its_own(
    tmp_path: Path, is_overtaken: bool, is_expected: bool
) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        last = await scene.put("k", b"2")
        request = to(first, "k", expected=last if is_expected else None)

        both = [request, again(request)]
        # Begun first, the repeat finds that nothing was done; and then that nothing is to be done,
        # or that something was changed.
        if is_overtaken:
            both.reverse()
        rewound = await asyncio.gather(*map(scene.rewind, both))

        assert scene.last == last + 1
        assert scene.contents() == {"k": b"1"}
        assert [each.revision for each in rewound] == [last + 1, last + 1]

    play(tmp_path, scenario)


def test_a_repeat_is_answered_after_the_asset_has_left(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put("k", b"1")
        await scene.put("k", b"2")
        request = to(first, "k")
        rewound = await scene.rewind(request)
        await scene.serving.queue.do(jobs.ApplySlice(Slice([m.AssetRef("a", "a")], [], [])))

        assert (await scene.rewind(again(request))).revision == rewound.revision

    play(tmp_path, scenario)


# --- what stood there


def test_the_entry_of_a_key_at_a_revision(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        first = store.put("a", "k", b"1")
        entry = store.get("a", "k")
        store.put("a", "k", b"2")

    async def scenario(scene: Scene) -> None:
        raw = await scene.rewinder.entry_at(A, "k", first)
        assert raw is not None
        assert msgspec.msgpack.decode(raw, type=m.WireEntry) == entry
        assert await scene.rewinder.entry_at(A, "k", first - 1) is None

    play(tmp_path, scenario)

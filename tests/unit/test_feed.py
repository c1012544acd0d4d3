"""Events: pages of the journal, and requests that wait for the next event of an asset."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.serving import Serving, next_turn, serve
from tests.support.store import Store, change
from tests.support.waiting import wait_until

from assetstore.errors import Busy, Compacted, Damaged, InvalidRequest
from assetstore.limits import MAX_PAGE_ITEMS, PAGE_BYTES
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.feed import Feed, Page, Waiting, Wanted

A, B = 1, 2
ALL = Wanted(None, "")
LATER = 2**62


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page does not end for its time, as it does where the machine is busy."""
    monkeypatch.setattr("assetstored.paging.PAGE_S", 60.0)


class Desk:
    """A connection, as far as waiting goes."""

    def __init__(self) -> None:
        self.waiting: set[Waiting] = set()


class Watcher:
    """One request for events, and its answer."""

    def __init__(self, feed: Feed, wanted: Wanted, desk: Desk | None = None) -> None:
        self.feed = feed
        self.wanted = wanted
        self.desk = desk or Desk()
        self.pages: list[Page] = []
        self.answered = asyncio.Event()

    def ask(self, since: int | None, *, limit: int = 1_000, wait_ms: int = 60_000) -> None:
        self.feed.ask(self.wanted, since, limit, wait_ms, self.desk, self._take)

    async def page(self) -> Page:
        """The answer, once it is there."""
        await self.answered.wait()
        (page,) = self.pages
        return page

    def _take(self, page: Page) -> None:
        self.pages.append(page)
        self.answered.set()


class Scene:
    """A feed of a store with the assets a and b, and their ids 1 and 2."""

    def __init__(self, serving: Serving) -> None:
        self.serving = serving
        self.reader = serving.reader
        self.feed = Feed(serving.reader)
        serving.listeners.append(lambda report: self.feed.committed(report.first, report.touched))
        serving.log_listeners.append(self.feed.committed)

    async def do(self, *operations: jobs.AnyOperation) -> int:
        """Carry out a change; returns the last revision."""
        result = await self.serving.change(change(*operations))
        assert result.code is None, result
        return self.last

    async def put(self, asset_id: int, *keys: str, value: bytes = b"1") -> int:
        return await self.do(*(jobs.SetKey(asset_id, key, value, None) for key in keys))

    @property
    def last(self) -> int:
        return self.reader.counters().revision

    def watcher(self, wanted: Wanted = ALL, desk: Desk | None = None) -> Watcher:
        return Watcher(self.feed, wanted, desk)

    def waiting(self, wanted: Wanted = ALL, desk: Desk | None = None) -> Watcher:
        """A watcher that waits for whatever comes next."""
        watcher = self.watcher(wanted, desk)
        watcher.ask(self.last + 1)
        assert watcher.pages == []
        return watcher


def play(data_dir: Path, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    """Run the scenario in an event loop, with a writer."""

    async def run(serving: Serving) -> None:
        await serving.queue.do(jobs.ApplySlice(Slice([], [("a", "a", None), ("b", "b", None)], [])))
        await scenario(Scene(serving))

    assert serve(data_dir, run, logs=True) == 0


def revisions(page: Page) -> list[int]:
    """The revisions of the events of a page."""
    return [event[0] for event in page.events if isinstance(event[0], int)]


def kinds(page: Page) -> list[tuple[Any, ...]]:
    """Revision, kind and key of the events of a page."""
    return [(event[0], event[2], event[5]) for event in page.events]


def wait_since(revision: int, *watchers: Watcher) -> None:
    """Let them have asked from this revision on, when it was still to come."""
    for watcher in watchers:
        for waiting in watcher.desk.waiting:
            waiting.since = revision


async def settle() -> None:
    """Return when all that was woken has been looked after."""
    for _ in range(20):
        await next_turn()


# --- pages


def test_events_come_in_order_with_all_that_the_journal_has_of_them(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put(A, "k", value=b"[1]")
        await scene.do(jobs.DeleteKey(A, "k", None), jobs.ClearStore(A))

        page = scene.feed.following(ALL, first, 10)

        assert page.next == scene.last + 1 == first + 2
        (revision, updated_at, kind, name, uri, key, value, writer, previous, _), deleted = (
            page.events
        )
        assert (revision, kind, name, uri, key, value, previous) == (
            first,
            "set",
            "a",
            "a",
            "k",
            b"[1]",
            0,
        )
        row = scene.reader.journal_row(first)
        assert row is not None
        assert (updated_at, writer) == (row.updated_at, row.writer)
        assert (deleted[2], deleted[6], deleted[8]) == ("delete", None, first)

    play(tmp_path, scenario)


def test_pages_of_any_size_add_up_to_all_events(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put(A, *(f"k{number}" for number in range(30)))
        every = scene.feed.following(ALL, 1, 1_000).events
        assert [event[0] for event in every] == list(range(1, 33))
        for limit in (1, 2, 7, 31, 32, 33):
            found: list[Any] = []
            first = 1
            while first <= scene.last:
                page = scene.feed.following(ALL, first, limit)
                assert len(page.events) <= limit
                assert page.next is not None
                first = page.next
                found += page.events
            assert found == every

            found = []
            before: int | None = LATER
            while before is not None:
                page = scene.feed.preceding(ALL, before, 0, 0, limit)
                assert len(page.events) <= limit
                before = page.next
                found += page.events
            assert found == every[::-1]

    play(tmp_path, scenario)


def test_a_page_of_large_values_ends_early(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = scene.last + 1
        for number in range(10):
            await scene.put(A, f"k{number}", value=b'"%s"' % (b"x" * 100_000))

        following = scene.feed.following(ALL, first, 1_000)
        preceding = scene.feed.preceding(ALL, LATER, 0, 0, 1_000)

        count = PAGE_BYTES // 100_000 + 1
        assert revisions(following) == list(range(first, first + count))
        assert following.next == first + count
        assert revisions(preceding) == list(range(scene.last, scene.last - count, -1))
        assert preceding.next == scene.last - count + 1

    play(tmp_path, scenario)


def test_of_one_asset_or_of_keys_that_begin_so(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = scene.last + 1
        await scene.put(A, "x1", "y1")
        await scene.put(B, "x2")
        await scene.do(jobs.ClearStore(A))
        await scene.serving.queue.do(jobs.FinishManifest("digest", "/m.json"))

        def found(wanted: Wanted) -> list[int]:
            page = scene.feed.following(wanted, first, 10)
            assert page.next == scene.last + 1
            back = scene.feed.preceding(wanted, LATER, first, 0, 10)
            assert back.events == page.events[::-1]
            assert back.next is None
            return [revision - first for revision in revisions(page)]

        assert found(ALL) == [0, 1, 2, 3, 4]
        assert found(Wanted(A, "")) == [0, 1, 3]
        assert found(Wanted(B, "")) == [2]
        # What happens to a whole store happens to all of its keys.
        assert found(Wanted(A, "x")) == [0, 3]
        assert found(Wanted(None, "x")) == [0, 2, 3, 4]
        assert found(Wanted(B, "y")) == []

    play(tmp_path, scenario)


def test_events_backwards_end_at_a_revision_or_a_time(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        given = [await scene.put(A, "k") for _ in range(5)]
        middle = scene.reader.journal_row(given[2])
        assert middle is not None

        by_revision = scene.feed.preceding(ALL, LATER, given[2], 0, 10)
        by_time = scene.feed.preceding(ALL, LATER, 0, middle.updated_at, 10)
        between = scene.feed.preceding(ALL, given[4], given[2], 0, 10)

        assert revisions(by_revision) == given[:1:-1]
        assert by_time == by_revision
        assert revisions(between) == given[3:1:-1]

    play(tmp_path, scenario)


def test_a_page_ends_with_its_time_and_says_where_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assetstored.paging.PAGE_S", 0.002)

    async def scenario(scene: Scene) -> None:
        for _ in range(5):
            await scene.put(A, *(f"k{number}" for number in range(1_000)))
        found = [await scene.put(A, "x")]
        await scene.put(A, *(f"k{number}" for number in range(1_000)))
        found.append(await scene.put(A, "x"))
        wanted = Wanted(A, "x")

        pages: list[Page] = []
        first = 3
        while first <= scene.last:
            pages.append(scene.feed.following(wanted, first, 10))
            first = pages[-1].next or 0
        assert [event[0] for page in pages for event in page.events] == found
        assert len(pages) > 2
        pages.clear()
        before: int | None = LATER
        while before is not None:
            pages.append(scene.feed.preceding(wanted, before, 3, 0, 10))
            before = pages[-1].next
        assert [event[0] for page in pages for event in page.events] == found[::-1]
        # Who asks gets the first of them, and asks on: it waits for nothing that is there.
        watcher = scene.watcher(wanted)
        watcher.ask(3)
        assert watcher.pages[0].next is not None
        assert watcher.pages[0].next <= scene.last

    play(tmp_path, scenario)


# --- asking


def test_who_asks_from_now_on_is_told_where_that_begins(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        watcher = scene.watcher()
        watcher.ask(None)

        assert watcher.pages == [Page([], scene.last + 1)]
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_what_is_there_is_answered_at_once(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        first = await scene.put(A, "k")
        for since in (0, 1, first):
            watcher = scene.watcher(Wanted(A, "k"))
            watcher.ask(since)
            (page,) = watcher.pages
            assert (first, "set", "k") in kinds(page)
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_a_page_has_a_thousand_events_at_most(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put(A, *(f"k{number}" for number in range(1_100)))
        found: list[Any] = []
        since = 1
        while since <= scene.last:
            watcher = scene.watcher()
            watcher.ask(since, limit=2**31 - 1)
            (page,) = watcher.pages
            assert len(page.events) <= MAX_PAGE_ITEMS
            assert page.next is not None
            found += page.events
            since = page.next

        assert [event[0] for event in found] == list(range(1, scene.last + 1))

    play(tmp_path, scenario)


def test_who_does_not_wait_is_answered_with_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        watcher = scene.watcher()
        watcher.ask(scene.last + 1, wait_ms=0)

        assert watcher.pages == [Page([], scene.last + 1)]

    play(tmp_path, scenario)


def test_what_is_to_come_cannot_be_asked_for(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        with pytest.raises(
            InvalidRequest, match="since is 1,000, and the last revision is 2: this"
        ):
            scene.watcher().ask(1_000)
        with pytest.raises(InvalidRequest):
            scene.watcher().ask(scene.last + 2)

    play(tmp_path, scenario)


def test_what_the_journal_has_forgotten_is_refused_and_never_skipped(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put(A, "k", "gone")
        await scene.do(jobs.DeleteKey(A, "gone", None))
        await scene.serving.queue.do(jobs.TrimSlice(0, LATER, 0))
        compacted = scene.last
        await scene.put(A, "k")

        for since in (0, 1, compacted):
            with pytest.raises(Compacted) as refused:
                scene.watcher().ask(since)
            assert refused.value.detail == {"oldest": compacted + 1}
        watcher = scene.watcher()
        watcher.ask(compacted + 1)
        assert kinds(await watcher.page()) == [(compacted + 1, "set", "k")]

    play(tmp_path, scenario)


# --- waiting


def test_whose_time_is_up_is_told_of_a_commit_that_shows_before_it_is_reported(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put(A, "k")
        before = scene.last
        watcher, other = scene.waiting(Wanted(A, "")), scene.waiting(Wanted(B, ""))
        clearing = asyncio.ensure_future(scene.do(jobs.ClearStore(A)))

        def shows() -> bool:
            scene.reader.give_up()
            return scene.last > before

        while scene.serving.queue._in_hand is None:
            await next_turn()
        wait_until(shows, 10.0, "the commit to show")
        # No turn of the loop in between, in which the report would come.
        for waiting in [*watcher.desk.waiting, *other.desk.waiting]:
            waiting.finish()

        assert kinds(await watcher.page()) == [(before + 1, "clear", None)]
        assert await other.page() == Page([], before + 2)
        await clearing

    play(tmp_path, scenario)


def test_a_commit_wakes_who_waits_for_it(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        watchers = [
            scene.waiting(wanted)
            for wanted in (ALL, Wanted(A, ""), Wanted(A, "k"), Wanted(None, "k"))
        ]
        assert scene.feed.count == 4

        revision = await scene.put(A, "key")

        for watcher in watchers:
            page = await watcher.page()
            assert kinds(page) == [(revision, "set", "key")]
            assert page.next == revision + 1
            assert watcher.desk.waiting == set()
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_who_waits_for_something_else_is_not_woken(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        other, prefix = scene.waiting(Wanted(B, "")), scene.waiting(Wanted(A, "x"))

        await scene.put(A, "k")
        await settle()

        assert (other.pages, prefix.pages) == ([], [])
        (waiting,) = other.desk.waiting
        assert waiting.first is None
        # It was looked after, and waits on.
        await scene.put(A, "k", "x1")
        page = await prefix.page()
        assert kinds(page) == [(scene.last, "set", "x1")]
        assert page.next == scene.last + 1
        assert scene.feed.count == 1
        await scene.put(B, "k")
        assert kinds(await other.page()) == [(scene.last, "set", "k")]

    play(tmp_path, scenario)


def test_all_events_of_a_commit_come_together(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        every, one = scene.waiting(), scene.waiting(Wanted(B, ""))
        first = scene.last + 1

        await scene.do(
            jobs.SetKey(A, "k", b"1", None),
            jobs.SetKey(B, "k", b"1", None),
            jobs.DeleteKey(A, "k", None),
        )

        assert revisions(await every.page()) == [first, first + 1, first + 2]
        assert revisions(await one.page()) == [first + 1]
        assert (await one.page()).next == first + 3

    play(tmp_path, scenario)


def test_what_no_client_did_wakes_too(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        every, one = scene.waiting(), scene.waiting(Wanted(A, "prefix"))
        await scene.serving.queue.do(jobs.FinishManifest("digest", "/m.json"))
        ((_, _, kind, name, uri, *_),) = (await every.page()).events
        assert (kind, name, uri) == ("manifest", None, None)
        assert one.pages == []

        await scene.serving.queue.do(
            jobs.ApplySlice(Slice([], [("c", "c", None)], [("a", "a", "group")]))
        )
        await settle()
        assert one.pages == []
        await scene.put(A, "k")
        await scene.do(jobs.ClearStore(A))
        ((_, _, kind, name, *_),) = (await one.page()).events
        assert (kind, name) == ("clear", "a")

    play(tmp_path, scenario)


def test_a_commit_that_changed_nothing_to_tell_of_answers_nobody(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        watcher = scene.waiting()
        await scene.serving.queue.do(jobs.TrimSlice(0, 1, 0))
        await scene.do(jobs.DeleteKey(A, "never", None))
        await settle()

        assert watcher.pages == []
        assert scene.feed.count == 1

    play(tmp_path, scenario)


def test_who_waited_long_enough_is_answered_with_nothing(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        await scene.put(A, "k")
        watcher = scene.watcher(Wanted(B, ""))
        watcher.ask(scene.last + 1, wait_ms=30)
        began = time.monotonic()
        # What others do meanwhile is known to it then.
        await scene.put(A, "k")

        page = await watcher.page()

        assert page == Page([], scene.last + 1)
        assert time.monotonic() - began < 5.0
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_who_has_gone_is_not_answered(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        before, woken = scene.waiting(), scene.waiting()
        for waiting in list(before.desk.waiting):
            waiting.cancel()
            waiting.cancel()
        assert before.desk.waiting == set()
        scene.feed.committed(scene.last, {A})
        for waiting in list(woken.desk.waiting):
            waiting.cancel()

        await scene.put(A, "k")
        await settle()

        assert (before.pages, woken.pages, scene.feed.count) == ([], [], 0)

    play(tmp_path, scenario)


def test_a_request_can_be_finished_early_with_what_there_is(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        quiet, woken = scene.waiting(Wanted(B, "")), scene.waiting()
        revision = await scene.put(A, "k")
        for watcher in (quiet, woken):
            for waiting in list(watcher.desk.waiting):
                waiting.finish()

        assert quiet.pages == [Page([], revision + 1)]
        assert kinds(woken.pages[0]) == [(revision, "set", "k")]
        await settle()
        assert len(woken.pages) == 1
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_what_waits_is_limited_for_a_connection_and_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 65,536 take their time.
    monkeypatch.setattr("assetstored.feed._WAITING", 2_536)

    async def scenario(scene: Scene) -> None:
        desks = [Desk() for _ in range(3)]
        for desk in desks[:2]:
            for _ in range(1_000):
                scene.waiting(Wanted(B, ""), desk)
            with pytest.raises(Busy, match="1,000 of them of this connection; the limits are"):
                scene.watcher(ALL, desk).ask(scene.last + 1)
        for _ in range(536):
            scene.waiting(Wanted(B, ""), desks[2])

        with pytest.raises(Busy, match="2,536 requests wait for events, 536 of them of this"):
            scene.watcher(ALL, desks[2]).ask(scene.last + 1)

        # Who does not have to wait is answered all the same.
        watcher = scene.watcher(ALL, desks[0])
        watcher.ask(1)
        assert len(watcher.pages) == 1
        next(iter(desks[0].waiting)).cancel()
        scene.waiting(ALL, desks[0])
        for desk in desks:
            for waiting in list(desk.waiting):
                waiting.cancel()
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_many_that_are_woken_are_looked_after_in_turns(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        watchers = [scene.waiting() for _ in range(2_000)]
        turns = 0
        revision = await scene.put(A, *(f"k{number}" for number in range(20)))
        while not all(watcher.pages for watcher in watchers):
            await next_turn()
            turns += 1

        assert turns > 2
        assert {len(watcher.pages[0].events) for watcher in watchers} == {20}
        assert {watcher.pages[0].next for watcher in watchers} == {revision + 1}

    play(tmp_path, scenario)


# --- what cannot be read


def test_who_is_woken_for_what_was_forgotten_meanwhile_hears_of_it_when_asking_on(
    tmp_path: Path,
) -> None:
    async def scenario(scene: Scene) -> None:
        forgotten = await scene.put(A, "gone")
        await scene.do(jobs.DeleteKey(A, "gone", None))
        await scene.serving.queue.do(jobs.TrimSlice(0, LATER, 0))
        await scene.put(A, "k")
        watchers = [scene.waiting(), scene.waiting()]
        # As it would be where the trimmer was faster than the turns of those who wait.
        wait_since(forgotten, *watchers)
        scene.feed.committed(forgotten, {A})
        next(iter(watchers[1].desk.waiting)).finish()

        for watcher in watchers:
            page = await watcher.page()
            assert page == Page([], forgotten)
            with pytest.raises(Compacted):
                scene.watcher().ask(page.next)

    play(tmp_path, scenario)


def test_who_is_woken_for_a_damaged_row_hears_of_it_when_asking_on(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a", "b")
        damaged = store.put("a", "k", b'"distinctive"')
        store.put("a", "k", b"2")
    data = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data.replace(b'"distinctive"', b'"distinctivf"'))

    async def scenario(scene: Scene) -> None:
        watchers = [scene.waiting(), scene.waiting(), scene.waiting(Wanted(B, ""))]
        wait_since(damaged, *watchers)
        scene.feed.committed(damaged, {A})
        next(iter(watchers[1].desk.waiting)).finish()

        for watcher in watchers[:2]:
            page = await watcher.page()
            assert page == Page([], damaged)
            with pytest.raises(Damaged):
                scene.watcher().ask(page.next)
        # Others are looked after all the same.
        await scene.put(B, "k")
        assert kinds(await watchers[2].page()) == [(scene.last, "set", "k")]

    play(tmp_path, scenario)


# --- nothing is missed


def test_who_asks_on_sees_every_event_once_and_in_order(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    async def scenario(scene: Scene) -> None:
        seen: dict[Wanted, list[int]] = {}
        begin = scene.last + 1
        done = asyncio.Event()

        async def watch(wanted: Wanted) -> None:
            seen[wanted] = []
            since = begin
            while not (done.is_set() and since == scene.last + 1):
                watcher = scene.watcher(wanted)
                watcher.ask(since, limit=rng.randrange(1, 5), wait_ms=rng.choice([1, 10]))
                page = await watcher.page()
                assert page.next is not None
                assert page.next >= since
                since = page.next
                seen[wanted] += revisions(page)

        async def write() -> None:
            for _ in range(60):
                asset_id = rng.choice([A, B])
                await scene.put(asset_id, *rng.choices(["k", "x1", "x2"], k=rng.randrange(1, 6)))
                if rng.random() < 0.1:
                    await scene.do(jobs.ClearStore(asset_id))
            done.set()

        every = [ALL, Wanted(A, ""), Wanted(B, "x"), Wanted(None, "k")]
        await asyncio.gather(write(), *(watch(wanted) for wanted in every))

        rows = list(scene.reader.journal_rows(begin))
        for wanted in every:
            assert seen[wanted] == [revision for revision, row in rows if wanted.takes(row)]
        assert scene.feed.count == 0

    play(tmp_path, scenario)


def test_what_was_seen_before_its_commit_is_reported_is_not_told_again(tmp_path: Path) -> None:
    async def scenario(scene: Scene) -> None:
        seen = await scene.put(A, "k")
        watcher = scene.waiting()
        scene.feed.committed(seen, {A})
        await settle()
        assert watcher.pages == []

        scene.feed.committed(seen, {A})
        new = await scene.put(A, "k")

        assert revisions(await watcher.page()) == [new]

    play(tmp_path, scenario)

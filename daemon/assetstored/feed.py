"""Events, as they are asked for: pages of the journal, and requests that wait for the next event.

A watcher asks, gets a page, and asks on from where it ended: nothing is kept for it in between but
a request that waits, so a slow one costs nothing and delays nobody. A commit wakes the requests
that wait for its assets, and they are looked after in turns.

Rule: reads the journal forwards and backwards; the history of one key is history.py's.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from assetstore.errors import Busy, Damaged, InvalidRequest
from assetstore.limits import MAX_PAGE_ITEMS, MAX_WAIT_MS
from assetstored import history
from assetstored.paging import Budget
from assetstored.reader import Reader
from assetstored.tables import JournalRow

#: How long requests that were woken are looked after before others get their turn.
_TURN_S = 0.001

#: Requests that wait, of one connection and of all.
_WAITING_OF_ONE = 1_000
_WAITING = 65_536


class Page(NamedTuple):
    """Fields of messages.WireEvents, and what to ask with for the next page."""

    events: list[tuple[object, ...]]
    next: int | None


class Wanted(NamedTuple):
    """Which events: of one asset or of all, of keys that begin with prefix, or of no key."""

    asset_id: int | None
    prefix: str
    #: Of all assets: those that may be told of, by their ids. None: every one.
    sees: Callable[[int], bool] | None = None

    def takes(self, row: JournalRow) -> bool:
        if self.asset_id is not None and row.asset_id != self.asset_id:
            return False
        if self.sees is not None and not self.sees(row.asset_id):
            return False
        # What happens to the asset or its store happens to all of its keys.
        return row.key is None or row.key.startswith(self.prefix)


class Desk(Protocol):
    """Where requests wait: a connection."""

    waiting: set[Waiting]


class Waiting:
    """A request that waits for events."""

    __slots__ = ("_feed", "answer", "desk", "first", "limit", "since", "timer", "wanted")

    def __init__(
        self,
        feed: Feed,
        wanted: Wanted,
        since: int,
        limit: int,
        desk: Desk,
        answer: Callable[[Page], None],
    ) -> None:
        self._feed = feed
        self.wanted = wanted
        #: All before this revision is known to who waits.
        self.since = since
        self.limit = limit
        self.desk = desk
        self.answer = answer
        self.timer: asyncio.TimerHandle | None = None
        #: Where to look, once it is woken.
        self.first: int | None = None

    def finish(self) -> None:
        """Answer now, with what there is."""
        self._feed.finish(self)

    def cancel(self) -> None:
        """Nobody waits any more."""
        self._feed.forget(self)


class Feed:
    """Reads events, and knows who waits for them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int | None, set[Waiting]] = {}
        self._woken: deque[Waiting] = deque()
        self._scheduled = False
        # Where the last commit that is reported begins. A snapshot may show a later one.
        self._reported = 0
        self.count = 0

    # --- pages

    def following(self, wanted: Wanted, first: int, limit: int) -> Page:
        """Events from the revision ``first`` on; ``next`` is where all is known up to."""
        reader = self._reader
        events: list[tuple[object, ...]] = []
        budget = Budget(limit)
        last = reader.counters().revision
        for revision, row in reader.journal_rows(first):
            # One row is looked at in any case, or a busy machine would get no further.
            if revision > first and (budget.is_full or budget.is_late):
                return Page(events, revision)
            if wanted.takes(row):
                events.append(history.event(reader, revision, row))
                budget.spend(len(row.value or b"") + len(row.key or ""))
        return Page(events, last + 1)

    def preceding(self, wanted: Wanted, before: int, since: int, since_us: int, limit: int) -> Page:
        """Events before a revision, newest first, and not before ``since`` and ``since_us``."""
        reader = self._reader
        events: list[tuple[object, ...]] = []
        budget = Budget(limit)
        is_first = True
        for revision, row in reader.journal_rows_before(before):
            if revision < since or row.updated_at < since_us:
                break
            if not is_first and (budget.is_full or budget.is_late):
                return Page(events, revision + 1)
            is_first = False
            if wanted.takes(row):
                events.append(history.event(reader, revision, row))
                budget.spend(len(row.value or b"") + len(row.key or ""))
        return Page(events, None)

    # --- waiting

    def ask(
        self,
        wanted: Wanted,
        since: int | None,
        limit: int,
        wait_ms: int,
        desk: Desk,
        answer: Callable[[Page], None],
    ) -> None:
        """Answer with the events from since on, or if there are none, when there are.

        Raises Compacted where the journal does not reach since, and Busy.
        """
        counters = self._reader.counters()
        if since is None:
            answer(Page([], counters.revision + 1))
            return
        if since > counters.revision + 1:
            raise InvalidRequest(
                f"since is {since:,}, and the last revision is {counters.revision:,}: this is "
                "another store, or one that was restored from a backup"
            )
        first = max(since, 1)
        if first <= counters.compacted:
            raise history.compacted(self._reader, first)
        # Who has seen what was lost would never hear that it is not so any more.
        history.check_had(self._reader, first - 1, known_from=1)
        limit = min(limit, MAX_PAGE_ITEMS)
        page = self.following(wanted, first, limit)
        if page.events or not wait_ms or page.next != counters.revision + 1:
            answer(page)
            return
        if self.count >= _WAITING or len(desk.waiting) >= _WAITING_OF_ONE:
            raise Busy(
                f"{self.count:,} requests wait for events, {len(desk.waiting):,} of them of this "
                f"connection; the limits are {_WAITING:,} and {_WAITING_OF_ONE:,}. Try again"
            )
        waiting = Waiting(self, wanted, page.next, limit, desk, answer)
        waiting.timer = self._loop.call_later(min(wait_ms, MAX_WAIT_MS) / 1_000, waiting.finish)
        self._waiting.setdefault(wanted.asset_id, set()).add(waiting)
        desk.waiting.add(waiting)
        self.count += 1

    def committed(self, first: int, touched: set[int]) -> None:
        """A commit changed these assets, from the revision ``first`` on."""
        self._reported = first
        for asset_id in (*touched, None):
            for waiting in self._waiting.get(asset_id, ()):
                if waiting.first is None:
                    # A snapshot may show a commit before it is reported, so who waits may have
                    # been given it already.
                    waiting.first = max(first, waiting.since)
                    self._woken.append(waiting)
        self._schedule()

    def finish(self, waiting: Waiting) -> None:
        """Answer a request that waits, with what there is."""
        self.forget(waiting)
        waiting.answer(self._page_of(waiting))

    def forget(self, waiting: Waiting) -> None:
        """A request does not wait any more."""
        if waiting.timer is not None:
            waiting.timer.cancel()
            waiting.timer = None
            waiting.desk.waiting.discard(waiting)
            same = self._waiting[waiting.wanted.asset_id]
            same.discard(waiting)
            if not same:
                del self._waiting[waiting.wanted.asset_id]
            self.count -= 1

    def _page_of(self, waiting: Waiting) -> Page:
        """What there is for a request that waits.

        Where that cannot be read, or was forgotten meanwhile, an empty page that leads there: who
        asks on from it hears why.
        """
        first, counters = waiting.first, self._reader.counters()
        if first is None:
            # Not woken by what is reported; but of what is not yet, nobody has said whether it is
            # what was waited for.
            first = max(self._reported, waiting.since)
        if first <= counters.compacted:
            return Page([], first)
        try:
            return self.following(waiting.wanted, first, waiting.limit)
        except Damaged:
            return Page([], first)

    def _schedule(self) -> None:
        if self._woken and not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._look_after)

    def _look_after(self) -> None:
        self._scheduled = False
        turn_ends = time.monotonic() + _TURN_S
        while self._woken and time.monotonic() < turn_ends:
            waiting = self._woken.popleft()
            if waiting.timer is None:
                continue  # it is answered, or gone
            page = self._page_of(waiting)
            if page.events or page.next != self._reader.counters().revision + 1:
                self.forget(waiting)
                waiting.answer(page)
            else:
                waiting.first = None
        self._schedule()

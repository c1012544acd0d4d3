# Made from asynchronous/watching.py by scripts/unasync.py: change that one.
"""Waiting for what others write: a watch, and the wait for one value.

Rule: knows what has been seen and what comes next; how a long poll is made is for calls.py.
"""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any, Final, Self

from assetstore.answers import entry_of, event_of
from assetstore.awaiting import Awaited, check_wait
from assetstore.calls import Calls
from assetstore.entries import Entry
from assetstore.errors import ProtocolError
from assetstore.events import Event
from assetstore.limits import MAX_PAGE_ITEMS
from assetstore.messages import (
    Absent,
    AssetRef,
    EventPage,
    Events,
    Found,
    Get,
    Order,
    WireEntry,
    WireEvent,
)

#: How long the daemon keeps a request for events that finds none. A connection that died without
#: a word is noticed after this and the client's timeout.
_POLL_S: Final = 10.0


class Watch:
    """Events in the order of their revisions, without end and without gaps. Made by ``watch()``.

    While the daemon is away for no longer than the client's timeout, it goes on by itself. Else
    ``NotConnected`` or DeadlineExceeded is raised, and ``Compacted`` if the journal does not reach
    back to what is next: nothing is ever left out in silence. After an error the next event may be
    asked for again, or another watch goes on with ``since=watch.since``.

    One thread or coroutine at a time may ask it. What it has not asked for costs the daemon no
    memory: events are fetched while they are walked, a page of up to 1,000 at a time.
    """

    def __init__(self, calls: Calls, ref: AssetRef | None, prefix: str, since: int | None) -> None:
        self._calls = calls
        self._ref = ref
        self._prefix = prefix
        self._next = since
        self._events: deque[WireEvent] = deque()

    @property
    def since(self) -> int | None:
        """The revision from which on events are still to come; None before it has begun."""
        return self._events[0].revision if self._events else self._next

    def start(self) -> Self:
        """Begin here, where no ``since`` was given: what is committed from now on will be seen.

        The blocking ``watch()`` does so by itself, an asynchronous watch with its first event.
        """
        if self._next is None:
            self._next = position(self._calls)
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Event:
        self.start()
        while not self._events:
            fields = (self._ref, self._prefix, self._next, MAX_PAGE_ITEMS)
            page = self._calls.poll(*fields, wait_s=_POLL_S)
            self._next = _next_of(page)
            self._events.extend(page.events)
        return event_of(self._events.popleft())


def position(calls: Calls) -> int:
    """The revision that the next change will at least have."""
    page: EventPage = calls.call(Events, None, "", None, 1, 0)
    return _next_of(page)


def wait_for(
    calls: Calls,
    ref: AssetRef,
    key: str,
    at_least: Any,
    after: int | None,
    order: Order,
    timeout_s: float | None,
) -> Entry:
    """The first entry of key that is what is waited for."""
    awaited = Awaited(at_least, after, order)
    deadline = monotonic() + check_wait(timeout_s)
    # Before the entry is read, so that no change comes between.
    since = position(calls)
    while True:
        # Again after each poll: a store that is restored or moved comes with one event, and none of
        # its keys.
        answer: Found | Absent = calls.call(Get, ref, key)
        entry = entry_of(key, answer.entry) if type(answer) is Found else None
        if entry is not None and awaited.is_met_by(entry):
            return entry
        wait_s = min(deadline - monotonic(), _POLL_S)
        if wait_s <= 0:
            assert timeout_s is not None
            raise awaited.timed_out(key, timeout_s, entry)
        page = calls.poll(ref, key, since, MAX_PAGE_ITEMS, wait_s=wait_s)
        since = _next_of(page)
        # Every value counts, also one that was overwritten at once.
        for event in page.events:
            if event.key == key and event.value is not None:
                stored = WireEntry(event.revision, event.updated_at, event.updated_by, event.value)
                entry = entry_of(key, stored)
                if awaited.is_met_by(entry):
                    return entry


def _next_of(page: EventPage) -> int:
    if page.next is None:
        raise ProtocolError("a page of events does not say where the next begins")
    return page.next

"""How a watch asks for events, whatever happens on the way, and how one value is waited for.

Both clients must do the same: every test runs with both, against a peer that follows a script.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.peer import Peer, Talk

import assetstore
from assetstore import messages as m
from assetstore.errors import (
    Compacted,
    DeadlineExceeded,
    NotConnected,
    ProtocolError,
    WaitTimeout,
)

PLENTY_S = 20.0
SOON_S = 0.3

WRITER = assetstore.RecordedWriter("worker", None, None, None, None, 0, 0, 1)
ORDERS = m.AssetRef("orders")

Follow = Callable[..., list[Any]]
Wait = Callable[..., Any]


def event(revision: int, key: str = "k", value: bytes | None = b"1") -> m.WireEvent:
    kind = "delete" if value is None else "set"
    return m.WireEvent(revision, 5, kind, "orders", "orders", key, value, WRITER, 0, None)


def follow_blocking(
    path: str, number: int, *, timeout: float = PLENTY_S, **options: Any
) -> list[Any]:
    """So many events, errors among them, and where the watch stands."""
    with assetstore.connect(path, timeout=timeout) as client:
        watch = client.store("orders").watch(**options)
        seen: list[Any] = []
        for _ in range(number):
            try:
                seen.append(next(watch).revision)
            except assetstore.AssetStoreError as exc:
                seen.append(exc)
        return [*seen, watch.since]


def follow_asynchronously(
    path: str, number: int, *, timeout: float = PLENTY_S, **options: Any
) -> list[Any]:
    async def program() -> list[Any]:
        async with assetstore.AsyncClient(path, timeout=timeout) as client:
            watch = client.store("orders").watch(**options)
            seen: list[Any] = []
            for _ in range(number):
                try:
                    seen.append((await anext(watch)).revision)
                except assetstore.AssetStoreError as exc:
                    seen.append(exc)
            return [*seen, watch.since]

    return asyncio.run(program())


def wait_blocking(path: str, **options: Any) -> Any:
    with assetstore.connect(path, timeout=PLENTY_S) as client:
        return client.store("orders").wait_for("k", **options)


def wait_asynchronously(path: str, **options: Any) -> Any:
    async def program() -> Any:
        async with assetstore.AsyncClient(path, timeout=PLENTY_S) as client:
            return await client.store("orders").wait_for("k", **options)

    return asyncio.run(program())


@pytest.fixture(params=[follow_blocking, follow_asynchronously], ids=["blocking", "asynchronous"])
def follow(request: pytest.FixtureRequest) -> Follow:
    made: Follow = request.param
    return made


@pytest.fixture(params=[wait_blocking, wait_asynchronously], ids=["blocking", "asynchronous"])
def wait(request: pytest.FixtureRequest) -> Wait:
    made: Wait = request.param
    return made


class Journal:
    """Serves events from a list, as a daemon would; hangs up before answers as often as told."""

    def __init__(self, *events: m.WireEvent, hang_ups: int = 0) -> None:
        self.asked: list[m.Events] = []
        self._events = events
        self._hang_ups = hang_ups

    def __call__(self, talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            self.asked.append(request)
            if self._hang_ups:
                self._hang_ups -= 1
                return
            talk.say(self.page(request))

    def page(self, request: m.Events) -> m.EventPage:
        if request.since is None:
            return m.EventPage(request.id, [], 5)
        # Two at a time, and more to come.
        found = [each for each in self._events if each.revision >= request.since][:2]
        return m.EventPage(request.id, found, found[-1].revision + 1 if found else request.since)


# --- watch


def test_a_watch_begins_where_it_is_told_and_asks_on_where_each_page_ends(follow: Follow) -> None:
    journal = Journal(event(3), event(4), event(7), event(9))

    with Peer(journal) as peer:
        assert follow(peer.path, 4, since=3, prefix="k") == [3, 4, 7, 9, 10]

    assert [each.since for each in journal.asked] == [3, 5]
    assert {each.prefix for each in journal.asked} == {"k"}
    assert {each.asset for each in journal.asked} == {ORDERS}
    # Kept there for less than a minute, and answered within the client's timeout after that.
    assert {each.wait_ms for each in journal.asked} == {10_000}
    assert all(20_000 < (each.timeout_ms or 0) <= 30_000 for each in journal.asked)


def test_a_watch_without_since_begins_now(follow: Follow) -> None:
    journal = Journal(event(3), event(5), event(6))

    with Peer(journal) as peer:
        assert follow(peer.path, 2) == [5, 6, 7]

    assert [each.since for each in journal.asked] == [None, 5]
    assert journal.asked[0].wait_ms == 0


def test_the_blocking_watch_begins_with_its_call_and_not_with_its_first_event() -> None:
    journal = Journal(event(5))
    with Peer(journal) as peer, assetstore.connect(peer.path) as client:
        watch = client.watch()

        assert watch.since == 5
        assert [each.since for each in journal.asked] == [None]
        assert next(watch).revision == 5


def test_the_asynchronous_one_begins_with_its_first_event_or_where_it_is_started() -> None:
    journal = Journal(event(5))

    async def program(path: str) -> None:
        async with assetstore.AsyncClient(path) as client:
            lazy = client.watch()
            assert lazy.since is None
            assert journal.asked == []

            watch = await client.watch().start()
            assert watch.since == 5
            assert (await anext(watch)).revision == 5
            assert (await anext(aiter(lazy))).revision == 5

    with Peer(journal) as peer:
        asyncio.run(program(peer.path))


def test_where_a_watch_stands_is_after_the_last_event_that_was_given_out(follow: Follow) -> None:
    with Peer(Journal(event(3), event(4))) as peer:
        assert follow(peer.path, 1, since=1) == [3, 4]


def test_pages_without_events_are_asked_on_and_never_shown(follow: Follow) -> None:
    asked: list[int | None] = []

    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            asked.append(request.since)
            # The daemon has searched so far, and found nothing that is asked for.
            found = [event(40)] if len(asked) == 4 else []
            talk.say(m.EventPage(request.id, found, 10 * len(asked)))

    with Peer(script) as peer:
        assert follow(peer.path, 1, since=1) == [40, 40]

    assert asked == [1, 10, 20, 30]


def test_a_lost_connection_is_made_anew_and_nothing_is_missed_or_seen_twice(
    follow: Follow,
) -> None:
    journal = Journal(event(3), event(4), event(5), event(6), hang_ups=3)

    with Peer(journal) as peer:
        assert follow(peer.path, 4, since=3) == [3, 4, 5, 6, 7]

    assert [each.since for each in journal.asked] == [3, 3, 3, 3, 5]
    # Whether the daemon is back is asked without a wait.
    assert [each.wait_ms for each in journal.asked] == [10_000, 0, 0, 0, 10_000]


def test_a_goodbye_is_no_end(follow: Follow) -> None:
    def goodbye(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        talk.say(m.Failed(0, "busy", "the daemon is stopping", None))

    with Peer(goodbye, Journal(event(3))) as peer:
        assert follow(peer.path, 1, since=3) == [3, 4]


def test_too_many_that_wait_already_is_no_end(follow: Follow) -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            if request.wait_ms:
                talk.say(m.Failed(request.id, "busy", "1,000 requests wait for events", None))
            else:
                talk.say(m.EventPage(request.id, [event(3)], 4))

    with Peer(script) as peer:
        assert follow(peer.path, 1, since=3) == [3, 4]


def test_without_a_daemon_it_ends_after_the_clients_timeout_and_may_be_asked_again(
    follow: Follow,
) -> None:
    def hang_up(talk: Talk) -> None:
        talk.welcome()
        talk.hear()

    with Peer(hang_up) as peer:
        began = time.monotonic()
        first, second, since = follow(peer.path, 2, since=3, timeout=SOON_S)

    assert time.monotonic() - began >= 2 * SOON_S * 0.9
    assert {type(first), type(second)} <= {NotConnected, DeadlineExceeded}
    assert since == 3


def test_compacted_is_raised_with_the_revision_to_go_on_with(follow: Follow) -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            talk.say(m.Failed(request.id, "compacted", "the journal begins at 70", {"oldest": 70}))

    with Peer(script) as peer:
        error, since = follow(peer.path, 1, since=3)

    assert isinstance(error, Compacted)
    assert error.detail == {"oldest": 70}
    assert since == 3


def test_a_page_that_does_not_say_where_the_next_begins_is_against_the_protocol(
    follow: Follow,
) -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.say(m.EventPage(talk.hear().id, [], None))
        talk.hear_bytes()

    with Peer(script) as peer:
        [error, _] = follow(peer.path, 1, since=3)

    assert isinstance(error, ProtocolError)


def test_threads_that_watch_leave_the_connections_of_the_others_alone() -> None:
    let_go = threading.Event()
    waiting = threading.Semaphore(0)

    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            if isinstance(request, m.Get):
                talk.say(m.Absent(request.id))
            else:
                waiting.release()
                assert let_go.wait(PLENTY_S)
                talk.say(m.EventPage(request.id, [event(3)], 4))

    with Peer(script) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")
        watches = [store.watch(since=3) for _ in range(12)]
        threads = [threading.Thread(target=next, args=(watch,)) for watch in watches]
        for thread in threads:
            thread.start()
        for _ in watches:
            assert waiting.acquire(timeout=PLENTY_S)

        assert store.get("k") is None

        let_go.set()
        for thread in threads:
            thread.join(PLENTY_S)
        assert peer.connections == 13


def test_a_closed_client_ends_its_watches() -> None:
    with Peer(Journal(event(5))) as peer:
        with assetstore.connect(peer.path) as client:
            watch = client.watch()

        with pytest.raises(NotConnected, match="this client is closed"):
            next(watch)


# --- wait_for


class Store:
    """Has one value, or one after the other, and events; remembers what it was asked."""

    def __init__(self, value: bytes | None, *pages: list[m.WireEvent], then: Any = None) -> None:
        self.asked: list[Any] = []
        self._values = [value, value if then is None else then]
        self._pages = list(pages)

    def __call__(self, talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            self.asked.append(request)
            if isinstance(request, m.Get):
                value = self._values[self.kinds().count("Get") > 1]
                entry = None if value is None else m.WireEntry(4, 5, WRITER, value)
                talk.say(m.Found(request.id, entry) if entry else m.Absent(request.id))
            elif request.since is None:
                talk.say(m.EventPage(request.id, [], 5))
            else:
                events = self._pages.pop(0) if self._pages else []
                last = events[-1].revision + 1 if events else request.since
                talk.say(m.EventPage(request.id, events, last))

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.asked]


def test_what_is_there_already_is_returned_at_once(wait: Wait) -> None:
    store = Store(b"7")

    with Peer(store) as peer:
        entry = wait(peer.path, at_least=7, timeout=PLENTY_S)

    assert (entry.key, entry.value, entry.revision) == ("k", 7, 4)
    assert store.kinds() == ["Events", "Get"]


def test_the_place_is_taken_before_the_entry_is_read_so_that_nothing_is_missed(
    wait: Wait,
) -> None:
    store = Store(b"6", [event(5, value=b"7")])

    with Peer(store) as peer:
        entry = wait(peer.path, at_least=7)

    assert (entry.value, entry.revision) == (7, 5)
    assert store.kinds() == ["Events", "Get", "Events"]
    position, _, poll = store.asked
    assert (position.since, position.wait_ms) == (None, 0)
    assert (poll.since, poll.prefix, poll.asset, poll.wait_ms) == (5, "k", ORDERS, 10_000)


def test_a_value_that_was_overwritten_at_once_counts_too(wait: Wait) -> None:
    store = Store(None, [event(5, value=b"9"), event(6, value=b"1"), event(7, value=None)])

    with Peer(store) as peer:
        assert wait(peer.path, at_least=7).revision == 5


def test_other_keys_that_begin_with_this_one_do_not_count(wait: Wait) -> None:
    store = Store(None, [event(5, key="kk", value=b"9")], [event(6, value=b"8")])

    with Peer(store) as peer:
        assert wait(peer.path, at_least=7).revision == 6


def test_a_deleted_key_is_no_value_that_comes_after(wait: Wait) -> None:
    store = Store(b"1", [event(5, value=None)], [event(6, value=b"1")])

    with Peer(store) as peer:
        assert wait(peer.path, after=4).revision == 6


def test_a_store_that_was_given_back_is_seen_though_no_event_names_the_key(wait: Wait) -> None:
    store = Store(None, then=b"7")

    with Peer(store) as peer:
        assert wait(peer.path, at_least=7).revision == 4

    assert store.kinds() == ["Events", "Get", "Events", "Get"]


def test_after_its_timeout_the_error_says_what_was_there(wait: Wait) -> None:
    with (
        Peer(Store(b"6")) as peer,
        pytest.raises(WaitTimeout, match="at least 7; it stands at revision 4"),
    ):
        wait(peer.path, at_least=7, timeout=0)


def test_it_waits_no_longer_than_its_timeout(wait: Wait) -> None:
    store = Store(None, *[[]] * 10**5)

    with Peer(store) as peer:
        began = time.monotonic()
        with pytest.raises(WaitTimeout, match="it is absent"):
            wait(peer.path, after=3, timeout=SOON_S)

    assert SOON_S <= time.monotonic() - began < SOON_S + 5.0
    assert all(each.wait_ms <= SOON_S * 1000 for each in store.asked if type(each) is m.Events)

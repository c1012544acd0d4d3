"""The real daemon keeps to docs/protocol.md in what it says of the journal.

Rule: messages on raw connections; what the Python client makes of them is tested elsewhere.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.daemon import Daemon
from tests.support.service import Service, serving
from tests.support.waiting import wait_until
from tests.support.wire import Wire, change, refused, revision, set_key

from assetstore import messages as m
from assetstore.requests import new_request_id

ORDERS = m.AssetRef(name="orders")
CUSTOMERS = m.AssetRef(name="customers")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service:
        yield service


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    with Wire(service.socket).greet() as wire:
        wire.ask(change(1, m.ClearStore(ORDERS), m.ClearStore(CUSTOMERS)))
        yield wire


@pytest.fixture
def other(service: Service) -> Iterator[Wire]:
    with Wire(service.socket).greet() as wire:
        yield wire


def events(wire: Wire, since: int | None, **fields: Any) -> m.EventPage:
    """What there is from since on; a busy machine may say it in several pages."""
    asked = {"asset": None, "prefix": "", "wait_ms": 0} | fields
    limit = asked.pop("limit", 1_000)
    found: list[m.WireEvent] = []
    while True:
        page = wire.ask(m.Events(1, None, since=since, limit=limit - len(found), **asked))
        assert isinstance(page, m.EventPage), page
        found += page.events
        if since is None or page.next == since or len(found) == limit:
            return m.EventPage(1, found, page.next)
        since = page.next


def told(page: m.EventPage) -> list[tuple[str, str | None]]:
    return [(event.kind, event.key) for event in page.events]


# --- events


def test_a_follower_is_told_each_event_once_and_in_order(wire: Wire, other: Wire) -> None:
    start = events(other, None)
    assert start.events == []
    for number in range(20):
        wire.ask(set_key(number, ORDERS, f"k{number}", b"1"))
    wire.ask(change(20, m.ClearStore(ORDERS)))

    seen: list[m.WireEvent] = []
    since = start.next
    while not (seen and seen[-1].kind == "clear"):
        page = events(other, since, limit=7)
        assert len(page.events) <= 7
        seen += page.events
        since = page.next

    assert [event.key for event in seen] == [f"k{number}" for number in range(20)] + [None]
    assert [event.revision for event in seen] == sorted({event.revision for event in seen})
    assert all((event.name, event.uri) == ("orders", "s3://data/orders/") for event in seen)
    assert since == seen[-1].revision + 1


def test_since_is_inclusive_and_may_not_lie_in_the_future(wire: Wire) -> None:
    last = revision(wire.ask(set_key(1, ORDERS, "k", b"1")))

    assert [event.revision for event in events(wire, last).events] == [last]
    assert events(wire, last + 1) == m.EventPage(1, [], last + 1)
    for since in (last + 2, 2**63 - 1):
        asked = m.Events(1, None, None, "", since, 10, 0)
        refused(wire.ask(asked), "invalid_request")


def test_what_was_done_to_the_asset_is_told_whatever_the_prefix(wire: Wire) -> None:
    since = events(wire, None).next
    operations = [m.SetKey(ORDERS, "a/1", b"1", None), m.SetKey(ORDERS, "b", b"1", None)]
    wire.ask(change(1, *operations, m.SetKey(CUSTOMERS, "a/2", b"1", None), m.ClearStore(ORDERS)))

    assert told(events(wire, since, asset=ORDERS)) == [
        ("set", "a/1"),
        ("set", "b"),
        ("clear", None),
    ]
    assert told(events(wire, since, asset=ORDERS, prefix="a/")) == [("set", "a/1"), ("clear", None)]
    assert told(events(wire, since, prefix="a/")) == [
        ("set", "a/1"),
        ("set", "a/2"),
        ("clear", None),
    ]
    assert len(events(wire, since).events) == 4


def test_a_request_that_waits_is_answered_by_the_next_event_and_holds_up_nobody(
    wire: Wire, other: Wire
) -> None:
    since = events(other, None).next
    other.send_messages(m.Events(1, 1, ORDERS, "k", since, 10, 60_000))
    # The answers of the other requests on this connection come first.
    assert other.ask(m.Get(2, None, ORDERS, "none")) == m.Absent(2)
    wire.ask(set_key(1, ORDERS, "other", b"1"))
    assert other.ask(m.Get(3, None, ORDERS, "none")) == m.Absent(3)

    last = revision(wire.ask(set_key(2, ORDERS, "k", b"1")))

    page = other.answer()
    assert isinstance(page, m.EventPage)
    assert (page.id, told(page), page.next) == (1, [("set", "k")], last + 1)


def test_a_wait_ends_with_a_page_without_events(wire: Wire) -> None:
    since = events(wire, None).next
    begun = time.monotonic()

    page = events(wire, since, wait_ms=50)

    assert page == m.EventPage(1, [], since)
    assert time.monotonic() - begun >= 0.050


def test_a_daemon_that_stops_says_goodbye_to_those_who_wait(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon().start()
    with Wire(daemon.socket).greet() as wire:
        since = events(wire, None).next
        wire.send_messages(m.Events(1, None, None, "", since, 10, 60_000), m.Status(2, None))
        assert isinstance(wire.answer(), m.StatusReport)
        daemon.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]

        *pages, goodbye = wire.end()

    assert isinstance(goodbye, m.Failed)
    assert (goodbye.id, goodbye.code) == (0, "busy")
    assert all(isinstance(page, m.EventPage) and page.events == [] for page in pages)
    assert daemon.wait() == 0


def test_the_log_is_read_backwards_page_by_page(wire: Wire) -> None:
    start = events(wire, None).next
    assert start is not None
    for number in range(10):
        wire.ask(set_key(number, ORDERS, f"k{number}", b"1"))

    seen: list[m.WireEvent] = []
    before: int | None = None
    while True:
        page = wire.ask(m.Log(1, None, ORDERS, "k", before, start, None, 3))
        assert isinstance(page, m.EventPage)
        seen += page.events
        before = page.next
        if before is None:
            break

    assert [event.key for event in seen] == [f"k{number}" for number in reversed(range(10))]


def test_every_kind_of_event_says_what_the_document_says(wire: Wire) -> None:
    wire.ask(set_key(1, ORDERS, "k", b"1"))
    since = events(wire, None).next
    assert since is not None
    wire.ask(change(2, m.SetKey(ORDERS, "l", b"1", None), m.ClearStore(ORDERS)))
    trash = wire.ask(m.ListTrash(3, None, 0, 1_000))
    assert isinstance(trash, m.TrashPage)
    wire.ask(change(4, m.SetKey(ORDERS, "m", b"1", None), m.RestoreStore(trash.stores[-1].id)))
    wire.ask(change(5, m.MoveStore(ORDERS, CUSTOMERS, False), m.ClearStore(CUSTOMERS)))
    trash = wire.ask(m.ListTrash(6, None, 0, 1_000))
    assert isinstance(trash, m.TrashPage)
    wire.ask(change(7, m.PurgeStores([store.id for store in trash.stores[-2:]])))

    found = events(wire, since).events

    orders = {"name": "orders", "uri": "s3://data/orders/"}
    customers = {"name": "customers", "uri": "customers"}
    assert [
        (event.kind, event.name, json.loads(event.value or b""))
        for event in found
        if event.key is None
    ] == [
        ("clear", "orders", {"entries": 2}),
        ("restored", "orders", {"entries": 2}),
        ("moved", "orders", {"entries": 2, "to": customers}),
        ("moved", "customers", {"entries": 2, "from": orders}),
        ("clear", "customers", {"entries": 2}),
        ("dropped", "orders", {"entries": 1, "reason": "replaced"}),
        ("dropped", "customers", {"entries": 2, "reason": "cleared"}),
    ]
    first = events(wire, 1, limit=3)
    assert [(event.kind, event.name) for event in first.events] == [
        ("activated", "customers"), ("activated", "orders"), ("manifest", None)
    ]  # fmt: skip
    assert [json.loads(event.value or b"").keys() for event in first.events] == [
        {"group"}, {"group"}, {"digest", "path", "assets"}
    ]  # fmt: skip


def test_a_dry_run_shows_what_a_rewind_then_does_if_nothing_else_happened(wire: Wire) -> None:
    first = revision(wire.ask(set_key(1, ORDERS, "a", b"1")))
    wire.ask(change(2, m.SetKey(ORDERS, "a", b"2", None), m.SetKey(ORDERS, "b", b"1", None)))

    def rewind(dry_run: bool, expected: int | None) -> m.AnyAnswer:
        fields = (ORDERS, None, first, None, expected, dry_run)
        return wire.ask(m.Rewind(3, None, new_request_id(), 0, *fields))

    shown = rewind(True, None)
    assert isinstance(shown, m.Rewound)
    assert [
        (each.key, each.now and each.now.value, each.then and each.then.value)
        for each in shown.differences
    ] == [("a", b"2", b"1"), ("b", b"1", None)]
    wire.ask(set_key(4, CUSTOMERS, "k", b"1"))

    done = rewind(False, shown.revision)

    assert isinstance(done, m.Rewound)
    assert done.differences == shown.differences
    assert (wire.value(ORDERS, "a"), wire.value(ORDERS, "b")) == (b"1", None)
    assert rewind(False, None) == m.Rewound(3, None, [])
    refused(rewind(False, first), "conflict")


def test_the_past_of_a_key_is_told_newest_first_and_served(wire: Wire) -> None:
    start = events(wire, None).next
    assert start is not None
    first = revision(wire.ask(set_key(1, ORDERS, "k", b"1")))
    deleted = revision(wire.ask(change(2, m.DeleteKey(ORDERS, "k", None))))
    last = revision(wire.ask(change(3, m.AdvanceKey(ORDERS, "k", b"3", "value"))))

    page = wire.ask(m.History(4, None, ORDERS, "k", None, 3))
    assert isinstance(page, m.EventPage)
    assert [(each.kind, each.revision, each.value, each.previous) for each in page.events] == [
        ("advance", last, b"3", deleted),
        ("delete", deleted, None, first),
        ("set", first, b"1", 0),
    ]
    at = [wire.ask(m.GetAt(5, None, ORDERS, "k", each, None)) for each in (first, deleted, last)]
    assert [isinstance(each, m.Found) and each.entry.value for each in at] == [b"1", False, b"3"]
    assert wire.ask(m.GetAt(6, None, ORDERS, "k", start - 1, None)) == m.Absent(6)
    for point in ((None, None), (first, 1)):
        refused(wire.ask(m.GetAt(7, None, ORDERS, "k", *point)), "invalid_request")


def test_what_the_journal_no_longer_holds_is_compacted(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(journal_max_bytes=1 << 20).start()
    with Wire(daemon.socket).greet() as wire:
        text = b'"' + b"x" * 100_000 + b'"'
        for number in range(40):
            wire.ask(set_key(1, ORDERS, f"k{number}", text))
            wire.ask(change(2, m.DeleteKey(ORDERS, f"k{number}", None)))
        wait_until(lambda: oldest(wire) > 1, 30, "the journal to be trimmed")

        # It may be trimmed on while this looks at it.
        refusals: list[m.Failed] = []
        while not refusals or {each.detail["oldest"] for each in refusals} != {oldest(wire)}:  # type: ignore[index]
            refusals = [
                refused(wire.ask(asked), "compacted")
                for asked in (
                    m.Events(3, None, None, "", 1, 10, 0),
                    m.GetAt(3, None, ORDERS, "k0", 4, None),
                    m.Rewind(3, None, new_request_id(), 0, ORDERS, None, 4, None, None, True),
                )
            ]
        first = events(wire, oldest(wire), limit=1).events
        assert [event.revision for event in first] == [oldest(wire)]


def oldest(wire: Wire) -> int:
    """From which revision on the journal is whole."""
    answer = wire.ask(m.Events(1, None, None, "", 1, 1, 0))
    return refused(answer, "compacted").detail["oldest"] if isinstance(answer, m.Failed) else 1  # type: ignore[index]

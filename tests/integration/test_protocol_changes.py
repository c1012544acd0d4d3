"""The real daemon keeps to docs/protocol.md in what it says of changes and of their repeats.

Rule: messages on raw connections; what the Python client makes of them is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.support.daemon import Daemon
from tests.support.service import Service, serving
from tests.support.wire import Wire, change, outcome, refused, revision, set_key

from assetstore import messages as m
from assetstore.requests import new_request_id

ORDERS = m.AssetRef(name="orders")
CUSTOMERS = m.AssetRef(name="customers")

ADD_ONE = m.IncrementKey(ORDERS, "n", b"1", b"0")
HOUR_MS = 3_600_000


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


# --- changes


def test_operations_see_what_those_before_them_did_and_get_revisions_without_a_gap(
    wire: Wire,
) -> None:
    answer = wire.ask(
        change(
            1,
            m.SetKey(ORDERS, "n", b"40", 0),
            ADD_ONE,
            m.DeleteKey(CUSTOMERS, "none", None),
            m.SetKey(CUSTOMERS, "n", b'"x"', None),
            ADD_ONE,
        )
    )

    assert isinstance(answer, m.Changed)
    revisions = [each.revision for each in answer.outcomes]
    first = revisions[0]
    assert first is not None
    assert revisions == [first, first + 1, None, first + 2, first + 3]
    assert [each.count for each in answer.outcomes] == [1, 1, 0, 1, 1]
    assert [each.entry and each.entry.value for each in answer.outcomes] == [
        None, b"41", None, None, b"42"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (m.SetKey(CUSTOMERS, "k", b"1", 1), "conflict"),
        (m.CheckKey(ORDERS, "k", 0), "conflict"),
        (m.DeleteKey(CUSTOMERS, "none", 7), "conflict"),
        (m.SetKey(m.AssetRef(name="unknown"), "k", b"1", None), "unknown_asset"),
        (m.SetKey(ORDERS, "", b"1", None), "invalid_request"),
        (m.SetKey(ORDERS, "k", b"nul", None), "invalid_request"),
        (m.AdvanceKey(ORDERS, "k", b'"x"', "value"), "invalid_request"),
        (m.AdvanceKey(ORDERS, "new", b'"2026-01-31T00:00:00"', "time"), "invalid_request"),
        (m.IncrementKey(ORDERS, "s", b"1", b"0"), "invalid_request"),
        (m.IncrementKey(ORDERS, "new", b'"1"', b"0"), "invalid_request"),
        (m.MergeKey(ORDERS, "k", b"{}", [], "replace", "value"), "invalid_request"),
        (m.MergeKey(ORDERS, "new", b"[]", [], "replace", "value"), "invalid_request"),
        (m.RestoreStore(2**63 - 1), "invalid_request"),
        (m.MoveStore(CUSTOMERS, ORDERS, False), "conflict"),
        (m.MoveStore(ORDERS, ORDERS, True), "invalid_request"),
        (m.PurgeStores([0] * 201), "invalid_request"),
    ],
)
def test_one_operation_that_is_refused_refuses_them_all(
    wire: Wire, bad: m.AnyOperation, code: str
) -> None:
    set_up = [m.SetKey(ORDERS, "k", b"1", None), m.SetKey(ORDERS, "s", b'"x"', None)]
    last = wire.ask(change(1, *set_up, m.SetKey(CUSTOMERS, "c", b"1", None)))
    assert isinstance(last, m.Changed)

    before, after = m.SetKey(ORDERS, "before", b"1", None), m.SetKey(ORDERS, "after", b"1", None)
    refused(wire.ask(change(2, before, bad, after)), code)

    assert wire.keys(ORDERS) == ["k", "s"]
    assert wire.keys(CUSTOMERS) == ["c"]
    assert revision(wire.ask(set_key(5, ORDERS, "k", b"2"))) == last.outcomes[-1].revision + 1  # type: ignore[operator]


def test_a_conflict_tells_which_operation_and_what_stands_there(wire: Wire) -> None:
    wire.ask(set_key(1, ORDERS, "k", b"1"))
    found = wire.ask(m.Get(2, None, ORDERS, "k"))
    assert isinstance(found, m.Found)

    failed = refused(wire.ask(change(3, ADD_ONE, m.SetKey(ORDERS, "k", b"2", 0))), "conflict")
    absent = refused(wire.ask(change(4, m.CheckKey(ORDERS, "none", 7))), "conflict")

    assert failed.detail is not None
    assert failed.detail == {"operation": 1, "key": "k", "entry": failed.detail["entry"]}
    assert msgspec.convert(failed.detail["entry"], m.WireEntry) == found.entry
    assert absent.detail == {"operation": 0, "key": "none", "entry": None}


def test_a_change_has_at_most_1000_operations_and_may_have_none(wire: Wire) -> None:
    many = wire.ask(change(1, *[ADD_ONE] * 1_000))

    assert isinstance(many, m.Changed)
    assert wire.value(ORDERS, "n") == b"1000"
    refused(wire.ask(change(2, *[ADD_ONE] * 1_001)), "invalid_request")
    assert wire.value(ORDERS, "n") == b"1000"
    assert wire.ask(change(3)) == m.Changed(3, [])


@pytest.mark.parametrize("operation", ["advance", "increment", "merge"])
def test_what_the_daemon_computes_with_is_64_kib_at_most(wire: Wire, operation: str) -> None:
    longest, text = 64 * 1024, {"advance": b'"%s"', "increment": b"%s", "merge": b'{"a":"%s"}'}
    room = longest - len(text[operation] % b"")

    def using(value: bytes, key: str) -> m.AnyOperation:
        if operation == "advance":
            return m.AdvanceKey(ORDERS, key, value, "value")
        if operation == "increment":
            return m.IncrementKey(ORDERS, key, value, value)
        return m.MergeKey(ORDERS, key, value, [], "replace", "value")

    shorter, as_long, longer = (text[operation] % (b"1" * size) for size in (1, room, room + 1))
    wire.ask(change(1, m.SetKey(ORDERS, "a", as_long, None), m.SetKey(ORDERS, "b", longer, None)))

    assert isinstance(wire.ask(change(2, using(shorter, "a"))), m.Changed)
    assert isinstance(wire.ask(change(3, using(as_long, "new"))), m.Changed)
    refused(wire.ask(change(4, using(shorter, "b"))), "invalid_request")
    refused(wire.ask(change(5, using(longer, "a"))), "invalid_request")


def test_get_many_answers_in_the_order_asked_up_to_1000_keys(wire: Wire) -> None:
    first = revision(wire.ask(set_key(1, ORDERS, "a", b"1")))
    keys = [(CUSTOMERS, "a"), (ORDERS, "a"), (ORDERS, "b")]

    found = wire.ask(m.GetMany(2, None, keys))

    assert isinstance(found, m.FoundMany)
    assert [each and each.revision for each in found.entries] == [None, first, None]
    assert wire.ask(m.GetMany(3, None, [])) == m.FoundMany(3, [])
    assert isinstance(wire.ask(m.GetMany(4, None, [(ORDERS, "a")] * 1_000)), m.FoundMany)
    refused(wire.ask(m.GetMany(5, None, [(ORDERS, "a")] * 1_001)), "invalid_request")
    unknown = [*keys, (m.AssetRef(name="unknown"), "a")]
    refused(wire.ask(m.GetMany(6, None, unknown)), "unknown_asset")


# --- exactly once


def test_a_repeat_is_answered_as_the_first_time_whoever_changed_the_key_since(
    wire: Wire, other: Wire
) -> None:
    request = new_request_id()
    operations: list[m.AnyOperation] = [ADD_ONE, m.SetKey(ORDERS, "k", b"1", None)]
    first = wire.ask(m.Change(1, None, request, 0, operations))
    wire.ask(change(2, ADD_ONE))

    again = [
        each.ask(m.Change(1, 5_000, request, age_ms, operations))
        for each in (wire, other)
        for age_ms in (1, 1_000)
    ]

    assert isinstance(first, m.Changed)
    assert first.outcomes[0].entry is not None
    assert again == [first] * 4
    assert wire.value(ORDERS, "n") == b"2"


def test_repeats_that_come_while_the_first_is_under_way_are_carried_out_once(
    wire: Wire, other: Wire
) -> None:
    requests = [new_request_id() for _ in range(100)]
    for at in range(100):
        wire.send_messages(m.Change(at, None, requests[at], 0, [ADD_ONE]))
        other.send_messages(m.Change(at, None, requests[at], 1, [ADD_ONE]))

    firsts = {answer.id: answer for answer in (wire.answer() for _ in requests)}
    seconds = {answer.id: answer for answer in (other.answer() for _ in requests)}

    assert firsts == seconds
    assert wire.value(ORDERS, "n") == b"100"


def test_a_first_that_arrives_after_its_repeat_is_carried_out_no_more(wire: Wire) -> None:
    request = new_request_id()
    again = wire.ask(m.Change(1, None, request, 1, [ADD_ONE]))

    assert wire.ask(m.Change(1, None, request, 0, [ADD_ONE])) == again
    assert wire.value(ORDERS, "n") == b"1"


def test_a_repeat_is_known_after_the_daemon_was_killed(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon().start()
    request = new_request_id()
    with Wire(daemon.socket).greet() as wire:
        first = wire.ask(m.Change(1, None, request, 0, [ADD_ONE]))
    daemon.kill()
    daemon.start()

    with Wire(daemon.socket).greet() as wire:
        assert wire.ask(m.Change(1, None, request, 30_000, [ADD_ONE])) == first
        assert wire.value(ORDERS, "n") == b"1"


def test_a_repeat_is_answered_although_the_asset_has_left_the_manifest_since(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.set_manifest("orders", "customers", "others")
    daemon.start()
    request = new_request_id()
    with Wire(daemon.socket).greet() as wire:
        first = wire.ask(m.Change(1, None, request, 0, [ADD_ONE]))
        daemon.set_manifest("customers", "others")
        assert isinstance(wire.ask(m.ReloadManifest(2, None)), m.StatusReport)
        refused(wire.ask(m.Get(3, None, ORDERS, "n")), "inactive_asset")

        assert wire.ask(m.Change(1, None, request, 1_000, [ADD_ONE])) == first


def test_a_repeat_of_what_changed_nothing_is_carried_out(wire: Wire) -> None:
    request = new_request_id()
    removal: list[m.AnyOperation] = [m.DeleteKey(ORDERS, "k", None)]
    assert outcome(wire.ask(m.Change(1, None, request, 0, removal))).count == 0
    wire.ask(set_key(2, ORDERS, "k", b"1"))

    assert outcome(wire.ask(m.Change(3, None, request, 1, removal))).count == 1
    assert outcome(wire.ask(m.Change(4, None, request, 2, removal))).count == 1
    assert wire.value(ORDERS, "k") is None


def test_a_repeat_of_what_never_arrived_is_carried_out(wire: Wire) -> None:
    request = new_request_id()

    assert outcome(wire.ask(m.Change(1, None, request, 1, [ADD_ONE]))).count == 1
    assert outcome(wire.ask(m.Change(2, None, request, 2, [ADD_ONE]))).count == 1
    assert wire.value(ORDERS, "n") == b"1"


@pytest.mark.parametrize("age_ms", [HOUR_MS + 1, 2**63 - 1])
def test_a_repeat_from_before_the_daemons_memory_is_forgotten(wire: Wire, age_ms: int) -> None:
    answer = wire.ask(m.Change(1, None, new_request_id(), age_ms, [ADD_ONE]))

    refused(answer, "forgotten")
    assert wire.value(ORDERS, "n") is None


def test_a_repeated_rewind_writes_once(wire: Wire) -> None:
    first = revision(wire.ask(set_key(1, ORDERS, "k", b"1")))
    wire.ask(set_key(2, ORDERS, "k", b"2"))
    request = new_request_id()
    fields = (ORDERS, "k", first, None, None, False)
    rewound = wire.ask(m.Rewind(3, None, request, 0, *fields))
    wire.ask(set_key(4, ORDERS, "k", b"3"))

    again = wire.ask(m.Rewind(5, None, request, 1, *fields))

    assert isinstance(rewound, m.Rewound)
    assert isinstance(again, m.Rewound)
    assert again.revision == rewound.revision
    assert wire.value(ORDERS, "k") == b"3"

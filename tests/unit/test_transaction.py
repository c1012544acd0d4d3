"""What a transaction collects, when it is sent, and what is left of it. For both clients."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.peer import Peer, Talk, answer

import assetstore
from assetstore import messages as m
from assetstore.entries import Advance
from assetstore.errors import Conflict, InvalidRequest, OutcomeUnknown

PLENTY_S = 20.0

Body = Callable[[Any], None]
Run = Callable[..., Any]


def run_blocking(path: str, body: Body) -> Any:
    with assetstore.connect(path, timeout=PLENTY_S) as client, client.transaction() as tx:
        body(tx)
    return tx


def run_asynchronously(path: str, body: Body) -> Any:
    async def program() -> Any:
        async with (
            assetstore.AsyncClient(path, timeout=PLENTY_S) as client,
            client.transaction() as tx,
        ):
            body(tx)
        return tx

    return asyncio.run(program())


@pytest.fixture(params=[run_blocking, run_asynchronously], ids=["blocking", "asynchronous"])
def run(request: pytest.FixtureRequest) -> Run:
    """Runs the body of one transaction, and returns it afterwards."""
    made: Run = request.param
    return made


class Listener:
    """Answers, and remembers what it has heard."""

    def __init__(self, reply: Callable[[Any], m.Message] = answer) -> None:
        self.heard: list[Any] = []
        self._reply = reply

    def __call__(self, talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            self.heard.append(request)
            talk.say(self._reply(request))


class Stop(Exception):
    pass


ORDERS = m.AssetRef("orders")
CUSTOMERS = m.AssetRef("customers", "s3://data/customers/")


def collect_all(tx: Any) -> None:
    orders = tx.store("orders")
    customers = tx.store(assetstore.Asset("customers", uri="s3://data/customers/"))
    orders.set("a", 1)
    orders.set("a", 2, if_revision=7)
    orders.create("b", "new")
    customers.delete("c", if_revision=9)
    customers.clear()
    orders.advance("d", "2026-01-31T00:00:00Z", order="time")
    orders.increment("e", 2, default=5)
    orders.merge("f", {"x": 1}, remove=["y"], how="max")
    customers.check("g", 0)


def test_everything_is_sent_as_one_message_in_its_order_when_the_block_ends(run: Run) -> None:
    listener = Listener()

    def body(tx: Any) -> None:
        collect_all(tx)
        assert listener.heard == []

    with Peer(listener) as peer:
        run(peer.path, body)

    [change] = listener.heard
    assert change.age_ms == 0
    assert change.operations == [
        m.SetKey(ORDERS, "a", b"1", None),
        m.SetKey(ORDERS, "a", b"2", 7),
        m.SetKey(ORDERS, "b", b'"new"', 0),
        m.DeleteKey(CUSTOMERS, "c", 9),
        m.ClearStore(CUSTOMERS),
        m.AdvanceKey(ORDERS, "d", b'"2026-01-31T00:00:00Z"', "time"),
        m.IncrementKey(ORDERS, "e", b"2", b"5"),
        m.MergeKey(ORDERS, "f", b'{"x":1}', [["y"]], "max", "value"),
        m.CheckKey(CUSTOMERS, "g", 0),
    ]


def test_results_are_there_when_the_block_has_ended_and_not_before(run: Run) -> None:
    writer = assetstore.RecordedWriter("worker", None, None, None, None, 1, 2, 3)
    outcomes = [
        m.Outcome(8, 1, None, None),
        m.Outcome(None, 0, None, None),
        m.Outcome(None, 0, m.WireEntry(5, 5, writer, b"9"), None),
        m.Outcome(9, 1, m.WireEntry(9, 5, writer, b"4"), None),
        m.Outcome(None, 0, None, None),
    ]
    pending: list[assetstore.Pending[Any]] = []

    def body(tx: Any) -> None:
        orders = tx.store("orders")
        pending.append(orders.set("a", 1))
        pending.append(orders.delete("b"))
        pending.append(orders.advance("c", 3))
        pending.append(orders.increment("d"))
        pending.append(orders.check("e", 0))
        assert tx.revision is None
        with pytest.raises(RuntimeError, match="when its block has ended"):
            pending[0].result()

    with Peer(Listener(lambda request: m.Changed(request.id, outcomes))) as peer:
        tx = run(peer.path, body)

    results = [each.result() for each in pending]
    assert results[:2] == [8, False]
    assert isinstance(results[2], Advance)
    assert (results[2].applied, results[2].entry.value) == (False, 9)
    assert results[3:] == [4, None]
    assert tx.revision == 9
    assert "SetKey" in repr(pending[0])


def test_an_exception_in_the_block_sends_nothing(run: Run) -> None:
    pending: list[Any] = []

    def body(tx: Any) -> None:
        pending.append(tx.store("orders").set("a", 1))
        raise Stop

    listener = Listener()
    with Peer(listener) as peer, pytest.raises(Stop):
        run(peer.path, body)

    assert listener.heard == []
    assert peer.connections == 0
    with pytest.raises(RuntimeError, match="ended with an error"):
        pending[0].result()


def test_an_empty_block_sends_nothing(run: Run) -> None:
    with Peer(Listener()) as peer:
        tx = run(peer.path, lambda tx: None)

        assert tx.revision is None
        assert peer.connections == 0


def test_a_refusal_is_raised_when_the_block_is_left(run: Run) -> None:
    pending: list[Any] = []
    detail = {"operation": 1, "key": "b", "entry": None}

    def refuse(request: Any) -> m.Message:
        return m.Failed(request.id, "conflict", "b is absent", detail)

    with (
        Peer(Listener(refuse)) as peer,
        pytest.raises(Conflict, match="b is absent") as caught,
    ):
        run(peer.path, lambda tx: pending.append(tx.store("orders").create("a", 1)))

    assert caught.value.detail == detail
    with pytest.raises(RuntimeError, match="ended with an error"):
        pending[0].result()


def test_a_transaction_whose_answer_is_lost_is_sent_again_with_its_id(run: Run) -> None:
    heard: list[m.Change] = []

    def hang_up(talk: Talk) -> None:
        talk.welcome()
        heard.append(talk.hear())

    listener = Listener()
    with Peer(hang_up, listener) as peer:
        run(peer.path, collect_all_that_answer_knows)

    [repeat] = listener.heard
    assert repeat.request == heard[0].request
    assert repeat.operations == heard[0].operations
    assert heard[0].age_ms == 0 < repeat.age_ms


def collect_all_that_answer_knows(tx: Any) -> None:
    tx.store("orders").set("a", 1)
    tx.store("customers").delete("b")


def test_what_the_daemon_cannot_tell_is_an_unknown_outcome(run: Run) -> None:
    def forget(request: Any) -> m.Message:
        return m.Failed(request.id, "forgotten", "it may have been carried out", None)

    with Peer(Listener(forget)) as peer, pytest.raises(OutcomeUnknown):
        run(peer.path, collect_all_that_answer_knows)


def test_arguments_are_checked_where_they_are_given(run: Run) -> None:
    def body(tx: Any) -> None:
        with pytest.raises(InvalidRequest):
            tx.store("orders").set("a", None)
        with pytest.raises(InvalidRequest):
            tx.store("")
        with pytest.raises(TypeError):
            tx.store(7)

    with Peer(Listener()) as peer:
        run(peer.path, body)

        assert peer.connections == 0


def test_one_operation_too_many_is_refused_and_nothing_is_sent(run: Run) -> None:
    def body(tx: Any) -> None:
        for number in range(1_001):
            tx.store("orders").set(f"k{number}", number)

    listener = Listener()
    with Peer(listener) as peer:
        with pytest.raises(InvalidRequest, match="at most 1,000 operations"):
            run(peer.path, body)
        run(peer.path, lambda tx: [tx.store("orders").delete(f"k{n}") for n in range(1_000)])

    assert [len(each.operations) for each in listener.heard] == [1_000]


def test_more_than_a_frame_holds_is_refused_and_nothing_is_sent(run: Run) -> None:
    def body(tx: Any) -> None:
        for number in range(12):
            tx.store("orders").set(f"k{number}", "x" * 100_000)

    listener = Listener()
    with (
        Peer(listener) as peer,
        pytest.raises(InvalidRequest, match=r"1,200,\d\d\d bytes long; the daemon takes 1,114,112"),
    ):
        run(peer.path, body)

    assert listener.heard == []


def test_a_transaction_takes_nothing_before_and_after_its_block() -> None:
    with Peer(Listener()) as peer, assetstore.connect(peer.path) as client:
        tx = client.transaction()
        store = tx.store("orders")
        with pytest.raises(RuntimeError, match='inside its "with" block'):
            store.set("a", 1)
        with tx:
            store.set("a", 1)
        with pytest.raises(RuntimeError, match='inside its "with" block'):
            store.set("b", 1)
        with pytest.raises(RuntimeError, match="used once"), tx:
            pass


def test_a_store_in_a_transaction_shows_what_it_is() -> None:
    with assetstore.connect("/nonexistent/s") as client:
        assert repr(client.transaction().store("orders")) == "<TransactionStore of 'orders'>"

"""How threads share the connections of a blocking client."""

from __future__ import annotations

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.peer import Peer, Talk, answer, serve

import assetstore
from assetstore import messages as m
from assetstore.errors import DeadlineExceeded, NotConnected
from assetstore.link import MAX_CONNECTIONS

PLENTY_S = 20.0


class Gate:
    """A script that holds its answers back until it is told to give them."""

    def __init__(self) -> None:
        self.arrived = threading.Semaphore(0)
        self._open = threading.Event()

    def __call__(self, talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            self.arrived.release()
            assert self._open.wait(PLENTY_S)
            talk.say(answer(request))

    def wait_for(self, requests: int) -> None:
        for _ in range(requests):
            assert self.arrived.acquire(timeout=PLENTY_S)

    def open(self) -> None:
        self._open.set()


def test_threads_use_a_connection_each_up_to_eight() -> None:
    gate = Gate()
    with Peer(gate) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")
        with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
            calls = [pool.submit(store.set, f"k{n}", n) for n in range(MAX_CONNECTIONS)]
            gate.wait_for(MAX_CONNECTIONS)
            gate.open()
            assert [call.result() for call in calls] == [1] * MAX_CONNECTIONS

        assert peer.connections == MAX_CONNECTIONS == 8


def test_a_thread_beyond_them_waits_for_its_turn() -> None:
    gate = Gate()
    with Peer(gate) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")
        with ThreadPoolExecutor(3 * MAX_CONNECTIONS) as pool:
            calls = [pool.submit(store.set, f"k{n}", n) for n in range(3 * MAX_CONNECTIONS)]
            gate.wait_for(MAX_CONNECTIONS)
            gate.open()
            assert [call.result() for call in calls] == [1] * 3 * MAX_CONNECTIONS

        assert peer.connections == MAX_CONNECTIONS


def test_it_waits_no_longer_than_its_timeout() -> None:
    gate = Gate()
    with (
        Peer(gate) as peer,
        assetstore.connect(peer.path, timeout=1.0) as client,
        ThreadPoolExecutor(MAX_CONNECTIONS) as pool,
    ):
        store = client.store("orders")
        calls = [pool.submit(store.set, f"k{n}", n) for n in range(MAX_CONNECTIONS)]
        gate.wait_for(MAX_CONNECTIONS)

        # The eight run out of time a moment before, so it may get a place that is of little use.
        start = time.monotonic()
        with pytest.raises((NotConnected, DeadlineExceeded)):
            store.set("k", 1)
        assert time.monotonic() - start < 1.0 + 2.0
        assert all(isinstance(call.exception(), DeadlineExceeded) for call in calls)
        gate.open()


def test_more_threads_than_connections_all_get_their_turn_under_load() -> None:
    with Peer(serve) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")

        def work(_: int) -> int:
            return sum(store.set("k", 1) for _ in range(100))

        with ThreadPoolExecutor(4 * MAX_CONNECTIONS) as pool:
            assert list(pool.map(work, range(4 * MAX_CONNECTIONS))) == [100] * 4 * MAX_CONNECTIONS

        assert peer.connections <= MAX_CONNECTIONS


def test_the_connection_used_last_is_used_first() -> None:
    heard: list[int] = []

    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            heard.append(id(talk))
            talk.say(answer(request))

    with Peer(script) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda n: store.set("k", n), range(50)))
        heard.clear()
        for _ in range(20):
            store.set("k", 1)

    assert len(set(heard)) == 1


def test_a_dead_connection_gives_its_place_to_a_thread_that_waits() -> None:
    crowd = threading.Semaphore(0)
    hang_up = threading.Event()

    def hang_up_when_told(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        crowd.release()
        assert hang_up.wait(PLENTY_S)

    scripts = [hang_up_when_told] * MAX_CONNECTIONS
    with Peer(*scripts, serve) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
        store = client.store("orders")
        with ThreadPoolExecutor(2 * MAX_CONNECTIONS) as pool:
            calls = [pool.submit(store.set, "k", n) for n in range(2 * MAX_CONNECTIONS)]
            for _ in range(MAX_CONNECTIONS):
                assert crowd.acquire(timeout=PLENTY_S)
            hang_up.set()
            assert [call.result() for call in calls] == [1] * 2 * MAX_CONNECTIONS


def test_an_interrupted_call_does_not_leave_its_answer_to_the_next() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    gate = Gate()
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with Peer(gate, serve) as peer, assetstore.connect(peer.path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            with pytest.raises(Interrupted):
                store.delete("k")

            gate.open()

            assert store.get("k", "absent") == "absent"
            assert peer.connections == 2
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_signals_that_do_no_harm_do_not_stretch_the_timeout() -> None:
    heartbeats: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, _: heartbeats.append(number))
    gate = Gate()
    try:
        with Peer(gate) as peer, assetstore.connect(peer.path, timeout=1.0) as client:
            # A heartbeat more often than the timeout: each interrupts the wait for the answer.
            signal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)
            with pytest.raises(DeadlineExceeded):
                client.store("orders").get("k")
            gate.open()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert 2 < len(heartbeats) < 120


def test_close_lets_calls_under_way_end_and_refuses_those_that_wait() -> None:
    gate = Gate()
    with Peer(gate) as peer:
        client = assetstore.connect(peer.path, timeout=PLENTY_S)
        store = client.store("orders")
        with ThreadPoolExecutor(MAX_CONNECTIONS + 1) as pool:
            calls = [pool.submit(store.set, "k", n) for n in range(MAX_CONNECTIONS)]
            gate.wait_for(MAX_CONNECTIONS)
            waiting = pool.submit(store.set, "k", 1)

            client.close()

            # At once: none of the calls under way has ended.
            assert "this client is closed" in str(waiting.exception())
            gate.open()
            assert [call.result() for call in calls] == [1] * MAX_CONNECTIONS


def test_a_client_that_was_never_used_needs_no_daemon() -> None:
    with assetstore.connect("/nonexistent/s.sock") as client:
        client.store("orders")
        client.asset_store(["orders"])


def test_the_answer_to_a_hello_decides_what_may_be_sent() -> None:
    sizes: list[int] = []

    def script(talk: Talk) -> None:
        talk.welcome(limits=m.Limits(10, 100))
        for request in talk.requests():
            sizes.append(len(request.assets))
            talk.say(m.Resolved(request.id, [None] * len(request.assets)))

    with (
        Peer(script) as peer,
        assetstore.connect(peer.path, timeout=PLENTY_S) as client,
        pytest.raises(assetstore.InvalidRequest, match="the daemon takes 100"),
    ):
        client.resolve([f"asset-{n}" for n in range(1_000)])

"""How coroutines share the one connection of an asynchronous client."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Coroutine
from typing import Any

import pytest
from tests.support.peer import Peer, Talk, answer, serve

from assetstore import AsyncClient
from assetstore import messages as m
from assetstore.asynchronous.connection import Connection
from assetstore.entries import Writer
from assetstore.errors import DeadlineExceeded, NotConnected, OutcomeUnknown

PLENTY_S = 20.0


def run(program: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(program, PLENTY_S))


def answer_backwards(number: int) -> Any:
    """Hear so many requests, and answer the last one first, each with its own key."""

    def script(talk: Talk) -> None:
        talk.welcome()
        heard = [talk.hear() for _ in range(number)]
        for request in reversed(heard):
            talk.say(m.KeyPage(request.id, [request.prefix], False))
        talk.hear_bytes()

    return script


def test_many_coroutines_share_one_connection_and_no_thread() -> None:
    async def program(path: str, threads: int) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            revisions = await asyncio.gather(*(store.set(f"k{n}", n) for n in range(500)))
            assert revisions == [1] * 500
            assert threading.active_count() <= threads

    with Peer(serve) as peer:
        # The peer has a thread that listens, and will have one for each connection.
        run(program(peer.path, threading.active_count() + 1))
        assert peer.connections == 1


def test_answers_may_come_in_any_order() -> None:
    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")

            async def keys(prefix: str) -> list[str]:
                return [key async for key in store.keys(prefix)]

            found = await asyncio.gather(*(keys(f"p{n}") for n in range(100)))
            assert found == [[f"p{n}"] for n in range(100)]

    with Peer(answer_backwards(100)) as peer:
        run(program(peer.path))


def test_cancelling_one_call_leaves_the_others_and_the_connection_alone() -> None:
    arrived = threading.Event()
    cancelled = threading.Event()

    def script(talk: Talk) -> None:
        talk.welcome()
        first, second = talk.hear(), talk.hear()
        arrived.set()
        assert cancelled.wait(PLENTY_S)
        # The answer to the one that nobody waits for comes first.
        talk.say(m.Changed(first.id, [m.Outcome(6, 1, None, None)]))
        talk.say(m.Changed(second.id, [m.Outcome(7, 1, None, None)]))
        for request in talk.requests():
            talk.say(answer(request))

    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            doomed = asyncio.create_task(store.delete("a"))
            other = asyncio.create_task(store.set("b", 1))
            await asyncio.to_thread(arrived.wait, PLENTY_S)

            doomed.cancel()
            with pytest.raises(asyncio.CancelledError):
                await doomed
            cancelled.set()

            assert await other == 7
            assert await store.get("c", "absent") == "absent"

    with Peer(script) as peer:
        run(program(peer.path))
        assert peer.connections == 1


def test_cancelling_the_call_that_connects_leaves_connecting_to_the_next() -> None:
    greeted = threading.Event()

    def never_welcome(talk: Talk) -> None:
        talk.hear_bytes()
        greeted.set()
        talk.hear_bytes()

    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            first = asyncio.create_task(store.set("a", 1))
            await asyncio.to_thread(greeted.wait, PLENTY_S)
            others = [asyncio.create_task(store.set("b", n)) for n in range(10)]

            first.cancel()

            assert await asyncio.gather(*others) == [1] * 10
            with pytest.raises(asyncio.CancelledError):
                await first

    with Peer(never_welcome, serve) as peer:
        run(program(peer.path))
        assert peer.connections == 2


def test_one_call_out_of_time_leaves_the_others_and_the_connection_alone() -> None:
    def ignore_deletes(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            if not isinstance(request.operations[0], m.DeleteKey):
                talk.say(answer(request))

    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=1.0) as client:
            store = client.store("orders")
            with pytest.raises(DeadlineExceeded):
                await store.delete("a")
            assert await store.set("b", 1) == 1

    with Peer(ignore_deletes) as peer:
        run(program(peer.path))
        assert peer.connections == 1


def test_answers_that_were_given_before_the_daemon_went_are_not_lost() -> None:
    arrived = threading.Event()
    go_on = threading.Event()

    def answer_and_go(talk: Talk) -> None:
        talk.welcome()
        request = talk.hear()
        arrived.set()
        assert go_on.wait(PLENTY_S)
        talk.say(answer(request))
        talk.say(m.Failed(0, "busy", "stopping", None))

    async def program(path: str, peer: Peer) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            first = asyncio.create_task(store.delete("a"))
            await asyncio.to_thread(arrived.wait, PLENTY_S)
            # The loop stands still while the daemon answers and goes; the next call then finds
            # a dead socket with an answer in it.
            go_on.set()
            peer.wait_until_hung_up()
            second = asyncio.create_task(store.delete("b"))
            assert await first is True
            assert await second is True

    with Peer(answer_and_go, serve) as peer:
        run(program(peer.path, peer))


def test_close_ends_calls_under_way_with_an_unknown_outcome() -> None:
    arrived = threading.Event()

    def script(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        arrived.set()
        talk.hear_bytes()

    async def program(path: str) -> None:
        client = AsyncClient(path, timeout=PLENTY_S)
        call = asyncio.create_task(client.store("orders").delete("k"))
        await asyncio.to_thread(arrived.wait, PLENTY_S)

        await client.close()

        with pytest.raises(OutcomeUnknown):
            await call

    with Peer(script) as peer:
        run(program(peer.path))


def test_close_tells_what_was_sent_from_what_waited_to_leave_with_others() -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.hear_bytes()

    async def program(path: str) -> None:
        connection = Connection()
        deadline = time.monotonic() + PLENTY_S
        await connection.open(path, Writer(kind="worker"), deadline)
        fields = (m.AssetRef("orders"), "k")
        calls = [
            asyncio.create_task(connection.exchange(m.Get, fields, deadline)) for _ in range(3)
        ]
        # Behind them in the same turn: the first, by itself, was sent, and the others wait for it.
        await asyncio.create_task(connection.close())

        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in outcomes] == [OutcomeUnknown, NotConnected, NotConnected]

    with Peer(script) as peer:
        run(program(peer.path))


def test_a_call_with_less_time_is_told_before_others_that_began_earlier() -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        while talk.hear_bytes():
            pass

    async def program(path: str) -> None:
        connection = Connection()
        now = time.monotonic()
        await connection.open(path, Writer(kind="worker"), now + PLENTY_S)
        fields = (m.AssetRef("orders"), "k")
        calls = [
            asyncio.create_task(connection.exchange(m.Get, fields, now + left_s))
            for left_s in (PLENTY_S, 0.2, 0.1)
        ]
        done, _ = await asyncio.wait(calls[1:], timeout=PLENTY_S / 2)
        assert len(done) == 2
        assert not calls[0].done()
        for call in done:
            assert isinstance(call.exception(), DeadlineExceeded)
        await connection.close()
        await asyncio.gather(*calls, return_exceptions=True)

    with Peer(script) as peer:
        run(program(peer.path))


def test_calls_wait_while_the_daemon_reads_slowly_and_then_all_get_there() -> None:
    go_on = threading.Event()

    def slow(talk: Talk) -> None:
        talk.welcome()
        assert go_on.wait(PLENTY_S)
        for request in talk.requests():
            talk.say(answer(request))

    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=PLENTY_S) as client:
            store = client.store("orders")
            calls = [asyncio.create_task(store.set(f"k{n}", "x" * 100_000)) for n in range(50)]
            go_on.set()
            assert await asyncio.gather(*calls) == [1] * 50

    with Peer(slow) as peer:
        run(program(peer.path))
        assert peer.connections == 1


def test_a_call_that_waits_for_room_waits_no_longer_than_its_timeout() -> None:
    go_on = threading.Event()

    def never_read(talk: Talk) -> None:
        talk.welcome()
        assert go_on.wait(PLENTY_S)

    async def program(path: str) -> None:
        async with AsyncClient(path, timeout=1.0) as client:
            store = client.store("orders")
            calls = [store.set(f"k{n}", "x" * 500_000) for n in range(10)]
            errors = await asyncio.gather(*calls, return_exceptions=True)
            go_on.set()

        kinds = {type(error) for error in errors}
        assert kinds <= {NotConnected, DeadlineExceeded}
        # The first of them went into buffers, and nobody can say more of it; the last never left.
        assert isinstance(errors[-1], NotConnected)
        assert "does not read what is sent to it" in str(errors[-1])

    with Peer(never_read) as peer:
        run(program(peer.path))


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_a_client_that_a_second_loop_uses_connects_anew() -> None:
    async def program(client: AsyncClient) -> None:
        assert await client.store("orders").set("k", 1) == 1

    async def finish(client: AsyncClient) -> None:
        await program(client)
        await client.close()

    with Peer(serve) as peer:
        client = AsyncClient(peer.path, timeout=PLENTY_S)
        asyncio.run(program(client))
        asyncio.run(finish(client))
        gc.collect()
        assert peer.connections == 2

"""The event loop: who is called when, and that nobody is forgotten meanwhile."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack

import pytest

from assetstored.loop import Loop


def run(scenario: Callable[[Loop], Awaitable[None]]) -> None:
    """Run the scenario in such a loop, for ten seconds at most."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Loop)
        async with asyncio.timeout(10.0):
            await scenario(loop)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())


@pytest.fixture
def pairs() -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Three pairs of connected sockets."""
    with ExitStack() as stack:
        made = [socket.socketpair() for _ in range(3)]
        for pair in made:
            for each in pair:
                stack.enter_context(each)
        yield made


def test_what_comes_after_events_is_called_once_when_all_that_is_ready_is_handed_out(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    called: list[str] = []

    async def scenario(loop: Loop) -> None:
        is_over = loop.create_future()

        def after() -> None:
            called.append("after")
            is_over.set_result(None)

        def heard(ours: socket.socket) -> None:
            ours.recv(10)
            called.append("heard")
            if len(called) == 1:
                loop.clients.call_after_events(after)

        for ours, theirs in pairs:
            loop.clients.attach(ours.fileno(), lambda events, ours=ours: heard(ours))  # type: ignore[misc]
            theirs.send(b"x")
        await is_over
        for ours, _ in pairs:
            loop.clients.detach(ours.fileno())

    run(scenario)

    assert called == ["heard"] * 3 + ["after"]


def test_what_comes_after_events_does_not_wait_for_one() -> None:
    async def scenario(loop: Loop) -> None:
        is_called = loop.create_future()
        loop.clients.call_after_events(lambda: is_called.set_result(None))
        await is_called

    run(scenario)


def test_who_asks_to_be_called_again_and_again_keeps_nobody_waiting(
    pairs: list[tuple[socket.socket, socket.socket]],
) -> None:
    async def scenario(loop: Loop) -> None:
        is_over = False
        ours, theirs = pairs[0]
        heard = loop.create_future()

        def again() -> None:
            if not is_over:
                loop.clients.call_after_events(again)

        loop.clients.attach(ours.fileno(), lambda events: heard.set_result(ours.recv(10)))
        again()
        # A timer, a client, and what asyncio itself reads.
        rung = loop.create_future()
        loop.call_later(0.01, rung.set_result, None)
        await rung
        theirs.send(b"x")
        assert await heard == b"x"
        loop.clients.detach(ours.fileno())
        ours, theirs = pairs[1]
        ours.setblocking(False)
        theirs.send(b"y")
        assert await loop.sock_recv(ours, 10) == b"y"
        is_over = True

    run(scenario)

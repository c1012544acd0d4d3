"""One asynchronous connection: many requests under way, each answered by its id.

Rule: decides nothing about trying again; says only, and exactly, whether a request was sent.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple

from assetstore.dialing import dial, reason
from assetstore.entries import Writer
from assetstore.errors import (
    DeadlineExceeded,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
)
from assetstore.exchange import (
    check_answer,
    hello_frame,
    max_answer_bytes,
    read_welcome,
    request_frame,
    stray,
)
from assetstore.framing import FrameReader
from assetstore.limits import MAX_HELLO_BYTES
from assetstore.messages import AnyAnswer, Limits, Request, decode_answer
from assetstore.retry import NoTimeLeft


class _Waiting(NamedTuple):
    """A request under way, until when it may be."""

    kind: type[Request]
    answer: asyncio.Future[AnyAnswer]
    deadline: float


class Connection(asyncio.Protocol):
    """A connection of one event loop. Requests are multiplexed: answers may come in any order.

    A request whose coroutine is cancelled or out of time is forgotten, and its answer, when
    it comes, is dropped; the others go on.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.is_open = False
        self._socket: socket.socket
        self._transport: asyncio.Transport
        self._reader = FrameReader(MAX_HELLO_BYTES)
        self._limits: Limits
        self._welcome: asyncio.Future[bytes] = self.loop.create_future()
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        self._lost: asyncio.Future[None] = self.loop.create_future()
        # Frames that leave together, with whom to tell if they cannot.
        self._together: list[tuple[bytes, asyncio.Future[AnyAnswer]]] = []
        # One timer for all requests: the earliest deadline of those it was set for.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_deadline = 0.0
        # Not None while the daemon reads more slowly than we send.
        self._writable: asyncio.Future[None] | None = None

    async def open(self, path: str, writer: Writer, deadline: float) -> None:
        """Connect, say hello and wait for the welcome: only then there is a connection.

        Raises NotConnected where trying again may help.
        """
        self._socket = dial(path)
        try:
            self._transport, _ = await self.loop.create_unix_connection(
                lambda: self, sock=self._socket
            )
        except BaseException:
            self._socket.close()
            raise
        try:
            self._transport.write(hello_frame(writer))
            async with asyncio.timeout(max(deadline - monotonic(), 0)):
                welcome = read_welcome(await self._welcome)
        except TimeoutError as exc:
            await self.close()
            raise NotConnected("something listens there but did not answer the hello") from exc
        except OutcomeUnknown as exc:
            await self.close()
            raise NotConnected(f"the hello was not answered: {exc}") from exc
        except BaseException:
            self._transport.abort()
            raise
        self._limits = welcome.limits
        self._reader.max_frame_bytes = max_answer_bytes(welcome.limits)
        # The daemon may have gone again already.
        self.is_open = not self._lost.done()

    async def exchange(
        self, kind: type[Request], fields: Sequence[Any], deadline: float
    ) -> AnyAnswer:
        """Send a request of this kind and return its answer, which may be a Failed.

        Raises what the blocking connection's exchange raises. Cancelling it leaves
        the connection and all other requests as they are.
        """
        while self._writable is not None:
            await self._wait_until_writable(self._writable, deadline)
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise NoTimeLeft("no time was left to send the request")
        self._last_id = request_id = self._last_id + 1
        data = request_frame(kind, request_id, fields, left_s, self._limits)
        if not self.is_open:
            raise NotConnected("the connection was lost")
        answer: asyncio.Future[AnyAnswer] = self.loop.create_future()
        if self._waiting:
            # Others are under way: what they all ask for in this turn of the loop leaves together.
            if not self._together:
                self.loop.call_soon(self._send_together)
            self._together.append((data, answer))
        else:
            self._send(data)
        self._waiting[request_id] = _Waiting(kind, answer, deadline)
        if self._timer is None or deadline < self._timer_deadline:
            self._set_timer(deadline)
        try:
            return await answer
        finally:
            self._waiting.pop(request_id, None)

    async def close(self) -> None:
        """Close at once; requests under way end with OutcomeUnknown."""
        self.is_open = False
        self._transport.abort()
        await asyncio.shield(self._lost)

    def forget(self) -> None:
        """Close the descriptor and no more: the loop is another process's, or is gone."""
        self.is_open = False
        self._socket.close()

    # --- called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            for payload in self._reader:
                if self._welcome.done():
                    self._take(decode_answer(payload))
                else:
                    self._welcome.set_result(payload)
                    # What is behind the welcome would be read with the limits of a hello.
                    break
        except (NotConnected, OutcomeUnknown, ProtocolError) as exc:
            self._fail(exc)

    def eof_received(self) -> None:
        # Returns None: the transport closes itself, and calls connection_lost.
        self._fail(OutcomeUnknown("the daemon closed the connection"))

    def connection_lost(self, exc: Exception | None) -> None:
        why = f": {reason(exc)}" if isinstance(exc, OSError) else ""
        self._fail(OutcomeUnknown(f"the connection was lost{why}"))
        self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._writable = self.loop.create_future()

    def resume_writing(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # --- inside

    def _send(self, data: bytes) -> None:
        """Hand the bytes to the kernel, or what it does not take to the transport.

        Raises NotConnected if nothing of it was sent. That is why the transport is not asked
        first: it would keep to itself whether the daemon was still there.
        """
        if self._transport.get_write_buffer_size() == 0:
            try:
                # A program may have given SIGPIPE back its default, which is to die.
                sent = self._socket.send(data, socket.MSG_NOSIGNAL)
            except BlockingIOError:
                sent = 0
            except OSError as exc:
                # Not closed yet: answers to other requests may still be there to read.
                self.is_open = False
                raise NotConnected(f"the connection is dead: {reason(exc)}") from exc
            if sent == len(data):
                return
            data = data[sent:]
        self._transport.write(data)

    def _send_together(self) -> None:
        if not self.is_open:
            self._refuse_unsent("the connection was lost")
        if not self._together:
            return
        try:
            self._send(b"".join([data for data, _ in self._together]))
        except NotConnected as exc:
            self._refuse_unsent(str(exc))
        self._together.clear()

    def _refuse_unsent(self, why: str) -> None:
        for _, answer in self._together:
            if not answer.done():
                answer.set_exception(NotConnected(why))
        self._together.clear()

    def _set_timer(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_deadline = deadline
        self._timer = self.loop.call_later(deadline - monotonic(), self._expire)

    def _expire(self) -> None:
        """Tell those whose time is up, and set the timer for the next."""
        self._timer = None
        now = monotonic()
        deadlines = []
        for waiting in self._waiting.values():
            if waiting.deadline > now:
                deadlines.append(waiting.deadline)
            elif not waiting.answer.done():
                waiting.answer.set_exception(DeadlineExceeded("no answer came in time"))
        if deadlines:
            self._set_timer(min(deadlines))

    async def _wait_until_writable(self, writable: asyncio.Future[None], deadline: float) -> None:
        try:
            async with asyncio.timeout(max(deadline - monotonic(), 0)):
                await asyncio.shield(writable)
        except TimeoutError:
            raise NotConnected("the daemon does not read what is sent to it") from None

    def _take(self, answer: AnyAnswer) -> None:
        waiting = self._waiting.pop(answer.id, None)
        if waiting is None:
            # Forgotten requests are answered too, and nobody wants to know.
            if not 0 < answer.id <= self._last_id:
                raise stray(answer)
        elif not waiting.answer.done():
            try:
                waiting.answer.set_result(check_answer(waiting.kind, answer))
            except ProtocolError as exc:
                waiting.answer.set_exception(exc)
                raise

    def _fail(self, error: NotConnected | OutcomeUnknown | ProtocolError) -> None:
        """End the connection and everything that waits on it."""
        self.is_open = False
        self._refuse_unsent("the connection was lost")
        waiting, self._waiting = self._waiting, {}
        futures: list[asyncio.Future[Any]] = [each.answer for each in waiting.values()]
        for future in [*futures, self._welcome]:
            if not future.done():
                # One object each: a raised exception collects the traceback of whoever awaits it.
                future.set_exception(type(error)(*error.args))
        self.resume_writing()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

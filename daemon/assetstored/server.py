"""Connections: frames in, answers out, and what a peer may cost.

Rule: no request is understood here; service.py does that.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from functools import partial
from typing import NamedTuple

from assetstore import messages as m
from assetstore.errors import InvalidRequest, ProtocolError
from assetstore.framing import HEADER_BYTES, FrameReader, frame
from assetstore.limits import FRAME_OVERHEAD_BYTES, MAX_HELLO_BYTES
from assetstore.version import VERSION
from assetstored.changing import Caller
from assetstored.feed import Waiting
from assetstored.peers import peer_of, recorded
from assetstored.service import Service

_log = logging.getLogger("assetstored.server")

#: A peer that has connected says hello at once; a slow host gets some seconds.
HELLO_DEADLINE_S = 10.0

#: A frame that has begun must end: 10 s, and a second for each 64 KiB of it.
_FRAME_DEADLINE_S = 10.0
_FRAME_BYTES_PER_S = 64 * 1024

#: A peer that does not read its answers is cut off after this long.
_READ_DEADLINE_S = 30.0

#: Requests of one connection that may wait for the disk; then it is not read from.
_PIPELINE = 128

#: The same in bytes: what one connection has in hand is not to fill the queue of all.
_PIPELINE_BYTES = 4 << 20

#: How long the requests of one connection are worked on before others get their turn.
_TURN_S = 0.001

#: Where asyncio is told that a peer reads too slowly. Below it a peer may leave its answers lying,
#: so all connections together may hold this much each.
_OUTPUT_HIGH_BYTES = 64 * 1024

#: What is read from a connection at a time; likewise.
_READ_BYTES = 64 * 1024

#: What a frame may hold in memory without asking for a share of the budget.
_SMALL_FRAME_BYTES = 64 * 1024


class ServerLimits(NamedTuple):
    """From the configuration; sizes in bytes."""

    max_value_bytes: int
    max_connections: int
    max_inflight_bytes: int

    @property
    def max_frame_bytes(self) -> int:
        return self.max_value_bytes + FRAME_OVERHEAD_BYTES


class Server:
    """All connections, and what they share."""

    def __init__(self, service: Service, limits: ServerLimits, store_id: str) -> None:
        self.service = service
        self.limits = limits
        self.connections: set[Connection] = set()
        self.stopping = False
        self.all_gone = asyncio.Event()
        self.welcome = m.Welcome(
            m.PROTOCOL_VERSION,
            store_id,
            m.Limits(limits.max_value_bytes, limits.max_frame_bytes),
            f"assetstored/{VERSION}",
        )
        self._input_bytes = 0
        self._waiting: deque[tuple[Connection, int]] = deque()

    def connect(self) -> Connection:
        """The protocol for a new connection (asyncio's protocol factory)."""
        return Connection(self)

    def check_deadlines(self) -> None:
        """Cut off peers that are too slow; called every second."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.check_deadline(now)

    def stop(self) -> None:
        """Take no more requests; what is in hand is still answered."""
        self.stopping = True
        if not self.connections:
            self.all_gone.set()
        for connection in list(self.connections):
            connection.stop()

    def abort(self) -> None:
        """Cut all connections without another answer: nobody knows what happened."""
        self.stopping = True
        for connection in list(self.connections):
            connection.cut(None)

    def limit_output(self) -> None:
        """Cut off peers that leave their answers lying, the slowest first, until all fit."""
        slow = {c: c.output_bytes() for c in self.connections if c.slow_since is not None}
        total = sum(slow.values())
        for connection in sorted(slow, key=lambda c: c.slow_since or 0.0):
            if total <= self.limits.max_inflight_bytes:
                return
            total -= slow[connection]
            connection.cut("it does not read its answers, and memory for those of all is short")

    def reserve(self, connection: Connection, size: int) -> bool:
        """Room for a large frame; if there is none, the connection is woken when there is."""
        if self._input_bytes and self._input_bytes + size > self.limits.max_inflight_bytes:
            self._waiting.append((connection, size))
            return False
        self._input_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give back what reserve gave, to those that wait for it, first come, first served."""
        self._input_bytes -= size
        while self._waiting:
            connection, wanted = self._waiting[0]
            if self._input_bytes and self._input_bytes + wanted > self.limits.max_inflight_bytes:
                return
            self._waiting.popleft()
            if connection.grant(wanted):
                self._input_bytes += wanted


class Connection(asyncio.Protocol):
    """One peer: its frames, what it has in hand, and its deadlines."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._frames = FrameReader(MAX_HELLO_BYTES)
        self._caller: Caller | None = None
        self._in_hand = 0
        self._in_hand_bytes = 0
        #: Those in hand that wait for events, and not for us.
        self.waiting: set[Waiting] = set()
        self._reserved = 0
        self._waits_for_room = False
        self._scheduled = False
        self._reading = True
        self._closing = False
        self._eof = False
        self.slow_since: float | None = None
        self._deadline: float | None = time.monotonic() + HELLO_DEADLINE_S

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        server = self._server
        transport.set_write_buffer_limits(high=_OUTPUT_HIGH_BYTES)
        # asyncio's own attribute for it, 256 KiB by default; the documentation has no other way.
        transport.max_size = _READ_BYTES  # type: ignore[attr-defined]
        if server.stopping:
            self._say_goodbye()
        elif len(server.connections) >= server.limits.max_connections:
            self._refuse(
                "busy",
                f"{len(server.connections):,} connections are open, the limit is "
                f"{server.limits.max_connections:,} (max_connections); try again",
            )
        else:
            server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._server.connections.discard(self)
        for waiting in list(self.waiting):
            waiting.cancel()
        self._release()
        if self._server.stopping and not self._server.connections:
            self._server.all_gone.set()

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        if not self._scheduled:
            self._process()

    def eof_received(self) -> bool:
        """The peer sends no more; it still gets the answers to what it has asked."""
        self._eof = True
        return self._is_busy()

    def pause_writing(self) -> None:
        self.slow_since = time.monotonic()
        self._deadline = self.slow_since + _READ_DEADLINE_S
        self._server.limit_output()
        self._pace()

    def resume_writing(self) -> None:
        self.slow_since = None
        self._deadline = None
        # Not at once: the transport is in the middle of a write.
        self._schedule()

    # --- what the server asks

    def check_deadline(self, now: float) -> None:
        """Cut the connection if the peer is too slow with a hello, a frame, or reading."""
        if self._deadline is not None and now > self._deadline:
            self.cut(
                "it does not read its answers"
                if self.slow_since is not None
                else "it began a frame and did not end it"
                if self._caller
                else "it said no hello"
            )

    def stop(self) -> None:
        """Answer what is in hand, take nothing more, say so, and close."""
        for waiting in list(self.waiting):
            waiting.finish()
        self._closing = True
        self._pace()
        if not self._in_hand:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        # A client that gets this for an answer knows that its request was not carried out.
        self._refuse("busy", "the daemon is stopping; nothing changed, try again")

    def cut(self, reason: str | None) -> None:
        """Close at once. What was not sent is not sent."""
        if reason is not None and not self._transport.is_closing():
            pid = self._caller.peer.pid if self._caller else "unknown"
            _log.warning("cut off a connection (pid %s): %s", pid, reason)
        self._closing = True
        self._transport.abort()

    def grant(self, size: int) -> bool:
        """There is room for the frame that waits; False if it is not wanted any more."""
        self._waits_for_room = False
        if self._closing:
            return False
        self._reserved = size
        self._deadline = time.monotonic() + _FRAME_DEADLINE_S + size / _FRAME_BYTES_PER_S
        self._schedule()
        return True

    def output_bytes(self) -> int:
        """Answers that the peer has not taken yet."""
        return self._transport.get_write_buffer_size()

    # --- frames

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._process)

    def _process(self) -> None:
        self._scheduled = False
        turn_ends = time.monotonic() + _TURN_S
        try:
            while not (self._closing or self._is_full()):
                payload = self._frames.next()
                if payload is None:
                    self._await_frame()
                    break
                self._deadline = None
                self._release()
                self._take(payload)
                if time.monotonic() > turn_ends:
                    # Others first; what is left of this one's frames comes next turn.
                    self._schedule()
                    break
        except ProtocolError as exc:
            self._refuse("protocol_error", str(exc))
        if self._eof and not self._is_busy():
            self._transport.close()
        self._pace()

    def _is_full(self) -> bool:
        """Whether the peer has to wait until something in hand is done, or is read."""
        return (
            self._in_hand - len(self.waiting) >= _PIPELINE
            or self._in_hand_bytes >= _PIPELINE_BYTES
            or self.slow_since is not None
        )

    def _is_busy(self) -> bool:
        """Whether there are answers to come, or to be read."""
        return bool(self._in_hand or self._scheduled or self.slow_since is not None)

    def _await_frame(self) -> None:
        """A frame has begun and its end is not here: see that it comes, and that it fits."""
        if not self._frames.pending_bytes:
            return
        size = self._frames.expected_bytes
        if self._waits_for_room:
            return
        if size > _SMALL_FRAME_BYTES and not self._reserved:
            if not self._server.reserve(self, size):
                self._waits_for_room = True
                self._deadline = None  # it is we who do not read on
                return
            self._reserved = size
            self._deadline = time.monotonic() + _FRAME_DEADLINE_S + size / _FRAME_BYTES_PER_S
        elif self._deadline is None:
            self._deadline = time.monotonic() + _FRAME_DEADLINE_S

    def _take(self, payload: bytes) -> None:
        if self._caller is None:
            self._greet(m.decode_hello(payload))
            return
        request = m.decode_request(payload)
        self._in_hand += 1
        answer = self._answer
        if len(payload) > _SMALL_FRAME_BYTES:
            self._in_hand_bytes += len(payload)
            answer = partial(self._answer, size=len(payload))
        self._server.service.handle(request, self._caller, self, answer)

    def _greet(self, hello: m.Hello) -> None:
        if hello.version != m.PROTOCOL_VERSION:
            raise ProtocolError(
                f"this daemon speaks version {m.PROTOCOL_VERSION} of the protocol, "
                f"the client version {hello.version}; update the older of the two"
            )
        try:
            hello.writer.check()
        except InvalidRequest as exc:
            self._refuse(exc.code, str(exc))
            return
        peer = peer_of(self._transport.get_extra_info("socket"))
        self._caller = Caller(peer, recorded(hello.writer, peer))
        self._frames.max_frame_bytes = self._server.limits.max_frame_bytes
        self._send(self._server.welcome)

    def _answer(self, answer: object, *, size: int = 0) -> None:
        was_full = self._is_full()
        self._in_hand -= 1
        self._in_hand_bytes -= size
        self._send(answer)
        if self._closing:
            if not self._in_hand and self._server.stopping:
                self._say_goodbye()
        elif self._eof or was_full:
            self._schedule()

    def _refuse(self, code: str, message: str) -> None:
        """Say why, and close: there is no next frame on this connection."""
        self._send(m.Failed(0, code, message, None))
        self._closing = True
        self._transport.close()

    def _send(self, message: object) -> None:
        if not self._transport.is_closing():
            self._transport.write(frame(m.encode(message)))

    def _pace(self) -> None:
        """Read from the peer only what can be worked on."""
        if self._transport.is_closing():
            return
        wants_room = (
            self._frames.pending_bytes > HEADER_BYTES
            and not self._reserved
            and self._frames.expected_bytes > _SMALL_FRAME_BYTES
            and self._caller is not None
        )
        reading = not (self._closing or self._scheduled or wants_room or self._is_full())
        if reading != self._reading:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _release(self) -> None:
        if self._reserved:
            reserved, self._reserved = self._reserved, 0
            self._server.release(reserved)

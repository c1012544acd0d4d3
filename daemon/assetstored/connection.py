"""One connection: frames in, answers out, and what a peer may cost.

Rule: no request is understood here; service.py does that.
"""

from __future__ import annotations

import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from assetstore import messages as m
from assetstore.errors import InvalidRequest, ProtocolError
from assetstore.framing import HEADER_BYTES, FrameReader, frame
from assetstore.limits import MAX_HELLO_BYTES
from assetstored.border import Caller
from assetstored.channel import Channel
from assetstored.feed import Waiting
from assetstored.loop import Loop
from assetstored.peers import peer_of, recorded
from assetstored.service import PAGES

if TYPE_CHECKING:
    from assetstored.server import Server

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

#: How long the requests of one connection are worked on before others get their turn: some twenty.
_TURN_S = 0.000_25

#: What a frame may hold in memory without asking for a share of the budget.
_SMALL_FRAME_BYTES = 64 * 1024


class Connection(Channel):
    """One peer: its frames, what it has in hand, and its deadlines."""

    def __init__(
        self, server: Server, loop: Loop, sock: socket.socket, *, reads_only: bool = False
    ) -> None:
        super().__init__(loop, sock)
        self._server = server
        self._service = server.service
        self._frames = FrameReader(MAX_HELLO_BYTES)
        self._caller: Caller | None = None
        self._reads_only = reads_only
        self._in_hand = 0
        self._in_hand_bytes = 0
        #: Those in hand that wait for events, and not for us.
        self.waiting: set[Waiting] = set()
        self._reserved = 0
        self._waits_for_room = False
        self._scheduled = False
        # Whether answers wait for those that follow.
        self._gathers = False
        self._max_single_bytes = 0  # before the hello nothing is as usual
        self._closing = False
        self._eof = False
        self.slow_since: float | None = None
        self._deadline: float | None = time.monotonic() + HELLO_DEADLINE_S
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
            self._service.meters.connections += 1

    # --- Channel

    @property
    def read_bytes(self) -> int:
        return self._server.read_bytes

    def lost(self) -> None:
        self._closing = True
        if self._server.latest is self:
            self._server.latest = None
        self._server.connections.discard(self)
        for waiting in list(self.waiting):
            waiting.cancel()
        self._release()
        if self._server.stopping and not self._server.connections:
            self._server.all_gone.set()

    def received(self, data: bytes) -> None:
        server = self._server
        if server.latest is not self:
            server.latest = self
            server.crowd += 1
        size = len(data) - HEADER_BYTES
        if (
            0 < size <= self._max_single_bytes
            and int.from_bytes(data[:HEADER_BYTES], "big") == size
            and self._is_plain()
        ):
            self._take_single(data[HEADER_BYTES:])
            return
        self._frames.feed(data)
        if self._scheduled:
            # What came before waits for its turn; what comes now waits in the kernel.
            self._pace()
        self._schedule()

    def ended(self) -> None:
        # The peer still gets the answers to what it has asked.
        self._eof = True
        if not self._is_busy():
            self.close()

    def slowed(self) -> None:
        self.slow_since = time.monotonic()
        self._deadline = self.slow_since + _READ_DEADLINE_S
        self._server.limit_output()
        self._pace()

    def eased(self) -> None:
        self.slow_since = None
        self._deadline = None
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
        if reason is not None and not self.is_closing:
            pid = self._caller.peer.pid if self._caller else "unknown"
            _log.warning("cut off a connection (pid %s): %s", pid, reason)
            self._service.meters.cut_off += 1
        self._closing = True
        self.abort()

    def work_off(self) -> bool:
        """Take what has come, for one turn; True if more of it is left than that."""
        self._scheduled = False
        try:
            return self._process()
        except Exception:
            _log.exception("a connection failed")
            self.abort()
            return False

    def grant(self, size: int) -> bool:
        """There is room for the frame that waits; False if it is not wanted any more."""
        self._waits_for_room = False
        if self._closing:
            return False
        self._reserved = size
        self._deadline = time.monotonic() + _FRAME_DEADLINE_S + size / _FRAME_BYTES_PER_S
        self._schedule()
        return True

    # --- frames

    def _is_plain(self) -> bool:
        """Whether a frame that comes now has nothing before it that is to be done first."""
        return not (
            self._in_hand
            or self._scheduled
            or self._closing
            or self._reserved
            or self._frames.pending_bytes
            or self.slow_since is not None
        )

    def _take_single(self, payload: bytes) -> None:
        """A request by itself, as most are, without what only the others need."""
        try:
            request = m.decode_request(payload)
        except ProtocolError as exc:
            self._refuse("protocol_error", str(exc))
            return
        if type(request) is m.Get:
            self.send(frame(m.encode(self._get(request))))
            return
        self._give(request, 0)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._server.work_off_soon(self)

    def _process(self) -> bool:
        turn_ends = time.monotonic() + _TURN_S
        is_left = False
        self._gathers = True
        try:
            # A peer that is gone by now gets nothing done any more.
            while not (self._closing or self.is_closing or self._is_full()):
                payload = self._frames.next()
                if payload is None:
                    self._await_frame()
                    break
                self._deadline = None
                self._release()
                self._take(payload)
                if time.monotonic() > turn_ends:
                    # Others first; what is left of this one's frames comes in another turn.
                    is_left = True
                    break
        except ProtocolError as exc:
            self._refuse("protocol_error", str(exc))
        self._gathers = False
        self.send_together()
        # As if it were queued already: until its turn comes nothing more is read.
        self._scheduled |= is_left
        if self._eof and not self._is_busy():
            self.close()
        self._pace()
        return is_left

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
        size = len(payload)
        self._give(m.decode_request(payload), size if size > _SMALL_FRAME_BYTES else 0)

    def _give(self, request: m.AnyRequest, size: int) -> None:
        """Have the request answered; ``size`` is what it holds in memory until then."""
        assert self._caller is not None
        self._in_hand += 1
        if isinstance(request, PAGES):
            # One page at a time: a peer that does not read is not to have many waiting.
            size = _PIPELINE_BYTES
        answer = self._answer
        if size:
            self._in_hand_bytes += size
            answer = partial(self._answer, size=size)
        self._service.handle(request, self._caller, self, answer)

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
        peer = peer_of(self._socket)
        permit = self._service.border.permit(peer, reads_only=self._reads_only)
        self._caller = Caller(peer, recorded(hello.writer, peer), permit)
        self._get = self._service.getter(permit)
        limits = self._server.limits
        self._frames.max_frame_bytes = (
            limits.max_admin_frame_bytes if permit.administers else limits.max_frame_bytes
        )
        self._max_single_bytes = min(self._frames.max_frame_bytes, _SMALL_FRAME_BYTES)
        self._send(self._server.welcome(self._frames.max_frame_bytes))

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
        self._service.meters.refused(code)
        self._send(m.Failed(0, code, message, None))
        self._closing = True
        self.close()

    def _send(self, message: object) -> None:
        if self.is_closing:
            return
        if self._gathers or self._in_hand:
            self.send_soon(frame(m.encode(message)))
        else:
            self.send(frame(m.encode(message)))

    def _pace(self) -> None:
        """Read from the peer only what can be worked on."""
        if self.is_closing:
            return
        wants_room = (
            self._frames.pending_bytes > HEADER_BYTES
            and not self._reserved
            and self._frames.expected_bytes > _SMALL_FRAME_BYTES
            and self._caller is not None
        )
        self.read_on(
            not (self._closing or self._eof or self._scheduled or wants_room or self._is_full())
        )

    def _release(self) -> None:
        if self._reserved:
            reserved, self._reserved = self._reserved, 0
            self._server.release(reserved)

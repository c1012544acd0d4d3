"""A client's socket: what comes is handed on at once, and what it does not take yet is kept.

Rule: bytes only. What they are, and what a peer may cost, connection.py knows.
"""

from __future__ import annotations

import logging
import select
import socket
from typing import Final

from assetstored.loop import Loop

_log = logging.getLogger("assetstored.server")

#: What is read at a time. A connection that is not read on may hold this much.
READ_BYTES: Final = 64 * 1024

#: Beyond this a peer reads too slowly; again well below when a quarter is left. A peer may leave
#: its answers lying up to here, so all connections together may hold this much each.
_HIGH_BYTES: Final = 64 * 1024
_LOW_BYTES: Final = _HIGH_BYTES // 4

#: What is sent together with what follows it. More goes by itself.
_SMALL_BYTES: Final = 16 * 1024

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


class Channel:
    """One socket in the loop. A subclass says what happens with what comes.

    After ``close`` what was written is still sent; after ``abort`` it is not. ``lost`` comes once,
    when the socket is closed for either reason, or by the peer.
    """

    def __init__(self, loop: Loop, sock: socket.socket) -> None:
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._out = bytearray()
        self._together: list[bytes] = []
        self._expects = _IN
        self._is_reading = True
        self._is_slow = False
        #: Nothing more is taken from the peer; the socket is closed when all is sent.
        self.is_closing = False
        self._is_closed = False
        loop.clients.attach(self._fd, self._on_event)

    # --- what a subclass does

    @property
    def read_bytes(self) -> int:
        """How much is read at a time."""
        return READ_BYTES

    def received(self, data: bytes) -> None:
        """The peer has sent this."""

    def ended(self) -> None:
        """The peer sends no more. Reading has stopped; ``close`` is still to be called."""

    def slowed(self) -> None:
        """More is kept than the peer should leave lying."""

    def eased(self) -> None:
        """The peer has taken most of it."""

    def lost(self) -> None:
        """The socket is closed."""

    # --- what a subclass asks for

    def send(self, data: bytes) -> None:
        """Send it now, or as soon as the peer takes it. Nothing is sent after the end."""
        if self._is_closed:
            return
        if self._together:
            self._together.append(data)
            data = b"".join(self._together)
            self._together.clear()
        if not self._out:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self.abort()
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._out += data
        self._expect()
        if len(self._out) > _HIGH_BYTES and not self._is_slow:
            self._is_slow = True
            self.slowed()

    def send_soon(self, data: bytes) -> None:
        """As send, together with what follows in this turn of the loop: one call for all of it."""
        if len(data) > _SMALL_BYTES:
            self.send(data)
            return
        if not self._together:
            self._loop.call_soon(self.send_together)
        self._together.append(data)

    def send_together(self) -> None:
        """Send what waits for more to come."""
        if self._together:
            self.send(self._together.pop())

    @property
    def unsent_bytes(self) -> int:
        """What the peer has not taken yet."""
        return len(self._out)

    def read_on(self, reading: bool) -> None:
        """Whether what the peer sends is read, or waits in the kernel."""
        if reading != self._is_reading:
            self._is_reading = reading
            self._expect()

    def close(self) -> None:
        """Take nothing more; close when all is sent."""
        if not self.is_closing:
            self.send_together()
            self.is_closing = True
            self._expect()
            if not self._out:
                self._end()

    def abort(self) -> None:
        """Close now."""
        self.is_closing = True
        self._out.clear()
        self._end()

    # --- inside

    def _on_event(self, events: int) -> None:
        try:
            if events & _OUT:
                self._flush()
            if events & ~_OUT and not self._is_closed:
                self._receive()
        except Exception:
            _log.exception("a connection failed")
            self.abort()

    def _receive(self) -> None:
        if self.is_closing or not self._is_reading:
            # The kernel tells of an end whether or not it is asked.
            self.abort()
            return
        try:
            data = self._socket.recv(self.read_bytes)
        except BlockingIOError:
            return
        except OSError:
            self.abort()
            return
        if data:
            self.received(data)
        else:
            self._is_reading = False
            self._expect()
            self.ended()

    def _flush(self) -> None:
        try:
            while self._out:
                del self._out[: self._socket.send(self._out)]
        except BlockingIOError:
            pass
        except OSError:
            self.abort()
            return
        if self.is_closing:
            if not self._out:
                self._end()
            return
        self._expect()
        if self._is_slow and len(self._out) <= _LOW_BYTES:
            self._is_slow = False
            self.eased()

    def _expect(self) -> None:
        expects = (_IN if self._is_reading and not self.is_closing else 0) | (
            _OUT if self._out else 0
        )
        if expects != self._expects and not self._is_closed:
            self._expects = expects
            self._loop.clients.expect(self._fd, expects)

    def _end(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._loop.clients.detach(self._fd)
            self._socket.close()
            # Not at once: whoever has sent something is not to find everything changed under it.
            self._loop.call_soon(self.lost)

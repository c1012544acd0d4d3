"""One blocking connection: a request goes out, its answer comes back, all before a deadline.

Rule: decides nothing about trying again; says only, and exactly, whether a request was sent.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from assetstore.dialing import dial, reason
from assetstore.entries import Writer
from assetstore.errors import DeadlineExceeded, NotConnected, OutcomeUnknown
from assetstore.exchange import (
    hello_frame,
    max_answer_bytes,
    read_answer,
    read_welcome,
    request_frame,
    stray,
)
from assetstore.framing import FrameReader, whole_frame
from assetstore.limits import MAX_HELLO_BYTES
from assetstore.messages import AnyAnswer, Limits, Request
from assetstore.retry import NoTimeLeft

# A normal answer is one piece; a value of 1 MiB comes in as many as the socket's buffer makes of
# it.
_RECEIVE_BYTES: Final = 64 * 1024


class Connection:
    """A connection with at most one request under way. One thread at a time may use it.

    After any failure it is closed: an answer that comes late must not meet the next request.
    """

    __slots__ = ("_last_id", "_limits", "_poll", "_reader", "_socket", "is_open")

    def __init__(self, path: str) -> None:
        """Connect, without waiting. ``greet`` must follow."""
        self._socket = dial(path)
        # The socket never blocks, and poll is where time passes: unlike SO_RCVTIMEO
        # it keeps to the deadline when signals interrupt it.
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._reader = FrameReader(MAX_HELLO_BYTES)
        self._limits: Limits
        self._last_id = 0
        self.is_open = True

    def greet(self, writer: Writer, deadline: float) -> None:
        """Say hello and wait for the welcome: only then there is a connection.

        Raises NotConnected where trying again may help.
        """
        try:
            self._send(hello_frame(writer), deadline)
            welcome = read_welcome(self._receive(deadline))
        except DeadlineExceeded as exc:
            self.close()
            raise NotConnected("something listens there but did not answer the hello") from exc
        except OutcomeUnknown as exc:
            self.close()
            raise NotConnected(f"the hello was not answered: {exc}") from exc
        except BaseException:
            self.close()
            raise
        self._limits = welcome.limits
        self._reader.max_frame_bytes = max_answer_bytes(welcome.limits)

    def exchange(self, kind: type[Request], fields: Sequence[Any], deadline: float) -> AnyAnswer:
        """Send a request of this kind and return its answer, which may be a Failed.

        Raises InvalidRequest if the daemon would not take it for its length; NotConnected if it
        was not sent whole, or the daemon said goodbye to it, so that nothing can have happened;
        DeadlineExceeded or OutcomeUnknown if it was sent and no answer came; ProtocolError if the
        daemon broke the protocol.
        """
        left_s = deadline - monotonic()
        if left_s <= 0:
            raise NoTimeLeft("no time was left to send the request")
        self._last_id = request_id = self._last_id + 1
        data = request_frame(kind, request_id, fields, left_s, self._limits)
        try:
            if self._reader.pending_bytes:
                # Behind the last answer came a goodbye, and with it the end.
                raise NotConnected("the daemon has ended the connection")
            self._send(data, deadline)
            answer = read_answer(kind, self._receive(deadline))
            if answer.id != request_id:
                raise stray(answer)
            return answer
        except BaseException:
            # KeyboardInterrupt too: the answer is still to come.
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptor. Sends nothing: in the child of a fork the parent goes on."""
        self.is_open = False
        self._socket.close()

    def _send(self, data: bytes, deadline: float) -> None:
        try:
            # A program may have given SIGPIPE back its default, which is to die.
            sent = self._socket.send(data, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError as exc:
            raise NotConnected(f"the connection is dead: {reason(exc)}") from exc
        if sent != len(data):
            self._send_rest(memoryview(data)[sent:], deadline)

    def _send_rest(self, data: memoryview, deadline: float) -> None:
        # A request of which the end was not sent is no request: nothing happens there.
        self._poll.modify(self._socket, select.POLLOUT)
        while data:
            if not self._poll.poll(_milliseconds_to(deadline)):
                raise NotConnected("the daemon does not read what is sent to it")
            try:
                data = data[self._socket.send(data, socket.MSG_NOSIGNAL) :]
            except BlockingIOError:
                continue
            except OSError as exc:
                raise NotConnected(f"the connection died: {reason(exc)}") from exc
        self._poll.modify(self._socket, select.POLLIN)

    def _receive(self, deadline: float) -> bytes:
        reader = self._reader
        while True:
            if not self._poll.poll(_milliseconds_to(deadline)):
                raise DeadlineExceeded("no answer came in time")
            try:
                data = self._socket.recv(_RECEIVE_BYTES)
            except BlockingIOError:
                continue
            except OSError as exc:
                raise OutcomeUnknown(f"the connection was lost: {reason(exc)}") from exc
            if not data:
                raise OutcomeUnknown("the daemon closed the connection")
            if (payload := whole_frame(data)) is not None and not reader.pending_bytes:
                return payload
            reader.feed(data)
            payload = reader.next()
            if payload is not None:
                return payload


def _milliseconds_to(deadline: float) -> float:
    # poll takes a negative time for "for ever".
    return max((deadline - monotonic()) * 1000, 0)

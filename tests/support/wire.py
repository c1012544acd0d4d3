"""A raw client: bytes in, bytes out, with nothing between a test and the daemon's socket.

Rule: cuts frames and waits with a deadline; makes no decision about what it sends or gets.
"""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from tests.support.waiting import wait_until

from assetstore import messages as m
from assetstore.entries import Writer
from assetstore.framing import HEADER_BYTES, frame
from assetstore.requests import new_request_id

#: How long any single answer may take. Far beyond the usual: a test fails here, and never hangs.
DEADLINE_S = 20.0

HELLO = m.Hello(m.PROTOCOL_VERSION, Writer(), "wire")


def change(id: int, *operations: m.AnyOperation, timeout_ms: int | None = None) -> m.Change:
    """A change that no daemon has seen before."""
    return m.Change(id, timeout_ms, new_request_id(), 0, list(operations))


def set_key(
    id: int, asset: m.AssetRef, key: str, value: bytes, *, timeout_ms: int | None = None
) -> m.Change:
    """A change that is one set, without a condition."""
    return change(id, m.SetKey(asset, key, value, None), timeout_ms=timeout_ms)


def outcome(answer: m.AnyAnswer) -> m.Outcome:
    """The outcome of a change of one operation; fails if it was refused."""
    assert isinstance(answer, m.Changed), answer
    (only,) = answer.outcomes
    return only


def revision(answer: m.AnyAnswer) -> int:
    """What a change of one operation was given; fails if it changed nothing."""
    found = outcome(answer).revision
    assert found is not None
    return found


def refused(answer: m.AnyAnswer, code: str) -> m.Failed:
    """The refusal with this code; fails if it is anything else."""
    assert isinstance(answer, m.Failed), answer
    assert answer.code == code, answer
    return answer


def connect(path: Path, deadline_s: float = DEADLINE_S) -> socket.socket:
    """A connected socket, although others may have to be accepted first."""
    sock = socket.socket(socket.AF_UNIX)
    try:
        # With a timeout of Python's the kernel would not wait for room in the queue.
        sock.setsockopt(
            socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(deadline_s), 0)
        )
        sock.connect(str(path))
        sock.settimeout(deadline_s)
    except BaseException:
        sock.close()
        raise
    return sock


class Wire:
    """One connection. A test says what goes out, byte by byte if it likes."""

    def __init__(
        self,
        path: Path,
        *,
        deadline_s: float = DEADLINE_S,
        connect: Callable[[Path, float], socket.socket] = connect,
    ) -> None:
        self.socket = connect(path, deadline_s)
        self._deadline_s = deadline_s

    def greet(self) -> Self:
        """Say hello and take the welcome."""
        assert isinstance(m.decode_welcome(self.ask_bytes(frame(m.encode(HELLO)))), m.Welcome)
        return self

    def send(self, data: bytes) -> Self:
        """Send exactly these bytes."""
        self.socket.sendall(data)
        return self

    def send_messages(self, *messages: object) -> Self:
        """Send these messages, a frame each, as one piece."""
        return self.send(b"".join(frame(m.encode(message)) for message in messages))

    def send_while_it_reads(self, data: bytes) -> Self:
        """Send these bytes, or as many as it takes before it closes."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)
        return self

    def wait_until_read(self) -> Self:
        """Return when the daemon has read all that was sent."""
        wait_until(
            lambda: fcntl.ioctl(self.socket, termios.TIOCOUTQ, bytes(4)) == bytes(4),
            self._deadline_s,
            "all that was sent to be read",
        )
        return self

    def receive(self) -> bytes:
        """The payload of the next frame. Raises EOFError if the daemon has closed."""
        size = int.from_bytes(self._exactly(HEADER_BYTES), "big")
        return self._exactly(size)

    def answer(self) -> m.AnyAnswer:
        """The next answer."""
        return m.decode_answer(self.receive())

    def ask(self, message: object) -> m.AnyAnswer:
        """Send one message and return the next answer."""
        return self.send_messages(message).answer()

    def value(self, asset: m.AssetRef, key: str) -> bytes | None:
        """The value of a key, or None where it is absent; fails if it is refused."""
        found = self.ask(m.Get(1, None, asset, key))
        assert isinstance(found, m.Found | m.Absent), found
        return found.entry.value if isinstance(found, m.Found) else None

    def keys(self, asset: m.AssetRef, after: str | None = None) -> list[str]:
        """The keys of an asset, of which a busy machine may make several pages."""
        keys: list[str] = []
        more = True
        while more:
            page = self.ask(m.Keys(1, None, asset, "", after, 1_000))
            assert isinstance(page, m.KeyPage), page
            keys += page.keys
            after, more = keys[-1] if keys else None, page.more
        return keys

    def ask_bytes(self, data: bytes) -> bytes:
        """Send these bytes and return the next payload."""
        return self.send(data).receive()

    def rest(self) -> list[bytes]:
        """The payloads that still come before the daemon closes; fails if it never does."""
        payloads = []
        while True:
            try:
                payloads.append(self.receive())
            except (EOFError, ConnectionResetError):
                return payloads

    def end(self) -> list[m.AnyAnswer]:
        """The answers that still come before the daemon closes; fails if it never does."""
        return [m.decode_answer(payload) for payload in self.rest()]

    def close(self) -> None:
        """Close it, whatever is under way."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _exactly(self, size: int) -> bytes:
        # A daemon that drips must not stretch the deadline.
        end = time.monotonic() + self._deadline_s
        data = bytearray()
        while len(data) < size:
            assert time.monotonic() < end, f"{len(data)} of {size} bytes after the deadline"
            part = self.socket.recv(min(size - len(data), 1 << 20))
            if not part:
                raise EOFError(f"closed after {len(data)} of {size} bytes")
            data += part
        return bytes(data)

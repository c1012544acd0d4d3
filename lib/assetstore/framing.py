"""Frames on the wire: bytes in, payloads out.

    +----------------------+----------------------------+
    | length, 4 bytes,     | payload: one msgpack array |
    | big-endian, unsigned | of that many bytes         |
    +----------------------+----------------------------+

Rule: no sockets, no msgpack, no clock in this file.
"""

from __future__ import annotations

from collections.abc import Iterator

from assetstore.errors import ProtocolError

HEADER_BYTES = 4


def frame(payload: bytes) -> bytes:
    """The payload with its length before it, ready to send."""
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def whole_frame(data: bytes) -> bytes | None:
    """The payload, if data is one frame and nothing else: as most answers come."""
    size = len(data) - HEADER_BYTES
    if size > 0 and int.from_bytes(data[:HEADER_BYTES], "big") == size:
        return data[HEADER_BYTES:]
    return None


class FrameReader:
    """Cuts a stream of bytes into payloads.

    The length is checked before any of the payload is kept, so a peer cannot make
    us hold more than ``max_frame_bytes`` plus what one feed brought.
    After a ProtocolError the reader stays broken: there is no way to find the next frame.
    """

    def __init__(self, max_frame_bytes: int) -> None:
        self.max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()
        # One whole frame that came by itself, as most do: it needs no buffer.
        self._single: bytes | None = None
        self._broken = False

    @property
    def pending_bytes(self) -> int:
        """How many bytes of unfinished or unread frames are held."""
        return len(self._buffer) + (0 if self._single is None else len(self._single))

    @property
    def expected_bytes(self) -> int:
        """How long the payload is whose header has come, or 0; checked by ``next`` only."""
        if len(self._buffer) < HEADER_BYTES:
            return 0
        return int.from_bytes(self._buffer[:HEADER_BYTES], "big")

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes as they came from the peer."""
        size = len(data) - HEADER_BYTES
        if (
            not self._buffer
            and self._single is None
            and 0 < size <= self.max_frame_bytes
            and int.from_bytes(data[:HEADER_BYTES], "big") == size
        ):
            self._single = bytes(data[HEADER_BYTES:])
        else:
            self._buffer += data

    def next(self) -> bytes | None:
        """The next whole payload, or None until more bytes are fed.

        Raises ProtocolError where the length is zero or beyond the limit.
        """
        buffer = self._buffer
        if self._broken:
            raise ProtocolError("the connection broke the frame rules before")
        if self._single is not None:
            payload, self._single = self._single, None
            return payload
        if len(buffer) < HEADER_BYTES:
            return None
        size = int.from_bytes(buffer[:HEADER_BYTES], "big")
        if not 0 < size <= self.max_frame_bytes:
            self._broken = True
            buffer.clear()
            raise ProtocolError(
                f"frame of {size:,} bytes; a frame has 1 to {self.max_frame_bytes:,} bytes"
            )
        end = HEADER_BYTES + size
        if len(buffer) < end:
            return None
        payload = bytes(memoryview(buffer)[HEADER_BYTES:end])
        del buffer[:end]
        return payload

    def __iter__(self) -> Iterator[bytes]:
        """Every whole payload that has been fed and not yet taken."""
        while (payload := self.next()) is not None:
            yield payload

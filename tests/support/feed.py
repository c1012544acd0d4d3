"""Feeding a parser the same bytes in every way a socket may cut them.

Rule: knows FrameReader and nothing above it.
"""

from __future__ import annotations

from collections.abc import Iterator

from assetstore.framing import FrameReader


def whole(data: bytes) -> Iterator[bytes]:
    """All in one piece."""
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """As a peer on a very slow line."""
    for position in range(len(data)):
        yield data[position : position + 1]


def in_halves(data: bytes) -> Iterator[bytes]:
    """Cut somewhere inside a frame."""
    middle = len(data) // 2
    yield data[:middle]
    yield data[middle:]


WAYS = [whole, byte_by_byte, in_halves]


def read_all(reader: FrameReader, pieces: Iterator[bytes]) -> list[bytes]:
    """Every payload that comes out, read after each piece."""
    payloads: list[bytes] = []
    for piece in pieces:
        reader.feed(piece)
        payloads += reader
    return payloads

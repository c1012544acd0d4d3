"""Frames: every case is fed whole, byte by byte and in halves, and with a tail behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from tests.support.feed import WAYS, read_all

from assetstore.errors import ProtocolError
from assetstore.framing import HEADER_BYTES, FrameReader, frame

Way = Callable[[bytes], Iterator[bytes]]

LIMIT = 100

GOOD = [
    pytest.param([b"x"], id="the shortest"),
    pytest.param([b"x" * LIMIT], id="the longest"),
    pytest.param([b"\x00\x00\x00\x00"], id="a payload that looks like a header"),
    pytest.param([b"one", b"two", b"three"], id="several"),
    pytest.param([b"x" * LIMIT, b"y", b"z" * LIMIT], id="long and short"),
]

# A header, what it announces, and how the error names it.
BAD = [
    pytest.param(b"\x00\x00\x00\x00", "0 bytes", id="of no bytes"),
    pytest.param(b"\x00\x00\x00\x65", "101 bytes", id="one byte beyond the limit"),
    pytest.param(b"\xff\xff\xff\xff", "4,294,967,295 bytes", id="of 4 GiB"),
    pytest.param(b"GET / HTTP/1.1\r\n", "bytes", id="of HTTP"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01", "bytes", id="of TLS"),
]


def bytes_of(payloads: list[bytes]) -> bytes:
    return b"".join(map(frame, payloads))


def test_a_frame_is_its_length_in_four_bytes_and_the_payload() -> None:
    assert frame(b"abc") == b"\x00\x00\x00\x03abc"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payloads", GOOD)
def test_payloads_come_out_as_they_went_in(payloads: list[bytes], way: Way) -> None:
    reader = FrameReader(LIMIT)

    assert read_all(reader, way(bytes_of(payloads))) == payloads
    assert reader.pending_bytes == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("payloads", GOOD)
@pytest.mark.parametrize("tail", [b"\x00", b"\x00\x00\x00\x05", b"\x00\x00\x00\x05abcd"])
def test_an_unfinished_frame_behind_them_waits_for_its_end(
    payloads: list[bytes], tail: bytes, way: Way
) -> None:
    reader = FrameReader(LIMIT)

    assert read_all(reader, way(bytes_of(payloads) + tail)) == payloads
    assert reader.pending_bytes == len(tail)
    assert reader.next() is None

    rest = (b"\x00\x00\x00\x05abcde")[len(tail) :]
    assert read_all(reader, way(rest)) == [b"abcde"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("header", "named"), BAD)
@pytest.mark.parametrize("tail", [b"", b"\x00\x00\x00\x01x"])
def test_a_frame_beyond_the_limit_is_refused_by_its_header(
    header: bytes, named: str, tail: bytes, way: Way
) -> None:
    reader = FrameReader(LIMIT)

    with pytest.raises(ProtocolError, match=named):
        read_all(reader, way(header + tail))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("header", "named"), BAD)
def test_what_came_before_a_bad_frame_is_still_read(header: bytes, named: str, way: Way) -> None:
    reader = FrameReader(LIMIT)
    taken: list[bytes] = []

    def read() -> None:
        for piece in way(frame(b"good") + header):
            reader.feed(piece)
            while payload := reader.next():
                taken.append(payload)

    with pytest.raises(ProtocolError, match=named):
        read()

    assert taken == [b"good"]


def test_after_a_bad_frame_the_reader_stays_broken_and_keeps_nothing() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(b"\xff\xff\xff\xff" + b"x" * 1000)
    with pytest.raises(ProtocolError):
        reader.next()
    assert reader.pending_bytes == 0

    reader.feed(frame(b"good"))

    with pytest.raises(ProtocolError, match="before"):
        reader.next()


def test_the_length_that_a_header_announces_is_known_before_the_payload_comes() -> None:
    reader = FrameReader(LIMIT)
    assert reader.expected_bytes == 0

    reader.feed(b"\x00\x00\x00")
    assert reader.expected_bytes == 0

    reader.feed(b"\x07abc")
    assert reader.expected_bytes == 7
    assert reader.pending_bytes == HEADER_BYTES + 3


def test_a_limit_that_was_raised_holds_for_the_next_frame() -> None:
    reader = FrameReader(LIMIT)
    reader.max_frame_bytes = 1000

    assert read_all(reader, iter([frame(b"x" * 1000)])) == [b"x" * 1000]


def test_a_payload_is_a_copy_that_later_bytes_do_not_touch() -> None:
    reader = FrameReader(LIMIT)
    reader.feed(frame(b"first"))
    first = reader.next()

    reader.feed(frame(b"other"))

    assert first == b"first"
    assert isinstance(first, bytes)

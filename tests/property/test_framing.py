"""Any bytes are frames or a ProtocolError and nothing else, however they are cut."""

from __future__ import annotations

import random

from assetstore.errors import ProtocolError
from assetstore.framing import HEADER_BYTES, FrameReader, frame

ROUNDS = 2_000
LIMIT = 64


def stream(rng: random.Random) -> bytes:
    """Frames, junk, or frames with junk among them."""
    parts = []
    for _ in range(rng.randrange(6)):
        kind = rng.random()
        if kind < 0.6:
            parts.append(frame(rng.randbytes(rng.randrange(1, LIMIT + 1))))
        elif kind < 0.8:
            # A header that lies.
            parts.append(rng.randrange(2 * LIMIT).to_bytes(HEADER_BYTES, "big"))
        else:
            parts.append(rng.randbytes(rng.randrange(12)))
    return b"".join(parts)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    places = sorted(rng.randrange(len(data) + 1) for _ in range(rng.randrange(8)))
    return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]


def read(pieces: list[bytes]) -> tuple[list[bytes], bool, int]:
    """The payloads, whether the rest was refused, and how many bytes are left over."""
    reader = FrameReader(LIMIT)
    payloads: list[bytes] = []
    for piece in pieces:
        reader.feed(piece)
        try:
            for payload in reader:
                payloads.append(payload)
        except ProtocolError:
            return payloads, True, reader.pending_bytes
        # Nothing is held beyond one frame that is not complete.
        assert reader.pending_bytes < HEADER_BYTES + LIMIT
    return payloads, False, reader.pending_bytes


def test_any_bytes_are_frames_or_a_protocol_error_however_they_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        data = stream(rng)
        payloads, refused, left = read([data])

        assert read(cut(rng, data))[:2] == (payloads, refused)
        assert all(0 < len(payload) <= LIMIT for payload in payloads)
        if refused:
            assert left == 0
        else:
            # Not a byte is lost or invented.
            assert b"".join(map(frame, payloads)) == data[: len(data) - left]


def test_frames_come_out_as_they_went_in_however_they_are_cut(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(ROUNDS):
        payloads = [rng.randbytes(rng.randrange(1, LIMIT + 1)) for _ in range(rng.randrange(6))]

        assert read(cut(rng, b"".join(map(frame, payloads)))) == (payloads, False, 0)

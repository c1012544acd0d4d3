"""Bytes and messages that no sane client sends, made at random from what one does send.

Rule: makes them; what has to become of each the tests say.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
from tests.support.golden import frames

from assetstore import messages as m
from assetstore.entries import RecordedWriter
from assetstore.framing import HEADER_BYTES, frame

#: Frames of one ``stream``.
FRAMES_EACH = 20

GOLDEN = [golden.bytes[HEADER_BYTES:] for golden in frames()]
#: Without a reload: each runs a process, and has fields like those of status.
REQUESTS = [kind for kind in m.AnyRequest.__args__ if kind is not m.ReloadManifest]
TAGS = sorted({golden.tag for golden in frames()})

#: First bytes that change what all the bytes behind them mean.
HEADS = bytes([0x80, 0x90, 0x9F, 0xA0, 0xBF, *range(0xC0, 0xE0), 0xFF])


def mutated(rng: random.Random) -> bytes:
    """A golden message with a few bytes changed, gone, doubled or put in."""
    data = bytearray(rng.choice(GOLDEN))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = rng.randbytes(1)
            case 1:
                data[at : at + 1] = bytes([rng.choice(HEADS)])
            case 2:
                del data[at : at + rng.randrange(1, 9)]
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 4:
                data[at:at] = data[at : at + rng.randrange(1, 30)]
            case 5:
                other = rng.choice(GOLDEN)
                data[at:] = other[rng.randrange(len(other)) :]
    return bytes(data)


def value(rng: random.Random, depth: int = 0) -> Any:
    """Anything that MessagePack can say, the values of this protocol among it."""
    kinds: list[Callable[[], Any]] = [
        lambda: None,
        lambda: rng.random() < 0.5,
        lambda: rng.choice([0, 1, -1, 127, 128, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)]),
        lambda: rng.choice([0.0, 1.0, 1e308, float("inf"), float("nan")]),
        lambda: rng.choice(["", "orders", "customers", "k", "worker", "\0", "é" * 600, *TAGS]),
        lambda: rng.choice([b"", b"1", b"null", b"[[", b'"x"', rng.randbytes(20)]),
        lambda: ["orders", None],
        lambda: msgspec.msgpack.Ext(rng.randrange(-128, 128), rng.randbytes(rng.randrange(9))),
    ]
    if depth < 4:
        kinds += [
            lambda: [value(rng, depth + 1) for _ in range(rng.randrange(9))],
            lambda: {str(n): value(rng, depth + 1) for n in range(rng.randrange(4))},
        ]
    return rng.choice(kinds)()


def composed(rng: random.Random) -> bytes:
    """A message of the right tag, or nearly, with any fields."""
    fields = [value(rng) for _ in range(rng.randrange(9))]
    return msgspec.msgpack.encode([rng.choice(TAGS), rng.randrange(9), None, *fields])


def payload(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.6:
        return mutated(rng)
    if kind < 0.9:
        return composed(rng)
    return rng.randbytes(rng.randrange(60))


def request(rng: random.Random, id: int) -> m.AnyRequest:
    """A request whose every field is of its type, and no more than that can be said of it."""
    kind = rng.choice(REQUESTS)
    pools = pools_of(rng)
    pools["operations"] = lambda: [operation(rng) for _ in range(rng.choice([0, 1, 1, 3, 9]))]
    if kind in (m.Events, m.Log):
        pools["asset"] = lambda: rng.choice([None, reference(rng)])
    if "asset" not in kind.__struct_fields__:
        # A key, or none, where keys are listed; a position elsewhere.
        pools["after"] = lambda: position(rng)
    made: m.AnyRequest = kind(id, *(pools[name]() for name in kind.__struct_fields__[1:]))
    return made


def operation(rng: random.Random) -> m.AnyOperation:
    """As request, of the operations of a change."""
    kind = rng.choice(m.AnyOperation.__args__)
    pools = pools_of(rng)
    if kind is not m.CheckKey:
        pools["if_revision"] = lambda: rng.choice([None, None, None, position(rng)])
    made: m.AnyOperation = kind(*(pools[name]() for name in kind.__struct_fields__))
    return made


def pools_of(rng: random.Random) -> dict[str, Callable[[], Any]]:
    """What to take the fields of requests and operations from, by their names."""
    references = ("asset", "source", "target")
    texts = ("key", "prefix", "digest")
    positions = ("trash_id", "if_revision", "age_ms")
    positions_or_none = ("revision", "time", "before", "since", "since_time", "expected")
    booleans = ("dry_run", "replace")
    values = ("value", "patch", "by", "default")
    return {
        **dict.fromkeys(references, lambda: reference(rng)),
        **dict.fromkeys(texts, lambda: text(rng)),
        **dict.fromkeys(positions, lambda: position(rng)),
        **dict.fromkeys(positions_or_none, lambda: rng.choice([None, None, position(rng)])),
        **dict.fromkeys(booleans, lambda: rng.random() < 0.5),
        **dict.fromkeys(values, lambda: json_text(rng)),
        "timeout_ms": lambda: rng.choice([None, 0, 1, 5_000, 2**63 - 1]),
        "request": lambda: bytes([rng.randrange(20)]) * 16,
        "assets": lambda: [reference(rng) for _ in range(rng.choice([0, 1, 5, 100, 101]))],
        "keys": lambda: [(reference(rng), text(rng)) for _ in range(rng.choice([0, 1, 9, 1_001]))],
        "entries": lambda: [imported(rng) for _ in range(rng.choice([0, 1, 1, 9]))],
        "limit": lambda: rng.choice([1, 2, 1_000, 1_001, 2**31 - 1]),
        "trash_ids": lambda: [position(rng) for _ in range(rng.choice([0, 1, 3, 201]))],
        "after": lambda: rng.choice([None, text(rng)]),
        "wait_ms": lambda: rng.choice([0, 0, 1, 50]),
        "order": lambda: rng.choice(["value", "time"]),
        "how": lambda: rng.choice(["replace", "max"]),
        "remove": lambda: [[text(rng)] * rng.randrange(3) for _ in range(rng.randrange(3))],
    }


def imported(rng: random.Random) -> m.ImportedEntry:
    """An entry as another store may have had it, or could not."""
    writer = RecordedWriter(
        kind=rng.choice(["worker", "task", "", "x" * 99]),
        dag_id=rng.choice([None, text(rng)]),
        run_id=rng.choice([None, text(rng)]),
        task_id=rng.choice([None, text(rng)]),
        map_index=rng.choice([None, -1, 2**40]),
        uid=rng.choice([0, -1, 2**40]),
        gid=rng.choice([0, -1, 2**40]),
        pid=rng.choice([0, -1, 2**40]),
    )
    return m.ImportedEntry(text(rng), position(rng), writer, json_text(rng))


def json_text(rng: random.Random) -> bytes:
    """JSON, or something near to it."""
    numbers = [b"1", b"-0.0", b"1e308", b"7" * 3_000]
    others = [b'"2026-01-31T00:00:00Z"', b'["a",1]', b'{"a":{"b":1}}', b"true"]
    return rng.choice([*numbers, *others, b"null", b"[", b'"\xff"', b"{}" * 2])


def reference(rng: random.Random) -> m.AssetRef:
    names = [None, "orders", "customers", "s3://data/orders/", text(rng)]
    return m.AssetRef(rng.choice(names), rng.choice(names))


def text(rng: random.Random) -> str:
    return rng.choice(["", "a", "ab", "\0", "é" * 239, "é" * 256, "k" * 512, "k" * 1_501]) + (
        rng.choice(["", "b", "\U0010ffff"])
    )


def position(rng: random.Random) -> int:
    return rng.choice([0, 1, 2, 3, 5, 8, 2**32, 2**63 - 1])


def stream(rng: random.Random) -> bytes:
    """What a client that is not quite right may send: frames, mostly whole."""
    parts = []
    for _ in range(FRAMES_EACH):
        data = frame(payload(rng))
        kind = rng.random()
        if kind < 0.02:
            data = data[: rng.randrange(len(data))]
        elif kind < 0.04:
            data = rng.randbytes(HEADER_BYTES) + data[HEADER_BYTES:]
        parts.append(data)
    return b"".join(parts)

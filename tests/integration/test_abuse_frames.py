"""Bytes that are no frames, and frames that are no messages, sent to the real daemon.

All tests of this file share one daemon, and one bystander that must not notice.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator

import msgspec
import pytest
from tests.support.service import Service, serving
from tests.support.wire import HELLO, Wire, change, set_key

from assetstore import messages as m
from assetstore.framing import frame

ORDERS = m.AssetRef(name="orders")

pack = msgspec.msgpack.encode

GET = m.encode(m.Get(1, None, ORDERS, "k"))

#: What a peer may send that has lost its way, or its mind: whole frames and what is none.
BAD_BYTES = {
    "a frame of nothing": bytes(4),
    "a frame of 4 GiB": b"\xff" * 4,
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a TLS client hello": bytes.fromhex("16030100c8010000c40303") + bytes(194),
    "a line of text": b"get orders watermark\n",
    "one byte": frame(b"\x00"),
    "an empty array": frame(b"\x90"),
    "an array of arrays": frame(pack([[["get"]]])),
    "JSON": frame(b'["get",1,null,["orders",null],"k"]'),
    "a map": frame(pack({"tag": "get", "id": 1})),
    "a map with int keys": frame(b"\x82\x01\x02\x03\x04"),
    "a map with one key twice": frame(b"\x82\xa1a\x01\xa1a\x02"),
    "nil": frame(b"\xc0"),
    "a byte that MessagePack does not use": frame(b"\xc1"),
    "an ext type": frame(b"\xc7\x04\x01abcd"),
    "a timestamp": frame(b"\xd6\xff\x00\x00\x00\x00"),
    "an ext type for a key": frame(GET[:-2] + b"\xd4\x01\x00"),
    "an unknown tag": frame(pack(["drop_everything", 1, None])),
    "a tag that is a number": frame(pack([1, 1, None])),
    "an answer": frame(m.encode(m.Absent(1))),
    "a field too many": frame(pack(["get", 1, None, ["orders", None], "k", "more"])),
    "a field too few": frame(pack(["get", 1, None, ["orders", None]])),
    "bytes behind the message": frame(GET + b"\x00"),
    "two messages in one frame": frame(GET + GET),
    "a message cut short": frame(GET[:-1]),
    "bad UTF-8": frame(GET[:-1] + b"\xff"),
    "a surrogate in UTF-8": frame(GET[:-2] + b"\xa3\xed\xa0\x80"),
    "an overlong NUL in UTF-8": frame(GET[:-2] + b"\xa2\xc0\x80"),
    "an array of 4 G": frame(b"\xdd\xff\xff\xff\xff"),
    "a map of 4 G": frame(b"\xdf\xff\xff\xff\xff"),
    "a str of 4 G": frame(GET[:-2] + b"\xdb\xff\xff\xff\xff"),
    "a bin of 4 G": frame(b"\xc6\xff\xff\xff\xff"),
    "arrays nested 60,000 deep": frame(b"\x91" * 60_000),
    "arrays nested 1,000,000 deep": frame(b"\x91" * 1_000_000),
    "arrays for a name, nested 60,000 deep": frame(GET[:8] + b"\x91" * 60_000),
    "float NaN for an id": frame(b"\x95\xa3get\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00" + GET[6:]),
    "a negative id": frame(pack(["status", -1, None])),
    "an id of 2^63": frame(pack(["status", 2**63, None])),
    "a negative timeout": frame(pack(["status", 1, -1])),
    "a timeout of 2^64 - 1": frame(pack(["status", 1, 2**64 - 1])),
    "a limit of 0": frame(pack(["keys", 1, None, ["orders", None], "", None, 0])),
    "a limit of 2^31": frame(pack(["keys", 1, None, ["orders", None], "", None, 2**31])),
    "a position of -1": frame(pack(["assets", 1, None, -1, 10])),
}

GOOD = [
    m.Get(1, 5000, ORDERS, "k"),
    m.GetAt(1, 5000, ORDERS, "k", 7, None),
    m.GetMany(1, 5000, [(ORDERS, "k")]),
    change(
        1,
        m.SetKey(ORDERS, "k", b"1", 7),
        m.DeleteKey(ORDERS, "k", 7),
        m.ClearStore(ORDERS),
        m.AdvanceKey(ORDERS, "k", b"1", "value"),
        m.IncrementKey(ORDERS, "k", b"1", b"0"),
        m.MergeKey(ORDERS, "k", b"{}", [["a", "b"]], "max", "time"),
        m.CheckKey(ORDERS, "k", 7),
        m.RestoreStore(1),
        m.MoveStore(ORDERS, ORDERS, False),
        m.PurgeStores([1]),
        timeout_ms=5000,
    ),
    m.Rewind(1, 5000, bytes(16), 1, ORDERS, "k", 7, None, 7, True),
    m.History(1, 5000, ORDERS, "k", 7, 10),
    m.Events(1, 5000, ORDERS, "k", 7, 10, 5000),
    m.Log(1, 5000, ORDERS, "k", 7, 7, 7, 10),
    m.Keys(1, 5000, ORDERS, "", None, 10),
    m.Items(1, 5000, ORDERS, "", None, 10),
    m.Count(1, 5000, ORDERS, "", None),
    m.Resolve(1, 5000, [ORDERS]),
    m.Assets(1, 5000, 0, 10),
    m.Status(1, 5000),
    m.ReloadManifest(1, 5000),
    m.AcceptManifest(1, 5000, "digest"),
    m.ListTrash(1, 5000, 0, 10),
    m.Sweep(1, 5000, 0, True),
    m.Checkpoint(1, 5000),
]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service, service.undisturbed():
        yield service


def assert_refused(wire: Wire) -> None:
    """The connection is refused for what was sent, and closed."""
    (answer,) = wire.end()
    assert isinstance(answer, m.Failed)
    assert (answer.id, answer.code) == (0, "protocol_error")
    assert answer.message


@pytest.mark.parametrize("name", BAD_BYTES)
def test_bad_bytes_are_refused_and_the_connection_is_closed(service: Service, name: str) -> None:
    for said in (b"", frame(m.encode(HELLO))):
        with Wire(service.socket) as wire:
            wire.send(said)
            if said:
                wire.receive()
            assert_refused(wire.send_while_it_reads(BAD_BYTES[name]))


def test_what_was_asked_before_bad_bytes_is_answered_or_cut_off_but_never_wrong(
    service: Service,
) -> None:
    with Wire(service.socket).greet() as wire:
        wire.send(frame(GET) + bytes(4) + frame(GET))

        first, *rest = wire.end()
        assert first == m.Absent(1)
        assert [type(answer) for answer in rest] == [m.Failed]


def test_every_field_of_every_request_is_checked(service: Service) -> None:
    wrong = [None, True, -1, 1.5, "text", b"bytes", [], {}, [1, 2, 3], {"a": 1}, 2**64 - 1]
    refused = 0
    for request in GOOD:
        good = msgspec.msgpack.decode(m.encode(request))
        for path in paths(good):
            for value in wrong:
                payload = pack(replaced(good, path, value))
                try:
                    m.decode_request(payload)
                except Exception:
                    refused += 1
                    with Wire(service.socket).greet() as wire:
                        assert_refused(wire.send(frame(payload)))

    assert refused > 1_000


def paths(value: object, path: tuple[int, ...] = ()) -> Iterator[tuple[int, ...]]:
    """Where there is anything in a message, at every depth."""
    if isinstance(value, list):
        for position, part in enumerate(value):
            yield (*path, position)
            yield from paths(part, (*path, position))


def replaced(value: list[object], path: tuple[int, ...], by: object) -> list[object]:
    """The message with something else at that place."""
    first, *rest = path
    part = value[first]
    if rest:
        assert isinstance(part, list)
        by = replaced(part, tuple(rest), by)
    return [*value[:first], by, *value[first + 1 :]]


def test_a_frame_may_come_byte_by_byte(service: Service) -> None:
    with Wire(service.socket) as wire:
        for byte in frame(m.encode(HELLO)) + frame(GET):
            wire.send(bytes([byte])).wait_until_read()
        assert isinstance(m.decode_welcome(wire.receive()), m.Welcome)
        assert wire.answer() == m.Absent(1)


@pytest.mark.parametrize("first", [1, 2, 3, 4, 5])
def test_a_large_frame_may_come_with_its_header_cut(service: Service, first: int) -> None:
    data = frame(m.encode(set_key(1, ORDERS, "large", b'"' + b"x" * 1_000_000 + b'"')))
    with Wire(service.socket).greet() as wire:
        wire.send(data[:first]).wait_until_read()

        wire.send(data[first:])

        assert isinstance(wire.answer(), m.Changed)


def test_large_frames_may_come_cut_anywhere(service: Service, seed: int) -> None:
    rng = random.Random(seed)
    stream = b"".join(
        frame(m.encode(set_key(id, ORDERS, f"k{id}", b'"' + b"x" * size + b'"')))
        for id, size in enumerate([10, 65_000, 65_536, 70_000, 300_000, 1_000_000] * 2, 1)
    )
    with Wire(service.socket).greet() as wire:
        position = 0
        while position < len(stream):
            size = rng.choice([1, 3, 4, 5, 65_536, rng.randrange(1, 250_000)])
            wire.send(stream[position : position + size])
            position += size

        assert sorted(wire.answer().id for _ in range(12)) == list(range(1, 13))


def test_a_frame_that_is_cut_off_by_the_end_of_the_connection_is_nothing(service: Service) -> None:
    whole = frame(m.encode(set_key(1, ORDERS, "cut", b'"' + b"x" * 300_000 + b'"')))
    for end in (1, 3, 4, 5, 50, 100_000, len(whole) - 1):
        with Wire(service.socket).greet() as wire:
            wire.send(whole[:end])
        with Wire(service.socket).greet() as wire:
            wire.send(whole[:end]).socket.shutdown(socket.SHUT_WR)
            assert wire.end() == []

    with Wire(service.socket).greet() as wire:
        assert wire.ask(m.Get(1, None, ORDERS, "cut")) == m.Absent(1)


def test_a_thousand_requests_that_are_sent_before_any_answer_is_read_are_answered(
    service: Service,
) -> None:
    asked = [m.Get(id, None, ORDERS, "none") for id in range(1, 501)]
    asked += [set_key(id, ORDERS, f"t{id}", b"1") for id in range(501, 1_001)]  # type: ignore[misc]
    with Wire(service.socket).greet() as wire:
        wire.send_messages(*asked)

        answers = [wire.answer() for _ in asked]

    assert sorted(answer.id for answer in answers) == list(range(1, 1_001))
    assert {type(answer) for answer in answers} == {m.Absent, m.Changed}

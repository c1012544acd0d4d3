"""Messages: each survives the wire, and nothing else passes for one."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from assetstore import messages as m
from assetstore.entries import RecordedWriter, Writer
from assetstore.errors import ProtocolError

ORDERS = m.AssetRef(name="orders", uri="s3://data/orders/")
WRITER = RecordedWriter("task", "d", "r", "t", -1, 1000, 1000, 4711)
ENTRY = m.WireEntry(7, 1_700_000_000_000_000, WRITER, b'{"a":1}')
INFO = m.AssetInfo("orders", "s3://data/orders/", None, "active", 1, 2)
TRASH = m.TrashInfo(3, "orders", "s3://data/orders/", "cleared", 1, 2, 3, 4096)

EVENT = m.WireEvent(7, 1, "set", "orders", "s3://data/orders/", "k", b"1", WRITER, 3, None)
IMPORTED = m.WireEvent(9, 2, "import", "x", "x", "k", b"1", WRITER, 3, m.Origin(1, WRITER))
MANIFEST = m.WireEvent(8, 1, "manifest", None, None, None, b"{}", WRITER, 0, None)
REQUEST_ID = bytes(range(16))

OPERATIONS: list[m.AnyOperation] = [
    m.SetKey(m.AssetRef(name="orders"), "k", b'"v"', None),
    m.DeleteKey(m.AssetRef(uri="s3://data/orders/"), "k", 7),
    m.ClearStore(ORDERS),
    m.AdvanceKey(ORDERS, "k", b'"2026-01-31T00:00:00Z"', "time"),
    m.IncrementKey(ORDERS, "k", b"1", b"0"),
    m.MergeKey(ORDERS, "k", b'{"a":1}', [["b"], ["c", "d"]], "max", "value"),
    m.CheckKey(ORDERS, "k", 0),
    m.ImportKeys(ORDERS, [m.ImportedEntry("k", 1, WRITER, b"1")], True),
    m.RestoreStore(3),
    m.MoveStore(ORDERS, m.AssetRef(name="x"), False),
    m.PurgeStores([1, 2, 3]),
]

REQUESTS = [
    m.Get(1, 5000, ORDERS, "k"),
    m.GetAt(2, 5000, ORDERS, "k", 7, None),
    m.GetMany(3, 5000, [(ORDERS, "k"), (m.AssetRef(name="x"), "é")]),
    m.Change(4, None, REQUEST_ID, 0, OPERATIONS),
    m.Rewind(5, 0, REQUEST_ID, 1250, ORDERS, None, None, 1, 7, True),
    m.History(6, 5000, ORDERS, "k", None, 1_000),
    m.Events(7, 5000, None, "", None, 1_000, 30_000),
    m.Log(8, 5000, ORDERS, "p/", 7, 3, None, 1),
    m.Keys(9, 5000, ORDERS, "", None, 1_000),
    m.Items(10, 5000, ORDERS, "p/", "p/a", 1),
    m.Count(11, 5000, ORDERS, "", None),
    m.Resolve(12, 5000, [ORDERS, m.AssetRef(name="x")]),
    m.Assets(13, 5000, 0, 1_000),
    m.Status(14, 5000),
    m.Metrics(14, 5000),
    m.ReloadManifest(15, 5000),
    m.AcceptManifest(16, 5000, "digest"),
    m.ListTrash(17, 5000, 0, 1_000),
    m.Sweep(18, 5000, 0, True),
    m.Checkpoint(19, 5000),
]

ANSWERS = [
    m.Found(1, ENTRY),
    m.Absent(1),
    m.FoundMany(3, [ENTRY, None]),
    m.Changed(4, [m.Outcome(8, 1, ENTRY, None), m.Outcome(None, 0, None, ORDERS)]),
    m.Rewound(5, 9, [m.Difference("k", None, ENTRY), m.Difference("l", ENTRY, None)]),
    m.EventPage(7, [EVENT, MANIFEST, IMPORTED], 9),
    m.KeyPage(9, ["a", "é", "😀"], True),
    m.ItemPage(10, [("a", ENTRY)], False),
    m.Counted(11, 3, None),
    m.Resolved(12, [ORDERS, None]),
    m.AssetPage(13, [INFO], 4),
    m.MetricsText(14, "# TYPE x gauge\nx 1\n"),
    m.StatusReport(14, {"version": "1", "manifest": {"held": None}, "problems": ["x"]}),
    m.TrashPage(17, [TRASH], None),
    m.Checkpointed(19, 7),
    m.Failed(19, "conflict", "is there", {"operation": 0, "key": "k", "entry": None}),
    m.Failed(0, "busy", "stopping", None),
]

Decode = Callable[[bytes], Any]

DECODERS: list[Decode] = [m.decode_hello, m.decode_welcome, m.decode_request, m.decode_answer]

#: What strangers send, and what msgpack can be made to claim.
JUNK = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"\xc1", id="the byte that msgpack never uses"),
    pytest.param(b"\xc0", id="nil"),
    pytest.param(b"\x01", id="an int"),
    pytest.param(b"\xa5hello", id="a str"),
    pytest.param(b"\x80", id="a map"),
    pytest.param(b"\x81\x01\x02", id="a map with int keys"),
    pytest.param(b"\x90", id="an empty array"),
    pytest.param(b"\x91\xc0", id="an array without a tag"),
    pytest.param(b"\x91\xa7unheard", id="an unknown tag"),
    pytest.param(b"\xdd\xff\xff\xff\xff", id="an array of 4 G elements"),
    pytest.param(b"\xdf\xff\xff\xff\xff", id="a map of 4 G pairs"),
    pytest.param(b"\xc6\xff\xff\xff\xff", id="4 GiB of bytes"),
    pytest.param(b"\xdb\xff\xff\xff\xff", id="4 GiB of text"),
    pytest.param(b"\xd4\x01\x00", id="an extension"),
    pytest.param(b"\x91\xa2\xff\xfe", id="text that is not UTF-8"),
    pytest.param(b"\x91" * 100_000, id="nested 100,000 deep"),
    pytest.param(b"\x93\xa3get\x01" + b"\x91" * 100_000, id="nested inside a request"),
    pytest.param(b'{"get": 1}', id="JSON"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="HTTP"),
]


def test_every_kind_of_request_and_answer_is_in_these_tests() -> None:
    assert {type(each) for each in REQUESTS} == set(typing.get_args(m.AnyRequest))
    assert {type(each) for each in ANSWERS} == set(typing.get_args(m.AnyAnswer))
    assert {type(each) for each in OPERATIONS} == set(typing.get_args(m.AnyOperation))


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda each: type(each).__name__)
def test_a_request_arrives_as_it_was_sent(request_: m.AnyRequest) -> None:
    assert m.decode_request(m.encode(request_)) == request_


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda each: type(each).__name__)
def test_an_answer_arrives_as_it_was_sent(answer: m.AnyAnswer) -> None:
    assert m.decode_answer(m.encode(answer)) == answer


def test_hello_and_welcome_arrive_as_they_were_sent() -> None:
    hello = m.Hello(1, Writer(kind="task", dag_id="d", run_id="r", task_id="t", map_index=3), "c")
    welcome = m.Welcome(1, "id", m.Limits(1024, 2048), "s")

    assert m.decode_hello(m.encode(hello)) == hello
    assert m.decode_welcome(m.encode(welcome)) == welcome
    assert m.decode_welcome(m.encode(ANSWERS[-1])) == ANSWERS[-1]


@pytest.mark.parametrize("message", [*REQUESTS, *ANSWERS], ids=lambda each: type(each).__name__)
def test_a_message_is_an_array_of_its_tag_and_its_fields(message: m.Message) -> None:
    fields = msgspec.msgpack.decode(m.encode(message))

    assert fields[0] == type(message).__struct_config__.tag
    assert len(fields) == 1 + len(message.__struct_fields__)


@pytest.mark.parametrize("message", [*REQUESTS, *ANSWERS], ids=lambda each: type(each).__name__)
def test_a_field_too_many_or_too_few_is_a_protocol_error(message: m.Message) -> None:
    decode: Decode = m.decode_request if isinstance(message, m.Request) else m.decode_answer
    fields = msgspec.msgpack.decode(m.encode(message))

    for wrong in ([*fields, None], fields[:-1]):
        with pytest.raises(ProtocolError):
            decode(msgspec.msgpack.encode(wrong))


@pytest.mark.parametrize("message", REQUESTS, ids=lambda each: type(each).__name__)
def test_a_field_of_the_wrong_type_is_a_protocol_error(message: m.Message) -> None:
    fields = msgspec.msgpack.decode(m.encode(message))

    for position in range(1, len(fields)):
        with pytest.raises(ProtocolError):
            m.decode_request(
                msgspec.msgpack.encode([*fields[:position], {"a": 1.5}, *fields[position + 1 :]])
            )


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: type(each).__name__)
def test_an_operation_has_its_tag_and_its_fields_and_no_others(operation: m.Message) -> None:
    fields = msgspec.msgpack.decode(m.encode(operation))

    assert fields[0] == type(operation).__struct_config__.tag
    wrong = [[*fields[:at], {"a": 1.5}, *fields[at + 1 :]] for at in range(len(fields))]
    for each in (*wrong, [*fields, None], fields[:-1], fields[1:], [], None, 1):
        with pytest.raises(ProtocolError):
            m.decode_request(
                msgspec.msgpack.encode(["change", 1, None, REQUEST_ID, 0, [fields, each]])
            )


@pytest.mark.parametrize("request_id", [b"", bytes(15), bytes(17), "x" * 16, None, 16, [0] * 16])
def test_an_id_of_a_change_that_is_not_16_bytes_is_a_protocol_error(request_id: object) -> None:
    for rest in ([0, []], [0, ["orders", None], "k", 1, None, None, False]):
        tag = "change" if len(rest) == 2 else "rewind"
        m.decode_request(msgspec.msgpack.encode([tag, 1, None, REQUEST_ID, *rest]))
        with pytest.raises(ProtocolError):
            m.decode_request(msgspec.msgpack.encode([tag, 1, None, request_id, *rest]))


@pytest.mark.parametrize("number", [-1, 2**63, 2**64 - 1, 1.5, float("nan"), "1", True, [1]])
def test_a_number_that_is_no_count_is_a_protocol_error(number: object) -> None:
    for fields in (["status", number, 5000], ["status", 1, number], ["assets", 1, 1, number, 1]):
        with pytest.raises(ProtocolError):
            m.decode_request(msgspec.msgpack.encode(fields))


@pytest.mark.parametrize("limit", [0, -1, 2**31, 10**9 * 10])
def test_a_page_has_at_least_one_item_and_a_limit_within_31_bits(limit: int) -> None:
    with pytest.raises(ProtocolError):
        m.decode_request(msgspec.msgpack.encode(["assets", 1, 5000, 0, limit]))


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@pytest.mark.parametrize("payload", JUNK)
def test_junk_is_a_protocol_error_and_nothing_else(decode: Decode, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match="not a message of this protocol"):
        decode(payload)


@pytest.mark.parametrize("message", [*REQUESTS, *ANSWERS], ids=lambda each: type(each).__name__)
def test_bytes_behind_a_message_are_a_protocol_error(message: m.Message) -> None:
    decode: Decode = m.decode_request if isinstance(message, m.Request) else m.decode_answer

    with pytest.raises(ProtocolError):
        decode(m.encode(message) + b"\x00")


def test_requests_are_no_answers_and_answers_no_requests() -> None:
    for request in REQUESTS:
        with pytest.raises(ProtocolError):
            m.decode_answer(m.encode(request))
    for answer in ANSWERS:
        with pytest.raises(ProtocolError):
            m.decode_request(m.encode(answer))

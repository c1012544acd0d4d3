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

REQUESTS = [
    m.Get(1, 5000, ORDERS, "k"),
    m.Set(2, None, m.AssetRef(name="orders"), "k", b'"v"'),
    m.Delete(3, 0, m.AssetRef(uri="s3://data/orders/"), "k"),
    m.Clear(4, 5000, ORDERS),
    m.Keys(5, 5000, ORDERS, "", None, 1_000),
    m.Items(6, 5000, ORDERS, "p/", "p/a", 1),
    m.Count(7, 5000, ORDERS, "", None),
    m.Resolve(8, 5000, [ORDERS, m.AssetRef(name="x")]),
    m.Assets(9, 5000, 0, 1_000),
    m.Status(10, 5000),
    m.ReloadManifest(11, 5000),
    m.AcceptManifest(12, 5000, "digest"),
    m.ListTrash(13, 5000, 0, 1_000),
    m.RestoreTrash(14, 5000, 3),
    m.PurgeTrash(15, 5000, [1, 2, 3]),
    m.Sweep(16, 5000, 0, True),
    m.Move(17, 5000, ORDERS, m.AssetRef(name="x"), False),
]

ANSWERS = [
    m.Found(1, ENTRY),
    m.Absent(1),
    m.Written(2, 8),
    m.Deleted(3, True),
    m.Cleared(4, 1_000_000),
    m.KeyPage(5, ["a", "é", "😀"], True),
    m.ItemPage(6, [("a", ENTRY)], False),
    m.Counted(7, 3, None),
    m.Resolved(8, [ORDERS, None]),
    m.AssetPage(9, [INFO], 4),
    m.StatusReport(10, {"version": "1", "manifest": {"held": None}, "problems": ["x"]}),
    m.TrashPage(13, [TRASH], None),
    m.Restored(14, "orders", "s3://data/orders/", 3),
    m.Purged(15, 2),
    m.Moved(17, 3),
    m.Failed(18, "busy", "try again", {"after": 1}),
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

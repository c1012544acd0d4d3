"""docs/protocol.md, its golden frames, and the code: all three say the same.

Rule: nothing is connected here; tests/integration/test_protocol.py holds the daemon to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from tests.support.feed import WAYS, read_all
from tests.support.golden import (
    DOCUMENT,
    TO_CLIENT,
    TO_DAEMON,
    Golden,
    document_blocks,
    frames,
    printed_frames,
)

from assetstore import limits
from assetstore import messages as m
from assetstore.entries import RecordedWriter, Writer
from assetstore.errors import REFUSALS
from assetstore.exchange import ANSWER_ALLOWANCE_BYTES
from assetstore.framing import FrameReader, frame
from assetstored import memory

GOLDEN = frames()
REQUESTS = m.AnyRequest.__args__
ANSWERS = m.AnyAnswer.__args__
OPERATIONS = m.AnyOperation.__args__
BY_TAG: dict[str, type[m.Message]] = {
    kind.__struct_config__.tag: kind for kind in (m.Hello, m.Welcome, *REQUESTS, *ANSWERS)
}

Way = Callable[[bytes], Iterator[bytes]]


def decode(golden: Golden) -> object:
    (payload,) = read_all(FrameReader(1 << 20), iter([golden.bytes]))
    if golden.tag == "hello":
        return m.decode_hello(payload)
    if golden.direction == TO_DAEMON:
        return m.decode_request(payload)
    return m.decode_welcome(payload) if golden.tag == "welcome" else m.decode_answer(payload)


def message(golden: Golden) -> object:
    return msgspec.convert(golden.array, BY_TAG[golden.tag])


each_golden = pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: golden.name)


@each_golden
def test_the_encoder_makes_the_golden_bytes(golden: Golden) -> None:
    assert frame(m.encode(message(golden))).hex() == golden.hex


@each_golden
def test_the_decoder_reads_the_golden_bytes(golden: Golden) -> None:
    assert decode(golden) == message(golden)


@each_golden
def test_the_golden_fields_are_named_as_in_the_code(golden: Golden) -> None:
    assert tuple(golden.fields) == BY_TAG[golden.tag].__struct_fields__


@pytest.mark.parametrize("way", WAYS)
def test_a_whole_conversation_is_read_however_it_is_cut(way: Way) -> None:
    for direction in (TO_DAEMON, TO_CLIENT):
        spoken = [golden for golden in GOLDEN if golden.direction == direction]
        stream = b"".join(golden.bytes for golden in spoken)

        payloads = read_all(FrameReader(1 << 20), way(stream))

        assert list(map(frame, payloads)) == [golden.bytes for golden in spoken]


def test_every_message_has_a_golden_frame() -> None:
    assert {golden.tag for golden in GOLDEN} == set(BY_TAG)


def test_every_answer_is_golden_for_a_request_that_is_too() -> None:
    asked = {golden.name for golden in GOLDEN if golden.direction == TO_DAEMON}
    answered = {golden.answers for golden in GOLDEN if golden.direction == TO_CLIENT}

    assert answered - {None} == asked


# --- the document


def test_the_document_prints_exactly_the_golden_frames() -> None:
    assert printed_frames() == {(each.name, each.direction): each.hex for each in GOLDEN}


def test_the_client_of_the_document_writes_and_reads_the_golden_bytes() -> None:
    (client,) = document_blocks("python")
    its: dict[str, Any] = {}
    exec(client, its)
    for golden in GOLDEN:
        payload = golden.bytes[4:]
        assert its["unpack"](payload) == (golden.array, len(payload))
        if golden.direction == TO_DAEMON:
            assert its["pack"](golden.array) == payload


def test_the_client_of_the_document_needs_the_standard_library_only() -> None:
    (client,) = document_blocks("python")

    assert re.findall(r"^\s*(?:import|from) (\w+)", client, re.MULTILINE) == [
        "json",
        "os",
        "socket",
        "struct",
        "time",
    ]


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table from this text on, without the table's head."""
    text = DOCUMENT.read_text()
    table = re.search(r"^\|.*?(?=\n\n)", text[text.index(heading) :], re.MULTILINE | re.DOTALL)
    assert table, f"no table after {heading!r}"
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]
    ]


def names(cell: str) -> list[str]:
    """The names in "a (int), b (array of c, d): what they are"."""
    plain = re.sub(r"\]\([^()]*\)", "]", cell)  # without the targets of links
    listed = re.split("[:;]", re.sub(r"\([^()]*\)", "", plain))[0]
    return [word for part in listed.split(",") if (word := part.strip()) not in ("", "none")]


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("| hello |", m.Hello),
        ("| welcome |", m.Welcome),
        ("Every request begins with", m.Request),
        ("**Entry**", m.WireEntry),
        ("**Outcome**", m.Outcome),
        ("**Event**", m.WireEvent),
        ("**Difference**", m.Difference),
        ("**Asset info**", m.AssetInfo),
        ("**Trash info**", m.TrashInfo),
        ("| failed |", m.Failed),
    ],
)
def test_a_table_lists_the_fields_in_their_order(heading: str, kind: type[m.Message]) -> None:
    listed = [name for row in rows(heading) for name in names(row[0])]

    assert tuple(listed) == kind.__struct_fields__


def test_the_writers_fields_are_listed_in_their_order() -> None:
    text = DOCUMENT.read_text()
    (listed,) = re.findall(r"^\*\*Writer\*\*, array of 5: (.*?)\.", text, re.MULTILINE)

    assert tuple(names(listed)) == Writer.__struct_fields__
    assert (*Writer.__struct_fields__, "uid", "gid", "pid") == RecordedWriter.__struct_fields__


def test_every_request_is_listed_with_its_fields_and_answers() -> None:
    listed: dict[str, list[str]] = {}
    answers: dict[str, list[str]] = {}
    for request, fields, answer, its_fields in rows("## Every request"):
        if request:
            listed[request.split("`")[1]] = names(fields)
        answers[answer.strip("`")] = names(its_fields)

    assert listed == {
        kind.__struct_config__.tag: [*kind.__struct_fields__[2:]] for kind in REQUESTS
    }
    assert answers == {
        kind.__struct_config__.tag: [*kind.__struct_fields__[1:]]
        for kind in ANSWERS
        if kind is not m.Failed
    }


def test_every_operation_is_listed_with_its_fields() -> None:
    listed = {tag.split("`")[1]: names(fields) for tag, fields, _ in rows("## Operations")}

    assert listed == {kind.__struct_config__.tag: [*kind.__struct_fields__] for kind in OPERATIONS}


def test_every_operation_has_a_golden_frame() -> None:
    sent = [operation for each in GOLDEN if each.tag == "change" for operation in each.array[5]]

    assert {operation[0] for operation in sent} == {
        kind.__struct_config__.tag for kind in OPERATIONS
    }


def test_every_code_of_a_refusal_is_listed() -> None:
    listed = {row[0].strip("`") for row in rows("has changed nothing.**")}

    # The client makes errors of its own of these two, that are no refusals.
    assert listed == {*REFUSALS, "forgotten", "protocol_error"}


def test_the_limits_in_the_document_are_those_of_the_code() -> None:
    text = DOCUMENT.read_text()

    assert f"A name and a uri have 1 to {limits.MAX_NAME_CHARS:,} characters" in text
    assert f"**Key**, str: 1 to {limits.MAX_KEY_CHARS} characters" in text
    assert f"**Prefix**, str: 0 to {limits.MAX_KEY_CHARS} characters" in text
    assert f"nested more than {limits.MAX_VALUE_DEPTH} deep" in text
    assert f"- {limits.MAX_HELLO_BYTES:,} for the first frame" in text
    assert f"`max_frame_bytes` + {ANSWER_ALLOWANCE_BYTES >> 20} MiB for a frame" in text
    assert f"at most {limits.MAX_PAGE_ITEMS:,} whatever the limit" in text
    assert f"array of references, at most {limits.MAX_RESOLVE_REFS})" in text
    assert f"(array of [operation](#operations), at most {limits.MAX_OPERATIONS:,})" in text
    assert f"asset reference, key; at most {limits.MAX_OPERATIONS:,})" in text
    assert f"longer than {limits.MAX_COMPUTED_BYTES >> 10} KiB of JSON" in text
    assert f"trash_ids (array of count, at most {limits.MAX_PURGE})" in text
    assert f"More than {limits.MAX_REWIND_KEYS:,} keys that differ" in text
    assert f"more than {limits.MAX_REWIND_BYTES >> 20} MiB of entries" in text
    assert f"at most {limits.MAX_OPERATIONS:,}: each is a path" in text
    assert f"an array of 1 to {limits.MAX_VALUE_DEPTH} str" in text
    assert f"the last {memory.REMEMBERED:,} changes" in text
    assert f"those of the last {memory.REMEMBERED:,} revisions" in text
    assert memory.REMEMBERED_S == 3_600, "for up to an hour"
    assert f"up to wait_ms, at most {limits.MAX_WAIT_MS:,} whatever it says" in text
    assert f"ends early at about {limits.PAGE_BYTES >> 10} KiB" in text

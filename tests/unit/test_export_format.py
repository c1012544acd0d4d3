"""The lines of an export: what goes in comes out, and nothing else passes for one."""

from __future__ import annotations

import io
import random

import pytest
from tests.support.exports import HEADER, export, lines_of, resealed

from assetstore.entries import RecordedWriter
from assetstore.export_format import ExportInvalid
from assetstore.limits import MAX_TIME_US
from assetstore.messages import ImportedEntry
from assetstore.survey import entries_of, in_changes, survey

WRITER = RecordedWriter("task", "d", "r\n", 'q"', -1, 1000, 1000, 2**40)

#: JSON texts that are stored as they were sent, and that a JSON writer would write otherwise.
TEXTS = [
    b"1",
    b"1.0",
    b"1e4",
    b"-0.0",
    b'"\\u00e9"',
    '"é\u2028\x7f"'.encode(),
    b'{ "a" : [ 1 , 2 ] }',
    b' {"a":1}\n',
    b'{"a":\r\n1}',
    b"\t[]",
    b'{"a":1,"a":2}',
    b"9" * 5_000,
    b"[" * 255 + b"]" * 255,
    b'"\\n\\u0000"',
    b'{"value":null,"crc":"00000000"}',
]


def file(*entries: tuple[int, ImportedEntry]) -> io.BytesIO:
    return io.BytesIO(export({"orders": list(entries)}))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text[:20]))
def test_a_value_comes_back_byte_for_byte(text: bytes) -> None:
    entry = ImportedEntry("k", 1, WRITER, text)
    written = file((7, entry))

    assert len(written.getvalue().splitlines()) == 3
    assert list(entries_of(written, survey(written).sections[0])) == [entry]


@pytest.mark.parametrize("key", ["\0", "\n", "\u2028", '"', "\\", "😀" * 512, "{", " "])
@pytest.mark.parametrize("time", [0, 1, MAX_TIME_US])
def test_keys_of_any_characters_and_times_to_the_microsecond_come_back(key: str, time: int) -> None:
    entry = ImportedEntry(key, time, WRITER, b"1")
    written = file((7, entry))

    assert list(entries_of(written, survey(written).sections[0])) == [entry]


def test_entries_come_in_the_order_of_their_revisions() -> None:
    entries = [(rev, ImportedEntry(f"k{rev}", 1, WRITER, b"%d" % rev)) for rev in (5, 3, 9, 1)]
    written = file(*entries)

    read = list(entries_of(written, survey(written).sections[0]))

    assert [entry.key for entry in read] == ["k1", "k3", "k5", "k9"]


# --- what is refused


def whole() -> bytes:
    return export(
        {
            "a": [(n, ImportedEntry(f"k{n}", n, WRITER, b'{"n":%d}' % n)) for n in range(1, 4)],
            "b": [],
            "c": [(9, ImportedEntry("k", 5, WRITER, b'"x"'))],
        }
    )


def refused(data: bytes) -> ExportInvalid:
    with pytest.raises(ExportInvalid) as caught:
        survey(io.BytesIO(data))
    assert str(caught.value).startswith(f"line {caught.value.line}: ")
    return caught.value


def test_a_file_that_is_cut_off_anywhere_is_refused() -> None:
    data = whole()
    survey(io.BytesIO(data))
    for length in range(len(data)):
        error = refused(data[:length])
        # At the line that is cut, or at the last one where it is cut between two.
        assert error.line == max(data[:length].count(b"\n") + (data[length - 1] != 10), 1)


def test_a_flipped_bit_anywhere_is_refused_and_its_line_is_named(seed: int) -> None:
    rng = random.Random(seed)
    data = whole()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        error = refused(bytes(changed))
        line = data[:place].count(b"\n") + 1
        # A line break more splits a line, and one less joins two.
        assert error.line in (line, line + 1)


def test_lines_that_are_taken_out_added_or_moved_are_refused_where_they_were() -> None:
    lines = lines_of(whole())
    for at in range(1, len(lines)):
        taken_out = refused(b"".join(lines[:at] + lines[at + 1 :]))
        assert taken_out.line == min(at + 1, len(lines) - 1)
        assert refused(b"".join([*lines[: at + 1], *lines[at:]])).line == at + 2
        for other in range(at + 1, len(lines)):
            moved = lines.copy()
            moved[at], moved[other] = moved[other], moved[at]
            assert refused(b"".join(moved)).line == at + 1


def test_lines_of_another_export_are_refused() -> None:
    lines = lines_of(whole())
    other = lines_of(export({"a": [], "b": [], "c": []}))

    assert refused(b"".join([other[0], *lines[1:]])).line == len(lines)
    assert refused(b"".join([lines[0], *other[1:]])).line == len(other)
    assert refused(b"".join([*lines, *other])).line == len(lines) + 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"key":"","revision":1,"updated_at":"T","updated_by":W,"value":1}', "key is empty"),
        (b'{"key":"k","revision":1,"updated_at":"T","updated_by":W,"value":null}', "None"),
        (b'{"key":"k","revision":1,"updated_at":"T","updated_by":W}', "value and value_text"),
        (b'{"key":"k","revision":99,"updated_at":"T","updated_by":W,"value":1}', "revision 99"),
        (b'{"key":"k","revision":1,"updated_at":"?","updated_by":W,"value":1}', "no time"),
        (b'{"key":"k","revision":1,"updated_at":"T","updated_by":{},"value":1}', "missing"),
        (b'{"key":"k","revision":1,"updated_at":"T","updated_by":W,"value":1,"x":1}', "unknown"),
        (b'{"key":"a","revision":1,"updated_at":"T","updated_by":W,"value":1}', "second time"),
        (b'{"asset":{"name":"orders","uri":"orders"}}', "second time"),
        (b'{"asset":{"name":"","uri":"orders"}}', "asset name is empty"),
        (b'{"other":1}', "neither of an asset nor of an entry"),
        (b'{"key":' + b"[" * 100_000 + b"]}", "no line of an export"),
        (b'{"key":"\xff"}', "no line of an export"),
    ],
)  # fmt: skip
def test_a_line_whose_checksum_is_right_may_be_wrong_all_the_same(line: bytes, why: str) -> None:
    writer = b'{"kind":"cli","dag_id":null,"run_id":null,"task_id":null,"map_index":null,'
    writer += b'"uid":1,"gid":1,"pid":1}'
    line = line.replace(b"W", writer).replace(b'"T"', b'"2026-01-31T00:00:00Z"')
    data = export({"orders": [(1, ImportedEntry("a", 1, WRITER, b"1"))]})

    error = refused(resealed([*lines_of(data), line], entries=2))

    assert error.line == 4
    assert why in str(error)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [("format", "other", "format"), ("version", 2, "version 2"), ("entries", 5, "cut off")],
)
def test_a_header_that_says_something_else_is_refused(field: str, value: object, why: str) -> None:
    data = resealed(lines_of(whole()), **{field: value})

    assert why in str(refused(data))


def test_what_is_no_export_at_all_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    for data in (b"", b"\n", b"{}\n", b"\x1f\x8b\x08", b'{"key":1}\n', rng.randbytes(5_000)):
        assert refused(data).line == 1


def test_entries_are_put_into_as_few_changes_as_take_them() -> None:
    small = [ImportedEntry(f"k{n}", 1, WRITER, b"1") for n in range(25_000)]
    large = [ImportedEntry(f"k{n}", 1, WRITER, b"1" * (3 << 20)) for n in range(5)]

    assert [len(part) for part in in_changes(small)] == [10_000, 10_000, 5_000]
    assert [len(part) for part in in_changes(large)] == [2, 2, 1]
    assert [len(part) for part in in_changes([large[0], *small[:1]])] == [2]
    assert list(in_changes([])) == []


def test_the_header_says_what_the_document_says() -> None:
    assert set(HEADER) == {
        *("format", "version", "store_id", "revision", "exported_at", "assets", "entries"),
        "sha256",
    }

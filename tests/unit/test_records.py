"""Records and rows on disk: what was written comes back, and what was not is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from assetstore.entries import RecordedWriter
from assetstore.errors import Damaged
from assetstore.messages import WireEntry
from assetstored import records
from assetstored.records import Head

WRITER = RecordedWriter("task", "dag", "run", "täsk", -1, 1_000, 100, 4_242)

SHORT_KEY = "watermark"
LONG_KEY = "ü" * 300

VALUES = [b"0", b'"2026-01-31"', b'"' + b"x" * 300 + b'"', b"[" + b"1," * 40_000 + b"1]"]


class Row(msgspec.Struct, frozen=True, array_like=True):
    name: str
    number: int


_rows = msgspec.msgpack.Decoder(Row)


FIRST = Head(1, 1)


def record_of(
    key: str = SHORT_KEY,
    value: bytes = b'"2026-01-31"',
    store_id: int = 7,
    head: Head = FIRST,
) -> bytes:
    """A record as the writer makes it."""
    return records.encode_entry(
        store_id,
        stored(key),
        head,
        updated_at=1_700_000_000_000_000,
        writer=WRITER,
        value=value,
        long_key=key if key == LONG_KEY else None,
    )


def stored(key: str) -> bytes:
    """What stands for LMDB's key here."""
    return key.encode()[:511]


def one_bit_wrong(data: bytes) -> Iterator[bytes]:
    """The data with each of its bits flipped in turn."""
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            yield bytes(flipped)


@pytest.mark.parametrize("key", [SHORT_KEY, LONG_KEY], ids=["short key", "long key"])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)} bytes")
def test_an_entry_comes_back_as_it_was_written(key: str, value: bytes) -> None:
    record = record_of(key, value, head=Head(2**40, 3))

    assert records.is_sound(7, stored(key), record)
    assert records.decode_entry(record) == WireEntry(2**40, 1_700_000_000_000_000, WRITER, value)


@pytest.mark.parametrize("key", [SHORT_KEY, LONG_KEY], ids=["short key", "long key"])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{len(value)} bytes")
def test_what_goes_to_a_client_undecoded_is_the_entry(key: str, value: bytes) -> None:
    record = record_of(key, value)

    on_the_wire = msgspec.msgpack.decode(records.wire_entry(record), type=WireEntry)

    assert on_the_wire == records.decode_entry(record)


def test_the_whole_key_is_in_the_record_of_a_long_key_only() -> None:
    assert records.long_key(record_of(LONG_KEY)) == LONG_KEY
    assert records.long_key(record_of(SHORT_KEY)) is None


def test_an_encoded_writer_makes_the_same_record() -> None:
    encoded = msgspec.Raw(msgspec.msgpack.encode(WRITER))

    record = records.encode_entry(
        7,
        stored(SHORT_KEY),
        Head(1, 1),
        updated_at=1_700_000_000_000_000,
        writer=encoded,
        value=b'"2026-01-31"',
        long_key=None,
    )

    assert record == record_of()


def test_a_checksum_that_begins_with_zeros_takes_its_five_bytes_too() -> None:
    small = next(
        record
        for revision in range(100_000)
        if (record := record_of(head=Head(revision, 1)))[3:5] == b"\0\0"
    )

    assert records.is_sound(7, stored(SHORT_KEY), small)
    assert msgspec.msgpack.decode(records.wire_entry(small), type=WireEntry).updated_by == WRITER


@pytest.mark.parametrize("key", [SHORT_KEY, LONG_KEY], ids=["short key", "long key"])
def test_every_flipped_bit_of_a_record_is_noticed(key: str) -> None:
    unnoticed = [
        bytes(damaged)
        for damaged in one_bit_wrong(record_of(key))
        if records.is_sound(7, stored(key), damaged)
    ]

    assert unnoticed == []


def test_a_record_that_is_cut_or_goes_on_is_noticed() -> None:
    record = record_of()

    assert not any(
        records.is_sound(7, stored(SHORT_KEY), record[:size]) for size in range(len(record))
    )
    assert not records.is_sound(7, stored(SHORT_KEY), record + b"\0")


def test_a_record_of_zeros_is_noticed() -> None:
    assert not records.is_sound(7, stored(SHORT_KEY), bytes(len(record_of())))


def test_a_record_is_good_under_its_own_key_and_store_only() -> None:
    record = record_of()

    assert not records.is_sound(7, b"watermarK", record)
    assert not records.is_sound(7, b"", record)
    assert not records.is_sound(8, stored(SHORT_KEY), record)
    assert not records.is_sound(7 << 32, stored(SHORT_KEY), record)


def test_a_row_comes_back_as_it_was_sealed() -> None:
    row = Row("orders", 3)

    assert records.unseal(b"catalog", b"key", records.seal(b"catalog", b"key", row), _rows) == row


def test_every_flipped_bit_of_a_row_is_noticed() -> None:
    sealed = records.seal(b"catalog", b"key", Row("orders", 3))

    for damaged in one_bit_wrong(sealed):
        with pytest.raises(Damaged):
            records.unseal(b"catalog", b"key", damaged, _rows)


def test_a_row_that_is_cut_at_any_place_is_noticed() -> None:
    sealed = records.seal(b"catalog", b"key", Row("orders", 3))

    for size in range(len(sealed)):
        with pytest.raises(Damaged):
            records.unseal(b"catalog", b"key", sealed[:size], _rows)


def test_a_row_is_good_under_its_own_key_and_table_only() -> None:
    sealed = records.seal(b"catalog", b"key", Row("orders", 3))

    for table, key in ((b"trash", b"key"), (b"catalog", b"kex"), (b"catalog", b"")):
        with pytest.raises(Damaged):
            records.unseal(table, key, sealed, _rows)


def test_a_damaged_row_is_named_with_its_table_and_key_and_what_to_do() -> None:
    with pytest.raises(Damaged, match=r"table 'trash' fails its checksum \(key 00ff\)") as refused:
        records.unseal(b"trash", b"\x00\xff", b"12345678", _rows)

    assert "restore the data directory from a backup" in str(refused.value)

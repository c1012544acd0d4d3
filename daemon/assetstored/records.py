"""How entries and rows of tables look on disk, each under a checksum.

An entry is a msgpack array:

    [crc32, sequence, revision, updated_at, writer, value]        value: JSON text
    [crc32, sequence, revision, updated_at, writer, value, key]   where the key does not fit LMDB's

The first three have a fixed width, so that they are read without decoding the rest, and what
follows the sequence can be handed to a client as it is. ``sequence`` counts the changes of the
key: the journal keeps the last ten. The checksum covers the id of the store and the stored key
too: a page that ends up in the wrong place fails as a flipped bit does. LMDB checks neither.

A row of a table is four bytes of checksum over table, key and payload, then the payload.

Rule: bytes and values only; no transaction here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple, TypeVar
from zlib import crc32

import msgspec

from assetstore.entries import RecordedWriter
from assetstore.errors import Damaged
from assetstore.messages import WireEntry

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_short_decoder = msgspec.msgpack.Decoder(tuple[int, int, int, int, RecordedWriter, bytes])
_long_decoder = msgspec.msgpack.Decoder(tuple[int, int, int, int, RecordedWriter, bytes, str])

_in_place_decoder = msgspec.msgpack.Decoder(
    tuple[int, int, int, int, msgspec.Raw, msgspec.Raw, str]
)

_SHORT_HEAD = b"\x96\xce"  # array of 6, then uint32
_LONG_HEAD = b"\x97\xce"  # array of 7, then uint32
_BODY_AT = 6
_WIRE_AT = 15

#: No record is shorter: the numbers at its beginning, and a byte for each other part.
LEAST_BYTES = 27
_WIRE_HEAD = b"\x94"  # array of 4: WireEntry
_NUMBERS = struct.Struct(">BQBQ")
_UINT64 = 0xCF


class Head(NamedTuple):
    """Where a key stands: the revision of its last change, and how many changes it has had."""

    revision: int
    sequence: int


def encode_entry(
    store_id: int,
    stored_key: bytes,
    head: Head,
    *,
    updated_at: int,
    writer: RecordedWriter | msgspec.Raw,
    value: bytes,
    long_key: str | None,
) -> bytes:
    """The record of an entry. ``long_key`` is the whole key where stored_key holds a digest."""
    if long_key is None:
        array, rest = _SHORT_HEAD, _encode((updated_at, writer, value))
    else:
        array, rest = _LONG_HEAD, _encode((updated_at, writer, value, long_key))
    body = _NUMBERS.pack(_UINT64, head.sequence, _UINT64, head.revision) + rest[1:]
    return array + _entry_crc(store_id, stored_key, array, body).to_bytes(4, "big") + body


def is_sound(store_id: int, stored_key: bytes, record: bytes | memoryview) -> bool:
    """Whether the record is the one that was written under this key of this store."""
    return record[2:_BODY_AT] == _entry_crc(
        store_id, stored_key, record[:2], record[_BODY_AT:]
    ).to_bytes(4, "big")


def head_of(record: bytes | memoryview) -> Head:
    """Where the key of a sound record stands."""
    _, sequence, _, revision = _NUMBERS.unpack_from(record, _BODY_AT)
    return Head(revision, sequence)


def wire_entry(record: bytes) -> msgspec.Raw:
    """The WireEntry in a sound record, still encoded."""
    if record[:2] == _SHORT_HEAD:
        return msgspec.Raw(_WIRE_HEAD + record[_WIRE_AT:])
    return msgspec.Raw(_encode(decode_entry(record)))


def long_key(record: bytes) -> str | None:
    """The whole key within a sound record, or None if the stored key is the whole key."""
    return _long_decoder.decode(record)[6] if record[:2] == _LONG_HEAD else None


def long_key_in_place(record: memoryview) -> str:
    """As long_key, without copying or checking the rest of the record."""
    return _in_place_decoder.decode(record)[6]


def decode_entry(record: bytes) -> WireEntry:
    """The entry in a sound record."""
    decoder = _short_decoder if record[:2] == _SHORT_HEAD else _long_decoder
    _, _, revision, updated_at, writer, value, *_ = decoder.decode(record)
    return WireEntry(revision, updated_at, writer, value)


def damaged_entry(asset: str, key: str) -> Damaged:
    """What is said of a record that is not sound."""
    return Damaged(
        f"the record of key {key!r} of asset {asset!r} fails its "
        "checksum; it is not served. Write it anew, or restore a backup"
    )


def seal(table: bytes, key: bytes, row: object) -> bytes:
    """The row with its checksum, as it is stored under key in table."""
    payload = _encode(row)
    return _row_crc(table, key, payload).to_bytes(4, "big") + payload


def damaged_beside(what: str) -> Damaged:
    """What is said where a key is not found, and what lies in its place is not sound."""
    return Damaged(
        f"{what} is not found, and the data file is damaged where it would be: whether it was "
        "there is not known. Other keys are served; restore a backup"
    )


def is_sealed(table: bytes, key: bytes | memoryview, stored: bytes | memoryview) -> bool:
    """Whether the row is the one that was sealed under this key of this table."""
    return stored[:4] == _row_crc(table, key, stored[4:]).to_bytes(4, "big")


def unseal(
    table: bytes,
    key: bytes | memoryview,
    stored: bytes | memoryview,
    decoder: msgspec.msgpack.Decoder[T],
) -> T:
    """The row that was sealed. Raises Damaged if it is not what was written there."""
    payload = stored[4:]
    if not is_sealed(table, key, stored):
        raise Damaged(
            f"a row of table {table.decode()!r} fails its checksum (key {key.hex()}); "
            "stop the daemon and restore the data directory from a backup"
        )
    return decoder.decode(payload)


def _entry_crc(
    store_id: int, stored_key: bytes, array: bytes | memoryview, body: bytes | memoryview
) -> int:
    return crc32(body, crc32(store_id.to_bytes(8, "big") + stored_key + array))


def _row_crc(table: bytes, key: bytes | memoryview, payload: bytes | memoryview) -> int:
    return crc32(payload, crc32(key, crc32(table)))

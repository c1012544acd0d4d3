"""How entries and rows of tables look on disk, each under a checksum.

An entry is a msgpack array:

    [crc32, revision, updated_at, writer, value]        value: JSON text
    [crc32, revision, updated_at, writer, value, key]   where the key does not fit into LMDB's

The checksum is always five bytes long, so what follows it can be handed to a client as it is.
It covers the id of the store and the stored key too: a page that ends up in the wrong place
fails as a flipped bit does. LMDB checks neither.

A row of a table is four bytes of checksum over table, key and payload, then the payload.

Rule: bytes and values only; no transaction here.
"""

from __future__ import annotations

from typing import TypeVar
from zlib import crc32

import msgspec

from assetstore.entries import RecordedWriter
from assetstore.errors import Damaged
from assetstore.messages import WireEntry

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_short_decoder = msgspec.msgpack.Decoder(tuple[int, int, int, RecordedWriter, bytes])
_long_decoder = msgspec.msgpack.Decoder(tuple[int, int, int, RecordedWriter, bytes, str])

_in_place_decoder = msgspec.msgpack.Decoder(tuple[int, int, int, msgspec.Raw, msgspec.Raw, str])

_SHORT_HEAD = b"\x95\xce"  # array of 5, then uint32
_LONG_HEAD = b"\x96\xce"  # array of 6, then uint32
_BODY_AT = 6
_WIRE_HEAD = b"\x94"  # array of 4: WireEntry


def encode_entry(
    store_id: int,
    stored_key: bytes,
    *,
    revision: int,
    updated_at: int,
    writer: RecordedWriter | msgspec.Raw,
    value: bytes,
    long_key: str | None,
) -> bytes:
    """The record of an entry. ``long_key`` is the whole key where stored_key holds a digest."""
    if long_key is None:
        head, body = _SHORT_HEAD, _encode((revision, updated_at, writer, value))[1:]
    else:
        head, body = _LONG_HEAD, _encode((revision, updated_at, writer, value, long_key))[1:]
    return head + _entry_crc(store_id, stored_key, body).to_bytes(4, "big") + body


def is_sound(store_id: int, stored_key: bytes, record: bytes) -> bool:
    """Whether the record is the one that was written under this key of this store."""
    return record[:2] in (_SHORT_HEAD, _LONG_HEAD) and record[2:_BODY_AT] == _entry_crc(
        store_id, stored_key, record[_BODY_AT:]
    ).to_bytes(4, "big")


def wire_entry(record: bytes) -> msgspec.Raw:
    """The WireEntry in a sound record, still encoded."""
    if record[:2] == _SHORT_HEAD:
        return msgspec.Raw(_WIRE_HEAD + record[_BODY_AT:])
    _, revision, updated_at, writer, value, _ = _long_decoder.decode(record)
    return msgspec.Raw(_encode(WireEntry(revision, updated_at, writer, value)))


def long_key(record: bytes) -> str | None:
    """The whole key within a sound record, or None if the stored key is the whole key."""
    return _long_decoder.decode(record)[5] if record[:2] == _LONG_HEAD else None


def long_key_in_place(record: memoryview) -> str:
    """As long_key, without copying or checking the rest of the record."""
    return _in_place_decoder.decode(record)[5]


def decode_entry(record: bytes) -> WireEntry:
    """The entry in a sound record."""
    decoder = _short_decoder if record[:2] == _SHORT_HEAD else _long_decoder
    _, revision, updated_at, writer, value, *_ = decoder.decode(record)
    return WireEntry(revision, updated_at, writer, value)


def seal(table: bytes, key: bytes, row: object) -> bytes:
    """The row with its checksum, as it is stored under key in table."""
    payload = _encode(row)
    return _row_crc(table, key, payload).to_bytes(4, "big") + payload


def unseal(
    table: bytes,
    key: bytes | memoryview,
    stored: bytes | memoryview,
    decoder: msgspec.msgpack.Decoder[T],
) -> T:
    """The row that was sealed. Raises Damaged if it is not what was written there."""
    payload = stored[4:]
    if stored[:4] != _row_crc(table, key, payload).to_bytes(4, "big"):
        raise Damaged(
            f"a row of table {table.decode()!r} fails its checksum (key {key.hex()}); "
            "stop the daemon and restore the data directory from a backup"
        )
    return decoder.decode(payload)


def _entry_crc(store_id: int, stored_key: bytes, body: bytes) -> int:
    return crc32(body, crc32(stored_key, crc32(store_id.to_bytes(8, "big"))))


def _row_crc(table: bytes, key: bytes | memoryview, payload: bytes | memoryview) -> int:
    return crc32(payload, crc32(key, crc32(table)))

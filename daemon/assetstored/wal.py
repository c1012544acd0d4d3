"""The write-ahead log: one file of fixed size, in which a change is on disk after a single sync.

    header     a block: magic, format, a random key, the store's id, and a checksum
    two halves records one after the other, each from the beginning of a block

    +-------+-------+--------+----------------+---------------+---------+---------+
    | magic | crc32 | length | first revision | last revision | payload | zeros   |
    | 4     | 4     | 4      | 8              | 8             |         | to 4096 |
    +-------+-------+--------+----------------+---------------+---------+---------+

Numbers are big-endian. The checksum begins with the file's key, which no client knows, so that no
value can pass for a record. A record never shares a block with another one: to write the next does
not touch what is on disk already. The file has its blocks from the beginning, so a sync of it has
no metadata to write.

While records go to one half, those in the other are being brought into the data file. A half is
written anew when all of it is there. What was in it is told from what is new by its revisions: they
follow each other without a gap, beginning after the last one of the data file.

Rule: bytes in a file. What a payload means is not known here; LMDB is not known either.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from assetstored import datadir

BLOCK: Final = 4096

#: Of one half: some hundred milliseconds of the most that a busy fleet writes.
HALF_BYTES: Final = 4 << 20
FILE_BYTES: Final = BLOCK + 2 * HALF_BYTES

_HEADER = struct.Struct(">8s16s32sI")
_HEADER_MAGIC = b"aswal\0\0\1"
_RECORD = struct.Struct(">4sIIQQ")
_MAGIC = b"\xa5wal"
_CHECKED_AT = 8


#: What an operator writes into a file in place of a log that is lost, and held nothing.
NOTHING_LOGGED: Final = b"nothing was logged"


class Record(NamedTuple):
    """What was written together: the changes of the revisions from ``first`` to ``last``."""

    first: int
    last: int
    payload: bytes


class WalDamaged(Exception):
    """The file is not what was written; the message says what is wrong."""


class Wal:
    """The file, open for writing. After a failure it must not be used again. One thread."""

    def __init__(self, path: Path) -> None:
        """Open the file, of which all records are in the data file. Raises OSError, WalDamaged."""
        self.fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._key = _key_of(os.pread(self.fd, BLOCK, 0))
        except BaseException:
            self.close()
            raise
        self._half = 0
        self._used = 0

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)

    @property
    def used_bytes(self) -> int:
        """How much of the present half is written."""
        return self._used

    def has_room(self, payload_bytes: int) -> bool:
        """Whether a record of this payload fits into what is left of the half."""
        return self._used + _RECORD.size + payload_bytes <= HALF_BYTES

    def append(self, payload: bytes, first: int, last: int) -> None:
        """Write a record behind the others; it is on disk after the next sync. Raises OSError."""
        assert self.has_room(len(payload))
        checked = _RECORD.pack(_MAGIC, 0, len(payload), first, last)[_CHECKED_AT:]
        crc = crc32(payload, crc32(checked, crc32(self._key)))
        record = b"".join((_MAGIC, crc.to_bytes(4, "big"), checked, payload))
        size = -(-len(record) // BLOCK) * BLOCK
        at = BLOCK + self._half * HALF_BYTES + self._used
        _write(self.fd, record.ljust(size, b"\0"), at)
        self._used += size

    def switch(self) -> None:
        """Go on in the other half, whose records are all in the data file."""
        self._half = 1 - self._half
        self._used = 0


def create(path: Path, store_id: str) -> None:
    """Write an empty log, durably, in place of any that is there. Raises OSError."""
    header = _HEADER_MAGIC + os.urandom(16) + store_id.encode()
    header += crc32(header).to_bytes(4, "big")
    # A part of one would be refused as damaged, so it gets its name when it is whole.
    temporary = path.with_name(path.name + ".new")
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        _write(fd, header.ljust(BLOCK, b"\0"), 0)
        zeros = bytes(1 << 20)
        for at in range(BLOCK, FILE_BYTES, len(zeros)):
            _write(fd, zeros[: FILE_BYTES - at], at)
        os.fsync(fd)
        temporary.rename(path)
    except OSError:
        temporary.unlink()  # it may be what fills the disk
        raise
    finally:
        os.close(fd)
    datadir.sync_directory(path.parent)


def is_blank(path: Path) -> bool:
    """Whether no record was ever written to the file. Raises OSError."""
    with open(path, "rb") as file:
        file.seek(BLOCK)
        return not file.read().strip(b"\0")


def is_said_to_be_empty(path: Path) -> bool:
    """Whether an operator has put a file in its place that says so. Raises OSError.

    That takes words: an empty file may be what is left of a log with acknowledged changes.
    """
    with open(path, "rb") as file:
        return file.read(len(NOTHING_LOGGED) + 2).strip() == NOTHING_LOGGED


def recover(path: Path, store_id: str, revision: int) -> list[Record]:
    """The records after a revision, in order: what is on disk here and not in the data file.

    A record that was cut while it was being written ends them: nobody was told of it. Raises
    WalDamaged where one is missing that something was written after, and OSError.
    """
    data = path.read_bytes()
    key = _key_of(data[:BLOCK])
    found_id = data[24:56].decode(errors="replace")
    if found_id != store_id:
        raise WalDamaged(f"it is of store {found_id}")
    if len(data) != FILE_BYTES:
        raise WalDamaged(f"it has {len(data):,} bytes in place of {FILE_BYTES:,}")
    found: dict[int, Record] = {}
    for half in (0, 1):
        beginning = BLOCK + half * HALF_BYTES
        for at in range(beginning, beginning + HALF_BYTES, BLOCK):
            record = _record_at(data, at, beginning + HALF_BYTES, key)
            if record is not None and record.last > revision:
                found[record.first] = record
    records = []
    for first in sorted(found):
        if first != revision + 1:
            raise WalDamaged(
                f"revision {revision + 1:,} is missing, and revision {first:,} is there"
            )
        records.append(found[first])
        revision = found[first].last
    return records


def _write(fd: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, at)
        view, at = view[written:], at + written


def _key_of(block: bytes) -> bytes:
    if len(block) < _HEADER.size:
        raise WalDamaged("its beginning is missing")
    magic, key, _, crc = _HEADER.unpack_from(block)
    if magic != _HEADER_MAGIC:
        raise WalDamaged("it does not begin as a write-ahead log of this format does")
    if crc != crc32(block[: _HEADER.size - 4]):
        raise WalDamaged("its beginning fails its checksum")
    assert isinstance(key, bytes)
    return key


def _record_at(data: bytes, at: int, end: int, key: bytes) -> Record | None:
    magic, crc, length, first, last = _RECORD.unpack_from(data, at)
    payload_at = at + _RECORD.size
    if magic != _MAGIC or payload_at + length > end:
        return None
    payload = data[payload_at : payload_at + length]
    if crc != crc32(payload, crc32(data[at + _CHECKED_AT : payload_at], crc32(key))):
        return None
    return Record(first, last, payload)

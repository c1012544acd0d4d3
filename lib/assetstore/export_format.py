"""The lines of an export: entries to text and back, each line under a checksum.

    {"crc":"...","format":"assetstore-export","version":1,"store_id":...,"revision":...,
     "exported_at":...,"assets":2,"entries":3,"sha256":"..."}
    {"crc":"...","asset":{"name":...,"uri":...,"group":...}}
    {"crc":"...","key":...,"revision":...,"updated_at":...,"updated_by":{...},"value":...}

``crc`` is the CRC-32 of the rest of its line, begun with that of the line before, so that a line
which was changed, added, taken out or moved is found where it stands. ``sha256`` is of all lines
behind the first. A value is the JSON text that is stored, byte for byte; where that would not
survive within a line (white space around it, or a line break in it), it stands as a string in
``value_text`` in place of ``value``.

Rule: text and values only; no files and no daemon.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

import msgspec

from assetstore.entries import RecordedWriter, time_from_us, time_to_us
from assetstore.errors import AssetStoreError, InvalidRequest
from assetstore.limits import check_key, check_name, check_uri
from assetstore.messages import ImportedEntry, WireEntry
from assetstore.values import check_json

T = TypeVar("T")

FORMAT: Final = "assetstore-export"
VERSION: Final = 1

_encode = msgspec.json.Encoder().encode

_WHITE: Final = b" \t\r\n"
_HEAD = re.compile(rb'\{"crc":"([0-9a-f]{8})",')
_HEAD_BYTES: Final = 18
_ASSET: Final = b'"asset":'
_KEY: Final = b'"key":'


class ExportInvalid(AssetStoreError):
    """The file is no whole export, as it was written; the message says in which line and why."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line:,}: {reason}")
        self.line = line


class Header(msgspec.Struct, frozen=True):
    """The first line: what was exported, and what there is to come."""

    format: str
    version: int
    store_id: str
    revision: int
    exported_at: str
    assets: int
    entries: int
    sha256: str


class AssetLine(msgspec.Struct, frozen=True):
    """What follows, up to the next such line, are entries of this asset."""

    name: str
    uri: str
    group: str | None = None


class EntryLine(NamedTuple):
    """An entry, and the revision that it had where it was exported."""

    revision: int
    entry: ImportedEntry


class _AssetFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    asset: AssetLine


class _Writer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """RecordedWriter, as an object."""

    kind: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    uid: int
    gid: int
    pid: int


class _EntryFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: str
    revision: int
    updated_at: str
    updated_by: _Writer
    value: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    value_text: str | msgspec.UnsetType = msgspec.UNSET


_header_decoder = msgspec.json.Decoder(Header)
_asset_decoder = msgspec.json.Decoder(_AssetFields)
_entry_decoder = msgspec.json.Decoder(_EntryFields)


# --- writing


def sealed(rest: bytes, before: int) -> tuple[bytes, int]:
    """The line with its checksum, which is returned too: the next line begins with it.

    ``rest`` is a JSON object with one member at least; ``before`` is 0 for the first two lines.
    """
    crc = crc32(rest[1:], before)
    return b'{"crc":"%08x",%b\n' % (crc, rest[1:]), crc


def header_line(header: Header) -> bytes:
    return sealed(_encode(header), 0)[0]


def asset_line(asset: AssetLine) -> bytes:
    """To be sealed."""
    return _encode({"asset": asset})


def entry_line(key: str, entry: WireEntry) -> bytes:
    """To be sealed."""
    rest = _encode(
        {
            "key": key,
            "revision": entry.revision,
            "updated_at": time_text(entry.updated_at),
            "updated_by": {
                name: getattr(entry.updated_by, name) for name in RecordedWriter.__struct_fields__
            },
        }
    )
    return rest[:-1] + _value_member(entry.value) + b"}"


def time_text(updated_at: int) -> str:
    """RFC 3339 in UTC, to the microsecond."""
    time = time_from_us(updated_at).astimezone(UTC).replace(tzinfo=None)
    return time.isoformat(timespec="microseconds") + "Z"


def _value_member(text: bytes) -> bytes:
    if text.strip(_WHITE) == text and b"\n" not in text and b"\r" not in text:
        return b',"value":' + text
    return b',"value_text":' + _encode(text.decode())


# --- reading


def opened(line: bytes, number: int, before: int) -> tuple[bytes, int]:
    """What stands behind the checksum of a line, and the checksum. Raises ExportInvalid."""
    head = _HEAD.match(line)
    if head is None:
        raise ExportInvalid(number, 'it does not begin with {"crc":, so it is no line of an export')
    if not line.endswith(b"\n"):
        raise ExportInvalid(number, "it has no end: the file was cut off")
    rest = line[_HEAD_BYTES:-1]
    crc = crc32(rest, before)
    if crc != int(head[1], 16):
        raise ExportInvalid(
            number,
            "its checksum is wrong: it was changed, or a line before it was taken out, added or "
            "moved",
        )
    return rest, crc


def read_header(line: bytes) -> Header:
    """The header, from the first line of a file. Raises ExportInvalid."""
    if not line:
        raise ExportInvalid(1, "the file is empty")
    rest, _ = opened(line, 1, 0)
    header = _decoded(_header_decoder, b"{" + rest, 1)
    if header.format != FORMAT:
        raise ExportInvalid(1, f"its format is {header.format!r:.40}, not {FORMAT!r}")
    if header.version != VERSION:
        raise ExportInvalid(
            1,
            f"it is of version {header.version} of the format, and this is assetstore for version "
            f"{VERSION}; import it with the assetstore that is as new as the one that wrote it",
        )
    return header


def read_line(rest: bytes, number: int) -> AssetLine | EntryLine:
    """What a line says, from what stands behind its checksum. Raises ExportInvalid."""
    try:
        if rest.startswith(_ASSET):
            asset = _decoded(_asset_decoder, b"{" + rest, number).asset
            check_name(asset.name)
            check_uri(asset.uri)
            return asset
        if not rest.startswith(_KEY):
            raise ExportInvalid(number, "it is neither of an asset nor of an entry")
        return _entry_of(_decoded(_entry_decoder, b"{" + rest, number), number)
    except InvalidRequest as exc:
        raise ExportInvalid(number, str(exc)) from None


def _entry_of(fields: _EntryFields, number: int) -> EntryLine:
    if isinstance(fields.value, msgspec.Raw) and fields.value_text is msgspec.UNSET:
        value = bytes(fields.value)
    elif isinstance(fields.value_text, str) and fields.value is msgspec.UNSET:
        value = fields.value_text.encode()
    else:
        raise ExportInvalid(number, "it has not one of value and value_text")
    check_json(value)
    writer = RecordedWriter(*(getattr(fields.updated_by, name) for name in _WRITER))
    writer.check()
    time = _time_of(fields.updated_at, number)
    return EntryLine(fields.revision, ImportedEntry(check_key(fields.key), time, writer, value))


_WRITER: Final = RecordedWriter.__struct_fields__


def _time_of(text: str, number: int) -> int:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        time = None
    if time is None or time.utcoffset() is None or (microseconds := time_to_us(time)) < 0:
        raise ExportInvalid(number, f"updated_at is {text!r:.40}, which is no time")
    return microseconds


def _decoded(decoder: msgspec.json.Decoder[T], text: bytes, number: int) -> T:
    try:
        return decoder.decode(text)
    # Nesting raises RecursionError and bad UTF-8 UnicodeDecodeError: neither is a msgspec error.
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        raise ExportInvalid(number, f"it is no line of an export: {exc}") from None

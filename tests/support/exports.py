"""Exports as bytes: made from entries, cut into lines, and put together anew.

Rule: makes files, right or wrong; what is to become of them is for the tests.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from assetstore.export_format import (
    AssetLine,
    Header,
    asset_line,
    entry_line,
    header_line,
    opened,
    sealed,
)
from assetstore.messages import ImportedEntry, WireEntry

#: The first line of an export, without counts and checksum.
HEADER: dict[str, Any] = {
    "format": "assetstore-export",
    "version": 1,
    "store_id": "5f0c6d1e9a7b4c3d8e2f1a0b9c8d7e6f",
    "revision": 9,
    "exported_at": "2026-01-31T00:00:00.000000Z",
    "assets": 0,
    "entries": 0,
    "sha256": "",
}


def export(assets: dict[str, list[tuple[int, ImportedEntry]]]) -> bytes:
    """An export of these assets, whose uri is their name, with the revisions of the entries."""
    rests = []
    for name, entries in assets.items():
        rests.append(asset_line(AssetLine(name, name)))
        for revision, entry in entries:
            stored = WireEntry(revision, entry.updated_at, entry.updated_by, entry.value)
            rests.append(entry_line(entry.key, stored))
    return _put_together(rests, {"assets": len(assets), "entries": len(rests) - len(assets)})


def lines_of(data: bytes) -> list[bytes]:
    """The lines, each with its end."""
    return data.splitlines(keepends=True)


def resealed(lines: list[bytes], **header: Any) -> bytes:
    """These lines with checksums that are right, and these fields in the header."""
    fields = msgspec.json.decode(lines[0])
    del fields["crc"]
    rests = []
    crc = 0
    for number, line in enumerate(lines[1:], 2):
        rest = line
        if line.startswith(b'{"crc":'):
            rest, crc = opened(line, number, crc)
            rest = b"{" + rest
        rests.append(rest)
    return _put_together(rests, {**fields, **header})


def _put_together(rests: list[bytes], header: dict[str, Any]) -> bytes:
    crc = 0
    lines = []
    for rest in rests:
        line, crc = sealed(rest, crc)
        lines.append(line)
    body = b"".join(lines)
    fields = {**HEADER, **header, "sha256": sha256(body).hexdigest()}
    return header_line(Header(**fields)) + body

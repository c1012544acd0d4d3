"""An export in a file: that all of it is as it was written, and where everything stands in it.

The whole file is read before anything is done with it, and only places are kept: an export may be
longer than memory. The lines that are read again later are checked again.

Rule: reads one file that is open; what becomes of the entries is for importing.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from typing import BinaryIO, Final, NamedTuple

import msgspec

from assetstore.export_format import (
    AssetLine,
    EntryLine,
    ExportInvalid,
    Header,
    opened,
    read_header,
    read_line,
)
from assetstore.limits import MAX_IMPORT_BYTES, MAX_IMPORT_KEYS
from assetstore.messages import ImportedEntry

#: No line that was exported is longer; a file without line breaks is not to fill the memory.
_MAX_LINE_BYTES: Final = 1 << 30

#: After so many lines progress is told.
_LINES: Final = 1_000

_encode = msgspec.msgpack.Encoder().encode

#: Called with how much is done of how much.
Progress = Callable[[int, int], None]


class Section(NamedTuple):
    """The entries of one asset: how many, how long as msgpack, and where they begin.

    ``crc`` is the checksum of the line before the first of them, and ``line`` its number.
    """

    asset: AssetLine
    entries: int
    size_bytes: int
    longest_value: int
    offset: int
    line: int
    crc: int

    @property
    def is_one_change(self) -> bool:
        """Whether one change takes all of them."""
        return self.entries <= 1 or (
            self.entries <= MAX_IMPORT_KEYS and self.size_bytes <= MAX_IMPORT_BYTES
        )


class Survey(NamedTuple):
    """A file that holds what its first line says."""

    header: Header
    sections: list[Section]


def survey(file: BinaryIO, progress: Progress | None = None) -> Survey:
    """Read all of the file, from where it stands; raise ExportInvalid at the first flaw."""
    header = read_header(file.readline(_MAX_LINE_BYTES))
    digest = sha256()
    sections: list[Section] = []
    assets: set[tuple[str, str]] = set()
    keys: set[str] = set()
    number, crc, entries = 1, 0, 0
    while line := file.readline(_MAX_LINE_BYTES):
        number += 1
        rest, crc = opened(line, number, crc)
        digest.update(line)
        found = read_line(rest, number)
        if isinstance(found, AssetLine):
            names = found.name, found.uri
            if names in assets:
                raise ExportInvalid(number, f"asset {found.name!r} comes a second time")
            assets.add(names)
            keys = set()
            sections.append(Section(found, 0, 0, 0, file.tell(), number, crc))
            continue
        if not sections:
            raise ExportInvalid(number, "it is an entry, and no asset stands before it")
        if found.entry.key in keys:
            raise ExportInvalid(number, f"key {found.entry.key!r} comes a second time")
        keys.add(found.entry.key)
        if found.revision > header.revision:
            raise ExportInvalid(
                number,
                f"it is of revision {found.revision:,}, and the export of {header.revision:,}",
            )
        entries += 1
        last = sections[-1]
        sections[-1] = last._replace(
            entries=last.entries + 1,
            size_bytes=last.size_bytes + len(_encode(found.entry)),
            longest_value=max(last.longest_value, len(found.entry.value)),
        )
        if progress is not None and number % _LINES == 0:
            progress(entries, header.entries)
    if (len(sections), entries) != (header.assets, header.entries):
        raise ExportInvalid(
            number,
            f"the file ends here, after {len(sections):,} assets and {entries:,} entries; its "
            f"first line says {header.assets:,} and {header.entries:,}: it was cut off",
        )
    if digest.hexdigest() != header.sha256:
        raise ExportInvalid(1, "sha256 is not that of the lines that follow: they were changed")
    return Survey(header, sections)


def entries_of(file: BinaryIO, section: Section) -> Iterator[ImportedEntry]:
    """The entries of an asset in the order of their revisions. Raises ExportInvalid."""
    places: list[tuple[int, int, int, int]] = []
    offset, number, crc = section.offset, section.line, section.crc
    file.seek(offset)
    for _ in range(section.entries):
        before = crc
        number += 1
        line = file.readline(_MAX_LINE_BYTES)
        found, crc = _entry(line, number, before)
        places.append((found.revision, offset, number, before))
        offset += len(line)
    for _, offset, number, before in sorted(places):
        file.seek(offset)
        yield _entry(file.readline(_MAX_LINE_BYTES), number, before)[0].entry


def in_changes(entries: Iterable[ImportedEntry]) -> Iterator[list[ImportedEntry]]:
    """The entries, in as few lists as there must be changes of them."""
    part: list[ImportedEntry] = []
    size = 0
    for entry in entries:
        length = len(_encode(entry))
        if part and (len(part) == MAX_IMPORT_KEYS or size + length > MAX_IMPORT_BYTES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += length
    if part:
        yield part


def _entry(line: bytes, number: int, before: int) -> tuple[EntryLine, int]:
    rest, crc = opened(line, number, before)
    found = read_line(rest, number)
    if isinstance(found, AssetLine):
        raise ExportInvalid(number, "it was changed while it was read")
    return found, crc

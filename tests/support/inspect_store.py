"""Looks at a store that nobody serves: what is wrong with it, and what it holds.

What is wrong the product's own check says, and one thing more that holds in tests: a request is
carried out once, as their clients never use an id again.

Rule: reads only, by way of the daemon's own formats; knows nothing of what a test wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from assetstore.errors import Damaged
from assetstored import datadir, engine, records, verifying_files
from assetstored.findings import CannotVerify, Finding
from assetstored.image import Image
from assetstored.tables import JOURNAL, META, Counters, Identity, JournalRow, decode_row, read_row
from assetstored.verifying import verify
from assetstored.verifying_tables import Contents, read_tables
from assetstored.wal import Record, recover

#: Key -> value and revision.
Contained: TypeAlias = dict[str, tuple[Any, int]]


@dataclass
class Trashed:
    """A store in the trash."""

    name: str
    reason: str
    dropping: bool
    contents: Contained


@dataclass
class Inspection:
    """What a store holds, and what is wrong with it."""

    problems: list[str] = field(default_factory=list)
    active: dict[str, Contained] = field(default_factory=dict)
    trash: list[Trashed] = field(default_factory=list)
    revision: int = 0


def problems_of(data_dir: Path) -> list[str]:
    """What the product's check finds; the daemon must not run."""
    try:
        return [str(step) for step in verify(data_dir) if isinstance(step, Finding)]
    except CannotVerify as exc:
        return [str(exc)]


def inspect(data_dir: Path) -> Inspection:
    """Check and read all that is in the data directory and in its log; the daemon must not run."""
    found = read(data_dir)
    found.problems[:0] = problems_of(data_dir)
    return found


def read(data_dir: Path) -> Inspection:
    """As ``inspect``, without the product's check: some times as fast.

    What cannot be taken from the log is left out, which shows in the revision.
    """
    found = Inspection()
    try:
        with Image(data_dir, is_live=False) as image:
            _lay_log_over(image, data_dir)
            _read(image, found)
    except (Damaged, engine.EngineError, msgspec.DecodeError) as exc:
        found.problems.append(f"cannot be read: {exc}")
    return found


def logged_only(data_dir: Path) -> list[Record]:
    """What the write-ahead log holds that the data file does not."""
    with Image(data_dir, is_live=False) as image:
        identity, counters = _meta(image)
    return recover(data_dir / datadir.WAL_FILE, identity.store_id, counters.revision)


def _meta(image: Image) -> tuple[Identity, Counters]:
    identity = read_row(image, META, b"identity", Identity)
    counters = read_row(image, META, b"counters", Counters)
    assert identity is not None
    assert counters is not None
    return identity, counters


def _lay_log_over(image: Image, data_dir: Path) -> None:
    identity, counters = _meta(image)
    logged = verifying_files.read_log(data_dir, identity.store_id, counters.revision)
    image.lay_over(logged.changes)


def _read(image: Image, found: Inspection) -> None:
    contents = Contents()
    list(read_tables(image, contents))
    found.revision = contents.counters.revision
    for row in contents.catalog.values():
        if row.state == "active":
            found.active[row.name] = _contained(image, row.store_id)
    for waiting in contents.trash.values():
        asset = contents.catalog.get(waiting.asset_id)
        name = asset.name if asset else ""
        held = _contained(image, waiting.store_id)
        found.trash.append(Trashed(name, waiting.reason, waiting.dropping, held))
    found.problems += _repeated_requests(image)


def _contained(image: Image, store_id: int) -> Contained:
    held: Contained = {}
    for stored_key, record in image.rows(store_id):
        if records.is_sound(store_id, stored_key, record):
            entry = records.decode_entry(record)
            key = records.long_key(record) or stored_key.decode()
            held[key] = (msgspec.json.decode(entry.value), entry.revision)
    return held


def _repeated_requests(image: Image) -> Iterator[str]:
    requests: dict[bytes, int] = {}
    for key, stored in image.rows(JOURNAL):
        try:
            row = decode_row(JOURNAL, key, stored, JournalRow)
        except Damaged:
            continue  # told already
        revision = int.from_bytes(key, "big")
        if row.request is not None and requests.setdefault(row.request[0], revision) != revision:
            yield f"one request was carried out twice: {row}"

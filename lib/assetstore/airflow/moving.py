"""Moving in and out: rows of Airflow's ``asset_state_store`` against entries of the daemon.

The newer one of two values stays, so moving may be repeated, and a second time moves nothing.

Rule: decisions and text only; no database and no daemon.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import groupby
from operator import attrgetter
from typing import BinaryIO, Final, Literal, NamedTuple

from assetstore.airflow.references import WRAPPER, is_wrapped
from assetstore.airflow.texts import text_of, value_of
from assetstore.entries import Entry, RecordedWriter, time_to_us
from assetstore.errors import InvalidRequest
from assetstore.export_format import (
    FORMAT,
    VERSION,
    AssetLine,
    Header,
    asset_line,
    entry_line,
    header_line,
    sealed,
)
from assetstore.limits import check_key
from assetstore.manifest import ManifestAsset
from assetstore.messages import WireEntry

#: Of a writer that Airflow recorded the kernel has told nothing.
_UNKNOWN: Final = -1

#: What Airflow's columns can say of a writer.
_KINDS: Final = ("task", "watcher", "api")

#: new, changed: to be written. same: both have it. newer: what stands at the target is newer, and
#: stays. skipped: there is nothing to move. refused: it cannot be moved; the reason says why.
#: gone: the target has a key that the source has not.
State = Literal["new", "changed", "same", "newer", "skipped", "refused", "gone"]


class Row(NamedTuple):
    """A row of asset_state_store, with its asset; ``writer`` has kind and run, as far as known."""

    asset: ManifestAsset
    is_active: bool
    key: str
    value: str
    updated_at: datetime
    writer: RecordedWriter


class Step(NamedTuple):
    """What moving does, or would do, with one key."""

    asset: ManifestAsset
    key: str
    state: State
    reason: str = ""
    row: Row | None = None


def writer(
    kind: str | None,
    dag_id: str | None,
    run_id: str | None,
    task_id: str | None,
    map_index: int | None,
) -> RecordedWriter:
    """The writer of a row; without a kind, some worker."""
    run = (dag_id, run_id, task_id, map_index)
    return RecordedWriter(kind or "worker", *run, _UNKNOWN, _UNKNOWN, _UNKNOWN)


def prepared(row: Row) -> Row | Step:
    """The row with its value as the daemon stores it, or why there is nothing to move."""
    if not row.is_active:
        reason = "its asset is not active in Airflow, which deletes such rows"
        return Step(row.asset, row.key, "skipped", reason)
    try:
        check_key(row.key)
        value = value_of(row.value)
        if is_wrapped(value):
            return Step(row.asset, row.key, "skipped", "a reference: the value is in the daemon")
        if isinstance(value, dict) and value.keys() == {WRAPPER}:
            reason = "a reference of another [workers] state_store_backend, which alone can read it"
            return Step(row.asset, row.key, "refused", reason)
        text = text_of(value)
    except InvalidRequest as exc:
        return Step(row.asset, row.key, "refused", str(exc))
    assert text is not None
    return row._replace(value=text)


def way_in(row: Row, held: Entry | None) -> Step:
    """What to do with a prepared row, where the daemon holds this entry of its key."""
    state: State = "changed"
    if held is None:
        state = "new"
    elif text_of(held.value) == row.value:
        state = "same"
    elif held.updated_at > row.updated_at:
        state = "newer"
    return Step(row.asset, row.key, state, row=row)


def way_out(asset: ManifestAsset, entry: Entry, row: Row | None) -> Step:
    """What to do with an entry, where Airflow has this row of its key."""
    try:
        text = json.dumps(entry.value)
    except ValueError as exc:
        # Integers of more digits than the json module takes.
        return Step(asset, entry.key, "refused", f"Airflow could not read it: {exc}")
    by = entry.updated_by
    if by.kind not in _KINDS:
        # Airflow's pages fail at a kind that is none of its own.
        by = writer("api", None, None, None, None)
    new = Row(asset, True, entry.key, text, entry.updated_at, by)
    if row is None:
        return Step(asset, entry.key, "new", row=new)
    there = prepared(row)
    if isinstance(there, Step):
        # A reference, or what is no value: not to be kept, whenever it was written.
        return Step(asset, entry.key, "changed", row=new)
    if there.value == text_of(entry.value):
        return Step(asset, entry.key, "same")
    if there.updated_at > entry.updated_at:
        return Step(asset, entry.key, "newer")
    return Step(asset, entry.key, "changed", row=new)


def write_export(rows: Sequence[Row], file: BinaryIO) -> None:
    """Write the rows as an export, for ``import_from``: with their times and their writers."""
    # An import keeps the order of revisions, and the older change is to be the older one there.
    order = {id(row): number for number, row in enumerate(sorted(rows, key=_time), 1)}
    digest = sha256()
    lines, crc, assets = [], 0, 0

    def write(rest: bytes) -> None:
        nonlocal crc
        line, crc = sealed(rest, crc)
        digest.update(line)
        lines.append(line)

    for asset, of_asset in groupby(
        sorted(rows, key=attrgetter("asset.name", "asset.uri", "key")), key=attrgetter("asset")
    ):
        assets += 1
        write(asset_line(AssetLine(asset.name, asset.uri, asset.group)))
        for row in of_asset:
            time = time_to_us(row.updated_at)
            entry = WireEntry(order[id(row)], time, row.writer, row.value.encode())
            write(entry_line(row.key, entry))
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    counts = (len(rows), now, assets, len(rows))
    file.write(header_line(Header(FORMAT, VERSION, "airflow", *counts, digest.hexdigest())))
    file.writelines(lines)


def counts(steps: Iterable[Step]) -> dict[State, int]:
    """How many keys there are of each state."""
    found: dict[State, int] = {}
    for step in steps:
        found[step.state] = found.get(step.state, 0) + 1
    return found


def _time(row: Row) -> tuple[datetime, str]:
    return row.updated_at, row.key

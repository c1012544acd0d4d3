"""Things as --json prints them: one flat record for each kind. And a writer in a few words.

Rule: a field may be added; none changes its name or its meaning. Times are datetimes here,
render.json_line makes text of them.
"""

from __future__ import annotations

from typing import Any

from assetstore import AssetInfo, Difference, Entry, Event, RecordedWriter, TrashInfo
from assetstore.entries import time_from_us
from assetstore.transfers import ImportedAsset
from assetstore_cli.render import timestamp

#: Where the status report has times, which it counts in microseconds since 1970.
_TIMES = ("last_sweep", "accepted_at")


def entry_record(entry: Entry) -> dict[str, Any]:
    return {
        "key": entry.key,
        "value": entry.value,
        "revision": entry.revision,
        "updated_at": entry.updated_at,
        "updated_by": writer_record(entry.updated_by),
    }


def writer_record(writer: RecordedWriter) -> dict[str, Any]:
    return {name: getattr(writer, name) for name in writer.__struct_fields__}


def event_record(event: Event) -> dict[str, Any]:
    return {
        "revision": event.revision,
        "kind": event.kind,
        "name": event.asset.name if event.asset else None,
        "uri": event.asset.uri if event.asset else None,
        "key": event.key,
        "value": event.value,
        "detail": event.detail,
        "updated_at": event.updated_at,
        "updated_by": writer_record(event.updated_by),
        "previous": event.previous,
        # Flat, as all times are: of an import, when and by whom the entry was written before.
        "origin_updated_at": event.origin.updated_at if event.origin else None,
        "origin_updated_by": writer_record(event.origin.updated_by) if event.origin else None,
    }


def difference_record(difference: Difference) -> dict[str, Any]:
    # Flat, since a value nested as deep as may be has no level to spare.
    now, then = difference.now, difference.then
    return {
        "key": difference.key,
        "now": now.value if now else None,
        "now_revision": now.revision if now else None,
        "then": then.value if then else None,
        "then_revision": then.revision if then else None,
    }


def asset_record(asset: AssetInfo) -> dict[str, Any]:
    return {
        "name": asset.name,
        "uri": asset.uri,
        "group": asset.group,
        "state": asset.state,
        "entries": asset.entries,
        "since": asset.since,
    }


def trash_record(store: TrashInfo) -> dict[str, Any]:
    return {
        "id": store.id,
        "name": store.name,
        "uri": store.uri,
        "reason": store.reason,
        "since": store.since,
        "drops_at": store.drops_at,
        "entries": store.entries,
        "size_bytes": store.size_bytes,
    }


def imported_record(asset: ImportedAsset) -> dict[str, Any]:
    return {
        "name": asset.name,
        "uri": asset.uri,
        "state": asset.state,
        "added": asset.added,
        "changed": asset.changed,
        "removed": asset.removed,
        "unchanged": asset.unchanged,
    }


def status_record(report: dict[str, Any]) -> dict[str, Any]:
    """The daemon's report as it is, with times as text, here and in the maps inside it."""
    record: dict[str, Any] = {}
    for name, field in report.items():
        if isinstance(field, dict):
            record[name] = status_record(field)
        elif name in _TIMES and isinstance(field, int):
            record[name] = timestamp(time_from_us(field))
        else:
            record[name] = field
    return record


def writer_text(writer: RecordedWriter) -> str:
    """A writer in a few words: "task sales.load 2026-01-31 uid 1000 pid 42"."""
    words = [writer.kind]
    if writer.dag_id or writer.task_id:
        words.append(f"{writer.dag_id or '?'}.{writer.task_id or '?'}")
    if writer.run_id:
        words.append(writer.run_id)
    if writer.map_index is not None and writer.map_index >= 0:
        words.append(f"[{writer.map_index}]")
    return " ".join([*words, f"uid {writer.uid} pid {writer.pid}"])

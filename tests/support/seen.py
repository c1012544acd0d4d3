"""All that can be seen of a store, such that two of them can be compared.

Wall-clock times are left out, and sizes in pages: two stores that hold the same differ in them.

Rule: reads only, through the daemon's own reader; what ought to be there is not known here.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from assetstore.errors import Refused
from assetstore.messages import AssetRef
from assetstored import engine, history, records
from assetstored.feed import Feed, Wanted
from assetstored.reader import Reader
from assetstored.tables import (
    CATALOG,
    DELETED,
    JOURNAL,
    META,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Counters,
    DeletedRow,
    Identity,
    JournalRow,
    Snapshot,
    Tables,
    TrashRow,
    decode_row,
    read_row,
    store_name,
)

#: Microseconds since 1970 are beyond it; revisions and numbers of tests are not.
_TIMES_FROM = 10**15

_TIME_IN_TEXT = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00")

_plain = msgspec.msgpack.Decoder().decode


def timeless(value: Any) -> Any:
    """The value as plain lists and maps, without times; what is encoded is decoded."""
    match value:
        case msgspec.Raw():
            return timeless(_plain(value))
        case int() if not isinstance(value, bool) and value >= _TIMES_FROM:
            return "a time"
        case str():
            return _TIME_IN_TEXT.sub("a time", value)
        case list() | tuple():
            return [timeless(each) for each in value]
        case dict():
            return {key: timeless(each) for key, each in value.items()}
        case msgspec.Struct():
            fields = ((name, getattr(value, name)) for name in value.__struct_fields__)
            return {name: timeless(each) for name, each in fields if name != "size_bytes"}
    return value


def check_same(ours: Any, theirs: Any) -> None:
    """Fail with the first thing in which the two differ."""
    if ours != theirs:
        raise AssertionError(_difference(ours, theirs, "here"))


def _difference(ours: Any, theirs: Any, where: str) -> str | None:
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        pairs = [(f"{where}, {key}", ours[key], theirs[key]) for key in ours]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        pairs = [(f"{where}, {n}", *each) for n, each in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if ours == theirs else f"{where}:\n{ours!r}\n{theirs!r}"
    return next(
        (found for each in pairs if (found := _difference(each[1], each[2], each[0]))), None
    )


def answer_of(ask: Callable[[], Any]) -> Any:
    """What is answered or refused."""
    try:
        return timeless(ask())
    except Refused as exc:
        return timeless([exc.code, str(exc), exc.detail])


def all_keys(reader: Reader, name: str, prefix: str, limit: int) -> list[str]:
    """All keys with this prefix, page by page."""
    found: list[str] = []
    more = True
    while more:
        page, more = reader.keys(AssetRef(name), prefix, found[-1] if found else None, limit)
        found += page
    return found


def all_items(reader: Reader, name: str, prefix: str, limit: int) -> list[tuple[str, msgspec.Raw]]:
    """As all_keys, with the entries."""
    found: list[tuple[str, msgspec.Raw]] = []
    more = True
    while more:
        after = found[-1][0] if found else None
        page, more = reader.items(AssetRef(name), prefix, after, limit)
        found += page
    return found


def count_all(reader: Reader, name: str, prefix: str) -> int:
    """How many keys have this prefix."""
    total, after = reader.count(AssetRef(name), prefix, None)
    while after is not None:
        count, after = reader.count(AssetRef(name), prefix, after)
        total += count
    return total


def present(reader: Reader, names: Iterable[str], prefixes: Iterable[str], limit: int) -> Any:
    """What stands in the store now: assets, entries, counts, trash, counters."""
    assets, after = reader.assets(0, 1_000)
    assert after is None
    trash, after = reader.trash(0, 1_000, 0)
    assert after is None
    sizes = reader.sizes()
    found: dict[str, Any] = {
        "assets": timeless(assets),
        "trash": [(item.id, item.name, item.reason, item.entries) for item in trash],
        "counters": timeless(reader.counters()),
        "sizes": [sizes[key] for key in ("assets_known", "trash_stores", "journal_events")],
    }
    for name in names:
        found[f"number of {name}"] = answer_of(partial(reader.count, AssetRef(name), "", None))
        for prefix in prefixes:
            for what in (all_keys, all_items):
                found[f"{what.__name__} {name} {prefix}"] = answer_of(
                    partial(what, reader, name, prefix, limit)
                )
            found[f"count {name} {prefix}"] = answer_of(partial(count_all, reader, name, prefix))
    return found


def past(reader: Reader, asset_id: int, key: str, at: int, limit: int) -> Any:
    """What is told of the past: of one key, and of all from a revision on and before it."""
    feed, last = Feed(reader), reader.counters().revision
    return {
        "history": answer_of(
            lambda: [
                (step.revision, step.row, step.record is not None, step.then, step.forgotten)
                for step in history.steps(reader, asset_id, key)
            ]
        ),
        "history before": answer_of(
            lambda: [step[:2] for step in history.steps(reader, asset_id, key, at)]
        ),
        "entry": answer_of(lambda: list(history.entry_at(reader, asset_id, key, at))[-1]),
        "following": answer_of(partial(_following, feed, Wanted(None, ""), at, last, limit)),
        "following of one": answer_of(
            partial(_following, feed, Wanted(asset_id, key), at, last, limit)
        ),
        "preceding": answer_of(partial(_preceding, feed, Wanted(None, ""), at, limit)),
        "preceding of one": answer_of(partial(_preceding, feed, Wanted(asset_id, ""), at, limit)),
    }


def _following(feed: Feed, wanted: Wanted, at: int, last: int, limit: int) -> Any:
    """The events from a revision on: some pages, which may end early on a busy machine."""
    events: list[Any] = []
    while len(events) < 3 * limit and at <= last:
        page = feed.following(wanted, at, limit)
        events += page.events
        assert page.next is not None
        at = page.next
    return events[: 3 * limit]


def _preceding(feed: Feed, wanted: Wanted, before: int, limit: int) -> Any:
    """The events before a revision, likewise."""
    events: list[Any] = []
    following: int | None = before
    while len(events) < 3 * limit and following is not None:
        page = feed.preceding(wanted, following, before // 2, 0, limit)
        events += page.events
        following = page.next
    return events[: 3 * limit]


def changed_since(reader: Reader, asset_id: int, keys: Iterable[str], at: int) -> Any:
    """The keys that stand otherwise than then; each of them has to be among those looked at."""

    def ask() -> list[str]:
        looked_at = set(itertools.chain(*history.keys_changed(reader, asset_id, at)))
        now = reader.counters().revision
        differing = [
            key
            for key in keys
            if list(history.entry_at(reader, asset_id, key, at))[-1]
            != list(history.entry_at(reader, asset_id, key, now))[-1]
        ]
        assert set(differing) <= looked_at
        return differing

    return answer_of(ask)


def on_disk(data_dir: Path) -> Any:
    """Every row of the data file; nobody serves it."""
    rows: dict[str, Any] = {}
    row_types: dict[bytes, type] = {
        CATALOG: CatalogRow,
        TRASH: TrashRow,
        JOURNAL: JournalRow,
        DELETED: DeletedRow,
    }
    of_meta: dict[bytes, type] = {
        b"identity": Identity,
        b"counters": Counters,
        b"manifest": AcceptedManifest,
    }
    env = engine.open_for_reading(str(data_dir))
    try:
        tables = Tables(env, None, create=False)
        with env.begin() as txn:
            snapshot = Snapshot(txn, tables)
            for table in (META, *row_types):
                with txn.cursor(db=snapshot.tables[table]) as cursor:
                    for key, stored in cursor:
                        row_type = of_meta[key] if table == META else row_types[table]
                        row: Any = decode_row(table, key, stored, row_type)
                        rows[f"{table!r} {key.hex()}"] = timeless(row)
            counters = read_row(snapshot, META, b"counters", Counters)
            assert counters is not None
        for store_id in range(1, counters.store_id + 1):
            # A handle that is opened in a transaction dies with it.
            with env.begin() as txn:
                try:
                    store = engine.open_database(env, txn, store_name(store_id), create=False)
                except engine.NotFoundError:
                    continue
                with txn.cursor(db=store) as cursor:
                    for key, record in cursor:
                        assert records.is_sound(store_id, key, record)
                        rows[f"store {store_id} {key!r}"] = [
                            timeless(records.decode_entry(record)),
                            records.head_of(record),
                        ]
    finally:
        env.close()
    del rows[f"{META!r} {b'identity'.hex()}"]
    return rows

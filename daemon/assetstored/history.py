"""The past: the chain of a key's changes, what stood there at a time, and what a rewind changes.

An asset may have had several stores, one after the other: clear, a restore from the trash and a
move each give it another, and the journal says at which revision (its boundary) and which store it
had before. The history of a key follows its chain in the present store down to the boundary, then
in the store before, and so on.

Rule: reads, in steps that never take long; who waits for them is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from assetstore.errors import Compacted
from assetstored import records
from assetstored.reader import Reader
from assetstored.tables import Gap, JournalRow

_encode = msgspec.msgpack.Encoder().encode

#: Keys that one step looks at: about a millisecond.
_KEYS_PER_STEP = 500


class Step(NamedTuple):
    """One change of a key, and what stands there after it.

    ``row`` is None where the journal has forgotten it. ``record``: of the change that the store
    still shows. ``then``: where the asset was given another store, the change of the key in that
    store which shows from then on, 0 for none. ``forgotten``: the revision at which the asset was
    given this store, if that is all that is known of it: before it this may have been another's.
    """

    revision: int
    row: JournalRow | None
    record: bytes | None
    then: int = 0
    forgotten: int = 0


def steps(reader: Reader, asset_id: int, key: str, before: int | None = None) -> Iterator[Step]:
    """The changes of a key, newest first; only those before a revision, if it is given.

    Ends with a Step whose row is None where the journal does not reach the key's beginning. Every
    step reads anew, so commits may happen between any two: they change nothing that was.
    """
    asset = reader.row_of(asset_id)
    store_id, boundary = asset.store_id, asset.boundary
    while before is not None and boundary >= before:
        limit = reader.journal_row(boundary)
        if limit is None:
            break
        store_id, boundary = limit.store_id, limit.previous
    while True:
        if store_id and not _has_store(reader, asset_id, store_id):
            # What was in it is gone with it.
            yield Step(boundary, None, None)
            return
        revision, record = _head(reader, store_id, asset.name, key)
        if before is not None and revision >= before:
            # A short cut down the chain, where ``before`` is one of its links.
            row = reader.journal_row(before)
            if row is not None and (row.store_id, row.key) == (store_id, key):
                revision, record = row.previous, None
        # What happened after this store was taken away happened to another asset, or later.
        while before is not None and revision >= before:
            row = reader.journal_row(revision)
            if row is None:
                yield Step(revision, None, None)
                return
            revision, record = row.previous, None
        forgotten = 0
        while True:
            while revision > boundary:
                row = reader.journal_row(revision)
                yield Step(revision, row, record, forgotten=forgotten)
                if row is None:
                    return
                revision, record = row.previous, None
            if not boundary:
                return
            limit = reader.journal_row(boundary)
            if limit is not None:
                break
            boundary, forgotten = 0, boundary
        yield Step(boundary, limit, record, revision)
        before, store_id, boundary = boundary, limit.store_id, limit.previous


def entry_at(reader: Reader, asset_id: int, key: str, at: int) -> Iterator[msgspec.Raw | None]:
    """The WireEntry of a key after the change ``at``, encoded, or None where there was none.

    Yields None any number of times, to be asked on; the last item is the answer. Raises Compacted.
    """
    if at == 0:
        yield None  # before the first change of all
        return
    known_from = reader.counters().revision + 1
    for step in steps(reader, asset_id, key):
        row, revision = step.row, step.revision
        if revision > at:
            if row is None:
                raise compacted(reader, at, known_from)
            known_from = revision
            yield None
            continue
        if at < step.forgotten:
            raise compacted(reader, at, step.forgotten)
        if step.record is not None:
            yield records.wire_entry(step.record)
            return
        if row is not None and row.key is None:
            # The asset was given another store: what came with it stands there.
            if not step.then:
                yield None
                return
            row, revision = reader.journal_row(step.then), step.then
        if row is None:
            raise compacted(reader, at, known_from)
        yield None if row.value is None else entry_of(revision, row)
        return
    if at < reader.counters().compacted:
        raise compacted(reader, at)
    yield None


def entry_of(revision: int, row: JournalRow) -> msgspec.Raw:
    """The WireEntry that a change of a key wrote, encoded."""
    updated_at, writer = row.origin or (row.updated_at, row.writer)
    return msgspec.Raw(_encode((revision, updated_at, writer, row.value)))


def keys_changed(reader: Reader, asset_id: int, after: int) -> Iterator[list[str]]:
    """The keys of an asset that may stand otherwise than after the change ``after``, in parts.

    A key may come more than once. Raises Compacted.
    """
    if after < reader.counters().compacted:
        raise compacted(reader, after)
    asset = reader.row_of(asset_id)
    store_id, boundary = asset.store_id, asset.boundary
    # Where the asset was given another store since, every key of both may differ.
    while boundary > after:
        yield from _keys_of(reader, asset_id, store_id, 0, boundary)
        limit = reader.journal_row(boundary)
        if limit is None:
            raise compacted(reader, after, boundary)
        known_from, store_id, boundary = boundary, limit.store_id, limit.previous
        if boundary <= after:
            yield from _keys_of(reader, asset_id, store_id, 0, known_from)
            return
    yield from _keys_of(reader, asset_id, store_id, after, boundary)


def revision_at(reader: Reader, time_us: int) -> int:
    """The last revision whose change was made at this time or before, 0 for before all changes.

    Raises Compacted.
    """
    low, high = 0, reader.counters().revision
    while low < high:
        middle = (low + high + 1) // 2
        found = next(reader.journal_rows(middle), None)
        if found is None or found[1].updated_at > time_us:
            high = middle - 1
        else:
            low = found[0]
    if not low and reader.counters().compacted:
        raise compacted(reader, 0)
    for gap in reader.gaps().gaps:
        if low == gap.after and gap.taken_at < time_us < gap.restored_at:
            raise _lost(low + 1, gap, gap.upto)
    return low


def check_had(reader: Reader, at: int, known_from: int) -> None:
    """Raise Compacted if what was there after the change ``at`` was lost by a restore of a backup.

    ``known_from``: how long after a gap it is known again what is asked for, in revisions.
    """
    for gap in reader.gaps().gaps:
        if gap.after < at < gap.upto:
            raise _lost(at, gap, gap.upto + known_from)


def _lost(at: int, gap: Gap, known_from: int) -> Compacted:
    return Compacted(
        f"what was at revision {at} is not known: the store was restored from a backup that ends "
        f"with revision {gap.after}, and goes on after {gap.upto}; what is asked for is known from "
        f"revision {known_from} on",
        detail={"oldest": known_from},
    )


def compacted(reader: Reader, wanted: int, known_from: int = 0) -> Compacted:
    """The error for a revision that the journal does not reach.

    ``known_from``: where what is asked for begins to be known, if that is later than where the
    journal begins to be complete.
    """
    oldest = max(reader.counters().compacted + 1, known_from)
    return Compacted(
        f"what was at revision {wanted} is not known any more; what is asked for is known from "
        f"revision {oldest} on (journal_max_age, journal_max_bytes and grace in the daemon's "
        "configuration)",
        detail={"oldest": oldest},
    )


def event(reader: Reader, revision: int, row: JournalRow) -> tuple[object, ...]:
    """The fields of a messages.WireEvent."""
    name = uri = None
    if row.asset_id:
        asset = reader.row_of(row.asset_id)
        name, uri = asset.name, asset.uri
    return (
        revision,
        row.updated_at,
        row.kind,
        name,
        uri,
        row.key,
        row.value,
        row.writer,
        row.previous,
        row.origin,
    )


def _head(reader: Reader, store_id: int, asset: str, key: str) -> tuple[int, bytes | None]:
    """The revision of the last change of a key in a store, 0 for none, and its record if any."""
    if not store_id:
        return 0, None
    record = reader.record(store_id, asset, key)
    if record is not None:
        return records.head_of(record).revision, record
    deleted = reader.deleted_head(store_id, key)
    return (0 if deleted is None else deleted.revision), None


def _keys_of(
    reader: Reader, asset_id: int, store_id: int, after: int, known_from: int
) -> Iterator[list[str]]:
    """Keys of a store, there or deleted, that were changed after a revision."""
    if not store_id:
        return
    position: bytes | None = b""
    while position is not None:
        _check_store(reader, asset_id, store_id, known_from)
        changed, position = reader.keys_changed_after(store_id, after, position, _KEYS_PER_STEP)
        yield changed
    position = b""
    while position is not None:
        _check_store(reader, asset_id, store_id, known_from)
        revisions, position = reader.deleted_after(store_id, after, position, _KEYS_PER_STEP)
        rows = [reader.journal_row(revision) for revision in revisions]
        yield [row.key for row in rows if row is not None and row.key is not None]


def _check_store(reader: Reader, asset_id: int, store_id: int, known_from: int) -> None:
    """Raise Compacted if the store is gone, or was begun to be dropped: before each step."""
    if not _has_store(reader, asset_id, store_id):
        raise compacted(reader, known_from - 1, known_from)


def _has_store(reader: Reader, asset_id: int, store_id: int) -> bool:
    """Whether a store is there that the asset has or had. Raises Damaged.

    What it had may have been dropped; what it has now must be there.
    """
    is_there = reader.has_store(store_id)
    if not is_there and (row := reader.row_of(asset_id)).store_id == store_id:
        raise records.damaged_beside(f"the store of asset {row.name!r}")
    return is_there

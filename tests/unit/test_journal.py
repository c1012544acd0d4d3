"""The journal: a row for every change, and which rows are forgotten when."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.inspect_store import inspect
from tests.support.store import WRITER, Store, change

from assetstore.entries import RecordedWriter
from assetstore.messages import AssetRef
from assetstored import engine, jobs, journal
from assetstored.changes import Slice
from assetstored.journal import KEPT_CHANGES
from assetstored.overlay import Overlay
from assetstored.stores import StoreHandles
from assetstored.tables import DELETED, JOURNAL, Counters, JournalRow, Tables, id_key, seal_row

A, B = 1, 2

#: Later than anything that a test writes.
NEVER_US = 2**62
ALL_BYTES = 2**62


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, which are empty, and their ids 1 and 2."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        yield store
    assert inspect(tmp_path).problems == []


def rows_of(store: Store, job: jobs.AnyJob) -> dict[int, JournalRow]:
    """What a job adds to the journal."""
    before = store.reader.counters().revision
    store.do(job)
    return dict(store.reader.journal_rows(before + 1))


def row_of(store: Store, *operations: jobs.AnyOperation) -> JournalRow:
    """The one row that a change adds to the journal."""
    (row,) = rows_of(store, change(*operations)).values()
    return row


def detail(row: JournalRow) -> dict[str, Any]:
    """What a row says that is about an asset or a store."""
    assert row.key is None
    assert row.value is not None
    found: dict[str, Any] = msgspec.json.decode(row.value)
    return found


def writer_of(row: JournalRow) -> RecordedWriter:
    return msgspec.msgpack.decode(row.writer, type=RecordedWriter)


def trim(store: Store, *, older_than: int = 0, excess_bytes: int = 0) -> int:
    """One pass over the journal; returns how many bytes were forgotten."""
    after: int | None = 0
    total = 0
    while after is not None:
        after, freed = store.do(jobs.TrimSlice(after, older_than, excess_bytes - total))
        total += freed
    return total


def kept(store: Store) -> list[int]:
    """The revisions whose rows the journal holds."""
    return [revision for revision, _ in store.reader.journal_rows(0)]


def deleted_rows(store: Store) -> int:
    """How many deleted keys the journal can still tell of."""
    txn, tables = store.reader.stored()
    return txn.stat(tables[b"deleted"])["entries"]


# --- rows of keys


def test_a_set_is_noted_with_value_writer_and_its_place_among_the_changes_of_the_key(
    store: Store,
) -> None:
    first = store.put("a", "k", b"1")

    row = row_of(store, jobs.SetKey(A, "k", b"[2]", None))

    entry = store.get("a", "k")
    assert entry is not None
    assert (row.asset_id, row.kind, row.key, row.value) == (A, "set", "k", b"[2]")
    assert (row.previous, row.sequence) == (first, 2)
    assert row.store_id == store.reader.row_of(A).store_id
    assert (row.updated_at, writer_of(row)) == (entry.updated_at, entry.updated_by)


@pytest.mark.parametrize(
    ("operation", "kind", "value"),
    [
        (jobs.SetKey(A, "k", b"2", None, "rewind"), "rewind", b"2"),
        (jobs.DeleteKey(A, "k", None), "delete", None),
        (jobs.DeleteKey(A, "k", None, "rewind"), "rewind", None),
        (jobs.AdvanceKey(A, "k", b"2", "value"), "advance", b"2"),
        (jobs.IncrementKey(A, "k", b"4", b"0"), "increment", b"5"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_change_of_a_key_is_noted_under_its_kind(
    store: Store, operation: jobs.AnyOperation, kind: str, value: bytes | None
) -> None:
    first = store.put("a", "k", b"1")

    row = row_of(store, operation)

    assert (row.kind, row.key, row.value) == (kind, "k", value)
    assert (row.previous, row.sequence) == (first, 2)


def test_a_merge_is_noted_with_the_value_that_came_of_it(store: Store) -> None:
    store.put("a", "k", b'{"a":1}')

    row = row_of(store, jobs.MergeKey(A, "k", b'{"b":2}', [], "replace", "value"))

    assert row.kind == "merge"
    assert row.value is not None
    assert msgspec.json.decode(row.value) == {"a": 1, "b": 2}


def test_what_changes_nothing_is_not_noted(store: Store) -> None:
    store.put("a", "n", b"5")
    store.put("a", "o", b"{}")
    before = kept(store)

    store.do(
        change(
            jobs.DeleteKey(A, "never", None),
            jobs.AdvanceKey(A, "n", b"5", "value"),
            jobs.MergeKey(A, "o", b"{}", [], "replace", "value"),
            jobs.ClearStore(B),
            jobs.CheckKey(A, "n", 3),
            jobs.PurgeStores([99]),
        )
    )

    assert kept(store) == before


def test_a_key_that_is_deleted_and_set_again_goes_on_with_its_chain(store: Store) -> None:
    revisions = [store.put("a", "k", b"1")]
    for _ in range(3):
        store.remove("a", "k")
        revisions.append(revisions[-1] + 1)
        revisions.append(store.put("a", "k", b"1"))
    store.put("a", "other", b"1")

    rows = [store.reader.journal_row(revision) for revision in revisions]

    assert [row and (row.previous, row.sequence) for row in rows] == [
        (before, sequence) for sequence, before in enumerate([0, *revisions[:-1]], 1)
    ]
    assert deleted_rows(store) == 0


def test_each_key_of_each_store_has_a_chain_of_its_own(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("b", "k", b"1")
    store.clear("a")

    for name in ("a", "b"):
        at = store.put(name, "l", b"1")
        assert row_of(store, jobs.SetKey(A if name == "a" else B, "l", b"2", None)).previous == at
    row = row_of(store, jobs.SetKey(A, "k", b"2", None))
    assert (row.previous, row.sequence) == (0, 1)


def test_the_rows_of_a_change_follow_each_other_and_the_first_has_its_id(store: Store) -> None:
    request = bytes(range(16))
    rows = rows_of(
        store,
        change(
            jobs.SetKey(A, "k", b"1", None),
            jobs.DeleteKey(B, "never", None),
            jobs.SetKey(B, "k", b"1", None),
            jobs.ClearStore(A),
            request=request,
        ),
    )

    assert [(row.asset_id, row.kind) for row in rows.values()] == [
        (A, "set"),
        (B, "set"),
        (A, "clear"),
    ]
    assert list(rows) == list(range(min(rows), min(rows) + 3))
    first, *others = rows.values()
    assert first.request is not None
    assert first.request[0] == request
    assert [row.request for row in others] == [None, None]


# --- rows of assets and stores


def test_assets_that_come_and_go_are_noted_as_the_daemon_s_doing(store: Store) -> None:
    store.put("a", "k", b"1")
    (left,) = rows_of(store, jobs.ApplySlice(Slice([AssetRef("a", "a")], [], []))).values()
    (back,) = rows_of(store, jobs.ApplySlice(Slice([], [("a", "a", "group")], []))).values()
    (new,) = rows_of(store, jobs.ApplySlice(Slice([], [("c", "c", "group")], []))).values()

    assert (left.asset_id, left.kind, detail(left)) == (A, "deactivated", {"entries": 1})
    assert (back.asset_id, back.kind, detail(back)) == (A, "activated", {"group": "group"})
    assert (new.asset_id, new.kind, detail(new)) == (3, "activated", {"group": "group"})
    # Its store waited for it: it is the same one, and the chains in it go on.
    assert (left.store_id, left.previous) == (0, 0)
    for row in (left, back, new):
        assert writer_of(row).kind == "daemon"


def test_a_clear_is_one_row_that_names_the_store_before(store: Store) -> None:
    for number in range(50):
        store.put("a", f"k{number}", b"1")
    before = store.reader.row_of(A).store_id

    first = row_of(store, jobs.ClearStore(A))
    boundary = store.reader.counters().revision
    assert store.reader.row_of(A).boundary == boundary
    store.put("a", "k", b"1")
    second = row_of(store, jobs.ClearStore(A))

    assert (first.kind, detail(first)) == ("clear", {"entries": 50})
    assert (first.store_id, first.previous) == (before, 0)
    assert detail(second) == {"entries": 1}
    assert second.previous == boundary
    assert second.store_id not in (0, before)


def test_a_restore_names_the_store_before_and_the_boundary_before(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    boundary = store.reader.row_of(A).boundary
    store.put("a", "l", b"1")
    before = store.reader.row_of(A).store_id
    ((trash_id, *_),) = store.trash()

    row = row_of(store, jobs.RestoreStore(trash_id))

    assert (row.asset_id, row.kind, detail(row)) == (A, "restored", {"entries": 1})
    assert (row.store_id, row.previous) == (before, boundary)


def test_a_move_is_noted_of_both_assets(store: Store) -> None:
    store.put("a", "k", b"1")
    before = store.reader.row_of(A).store_id

    source, target = rows_of(store, change(jobs.MoveStore(A, B, False))).values()

    assert (source.asset_id, source.kind, source.store_id) == (A, "moved", before)
    assert detail(source) == {"entries": 1, "to": {"name": "b", "uri": "b"}}
    assert (target.asset_id, target.kind, target.store_id) == (B, "moved", 0)
    assert detail(target) == {"entries": 1, "from": {"name": "a", "uri": "a"}}
    assert (store.reader.row_of(A).boundary, store.reader.row_of(B).boundary) == tuple(
        kept(store)[-2:]
    )


def test_what_is_dropped_is_noted_when_it_is_condemned(store: Store) -> None:
    for name in ("a", "b"):
        store.put(name, "k", b"1")
    store.clear("a")
    store.deactivate("b")
    cleared, left = (trash_id for trash_id, *_ in store.trash())
    before = store.reader.row_of(B).store_id

    first = row_of(store, jobs.PurgeStores([cleared]))
    (second,) = rows_of(store, jobs.Condemn([left])).values()

    assert (first.asset_id, first.kind) == (A, "dropped")
    assert detail(first) == {"entries": 1, "reason": "cleared"}
    assert writer_of(first) == msgspec.msgpack.decode(WRITER, type=RecordedWriter)
    assert (second.asset_id, second.kind, second.store_id) == (B, "dropped", before)
    assert detail(second) == {"entries": 1, "reason": "deactivated"}
    assert writer_of(second).kind == "daemon"


def test_a_manifest_is_noted_with_who_accepted_it_where_somebody_did(store: Store) -> None:
    (alone,) = rows_of(store, jobs.FinishManifest("d1", "/m.json")).values()
    (confirmed,) = rows_of(store, jobs.FinishManifest("d2", "/m.json", WRITER)).values()

    assert (alone.asset_id, alone.kind) == (0, "manifest")
    assert detail(alone) == {"digest": "d1", "path": "/m.json", "assets": 2}
    assert writer_of(alone).kind == "daemon"
    assert detail(confirmed)["digest"] == "d2"
    assert writer_of(confirmed) == msgspec.msgpack.decode(WRITER, type=RecordedWriter)


def test_what_is_refused_is_not_noted(store: Store) -> None:
    before = kept(store)

    store.run(change(jobs.SetKey(A, "k", b"1", None), jobs.CheckKey(A, "k", 99)))

    assert kept(store) == before


# --- trimming


def test_rows_of_an_age_are_forgotten_and_younger_ones_are_kept(store: Store) -> None:
    store.do(jobs.FinishManifest("d1", "/m.json"))
    at = store.reader.counters().revision
    then = store.reader.journal_row(at)
    assert then is not None
    store.do(jobs.FinishManifest("d2", "/m.json"))

    assert trim(store, older_than=then.updated_at + 1) > 0

    assert kept(store) == [at + 1]
    assert store.reader.counters().compacted == at


def test_within_its_bounds_the_journal_forgets_nothing(store: Store) -> None:
    before = kept(store)

    assert trim(store) == 0
    assert kept(store) == before
    assert store.reader.counters().compacted == 0


def test_the_oldest_rows_are_forgotten_until_the_excess_is_gone(store: Store) -> None:
    for number in range(20):
        store.do(jobs.FinishManifest(f"digest-{number:02}", "/m.json"))
    before = kept(store)

    freed = trim(store, excess_bytes=1_000)

    assert 1_000 <= freed < 1_300
    gone = len(before) - len(kept(store))
    assert gone > 2
    assert kept(store) == before[gone:]
    assert store.reader.counters().compacted == before[gone - 1]


def test_the_last_changes_of_a_key_that_is_there_are_kept_whatever_their_age(
    store: Store,
) -> None:
    revisions = [store.put("a", "k", b"%d" % number) for number in range(25)]
    few = [store.put("a", "few", b"1") for _ in range(3)]
    # However busy others are.
    for number in range(5):
        store.run(*(store.put_job("a", "busy", b"%d" % number) for _ in range(200)))
    busy = [store.reader.counters().revision - number for number in reversed(range(10))]

    trim(store, older_than=NEVER_US, excess_bytes=ALL_BYTES)

    assert kept(store) == revisions[-KEPT_CHANGES:] + few + busy
    assert store.reader.counters().compacted == busy[0] - 1


def test_deletes_count_among_the_changes_of_a_key(store: Store) -> None:
    for _ in range(8):
        store.put("a", "k", b"1")
        store.remove("a", "k")
    last = store.put("a", "k", b"1")

    trim(store, older_than=NEVER_US)

    assert kept(store) == list(range(last - KEPT_CHANGES + 1, last + 1))


def test_the_changes_of_a_key_that_was_deleted_go_and_nothing_of_it_is_left(
    store: Store,
) -> None:
    for key in ("k", "l", "m" * 512):
        store.put("a", key, b"1")
        store.remove("a", key)
    store.put("a", "l", b"2")
    assert deleted_rows(store) == 2

    trim(store, older_than=NEVER_US)

    assert deleted_rows(store) == 0
    assert {row.key for _, row in store.reader.journal_rows(0)} == {"l"}
    # It begins anew.
    assert row_of(store, jobs.SetKey(A, "k", b"1", None)).previous == 0


def test_a_key_that_was_deleted_is_told_of_as_long_as_its_last_row_is_there(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("a", "k", b"2")
    before = store.reader.journal_row(store.reader.counters().revision)
    assert before is not None
    store.remove("a", "k")
    at = store.reader.counters().revision

    trim(store, older_than=before.updated_at + 1)

    assert kept(store) == [at]
    assert deleted_rows(store) == 1
    assert row_of(store, jobs.SetKey(A, "k", b"3", None)).previous == at


def test_what_is_in_the_trash_keeps_its_last_changes_until_it_is_dropped(store: Store) -> None:
    revisions = [store.put("a", "k", b"1") for _ in range(12)]
    store.clear("a")
    ((trash_id, *_),) = store.trash()

    trim(store, older_than=NEVER_US)
    assert kept(store) == revisions[-KEPT_CHANGES:]

    store.drop(trash_id)
    trim(store, older_than=NEVER_US)
    assert kept(store) == []


def test_what_was_forgotten_never_becomes_less(store: Store) -> None:
    old = [store.put("a", "k", b"1") for _ in range(3)]
    store.do(jobs.FinishManifest("d1", "/m.json"))
    trim(store, older_than=NEVER_US)
    compacted = store.reader.counters().compacted
    assert compacted > old[-1]

    # Now rows that were kept among those that were forgotten go too.
    store.remove("a", "k")
    ended = store.reader.counters().revision
    last = store.reader.journal_row(ended)
    assert last is not None
    trim(store, older_than=last.updated_at)

    assert store.reader.counters().compacted >= compacted
    assert store.reader.counters().compacted == max(compacted, *gone_before(store, ended))


def gone_before(store: Store, end: int) -> list[int]:
    """The revisions below end that the journal does not hold."""
    return sorted(set(range(1, end)) - set(kept(store)))


def test_a_pass_goes_on_slice_by_slice_where_its_time_is_over(tmp_path: Path) -> None:
    furnish(tmp_path, 3_000)
    env = engine.open_for_writing(str(tmp_path))
    with env.begin(write=True) as txn:
        tables = Tables(env, txn, create=False)
    after: int | None = 0
    counters = Counters(revision=3_000)
    slices = 0
    while after is not None:
        with env.begin(write=True) as txn:
            overlay = Overlay(txn, tables, StoreHandles(env))
            before = after
            after, _ = journal.trim(
                overlay, counters, before, older_than=NEVER_US, excess_bytes=0, budget_s=0.002
            )
            overlay.flush()
        slices += 1
        if after is not None:
            assert counters.compacted == after >= before
    with env.begin() as txn:
        assert txn.stat(tables[JOURNAL])["entries"] == 0
    env.close()

    assert slices > 1
    assert counters.compacted == 3_000


def furnish(data_dir: Path, rows: int) -> None:
    """A store whose journal has that many rows of no asset."""
    with Store(data_dir):
        pass
    env = engine.open_for_writing(str(data_dir))
    with env.begin(write=True) as txn:
        tables = Tables(env, txn, create=False)
        row = JournalRow(0, "manifest", None, b"{}", WRITER, 1, 0, 0, 0)
        for revision in range(1, rows + 1):
            key = id_key(revision)
            txn.put(key, seal_row(JOURNAL, key, row), db=tables[JOURNAL])
    env.close()


def test_a_slice_opens_no_more_stores_than_there_are_handles_for(tmp_path: Path) -> None:
    names = [f"asset-{number}" for number in range(1_200)]
    with Store(tmp_path) as store:
        for start in range(0, 1_200, 400):
            store.activate(*names[start : start + 400])
        ids = {name: store.asset_id(name) for name in names}
        for start in range(0, 1_200, 400):
            part = names[start : start + 400]
            store.run(*(change(jobs.SetKey(ids[name], "k", b"1", None)) for name in part))

        after, _ = store.do(jobs.TrimSlice(0, NEVER_US, 0))
        assert after is not None
        while after is not None:
            after, _ = store.do(jobs.TrimSlice(after, NEVER_US, 0))

        assert len(kept(store)) == 1_200
    assert inspect(tmp_path).problems == []


def test_a_damaged_row_is_passed_over_and_kept(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "k", b'"distinctive"')
        store.remove("a", "k")
        store.do(jobs.FinishManifest("digest", "/m.json"))
    data = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data.replace(b'"distinctive"', b'"distinctivf"'))
    with Store(tmp_path) as store:
        store.do(jobs.TrimSlice(0, NEVER_US, 0))

        txn, tables = store.reader.stored()
        with txn.cursor(db=tables[JOURNAL]) as cursor:
            assert [bytes(key) for key, _ in cursor] == [id_key(2)]
        assert store.reader.counters().compacted == 4


def test_damage_in_what_is_told_of_a_deleted_key_stops_no_pass(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "k", b"1")
        store.remove("a", "k")
    env = engine.open_for_writing(str(tmp_path))
    with env.begin(write=True) as txn:
        tables = Tables(env, txn, create=False)
        ((where, row),) = list(txn.cursor(db=tables[DELETED]))
        txn.put(where, row[:-1] + b"\xff", db=tables[DELETED])
    env.close()
    with Store(tmp_path) as store:
        trim(store, older_than=NEVER_US)

        assert kept(store) == []
        assert store.reader.counters().compacted == 3


def test_random_changes_and_passes_leave_a_store_whose_journal_fits_it(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    with Store(tmp_path) as store:
        store.activate("a", "b")
        compacted = 0
        for _ in range(25):
            batch: list[jobs.AnyJob] = []
            for _ in range(rng.randrange(1, 15)):
                asset_id, key = rng.choice([A, B]), f"k{rng.randrange(4)}"
                operation: jobs.AnyOperation = jobs.IncrementKey(asset_id, key, b"1", b"0")
                chance = rng.random()
                if chance < 0.2:
                    operation = jobs.DeleteKey(asset_id, key, None)
                elif chance < 0.25:
                    operation = jobs.ClearStore(asset_id)
                batch.append(change(operation))
            store.run(*batch)
            chance = rng.random()
            if chance < 0.3:
                trim(store, older_than=NEVER_US)
            elif chance < 0.6:
                trim(store, excess_bytes=rng.randrange(3_000))
            if (trash := store.trash()) and rng.random() < 0.2:
                store.drop(rng.choice(trash)[0])
            assert store.reader.counters().compacted >= compacted
            compacted = store.reader.counters().compacted
    # It holds every entry's last changes against the journal, and the journal against what was
    # forgotten.
    assert inspect(tmp_path).problems == []

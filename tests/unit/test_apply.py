"""What each job does to the store, what it answers, and that a refused one does nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.store import Store, change

from assetstore.entries import RecordedWriter
from assetstore.errors import Conflict, InactiveAsset, InvalidRequest, Refused, UnknownAsset
from assetstore.messages import AssetRef
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.tables import TABLES


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, which are empty."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        yield store


def revision(store: Store) -> int:
    """The last revision that was given out."""
    return store.reader.counters().revision


def revision_of(result: jobs.Result) -> int:
    """The revision in the one outcome of a change that was carried out."""
    ((revision, *_),) = result.decoded()
    return int(revision)


def count_of(result: jobs.Result) -> int:
    """The count in the one outcome of a change that was carried out."""
    ((_, count, *_),) = result.decoded()
    return int(count)


def everything(store: Store) -> list[object]:
    """All that is on disk, but for what waits in the trash."""
    assets, after = store.reader.assets(0, 1_000)
    assert after is None
    txn, tables = store.reader.stored()
    found: list[object] = []
    for table in TABLES:
        with txn.cursor(db=tables[table]) as cursor:
            found.append([(bytes(key), bytes(row)) for key, row in cursor])
    found += [store.contents(asset.name) for asset in assets if asset.state == "active"]
    return found


def in_trash(store: Store) -> list[tuple[str, str, int]]:
    """What waits in the trash: name, reason, entries."""
    return [(name, reason, entries) for _, name, reason, entries in store.trash()]


def state(store: Store, name: str) -> str:
    """The state of the asset that has this name."""
    found = store.reader.find(AssetRef(name))
    assert found is not None
    return found[1].state


def apply(
    store: Store,
    deactivate: list[tuple[str, str]] | None = None,
    activate: list[tuple[str, str, str | None]] | None = None,
    regroup: list[tuple[str, str, str | None]] | None = None,
) -> None:
    """Apply one slice of a manifest."""
    leaving = [AssetRef(name, uri) for name, uri in deactivate or []]
    assert store.do(jobs.ApplySlice(Slice(leaving, activate or [], regroup or []))) is None


# --- put


def test_each_put_gets_the_next_revision(store: Store) -> None:
    first = store.put("a", "k", b"1")

    assert [store.put("a", "k", b"2"), store.put("b", "l", b"3")] == [first + 1, first + 2]
    assert revision(store) == first + 2


def test_an_entry_keeps_value_revision_time_and_writer(store: Store) -> None:
    before = time.time_ns() // 1_000
    at = store.put("a", "k", b'"v"')

    entry = store.get("a", "k")
    assert entry is not None
    assert (entry.value, entry.revision) == (b'"v"', at)
    assert before <= entry.updated_at <= time.time_ns() // 1_000
    assert entry.updated_by == RecordedWriter("worker", None, None, None, None, 1, 2, 3)


def test_the_last_of_two_puts_in_one_batch_stays_and_each_has_its_revision(store: Store) -> None:
    first, second = store.run(store.put_job("a", "k", b"1"), store.put_job("a", "k", b"2"))

    assert revision_of(second) == revision_of(first) + 1
    entry = store.get("a", "k")
    assert entry is not None
    assert (entry.value, entry.revision) == (b"2", revision_of(second))


@pytest.mark.parametrize("key", ["k", "\0", "x" * 511, "x" * 512, "😀" * 512], ids=len)
def test_a_key_of_any_length_is_put_and_removed(store: Store, key: str) -> None:
    store.put("a", key, b"1")
    store.put("a", key[:-1] + "y", b"2")

    assert store.contents("a")[key] == b"1"
    assert store.remove("a", key) is True
    assert key not in store.contents("a")
    assert len(store.contents("a")) == 1


def test_an_asset_that_was_never_written_to_has_no_store(store: Store) -> None:
    found = store.reader.find(AssetRef("a"))

    assert found is not None
    assert found[1].store_id == 0
    assert store.contents("a") == {}


def test_a_put_for_an_asset_that_has_just_left_is_refused(store: Store) -> None:
    # As it happens where the serving process resolved the name before the commit before.
    job = store.put_job("a", "k", b"1")

    left, put = store.run(jobs.ApplySlice(Slice([AssetRef("a", "a")], [], [])), job)

    assert left.code is None
    assert put.code == "inactive_asset"
    assert "asset 'a' (uri 'a') is inactive since" in put.message


# --- remove


def test_removing_says_whether_the_key_was_there(store: Store) -> None:
    store.put("a", "k", b"1")
    before = revision(store)

    assert store.remove("a", "k") is True
    assert revision(store) == before + 1
    assert store.get("a", "k") is None


def test_removing_what_is_not_there_changes_nothing(store: Store) -> None:
    store.put("a", "k", b"1")
    before = everything(store)

    assert store.remove("a", "l") is False
    assert store.remove("b", "k") is False
    assert everything(store) == before


def test_a_key_that_was_put_and_removed_in_one_batch_is_not_there(store: Store) -> None:
    remove = jobs.DeleteKey(store.asset_id("a"), "k", None)

    results = store.run(store.put_job("a", "k", b"1"), change(remove), change(remove))

    assert [count_of(result) for result in results[1:]] == [1, 0]
    assert store.contents("a") == {}


# --- clear


def test_clearing_puts_all_entries_into_the_trash_in_one_step(store: Store) -> None:
    store.run(*(store.put_job("a", f"k{number}", b"1") for number in range(100)))
    store.put("b", "k", b"1")
    before = revision(store)

    assert store.clear("a") == 100
    assert revision(store) == before + 1
    assert store.contents("a") == {}
    assert store.contents("b") == {"k": b"1"}
    assert in_trash(store) == [("a", "cleared", 100)]


def test_clearing_what_is_empty_changes_nothing(store: Store) -> None:
    store.put("b", "k", b"1")
    store.remove("b", "k")
    before = everything(store)

    assert store.clear("a") == 0
    assert store.clear("b") == 0
    assert everything(store) == before


def test_a_cleared_asset_goes_on_with_a_new_store(store: Store) -> None:
    store.put("a", "old", b"1")
    store.clear("a")

    store.put("a", "new", b"2")

    assert store.contents("a") == {"new": b"2"}


def test_clear_takes_along_what_was_put_before_it_in_the_same_batch(store: Store) -> None:
    clear = jobs.ClearStore(store.asset_id("a"))

    results = store.run(
        store.put_job("a", "k", b"1"),
        change(clear),
        change(clear),
        store.put_job("a", "l", b"2"),
        change(clear),
    )

    assert [count_of(result) for result in results] == [1, 1, 0, 1, 1]
    assert store.contents("a") == {}
    assert in_trash(store) == [("a", "cleared", 1), ("a", "cleared", 1)]


# --- the manifest


def test_an_asset_that_leaves_is_closed_and_its_store_waits_in_the_trash(store: Store) -> None:
    store.put("a", "k", b"1")

    store.deactivate("a")

    with pytest.raises(InactiveAsset, match="its store waits in the trash"):
        store.get("a", "k")
    assert in_trash(store) == [("a", "deactivated", 1)]
    assert store.reader.counters().active == 1


def test_an_asset_that_returns_has_all_back_revisions_included(store: Store) -> None:
    store.put("a", "k", b"1")
    before = store.get("a", "k")
    store.deactivate("a")

    store.activate("a")

    assert store.get("a", "k") == before
    assert store.trash() == []
    assert store.reader.counters().active == 2


def test_an_asset_without_entries_leaves_nothing_in_the_trash(store: Store) -> None:
    store.put("b", "k", b"1")
    store.remove("b", "k")

    store.deactivate("a", "b")

    assert store.trash() == []
    for name in ("a", "b"):
        with pytest.raises(InactiveAsset, match="it has no store"):
            store.get(name, "k")
    store.activate("a", "b")
    store.put("b", "l", b"2")
    assert store.contents("b") == {"l": b"2"}


def test_applying_a_slice_again_changes_nothing(store: Store) -> None:
    apply(store, [("a", "a")], [("c", "c", "group")])
    before = everything(store)

    apply(store, [("a", "a")], [("c", "c", "group")])

    assert everything(store) == before


def test_an_asset_that_was_never_known_may_leave(store: Store) -> None:
    before = everything(store)

    apply(store, [("never", "never")])

    assert everything(store) == before


def test_each_asset_that_comes_or_leaves_is_a_revision(store: Store) -> None:
    before = revision(store)

    apply(store, [("a", "a"), ("b", "b")], [("c", "c", None)])

    assert revision(store) == before + 3


def test_a_group_can_change_without_anything_else(store: Store) -> None:
    store.put("a", "k", b"1")

    apply(store, regroup=[("a", "a", "sales")])

    found = store.reader.find(AssetRef("a"))
    assert found is not None
    assert found[1].group == "sales"
    assert store.contents("a") == {"k": b"1"}


def test_a_name_that_returns_with_another_uri_is_another_asset(store: Store) -> None:
    store.put("a", "k", b"1")

    apply(store, [("a", "a")], [("a", "s3://a", None)])

    assert store.contents("a") == {}
    with pytest.raises(InactiveAsset):
        store.reader.resolve(AssetRef(uri="a"))
    with pytest.raises(InactiveAsset):
        store.reader.resolve(AssetRef("a", "a"))
    apply(store, [("a", "s3://a")], [("a", "a", None)])
    assert store.contents("a") == {"k": b"1"}


def test_two_assets_can_swap_their_uris_in_one_slice(store: Store) -> None:
    store.put("a", "k", b"1")

    apply(store, [("a", "a"), ("b", "b")], [("a", "b", None), ("b", "a", None)])

    assert store.contents("a") == store.contents("b") == {}
    apply(store, [("a", "b"), ("b", "a")], [("a", "a", None), ("b", "b", None)])
    assert store.contents("a") == {"k": b"1"}


def test_the_accepted_manifest_is_kept_with_its_time(store: Store) -> None:
    assert store.reader.accepted_manifest() is None
    before = time.time_ns() // 1_000

    store.do(jobs.FinishManifest("d1ce", "/etc/manifest.json"))

    accepted = store.reader.accepted_manifest()
    assert accepted is not None
    assert (accepted.digest, accepted.path, accepted.assets) == ("d1ce", "/etc/manifest.json", 2)
    assert accepted.accepted_at >= before


def test_the_first_change_of_another_manifest_withdraws_the_fingerprint(store: Store) -> None:
    def mark() -> bytes:
        accepted = store.reader.accepted_manifest()
        assert accepted is not None
        return accepted.fingerprint

    store.do(jobs.FinishManifest("d1ce", "/m.json", fingerprint=b"mark"))
    store.put("a", "k", b"1")
    store.clear("a")
    store.drop(store.trash()[0][0])
    assert mark() == b"mark"

    apply(store, regroup=[("a", "a", "group")])

    assert mark() == b""


def test_another_file_with_the_same_assets_is_no_event_and_leaves_the_time(store: Store) -> None:
    store.do(jobs.FinishManifest("d1ce", "/m.json", fingerprint=b"mark"))
    before, last = store.reader.accepted_manifest(), revision(store)

    store.do(jobs.FinishManifest("d1ce", "/m.json", fingerprint=b"other"))

    assert before is not None
    after = msgspec.structs.replace(before, fingerprint=b"other")
    assert (store.reader.accepted_manifest(), revision(store)) == (after, last)


# --- restore


def restore(store: Store, trash_id: int) -> tuple[str, int]:
    """Give a cleared store back; returns to whom, and how many entries."""
    _, count, _, (name, _) = store.operate(jobs.RestoreStore(trash_id))
    return name, count


def test_a_cleared_store_comes_back_and_what_is_there_goes_to_the_trash(store: Store) -> None:
    store.put("a", "old", b"1")
    before = store.get("a", "old")
    store.clear("a")
    store.put("a", "new", b"2")
    ((trash_id, *_),) = store.trash()

    assert restore(store, trash_id) == ("a", 1)

    assert store.contents("a") == {"old": b"1"}
    assert store.get("a", "old") == before
    assert in_trash(store) == [("a", "replaced", 1)]
    ((trash_id, *_),) = store.trash()
    assert restore(store, trash_id) == ("a", 1)
    assert store.contents("a") == {"new": b"2"}


def test_restoring_into_an_empty_asset_puts_nothing_into_the_trash(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    ((trash_id, *_),) = store.trash()

    restore(store, trash_id)

    assert store.trash() == []
    assert store.contents("a") == {"k": b"1"}


def test_what_is_not_in_the_trash_cannot_be_restored(store: Store) -> None:
    with pytest.raises(InvalidRequest, match="no store 77 in the trash; see `assetstore trash"):
        restore(store, 77)


def test_a_condemned_store_cannot_be_restored(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    store.do(jobs.Condemn([trash_id]))

    with pytest.raises(InvalidRequest, match=f"no store {trash_id} in the trash"):
        restore(store, trash_id)


def test_a_store_that_waits_for_its_asset_is_not_restored_by_hand(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("a")
    ((trash_id, *_),) = store.trash()

    with pytest.raises(InvalidRequest, match=r"waits for asset 'a' \(uri 'a'\) to return: put it"):
        restore(store, trash_id)


def test_nothing_is_restored_to_an_inactive_asset(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    store.deactivate("a")

    with pytest.raises(InactiveAsset):
        restore(store, trash_id)
    store.activate("a")
    assert restore(store, trash_id) == ("a", 1)


# --- mv


def move(store: Store, source: str, target: str, *, replace: bool = False) -> int:
    """Move the store of one asset to another; returns how many entries moved."""
    _, count, *_ = store.operate(
        jobs.MoveStore(store.asset_id(source), store.asset_id(target), replace)
    )
    return int(count)


def test_a_store_moves_to_another_asset_as_it_is(store: Store) -> None:
    store.put("a", "k", b"1")
    before = store.get("a", "k")

    assert move(store, "a", "b") == 1

    assert store.get("b", "k") == before
    assert store.contents("a") == {}
    assert store.trash() == []
    store.put("a", "l", b"2")
    assert store.contents("b") == {"k": b"1"}


def test_the_store_of_an_asset_that_left_is_taken_from_the_trash(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("a")

    assert move(store, "a", "b") == 1

    assert store.contents("b") == {"k": b"1"}
    assert store.trash() == []
    store.activate("a")
    assert store.contents("a") == {}


def test_entries_are_not_replaced_unless_that_is_asked_for(store: Store) -> None:
    store.put("a", "k", b"1")
    store.run(*(store.put_job("b", f"k{number}", b"2") for number in range(1_234)))

    with pytest.raises(Conflict, match=r"already holds 1,234 entries; with --replace they go to"):
        move(store, "a", "b")


def test_what_is_replaced_goes_to_the_trash(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("b", "l", b"2")

    assert move(store, "a", "b", replace=True) == 1

    assert store.contents("b") == {"k": b"1"}
    assert in_trash(store) == [("b", "replaced", 1)]
    ((trash_id, *_),) = store.trash()
    restore(store, trash_id)
    assert store.contents("b") == {"l": b"2"}


def test_a_target_whose_store_is_empty_is_no_conflict(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("b", "l", b"2")
    store.remove("b", "l")

    assert move(store, "a", "b") == 1
    assert store.trash() == []


def test_an_asset_cannot_be_moved_to_itself(store: Store) -> None:
    store.put("a", "k", b"1")

    with pytest.raises(InvalidRequest, match="source and target are the same asset"):
        move(store, "a", "a", replace=True)


def test_an_asset_without_a_store_has_nothing_to_move(store: Store) -> None:
    with pytest.raises(InvalidRequest, match=r"asset 'a' \(uri 'a'\) has no store to move$"):
        move(store, "a", "b")


def test_a_dropped_store_cannot_be_moved(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("a")
    store.drop(store.trash()[0][0])

    with pytest.raises(InvalidRequest, match="has no store to move; it has been dropped"):
        move(store, "a", "b")


def test_nothing_moves_to_an_inactive_asset(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("b")

    with pytest.raises(InactiveAsset):
        move(store, "a", "b")


# --- condemn and drop


def test_a_condemned_store_is_gone_for_good_at_once(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("a")
    ((trash_id, *_),) = store.trash()

    assert store.do(jobs.Condemn([trash_id])) == 1

    assert store.trash() == []
    assert state(store, "a") == "dropped"
    with pytest.raises(InactiveAsset, match="its store has been dropped"):
        store.get("a", "k")


def test_an_asset_that_returns_after_the_drop_begins_anew(store: Store) -> None:
    store.put("a", "k", b"1")
    store.deactivate("a")
    ((trash_id, *_),) = store.trash()
    store.do(jobs.Condemn([trash_id]))

    # Condemned, and not yet dropped: it gets a store of its own all the same.
    store.activate("a")
    store.put("a", "l", b"2")
    while store.do(jobs.DropSlice(trash_id)):
        pass

    assert store.contents("a") == {"l": b"2"}
    assert list(store.reader.trash_rows()) == []


def test_dropping_what_was_cleared_does_not_touch_its_asset(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    store.put("a", "l", b"2")

    store.drop(store.trash()[0][0])

    assert state(store, "a") == "active"
    assert store.contents("a") == {"l": b"2"}


def test_stores_that_are_not_in_the_trash_are_passed_over(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    ((trash_id, *_),) = store.trash()

    assert store.do(jobs.Condemn([trash_id, trash_id, 99])) == 1
    before = everything(store)
    assert store.do(jobs.Condemn([trash_id, 99])) == 0
    assert everything(store) == before


def test_nothing_is_dropped_that_is_not_condemned(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    before = everything(store)

    assert store.do(jobs.DropSlice(trash_id)) is False
    assert store.do(jobs.DropSlice(99)) is False

    assert everything(store) == before
    assert restore(store, trash_id) == ("a", 1)


def test_a_large_store_is_dropped_slice_by_slice(store: Store) -> None:
    value = b'"%s"' % (b"v" * 1_000)
    for _ in range(20):
        store.run(*(store.put_job("a", f"{_}-{number}", value) for number in range(1_000)))
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    store.do(jobs.Condemn([trash_id]))

    slices = 1
    while store.do(jobs.DropSlice(trash_id)):
        slices += 1
        store.put("a", "k", b"%d" % slices)

    assert slices > 1
    assert list(store.reader.trash_rows()) == []
    assert store.contents("a") == {"k": b"%d" % slices}


# --- refused


def refused_operations(store: Store) -> list[jobs.AnyOperation]:
    """One of each refusal there is, for the assets a (of some entries), b and gone (inactive)."""
    a, b, gone = (store.asset_id(name) for name in ("a", "b", "gone"))
    waiting = next(trash_id for trash_id, name, *_ in store.trash() if name == "gone")
    nothing_to_lay = jobs.MergeKey(a, "l", b"{}", [], "replace", "value")
    return [
        jobs.SetKey(gone, "k", b"1", None),
        jobs.SetKey(a, "l", b"1", 0),
        jobs.SetKey(a, "l", b"1", 1),
        jobs.SetKey(b, "k", b"1", 1),
        jobs.DeleteKey(gone, "k", None),
        jobs.DeleteKey(a, "l", 1),
        jobs.DeleteKey(b, "k", 1),
        jobs.AdvanceKey(gone, "k", b"1", "value"),
        jobs.AdvanceKey(a, "l", b'"text"', "value"),
        jobs.AdvanceKey(b, "k", b"{}", "value"),
        jobs.AdvanceKey(b, "k", b'"no instant"', "time"),
        jobs.IncrementKey(gone, "k", b"1", b"0"),
        jobs.IncrementKey(a, "l", b"true", b"0"),
        jobs.IncrementKey(b, "k", b"1", b'"0"'),
        jobs.MergeKey(gone, "k", b"{}", [], "replace", "value"),
        nothing_to_lay,
        msgspec.structs.replace(nothing_to_lay, asset_id=b, patch=b"[]"),
        msgspec.structs.replace(nothing_to_lay, asset_id=b, remove=[[]]),
        jobs.CheckKey(gone, "k", 0),
        jobs.CheckKey(a, "l", 0),
        jobs.CheckKey(b, "k", 1),
        jobs.CheckUnchanged(gone, 0),
        jobs.CheckUnchanged(a, 0),
        jobs.ClearStore(gone),
        jobs.RestoreStore(99),
        jobs.RestoreStore(waiting),
        jobs.MoveStore(a, a, True),
        jobs.MoveStore(b, a, True),
        jobs.MoveStore(a, gone, True),
        jobs.MoveStore(gone, a, False),
    ]


@pytest.fixture
def furnished(store: Store) -> Store:
    """Entries in a, none in b, and some in gone, which left; the trash holds each kind."""
    store.activate("gone")
    for name in ("a", "gone"):
        store.put(name, "k", b"1")
        store.clear(name)
        store.put(name, "l", b"2")
    store.deactivate("gone")
    return store


def test_a_refused_operation_changes_nothing_at_all(furnished: Store) -> None:
    before = everything(furnished)

    for operation in refused_operations(furnished):
        with pytest.raises(Refused):
            furnished.operate(operation)
        assert everything(furnished) == before, operation


def test_what_a_change_did_before_it_was_refused_is_taken_back(furnished: Store) -> None:
    a, b = (furnished.asset_id(name) for name in ("a", "b"))
    cleared = next(trash_id for trash_id, name, *_ in furnished.trash() if name == "a")
    begun: list[list[jobs.AnyOperation]] = [
        [jobs.SetKey(a, "m", b"3", None), jobs.SetKey(b, "m", b"3", None)],
        [jobs.DeleteKey(a, "l", None), jobs.SetKey(a, "l", b"3", None)],
        [jobs.SetKey(b, "m", b"3", None), jobs.ClearStore(b)],
        [jobs.ClearStore(a), jobs.RestoreStore(cleared)],
        [jobs.RestoreStore(cleared), jobs.SetKey(a, "m", b"3", None)],
        [jobs.MoveStore(a, b, False), jobs.SetKey(a, "m", b"3", None)],
        [jobs.MoveStore(a, b, False), jobs.MoveStore(b, a, False)],
        [jobs.PurgeStores([cleared]), jobs.IncrementKey(b, "m", b"1", b"0")],
        [jobs.AdvanceKey(a, "l", b"9", "value"), jobs.DeleteKey(a, "l", None)],
    ]
    before = everything(furnished)

    for operations in begun:
        refused = jobs.CheckKey(b, "never", 4_711)
        with pytest.raises(Conflict) as conflict:
            furnished.do(change(*operations, refused))
        assert conflict.value.detail["operation"] == 2
        assert everything(furnished) == before, operations


def test_a_refused_change_does_not_change_what_its_neighbours_do(furnished: Store) -> None:
    b = furnished.asset_id("b")
    for operation in refused_operations(furnished):
        # That b has no store is what some of them are refused for.
        before = revision(furnished)
        first, refused, second = furnished.run(
            furnished.put_job("a", "m", b"3"),
            change(jobs.SetKey(b, "m", b"4", None), jobs.ClearStore(b), operation),
            furnished.put_job("a", "n", b"5"),
        )

        assert refused.code is not None, operation
        assert (revision_of(first), revision_of(second)) == (before + 1, before + 2)
        assert furnished.contents("a") == {"l": b"2", "m": b"3", "n": b"5"}
        assert furnished.contents("b") == {}


def test_the_first_write_of_an_asset_is_not_harmed_by_one_that_was_taken_back(
    store: Store,
) -> None:
    a, b = store.asset_id("a"), store.asset_id("b")

    refused, done = store.run(
        change(jobs.SetKey(a, "k", b"1", None), jobs.CheckKey(a, "never", 7)),
        change(jobs.SetKey(b, "k", b"2", None)),
    )

    assert (refused.code, done.code) == ("conflict", None)
    assert store.contents("a") == {}
    assert store.contents("b") == {"k": b"2"}


def test_an_id_that_was_never_given_out_is_refused(store: Store) -> None:
    with pytest.raises(Refused, match="the catalog has no asset 4711"):
        store.operate(jobs.SetKey(4_711, "k", b"1", None))


def test_what_is_not_known_cannot_be_resolved(store: Store) -> None:
    with pytest.raises(UnknownAsset):
        store.get("never", "k")


def test_a_slice_that_meets_a_damaged_row_changes_nothing(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a", "b", "distinctive", "c")
        for name in ("a", "b", "distinctive", "c"):
            store.put(name, "k", b"1")
    # In the row only, where the name stands after its length; not in the index.
    row, damaged = b"\xabdistinctive", b"\xabdistinctivf"
    data = (tmp_path / "data.mdb").read_bytes()
    assert row in data
    (tmp_path / "data.mdb").write_bytes(data.replace(row, damaged))

    with Store(tmp_path) as store:
        before = revision(store)
        leaving = [AssetRef(name, name) for name in ("a", "b", "distinctive", "c")]
        with pytest.raises(Refused, match="fails its checksum"):
            store.do(jobs.ApplySlice(Slice(leaving, [("d", "d", None)], [])))

        assert revision(store) == before
        for name in ("a", "b", "c"):
            assert store.contents(name) == {"k": b"1"}
        assert store.trash() == []

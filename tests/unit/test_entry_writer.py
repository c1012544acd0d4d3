"""What operations do to an entry: conditions, computed values, and entries that are damaged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.store import Store, change

from assetstore.entries import RecordedWriter
from assetstore.errors import Conflict, Damaged, InvalidRequest
from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstore.messages import AssetRef, ImportedEntry, Outcome, WireEntry
from assetstored import jobs, keys

A = 1
LONG_KEY = "k" * 512


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the asset a, which is empty, and its id 1."""
    with Store(tmp_path) as store:
        store.activate("a")
        yield store


def outcomes(store: Store, *operations: jobs.AnyOperation) -> list[Outcome]:
    """What a change of these operations is answered."""
    return msgspec.convert(store.do(change(*operations)), list[Outcome])


def outcome(store: Store, operation: jobs.AnyOperation) -> Outcome:
    """What a change of this operation alone is answered."""
    (only,) = outcomes(store, operation)
    return only


def conflict(store: Store, *operations: jobs.AnyOperation) -> dict[str, Any]:
    """The detail of the conflict that a change ends in, with its entry decoded."""
    with pytest.raises(Conflict) as refused:
        store.do(change(*operations))
    detail: dict[str, Any] = refused.value.detail
    entry = detail["entry"]
    return {**detail, "entry": entry and msgspec.convert(entry, WireEntry)}


def set_(key: str, value: bytes, if_revision: int | None = None) -> jobs.SetKey:
    return jobs.SetKey(A, key, value, if_revision)


def delete(key: str, if_revision: int | None = None) -> jobs.DeleteKey:
    return jobs.DeleteKey(A, key, if_revision)


def advance(key: str, value: bytes) -> jobs.AdvanceKey:
    return jobs.AdvanceKey(A, key, value, "value")


def increment(key: str, by: bytes = b"1", default: bytes = b"0") -> jobs.IncrementKey:
    return jobs.IncrementKey(A, key, by, default)


def merge(key: str, patch: bytes, *remove: list[str]) -> jobs.MergeKey:
    return jobs.MergeKey(A, key, patch, list(remove), "replace", "value")


# --- conditions


def test_a_set_is_carried_out_if_the_key_stands_at_the_revision(store: Store) -> None:
    first = outcome(store, set_("k", b"1", 0))
    assert first.revision is not None
    second = outcome(store, set_("k", b"2", first.revision))

    assert second == Outcome(first.revision + 1, 1, None, None)
    assert store.contents("a") == {"k": b"2"}


def test_a_key_that_is_there_is_not_created_and_the_conflict_shows_it(store: Store) -> None:
    store.put("a", "k", b'"old"')

    detail = conflict(store, set_("k", b'"new"', 0))

    assert detail == {"operation": 0, "key": "k", "entry": store.get("a", "k")}
    assert store.contents("a") == {"k": b'"old"'}


def test_a_key_that_is_absent_stands_at_revision_0_and_at_no_other(store: Store) -> None:
    at = store.put("a", "k", b"1")
    store.remove("a", "k")

    for operation in (set_("k", b"2", at), delete("k", at), jobs.CheckKey(A, "k", at)):
        assert conflict(store, operation) == {"operation": 0, "key": "k", "entry": None}
    assert outcome(store, delete("k", 0)) == Outcome(None, 0, None, None)
    assert outcome(store, jobs.CheckKey(A, "k", 0)) == Outcome(None, 0, None, None)


def test_a_key_that_was_deleted_and_set_again_stands_at_a_revision_of_its_own(
    store: Store,
) -> None:
    at = store.put("a", "k", b"1")
    store.remove("a", "k")
    store.put("a", "k", b"1")

    assert conflict(store, set_("k", b"2", at))["entry"] == store.get("a", "k")


def test_a_delete_is_carried_out_if_the_key_stands_at_the_revision(store: Store) -> None:
    at = store.put("a", "k", b"1")

    assert conflict(store, delete("k", at - 1))["key"] == "k"
    assert conflict(store, delete("k", 0))["key"] == "k"
    assert outcome(store, delete("k", at)) == Outcome(at + 1, 1, None, None)
    assert store.contents("a") == {}


def test_the_conflict_says_which_operation_it_was(store: Store) -> None:
    store.put("a", "l", b"1")

    detail = conflict(store, set_("k", b"1"), jobs.CheckKey(A, "k", 0), set_("l", b"1"))

    assert (detail["operation"], detail["key"]) == (1, "k")
    assert store.contents("a") == {"l": b"1"}


def test_the_entry_of_a_conflict_is_what_stands_there_and_never_what_was_taken_back(
    store: Store,
) -> None:
    store.put("a", "k", b"1")
    for own in (set_("k", b"2"), jobs.DeleteKey(A, "k", None), jobs.ClearStore(A)):
        assert conflict(store, own, jobs.CheckKey(A, "k", 7))["entry"] == store.get("a", "k")
    assert conflict(store, set_("l", b"1"), jobs.CheckKey(A, "l", 0))["entry"] is None

    with pytest.raises(Conflict, match="'l' of asset 'a' was changed by an earlier operation of"):
        store.do(change(set_("l", b"1"), jobs.CheckKey(A, "l", 0)))


def test_what_a_conflict_says_in_words(store: Store) -> None:
    at = store.put("a", "k", b"1")

    for operation, message in (
        (set_("k", b"2", 0), f"key 'k' of asset 'a' is at revision {at}, and was to be absent; "),
        (set_("k", b"2", 9), f"is at revision {at}, and was to be at revision 9; nothing changed"),
        (set_("l", b"2", 9), "key 'l' of asset 'a' is absent, and was to be at revision 9; "),
    ):
        with pytest.raises(Conflict) as refused:
            store.operate(operation)
        assert message in str(refused.value)


def test_conditions_hold_within_a_change_too(store: Store) -> None:
    at = store.reader.counters().revision + 1

    found = outcomes(
        store,
        set_("k", b"1", 0),
        set_("k", b"2", at),
        delete("k", at + 1),
        set_("k", b"3", 0),
        jobs.CheckKey(A, "k", at + 3),
    )

    assert [each.revision for each in found] == [at, at + 1, at + 2, at + 3, None]


def test_an_asset_that_was_changed_is_told_from_one_that_was_not(store: Store) -> None:
    store.activate("b")
    at = store.put("a", "k", b"1")
    store.put("b", "k", b"1")

    assert outcome(store, jobs.CheckUnchanged(A, at)) == Outcome(None, 0, None, None)
    for made in (
        lambda: store.put("a", "k", b"2"),
        lambda: store.remove("a", "k"),
        lambda: store.put("a", "l", b"1"),
        lambda: store.clear("a"),
        lambda: (store.deactivate("a"), store.activate("a")),  # type: ignore[func-returns-value]
    ):
        made()
        with pytest.raises(Conflict, match=f"asset 'a' was changed after revision {at}; nothing"):
            store.operate(jobs.CheckUnchanged(A, at))
        at = store.reader.counters().revision
        store.operate(jobs.CheckUnchanged(A, at))


def test_an_asset_that_was_changed_earlier_in_the_same_commit_was_changed(store: Store) -> None:
    at = store.put("a", "k", b"1")

    _, result = store.run(store.put_job("a", "k", b"2"), change(jobs.CheckUnchanged(A, at)))

    assert result.code == "conflict"


# --- advance, increment, merge


def test_an_advance_says_whether_it_was_applied_and_how_the_entry_stands(store: Store) -> None:
    first = outcome(store, advance("k", b"5"))
    assert (first.revision, first.count) == (store.reader.counters().revision, 1)
    assert first.entry == store.get("a", "k")

    for value in (b"5", b"4", b"5.0", b"-1e3"):
        assert outcome(store, advance("k", value)) == Outcome(None, 0, first.entry, None)
    second = outcome(store, advance("k", b"5.5"))

    assert second.revision == store.reader.counters().revision == (first.revision or 0) + 1
    assert second.entry == store.get("a", "k")
    assert store.contents("a") == {"k": b"5.5"}


def test_the_value_of_an_advance_is_stored_as_it_was_sent(store: Store) -> None:
    outcome(store, advance("k", b" [ 1.50,2 ] "))

    assert store.contents("a") == {"k": b" [ 1.50,2 ] "}


def test_instants_advance_by_their_time(store: Store) -> None:
    first, later = b'"2026-01-31T12:00:00+02:00"', b'"2026-01-31T10:00:01Z"'
    assert outcome(store, jobs.AdvanceKey(A, "k", first, "time")).revision is not None

    assert outcome(store, jobs.AdvanceKey(A, "k", b'"2026-01-31T10:00:00Z"', "time")).count == 0
    assert outcome(store, jobs.AdvanceKey(A, "k", later, "time")).count == 1


def test_an_increment_answers_with_the_new_entry(store: Store) -> None:
    first = outcome(store, increment("k", default=b"10"))
    second = outcome(store, increment("k", by=b"9" * 30))

    assert first.entry is not None
    assert (first.entry.value, first.count) == (b"11", 1)
    assert second.entry == store.get("a", "k")
    assert store.contents("a") == {"k": b"1" + b"0" * 28 + b"10"}


def test_a_merge_answers_with_the_entry_as_it_stands_after(store: Store) -> None:
    first = outcome(store, merge("k", b'{"a":1,"b":{"c":2}}'))
    same = outcome(store, merge("k", b'{"b":{"c":2}}', ["never"]))
    second = outcome(store, merge("k", b'{"b":{"d":null}}', ["a"]))

    assert first.entry is not None
    assert same == Outcome(None, 0, first.entry, None)
    assert second.entry == store.get("a", "k")
    assert second.entry is not None
    assert msgspec.json.decode(second.entry.value) == {"b": {"c": 2, "d": None}}


def test_an_empty_merge_makes_an_object_where_there_is_none(store: Store) -> None:
    assert outcome(store, merge("k", b"{}")).count == 1
    assert outcome(store, merge("k", b"{}")).count == 0
    assert store.contents("a") == {"k": b"{}"}


@pytest.mark.parametrize(
    ("operation", "message"),
    [
        (advance("text", b"1"), "an int and cannot be compared with a str"),
        (advance("new", b"true"), "value is a bool"),
        (advance("text", b'["x"]'), "a list and cannot be compared with a str"),
        (increment("text"), "value is a str and cannot be incremented by an int"),
        (increment("new", default=b"null"), "value is None and cannot be incremented by an int"),
        (merge("text", b"{}"), "the value of key 'text' is of type str; merge takes objects"),
        (merge("new", b"[]"), "the patch for key 'new' is of type list; merge takes objects"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_computed_is_refused_with_the_types(
    store: Store, operation: jobs.AnyOperation, message: str
) -> None:
    store.put("a", "text", b'"text"')

    with pytest.raises(InvalidRequest, match=message):
        store.operate(operation)
    assert store.contents("a") == {"text": b'"text"'}


def test_what_is_computed_is_held_to_the_limits_of_what_is_sent(store: Store) -> None:
    # Half of the limit each; together they are over it.
    half = msgspec.json.encode({"a": "x" * (DEFAULT_MAX_VALUE_BYTES // 2)})
    store.put("a", "k", half)

    with pytest.raises(InvalidRequest):
        store.operate(merge("k", half.replace(b'"a"', b'"b"')))
    with pytest.raises(InvalidRequest):
        store.operate(merge("deep", b'{"a":' * 255 + b"{}" + b"}" * 255))
    assert store.contents("a") == {"k": half}


def test_the_operations_of_a_change_see_what_those_before_them_did(store: Store) -> None:
    store.put("a", "old", b"1")

    found = outcomes(
        store,
        advance("k", b"1"),
        increment("k", by=b"2"),
        advance("k", b"2"),
        delete("k"),
        increment("k", default=b"40", by=b"2"),
        jobs.ClearStore(A),
        merge("k", b'{"a":1}'),
        merge("k", b'{"a":1}'),
    )

    assert [(each.count, each.entry and each.entry.value) for each in found] == [
        (1, b"1"),
        (1, b"3"),
        (0, b"3"),
        (1, None),
        (1, b"42"),
        (2, None),
        (1, b'{"a":1}'),
        (0, b'{"a":1}'),
    ]
    assert store.contents("a") == {"k": b'{"a":1}'}


def test_the_revisions_of_a_change_follow_each_other_without_a_gap(store: Store) -> None:
    store.activate("b")
    before = store.reader.counters().revision

    found = outcomes(
        store,
        set_("k", b"1"),
        jobs.SetKey(2, "k", b"1", None),
        delete("never"),
        set_("k", b"2"),
        jobs.ClearStore(2),
        increment("n"),
    )

    assert [each.revision for each in found] == [
        before + 1,
        before + 2,
        None,
        before + 3,
        before + 4,
        before + 5,
    ]
    assert store.reader.counters().revision == before + 5


@pytest.mark.parametrize("key", ["k", LONG_KEY], ids=["short key", "long key"])
def test_entries_under_keys_of_any_length_are_answered_alike(store: Store, key: str) -> None:
    assert outcome(store, increment(key)).entry == store.get("a", key)
    assert outcome(store, advance(key, b"7")).entry == store.get("a", key)
    assert outcome(store, advance(key, b"1")).entry == store.get("a", key)
    assert conflict(store, set_(key, b"1", 0))["entry"] == store.get("a", key)


def test_only_so_many_long_keys_may_begin_alike(store: Store) -> None:
    head = "k" * 500
    first, *others = (f"{head}{number:012}" for number in range(keys.MAX_DIGESTS + 1))
    store.run(*(store.put_job("a", key, b"1") for key in others))

    with pytest.raises(InvalidRequest, match="1,000 keys of more than 511 bytes begin with the"):
        store.put("a", first, b"1")
    store.put("a", others[0], b"2")
    # Deleted and set in one change: the room that it makes is its own.
    outcomes(store, delete(others[0]), set_(first, b"1"))
    # With a prefix they are counted one by one.
    assert store.reader.count(AssetRef("a"), head, None) == (keys.MAX_DIGESTS, None)


# --- damage


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Store]:
    """A store whose asset a has a damaged entry under the key bad."""
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "bad", b'"first"')
        store.put("a", "bad", b'"distinctive"')
        store.put("a", "good", b"1")
        store_id = store.reader.row_of(A).store_id
        record = store.reader.record(store_id, "a", "bad")
        assert record is not None
    data = (tmp_path / "data.mdb").read_bytes()
    assert record in data
    (tmp_path / "data.mdb").write_bytes(data.replace(record, record[:-1] + b"?"))
    with Store(tmp_path) as store:
        yield store


NEEDING: dict[str, Callable[[], jobs.AnyOperation]] = {
    "a conditional set": lambda: set_("bad", b"1", 2),
    "a creation": lambda: set_("bad", b"1", 0),
    "a conditional delete": lambda: delete("bad", 2),
    "a check": lambda: jobs.CheckKey(A, "bad", 2),
    "an advance": lambda: advance("bad", b'"z"'),
    "an increment": lambda: increment("bad"),
    "a merge": lambda: merge("bad", b"{}"),
}


@pytest.mark.parametrize("what", NEEDING)
def test_what_depends_on_a_damaged_entry_is_refused(damaged: Store, what: str) -> None:
    before = damaged.reader.counters()

    with pytest.raises(Damaged, match="the record of key 'bad' of asset 'a' fails its checksum"):
        damaged.do(change(set_("good", b"2"), NEEDING[what]()))

    assert damaged.reader.counters() == before
    entry = damaged.get("a", "good")
    assert entry is not None
    assert entry.value == b"1"


def test_a_damaged_entry_can_be_set_anew_and_goes_on_from_there(damaged: Store) -> None:
    at = outcome(damaged, set_("bad", b"1")).revision

    assert outcome(damaged, set_("bad", b"2", at)).revision == (at or 0) + 1
    assert outcome(damaged, increment("bad")).count == 1
    assert damaged.contents("a") == {"bad": b"3", "good": b"1"}


def test_a_damaged_entry_can_be_deleted(damaged: Store) -> None:
    assert outcome(damaged, delete("bad")).count == 1
    assert outcome(damaged, delete("bad")).count == 0
    assert outcome(damaged, set_("bad", b"1", 0)).count == 1
    assert damaged.contents("a") == {"bad": b"1", "good": b"1"}


def test_a_damaged_entry_is_cleared_with_the_others(damaged: Store) -> None:
    assert damaged.clear("a") == 2
    assert damaged.contents("a") == {}


@pytest.mark.parametrize("replace", [False, True])
def test_a_damaged_entry_is_mended_by_an_import(damaged: Store, replace: bool) -> None:
    writer = RecordedWriter("task", "d", "r", "t", -1, 1, 2, 3)
    entries = [ImportedEntry(key, 5, writer, b"7") for key in ("bad", "good")]

    assert outcome(damaged, jobs.ImportKeys(A, entries, replace)).count == 2
    assert outcome(damaged, jobs.ImportKeys(A, entries, replace)).count == 0
    assert damaged.contents("a") == {"bad": b"7", "good": b"7"}

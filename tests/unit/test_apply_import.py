"""What an import does: entries stand there as they were, once, and the journal says who did it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.store import WRITER, Store, change

from assetstore import messages as m
from assetstore.entries import RecordedWriter
from assetstore.errors import Refused
from assetstored import history, jobs

BEFORE = RecordedWriter("task", "d", "r", "t", -1, 1000, 1000, 4711)


def entry(
    key: str, value: bytes = b"1", time: int = 5, writer: RecordedWriter = BEFORE
) -> m.ImportedEntry:
    return m.ImportedEntry(key, time, writer, value)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, which are empty."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        yield store


def imports(
    store: Store, *entries: m.ImportedEntry, replace: bool = False
) -> tuple[int | None, int]:
    """Import into a; returns revision and count."""
    revision, count, *_ = store.operate(
        jobs.ImportKeys(store.asset_id("a"), list(entries), replace)
    )
    return revision, count


def imported(store: Store, *entries: m.ImportedEntry) -> int:
    """Import into a; returns the revision."""
    revision, _ = imports(store, *entries)
    assert revision is not None
    return revision


def last(store: Store) -> int:
    return store.reader.counters().revision


def test_an_entry_stands_there_as_it_was_and_its_event_says_who_imported_it(store: Store) -> None:
    revision = imported(store, entry("k", b"[1]"))

    assert store.get("a", "k") == m.WireEntry(revision, 5, BEFORE, b"[1]")
    row = store.reader.journal_row(revision)
    assert row is not None
    assert (row.kind, row.key, row.value, row.writer) == ("import", "k", b"[1]", WRITER)
    assert row.origin == (5, msgspec.Raw(msgspec.msgpack.encode(BEFORE)))
    # By the time of the import, since rows are found by time and forgotten by age.
    assert row.updated_at > 1_700_000_000_000_000


def test_the_past_shows_an_imported_entry_as_it_was(store: Store) -> None:
    revision = imported(store, entry("k"))
    store.put("a", "k", b"2")

    *_, then = history.entry_at(store.reader, store.asset_id("a"), "k", revision)

    assert then is not None
    assert msgspec.msgpack.decode(then, type=m.WireEntry) == m.WireEntry(revision, 5, BEFORE, b"1")


def test_what_stands_there_equal_in_value_time_and_writer_is_not_written_again(
    store: Store,
) -> None:
    imports(store, entry("k"), entry("l"))
    before = last(store)

    assert imports(store, entry("k"), entry("l")) == (None, 0)
    assert last(store) == before

    other = RecordedWriter("task", "d", "r", "t", -1, 1000, 1000, 4712)
    for changed in (entry("k", b"1 "), entry("k", time=6), entry("k", writer=other)):
        assert imports(store, changed, entry("l")) == (last(store), 1)
    assert last(store) == before + 3


def test_other_keys_stay_without_replace_and_go_to_the_trash_with_it(store: Store) -> None:
    store.put("a", "mine", b"0")
    imports(store, entry("k"))
    assert set(store.contents("a")) == {"k", "mine"}

    assert imports(store, entry("k"), replace=True)[1] == 1

    assert set(store.contents("a")) == {"k"}
    ((trash_id, *trashed),) = store.trash()
    assert trashed == ["a", "cleared", 2]
    store.operate(jobs.RestoreStore(trash_id))
    assert set(store.contents("a")) == {"k", "mine"}


def test_replacing_by_what_is_there_changes_nothing(store: Store) -> None:
    assert imports(store, replace=True) == (None, 0)
    imports(store, entry("k"), entry("l"), replace=True)
    before = last(store)

    assert imports(store, entry("l"), entry("k"), replace=True) == (None, 0)

    assert (last(store), store.trash()) == (before, [])
    assert imports(store, entry("k"), replace=True)[1] == 1
    assert imports(store, replace=True) == (None, 0)
    assert store.contents("a") == {}


def test_an_import_that_is_refused_has_cleared_nothing(store: Store) -> None:
    store.put("a", "mine", b"0")
    asset_id, before = store.asset_id("a"), last(store)

    with pytest.raises(Refused):
        store.do(
            change(
                jobs.ImportKeys(asset_id, [entry("k")], True),
                jobs.SetKey(asset_id, "k", b"1", 99),
            )
        )

    assert (set(store.contents("a")), store.trash(), last(store)) == ({"mine"}, [], before)


def test_revisions_follow_the_order_of_the_entries(store: Store) -> None:
    revision = imported(store, *(entry(key) for key in "zmab"))

    found = {key: store.get("a", key) for key in "zmab"}

    assert [held.revision for held in found.values() if held] == list(
        range(revision - 3, revision + 1)
    )

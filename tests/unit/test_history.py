"""The past: the changes of a key, what stood at a revision, and which keys have changed since."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.store import Store, change

from assetstore.errors import Compacted, Damaged
from assetstore.messages import WireEntry
from assetstored import engine, history, jobs
from assetstored.reader import Reader
from assetstored.tables import JournalRow, store_name

A, B = 1, 2
NEVER_US = 2**62


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, which are empty, and their ids 1 and 2."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        yield store


def last(store: Store) -> int:
    return store.reader.counters().revision


def changes(store: Store, key: str = "k", asset_id: int = A) -> list[tuple[str, bytes | None]]:
    """Kind and value of the changes of a key, the newest first; "..." where more is forgotten."""
    return [
        ("...", None) if step.row is None else (step.row.kind, step.row.value and short(step.row))
        for step in history.steps(store.reader, asset_id, key)
    ]


def short(row: JournalRow) -> bytes | None:
    return row.value if row.key is not None else b""


def at(store: Store, revision: int, key: str = "k", asset_id: int = A) -> bytes | None:
    """The value that stood there after that change."""
    entry = entry_at(store, revision, key, asset_id)
    return None if entry is None else entry.value


def entry_at(store: Store, revision: int, key: str, asset_id: int) -> WireEntry | None:
    *_, entry = history.entry_at(store.reader, asset_id, key, revision)
    return None if entry is None else msgspec.msgpack.decode(entry, type=WireEntry)


def changed_since(store: Store, revision: int, asset_id: int = A) -> set[str]:
    """The keys that may stand otherwise than after that change."""
    parts = list(history.keys_changed(store.reader, asset_id, revision))
    return {key for part in parts for key in part}


def trim(store: Store) -> None:
    """Forget all that need not be kept."""
    after: int | None = 0
    while after is not None:
        after, _ = store.do(jobs.TrimSlice(after, NEVER_US, 0))


def move(store: Store, source: int, target: int, *, replace: bool = False) -> None:
    store.operate(jobs.MoveStore(source, target, replace))


# --- the changes of a key


def test_the_changes_of_a_key_come_newest_first(store: Store) -> None:
    revisions = [store.put("a", "k", b"1"), store.put("a", "k", b"2")]
    store.put("a", "other", b"9")
    store.remove("a", "k")
    revisions.append(last(store))
    store.operate(jobs.IncrementKey(A, "k", b"1", b"2"))
    revisions.append(last(store))

    assert changes(store) == [("increment", b"3"), ("delete", None), ("set", b"2"), ("set", b"1")]
    steps = list(history.steps(store.reader, A, "k"))
    assert [step.revision for step in steps] == revisions[::-1]


def test_a_key_that_was_deleted_has_its_changes(store: Store) -> None:
    store.put("a", "k", b"1")
    store.remove("a", "k")

    assert changes(store) == [("delete", None), ("set", b"1")]


def test_a_key_or_asset_that_never_was_has_no_changes(store: Store) -> None:
    assert changes(store) == []
    store.put("a", "k", b"1")
    assert changes(store, "never") == []
    assert changes(store, asset_id=B) == []


def test_the_changes_before_a_revision(store: Store) -> None:
    revisions = [store.put("a", "k", b"%d" % number) for number in range(5)]
    other = store.put("a", "other", b"1")

    for before in [*revisions, other, other + 100]:
        found = [step.revision for step in history.steps(store.reader, A, "k", before)]
        assert found == [each for each in reversed(revisions) if each < before]


def test_a_clear_is_among_the_changes_and_what_was_before_it_too(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    store.put("a", "l", b"1")
    store.put("a", "k", b"2")
    store.clear("a")

    expected = [("clear", b""), ("set", b"2"), ("clear", b""), ("set", b"1")]
    assert changes(store) == expected
    for number, step in enumerate(list(history.steps(store.reader, A, "k"))):
        before = [s.revision for s in history.steps(store.reader, A, "k", step.revision)]
        assert len(before) == len(expected) - 1 - number


def test_a_restore_shows_what_was_there_before_the_clear_once(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    store.put("a", "k", b"2")
    ((trash_id, *_),) = store.trash()
    store.operate(jobs.RestoreStore(trash_id))
    store.put("a", "k", b"3")

    assert changes(store) == [
        ("set", b"3"),
        ("restored", b""),
        ("set", b"2"),
        ("clear", b""),
        ("set", b"1"),
    ]


def test_a_store_that_was_moved_leaves_its_past_where_it_happened(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("b", "k", b"9")
    move(store, A, B, replace=True)
    store.put("b", "k", b"2")

    assert changes(store) == [("moved", b""), ("set", b"1")]
    assert changes(store, asset_id=B) == [("set", b"2"), ("moved", b""), ("set", b"9")]


def test_a_store_that_was_dropped_took_its_changes_along(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    store.drop(store.trash()[0][0])
    store.put("a", "k", b"2")

    assert changes(store) == [("set", b"2"), ("clear", b""), ("...", None)]


def test_where_the_journal_was_trimmed_the_changes_end_with_a_sign(store: Store) -> None:
    for number in range(15):
        store.put("a", "k", b"%d" % number)
    trim(store)

    assert changes(store) == [("set", b"%d" % n) for n in range(14, 4, -1)] + [("...", None)]


def test_a_key_of_few_changes_has_them_all_although_the_journal_was_trimmed(store: Store) -> None:
    store.put("a", "k", b"1")
    store.clear("a")
    store.put("a", "k", b"2")
    store.remove("a", "k")
    store.put("a", "k", b"3")
    trim(store)

    # When it was cleared is forgotten, so what was before cannot be found.
    assert changes(store) == [("set", b"3"), ("delete", None), ("set", b"2")]


# --- what stood there


def test_what_stood_at_each_revision(store: Store) -> None:
    expected: dict[int, bytes | None] = {last(store): None}
    for value in (b"1", b"2", None, b"3"):
        if value is None:
            store.remove("a", "k")
        else:
            store.put("a", "k", value)
        expected[last(store)] = value
        expected[store.put("a", "other", b"9")] = value

    assert {revision: at(store, revision) for revision in expected} == expected


def test_the_entry_of_the_past_is_that_of_then(store: Store) -> None:
    first = store.put("a", "k", b"1")
    then = store.get("a", "k")
    store.put("a", "k", b"2")

    assert entry_at(store, first, "k", A) == then
    assert entry_at(store, last(store), "k", A) == store.get("a", "k")


@pytest.mark.parametrize("key", ["k", "k" * 512], ids=["short key", "long key"])
def test_keys_of_any_length_have_a_past(store: Store, key: str) -> None:
    first = store.put("a", key, b"1")
    store.put("a", key, b"2")
    store.remove("a", key)

    assert [at(store, first + number, key) for number in range(3)] == [b"1", b"2", None]


def test_what_came_with_a_store_stood_there_from_then_on(store: Store) -> None:
    store.put("a", "k", b"1")
    store.put("a", "gone", b"1")
    store.remove("a", "gone")
    store.clear("a")
    cleared = last(store)
    ((trash_id, *_),) = store.trash()
    store.operate(jobs.RestoreStore(trash_id))
    restored = last(store)
    move(store, A, B)
    moved = last(store)
    store.put("b", "k", b"2")

    assert [at(store, revision) for revision in (cleared - 1, cleared, restored)] == [
        b"1",
        None,
        b"1",
    ]
    assert at(store, restored, "gone") is None
    assert [at(store, revision) for revision in (moved - 1, moved, moved + 1)] == [None] * 3
    assert [at(store, revision, asset_id=B) for revision in (moved - 1, moved, moved + 1)] == [
        None,
        b"1",
        b"2",
    ]


def test_what_stood_in_a_store_that_was_dropped_is_not_known(store: Store) -> None:
    first = store.put("a", "k", b"1")
    store.clear("a")
    cleared = last(store)
    store.drop(store.trash()[0][0])

    assert at(store, cleared) is None
    with pytest.raises(Compacted, match=f"what was at revision {first} is not known any more"):
        at(store, first)


def test_what_stood_in_a_store_that_is_half_dropped_is_not_known(store: Store) -> None:
    first = store.put("a", "k", b"1")
    store.put("a", "gone", b"1")
    store.remove("a", "gone")
    for number in range(20):
        store.put("a", f"large{number}", b'"%s"' % (b"x" * 1_000_000))
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    store.do(jobs.Condemn([trash_id]))
    assert at(store, first) == b"1"

    slices = 0
    while store.do(jobs.DropSlice(trash_id)):
        slices += 1
        for key in ("k", "gone", "never"):
            with pytest.raises(Compacted):
                at(store, first, key)
        with pytest.raises(Compacted):
            changed_since(store, first)

    assert slices > 1


def test_what_stood_before_the_journal_begins_is_not_known(store: Store) -> None:
    revisions = [store.put("a", "k", b"%d" % number) for number in range(15)]
    store.put("a", "other", b"1")
    trim(store)

    for number, revision in enumerate(revisions):
        if number >= 5:
            assert at(store, revision) == b"%d" % number
            continue
        with pytest.raises(Compacted) as refused:
            at(store, revision)
        assert refused.value.detail == {"oldest": revisions[5]}
    with pytest.raises(Compacted):
        at(store, revisions[0], "never")
    assert at(store, last(store), "never") is None


def test_a_damaged_entry_has_no_past_until_it_is_set_anew_and_then_all_of_it(
    tmp_path: Path,
) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        first = store.put("a", "k", b"1")
        store.put("a", "k", b'"distinctive"')
        record = store.reader.record(store.reader.row_of(A).store_id, "a", "k")
        assert record is not None
    data = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data.replace(record, record[:-1] + b"?"))
    with Store(tmp_path) as store:
        with pytest.raises(Damaged):
            at(store, first)

        store.put("a", "k", b"2")

        assert changes(store) == [("set", b"2"), ("set", b'"distinctive"'), ("set", b"1")]
        assert [at(store, first + number) for number in range(3)] == [
            b"1",
            b'"distinctive"',
            b"2",
        ]


# --- which keys


def test_the_keys_that_were_changed_since(store: Store) -> None:
    store.put("a", "old", b"1")
    store.put("a", "deleted before", b"1")
    store.remove("a", "deleted before")
    since = last(store)
    store.put("a", "new", b"1")
    store.put("a", "l" * 512, b"1")
    store.put("a", "deleted", b"1")
    store.remove("a", "deleted")
    store.put("b", "other", b"1")

    assert changed_since(store, since) == {"new", "l" * 512, "deleted"}
    assert changed_since(store, last(store)) == set()
    assert changed_since(store, 0) == {"old", "deleted before", "new", "l" * 512, "deleted"}


def test_all_keys_of_a_store_that_was_taken_or_given_since_have_changed(store: Store) -> None:
    store.put("a", "one", b"1")
    before = last(store)
    store.clear("a")
    between = last(store)
    store.put("a", "two", b"1")
    store.put("a", "gone", b"1")
    store.remove("a", "gone")
    store.operate(jobs.RestoreStore(store.trash()[0][0]))
    after = last(store)
    store.put("a", "three", b"1")

    assert changed_since(store, before) == {"one", "two", "gone", "three"}
    assert changed_since(store, between) == {"one", "two", "gone", "three"}
    assert changed_since(store, after) == {"three"}


def test_more_keys_than_a_step_looks_at_come_in_parts(store: Store) -> None:
    names = {f"k{number:04}" for number in range(1_200)}
    store.run(*(store.put_job("a", name, b"1") for name in names))
    gone = sorted(names)[::2]
    store.run(*(change(jobs.DeleteKey(A, name, None)) for name in gone))

    parts = list(history.keys_changed(store.reader, A, 0))

    assert len(parts) > 3
    assert {key for part in parts for key in part} == names


def test_keys_are_found_however_many_other_stores_were_read_before(store: Store) -> None:
    names = [f"asset-{number}" for number in range(engine.READER_HANDLES)]
    store.activate(*names)
    store.run(*(store.put_job(name, "k", b"1") for name in names))
    expected = {f"k{number:04}" for number in range(1_200)}
    store.run(*(store.put_job("a", key, b"1") for key in expected))

    found: set[str] = set()
    for part in history.keys_changed(store.reader, A, 0):
        found.update(part)
        # As requests of others that come in between, with a commit before them.
        store.reader.refresh()
        assert all(store.get(name, "k") is not None for name in names)

    assert found == expected


def test_a_store_that_is_dropped_while_it_is_searched_is_not_known_any_more(store: Store) -> None:
    store.run(*(store.put_job("a", f"k{number:04}", b"1") for number in range(1_200)))
    store.clear("a")
    search = history.keys_changed(store.reader, A, 2)
    assert next(search)

    store.drop(store.trash()[0][0])

    with pytest.raises(Compacted):
        list(search)


def test_which_keys_changed_before_the_journal_begins_is_not_known(store: Store) -> None:
    store.put("a", "k", b"1")
    store.remove("a", "k")
    trim(store)
    compacted = store.reader.counters().compacted

    assert changed_since(store, compacted) == set()
    with pytest.raises(Compacted, match="journal_max_age"):
        changed_since(store, compacted - 1)


# --- times


def test_the_revision_at_a_time_is_the_last_one_made_by_then(store: Store) -> None:
    revisions = [store.put("a", "k", b"%d" % number) for number in range(20)]
    for revision in revisions:
        row = store.reader.journal_row(revision)
        assert row is not None
        assert history.revision_at(store.reader, row.updated_at) == revision
        assert history.revision_at(store.reader, row.updated_at - 1) == revision - 1
    assert history.revision_at(store.reader, NEVER_US) == revisions[-1]
    assert history.revision_at(store.reader, 0) == 0


def test_the_revision_at_a_time_is_found_where_rows_are_missing(store: Store) -> None:
    old = [store.put("a", "quiet", b"1") for _ in range(2)]
    for number in range(30):
        store.put("a", "k", b"%d" % number)
    times = {revision: row.updated_at for revision, row in store.reader.journal_rows(0)}
    trim(store)

    kept = {revision for revision, _ in store.reader.journal_rows(0)}
    assert old[0] in kept
    for revision, time_us in times.items():
        if revision < min(kept):
            with pytest.raises(Compacted):
                history.revision_at(store.reader, time_us)
        else:
            found = history.revision_at(store.reader, time_us)
            assert found == max(each for each in kept if each <= revision)


def test_a_store_that_should_be_there_and_is_not_found_is_damage_and_not_forgotten(
    tmp_path: Path,
) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "k", b"1")
        store_id = store.reader.row_of(A).store_id
    data = (tmp_path / "data.mdb").read_bytes()
    name = store_name(store_id)
    (tmp_path / "data.mdb").write_bytes(data.replace(name, name[:-1] + b"f"))

    reader = Reader(str(tmp_path))
    try:
        with pytest.raises(Damaged, match="the store of asset 'a' is not found"):
            list(history.steps(reader, A, "k"))
        with pytest.raises(Damaged, match="the store of asset 'a' is not found"):
            list(history.keys_changed(reader, A, 0))
    finally:
        reader.close()


# --- all of it, against a model


class Model:
    """What every asset held after every revision."""

    def __init__(self, store: Store, rng: random.Random) -> None:
        self.store = store
        self.rng = rng
        self.held: dict[int, dict[str, bytes]] = {A: {}, B: {}}
        self.trash: dict[int, tuple[int, dict[str, bytes]]] = {}
        self.then: dict[int, dict[int, dict[str, bytes]]] = {}
        #: The revisions at which each asset was given another store.
        self.boundaries: dict[int, set[int]] = {A: set(), B: set()}
        self.dropped_until = 0
        self.note(last(store))

    def note(self, revision: int) -> None:
        self.then[revision] = {asset_id: dict(held) for asset_id, held in self.held.items()}

    def step(self, *, drops: bool) -> None:
        """Do something to the store, and note what it then holds."""
        asset_id, key = self.rng.choice([A, B]), self.rng.choice(KEYS)
        held, chance, store = self.held[asset_id], self.rng.random(), self.store
        before = last(store)
        known = {trash_id for trash_id, *_ in store.trash()}
        replaced: dict[str, bytes] = {}
        if chance < 0.5:
            value = b"%d" % before
            store.operate(jobs.SetKey(asset_id, key, value, None))
            held[key] = value
        elif chance < 0.75:
            store.operate(jobs.DeleteKey(asset_id, key, None))
            held.pop(key, None)
        elif chance < 0.82:
            store.operate(jobs.ClearStore(asset_id))
            self.boundaries[asset_id].add(last(store))
            replaced, self.held[asset_id] = held, {}
        elif chance < 0.88 and self.trash:
            trash_id = self.rng.choice(list(self.trash))
            asset_id, back = self.trash.pop(trash_id)
            store.operate(jobs.RestoreStore(trash_id))
            self.boundaries[asset_id].add(last(store))
            replaced, self.held[asset_id] = self.held[asset_id], back
        elif chance < 0.96 and store.reader.row_of(asset_id).store_id:
            source, asset_id = asset_id, 3 - asset_id
            move(store, source, asset_id, replace=True)
            moved, self.held[source] = self.held[source], {}
            self.note(before + 1)  # of the source, before the target has it
            self.boundaries[source].add(before + 1)
            self.boundaries[asset_id].add(last(store))
            replaced, self.held[asset_id] = self.held[asset_id], moved
        elif drops and self.trash:
            trash_id = self.rng.choice(list(self.trash))
            del self.trash[trash_id]
            store.drop(trash_id)
            self.dropped_until = last(store)
        for trash_id in {trash_id for trash_id, *_ in store.trash()} - known:
            self.trash[trash_id] = (asset_id, replaced)
        for revision in range(before, last(store) + 1):
            if revision not in self.then:
                self.note(revision)

    def check(self, *, knows_all: bool) -> None:
        """Every answer about the past is right, or that it is not known any more."""
        reader = self.store.reader
        compacted = reader.counters().compacted
        for revision, then in self.then.items():
            for asset_id in (A, B):
                expected = then[asset_id]
                for key in KEYS:
                    try:
                        found = at(self.store, revision, key, asset_id)
                    except Compacted:
                        assert not knows_all
                        assert (
                            revision < max(compacted, self.dropped_until)
                            or self.changed_last(revision, asset_id, key) <= compacted
                        )
                        continue
                    assert found == expected.get(key), (revision, asset_id, key)
                try:
                    changed = changed_since(self.store, revision, asset_id)
                except Compacted:
                    assert not knows_all
                    continue
                now = self.held[asset_id]
                assert {k for k in KEYS if now.get(k) != expected.get(k)} <= changed

    def changed_last(self, revision: int, asset_id: int, key: str) -> int:
        """The change by which a key stood as it did, which the journal may have forgotten.

        The present entry is never forgotten; of what was absent since the asset was given its
        store, the change may be any in that store, so it is 0.
        """
        value = self.then[revision][asset_id].get(key)
        if value is not None:
            is_now = self.held[asset_id].get(key) == value
            return last(self.store) if is_now else int(value) + 1
        while revision not in self.boundaries[asset_id]:
            if key in self.then.get(revision - 1, self.then[min(self.then)])[asset_id]:
                return revision
            if revision - 1 not in self.then:
                return 0
            revision -= 1
        return 0

    def check_changes(self) -> None:
        """The changes of a key are those that the whole journal tells of."""
        rows = list(self.store.reader.journal_rows(0))
        for asset_id in (A, B):
            for key in KEYS:
                expected = [
                    revision
                    for revision, row in reversed(rows)
                    if row.asset_id == asset_id
                    and (row.key == key or row.kind in ("clear", "restored", "moved"))
                ]
                steps = list(history.steps(self.store.reader, asset_id, key))
                assert [step.revision for step in steps] == expected
                for before in self.rng.sample(range(1, last(self.store) + 2), 10):
                    steps = list(history.steps(self.store.reader, asset_id, key, before))
                    assert [step.revision for step in steps] == [
                        revision for revision in expected if revision < before
                    ]


KEYS = ["k", "l", "m" * 512]


def test_random_changes_have_the_past_that_they_had(store: Store, seed: int) -> None:
    model = Model(store, random.Random(seed))
    for _ in range(80):
        model.step(drops=False)

    model.check(knows_all=True)
    model.check_changes()


def test_what_is_trimmed_and_dropped_is_unknown_and_never_wrong(store: Store, seed: int) -> None:
    rng = random.Random(seed)
    model = Model(store, rng)
    for number in range(150):
        model.step(drops=True)
        if rng.random() < 0.1:
            store.do(jobs.TrimSlice(0, NEVER_US if number % 2 else 0, rng.randrange(5_000)))
        if number % 50 == 49:
            model.check(knows_all=False)

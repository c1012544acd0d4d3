"""Reading: pages, counts, snapshots, and what happens to a record that is damaged."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.support.bit_rot import damage_record
from tests.support.store import Store, change

from assetstore.errors import Damaged, InactiveAsset, UnknownAsset
from assetstore.framing import frame
from assetstore.limits import MAX_PAGE_ITEMS, PAGE_BYTES
from assetstore.messages import AssetRef, WireEntry
from assetstored import engine, jobs, paging

A = AssetRef("a")

#: In byte order; the long ones are stored by a digest.
HEAD = "x" * 478
LONG = [HEAD + "a" * 34, HEAD + "b" * 34, HEAD + "ü" * 30]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, which are empty."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        yield store


@pytest.fixture(autouse=True)
def plenty_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """No page ends because the machine is busy, but where that is what is tested."""
    monkeypatch.setattr(paging, "PAGE_S", 60.0)


def fill(store: Store, name: str, keys: list[str], value: bytes = b"1") -> None:
    """Put all keys, in batches."""
    for start in range(0, len(keys), 1_000):
        store.run(*(store.put_job(name, key, value) for key in keys[start : start + 1_000]))


def all_keys(store: Store, prefix: str = "", limit: int = 1_000) -> list[str]:
    """All keys, page by page."""
    found: list[str] = []
    more = True
    while more:
        page, more = store.reader.keys(A, prefix, found[-1] if found else None, limit)
        assert len(page) <= limit
        found += page
    return found


def count(store: Store, prefix: str = "") -> tuple[int, int]:
    """How many keys there are, and in how many parts that was counted."""
    total, parts = 0, 0
    after: str | None = None
    while True:
        part, after = store.reader.count(A, prefix, after)
        total, parts = total + part, parts + 1
        if after is None:
            return total, parts


def commit_unseen(store: Store, job: jobs.AnyJob) -> None:
    """A commit that the reader has not been told of yet."""
    store._link.sendall(frame(jobs.encode(jobs.Batch([job]))))
    assert isinstance(store._receive(), jobs.Committed)


def damage(data_dir: Path, good: bytes, bad: bytes) -> None:
    """Change bytes in the file of a store that is closed."""
    data = (data_dir / "data.mdb").read_bytes()
    assert good in data
    (data_dir / "data.mdb").write_bytes(data.replace(good, bad))


# --- pages


@pytest.mark.parametrize("limit", [1, 2, 3, 99, 100, 101])
def test_pages_of_any_size_add_up_to_all_keys_in_order(store: Store, limit: int) -> None:
    keys = [f"k{number:03}" for number in range(100)]
    fill(store, "a", keys)

    assert all_keys(store, limit=limit) == keys


def test_a_page_says_whether_there_is_more(store: Store) -> None:
    fill(store, "a", ["a", "b", "c"])

    assert store.reader.keys(A, "", None, 2) == (["a", "b"], True)
    assert store.reader.keys(A, "", None, 3) == (["a", "b", "c"], False)
    assert store.reader.keys(A, "", "b", 2) == (["c"], False)
    assert store.reader.keys(A, "", "c", 2) == ([], False)


def test_a_page_begins_after_a_key_that_need_not_be_there(store: Store) -> None:
    fill(store, "a", ["a", "b", "c"])

    assert store.reader.keys(A, "", "aa", 9) == (["b", "c"], False)
    assert store.reader.keys(A, "", "\0", 9) == (["a", "b", "c"], False)
    assert store.reader.keys(A, "", "\U0010ffff", 9) == ([], False)


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["a", "a*", "aa", "ab", "b", "é", "éa"]),
        ("a", ["a", "a*", "aa", "ab"]),
        ("ab", ["ab"]),
        ("a*", ["a*"]),
        ("é", ["é", "éa"]),
        ("e", []),
        ("abc", []),
        ("A", []),
    ],
)
def test_a_prefix_is_exact(store: Store, prefix: str, expected: list[str]) -> None:
    fill(store, "a", ["a", "a*", "aa", "ab", "b", "é", "éa"])

    assert store.reader.keys(A, prefix, None, 99) == (expected, False)
    assert [key for key, _ in store.reader.items(A, prefix, None, 99)[0]] == expected
    assert store.reader.count(A, prefix, None) == (len(expected), None)


def test_prefix_and_after_work_together(store: Store) -> None:
    fill(store, "a", ["a1", "a2", "a3", "b1"])

    assert store.reader.keys(A, "a", "a1", 9) == (["a2", "a3"], False)
    assert store.reader.keys(A, "a", "Z", 9) == (["a1", "a2", "a3"], False)
    assert store.reader.keys(A, "a", "b", 9) == ([], False)
    assert store.reader.count(A, "a", "a2") == (1, None)


def test_items_carry_the_entries_in_the_same_order(store: Store) -> None:
    keys = ["a", "b", *LONG]
    fill(store, "a", keys, b'"v"')

    page, more = store.reader.items(A, "", None, 99)

    assert not more
    assert [key for key, _ in page] == keys
    assert [msgspec.msgpack.decode(raw, type=WireEntry).value for _, raw in page] == [b'"v"'] * 5
    for key, raw in page:
        assert msgspec.msgpack.decode(raw, type=WireEntry) == store.get("a", key)


def test_no_page_is_longer_than_a_thousand_however_much_is_asked_for(store: Store) -> None:
    fill(store, "a", [f"{number:05}" for number in range(1_500)])

    for page, more in (
        store.reader.keys(A, "", None, 10**9),
        store.reader.items(A, "", None, 10**9),
    ):
        assert (len(page), more) == (MAX_PAGE_ITEMS, True)


def test_a_page_ends_when_its_time_is_up_and_never_without_an_entry(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "PAGE_S", 0.0)
    fill(store, "a", ["a", "b", "c"])

    assert store.reader.keys(A, "", None, 10) == (["a"], True)
    assert store.reader.keys(A, "", "b", 10) == (["c"], False)
    page, more = store.reader.items(A, "", "a", 10)
    assert ([key for key, _ in page], more) == (["b"], True)


def test_a_page_of_large_values_ends_early(store: Store) -> None:
    value = b'"%s"' % (b"v" * 100_000)
    fill(store, "a", [f"{number:02}" for number in range(10)], value)

    page, more = store.reader.items(A, "", None, 1_000)

    assert more
    assert PAGE_BYTES / 100_000 <= len(page) <= PAGE_BYTES / 100_000 + 1
    assert store.reader.keys(A, "", None, 1_000) == ([f"{n:02}" for n in range(10)], False)


def test_a_page_of_one_value_beyond_the_size_of_a_page_has_that_one(store: Store) -> None:
    fill(store, "a", ["a", "b"], b'"%s"' % (b"v" * 2 * PAGE_BYTES))

    page, more = store.reader.items(A, "", None, 1_000)

    assert ([key for key, _ in page], more) == (["a"], True)


def test_an_asset_that_was_never_written_to_has_empty_pages(store: Store) -> None:
    assert store.reader.get(A, "k") is None
    assert store.reader.keys(A, "", None, 9) == ([], False)
    assert store.reader.items(A, "", None, 9) == ([], False)
    assert store.reader.count(A, "", None) == (0, None)
    assert store.reader.count(A, "k", None) == (0, None)


# --- long keys


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 100])
def test_long_keys_are_listed_in_order_among_the_short_ones(
    store: Store, seed: int, limit: int
) -> None:
    rng = random.Random(seed)
    keys = {
        rng.choice(["x", "y"]) * rng.choice([477, 478, 479])
        + "".join(rng.choices("\0aü😀", k=rng.randrange(33)))
        for _ in range(300)
    }
    fill(store, "a", sorted(keys))

    assert all_keys(store, limit=limit) == sorted(keys, key=str.encode)


@pytest.mark.parametrize("prefix", [HEAD, HEAD[:-1], HEAD + "b", HEAD + "b" * 30, LONG[2], "x"])
def test_a_prefix_of_any_length_finds_long_keys(store: Store, prefix: str) -> None:
    keys = ["w", HEAD, *LONG, HEAD[:-1] + "y", "y"]
    fill(store, "a", keys)
    expected = [key for key in keys if key.startswith(prefix)]

    assert store.reader.keys(A, prefix, None, 99) == (expected, False)
    assert store.reader.count(A, prefix, None) == (len(expected), None)


# --- counting


def test_all_keys_are_counted_at_once(store: Store) -> None:
    fill(store, "a", [f"{number}" for number in range(3_000)])

    assert count(store) == (3_000, 1)


def test_a_long_count_comes_in_parts(store: Store) -> None:
    fill(store, "a", [f"a{number}" for number in range(3_000)] + ["b", *LONG])

    total, parts = count(store, "a")

    assert total == 3_000
    assert parts > 1


@pytest.mark.parametrize("size", [999, 1_000, 1_001, 2_000])
def test_a_count_that_ends_with_a_part_is_right(store: Store, size: int) -> None:
    fill(store, "a", [f"a{number}" for number in range(size)] + ["b"])

    assert count(store, "a")[0] == size


# --- snapshots


def test_what_was_not_announced_is_not_seen_yet(store: Store) -> None:
    store.put("a", "k", b"1")
    first = store.get("a", "k")

    commit_unseen(store, store.put_job("a", "k", b"2"))
    assert store.get("a", "k") == first

    store.reader.refresh(catalog_changed=False)
    second = store.get("a", "k")
    assert second is not None
    assert second.value == b"2"


def test_one_answer_comes_from_one_snapshot(store: Store) -> None:
    fill(store, "a", ["a", "b"])
    first, _ = store.reader.keys(A, "", None, 1)
    commit_unseen(store, change(jobs.ClearStore(store.asset_id("a"))))

    assert store.reader.keys(A, "", None, 9) == (["a", "b"], False)
    assert first == ["a"]
    store.reader.refresh()
    assert store.reader.keys(A, "", None, 9) == ([], False)


def test_an_asset_that_left_is_closed_as_soon_as_that_is_announced(store: Store) -> None:
    store.put("a", "k", b"1")

    store.deactivate("a")

    for read in (
        lambda: store.reader.get(A, "k"),
        lambda: store.reader.keys(A, "", None, 9),
        lambda: store.reader.items(A, "", None, 9),
        lambda: store.reader.count(A, "", None),
        lambda: store.reader.resolve(A),
    ):
        with pytest.raises(InactiveAsset):
            read()


def test_an_unknown_asset_has_no_pages(store: Store) -> None:
    with pytest.raises(UnknownAsset):
        store.reader.keys(AssetRef("c"), "", None, 9)


def test_more_stores_are_read_than_handles_may_be_open(store: Store) -> None:
    names = [f"asset-{number}" for number in range(3 * engine.READER_HANDLES)]
    store.activate(*names)
    store.run(*(store.put_job(name, "k", b'"%s"' % name.encode()) for name in names))

    rng = random.Random(1)
    for name in [*names, *names[::-1], *rng.choices(names, k=300)]:
        entry = store.get(name, "k")
        assert entry is not None
        assert entry.value == b'"%s"' % name.encode()
    assert len(store.reader._stores) <= engine.READER_HANDLES


def test_what_is_read_together_is_of_one_snapshot_whatever_is_committed_meanwhile(
    store: Store,
) -> None:
    names = [f"asset-{number}" for number in range(3 * engine.READER_HANDLES)]
    store.activate(*names)
    ids = {name: store.asset_id(name) for name in names}
    store.run(*(store.put_job(name, "k", b"1") for name in names))
    for name in names[: engine.READER_HANDLES // 2]:
        store.get(name, "k")

    with store.reader.held():
        first = store.get(names[0], "k")
        every = change(*(jobs.SetKey(ids[name], "k", b"2", None) for name in names))
        commit_unseen(store, every)
        found = [store.get(name, "k") for name in names]

    assert found[0] == first
    assert {entry.value for entry in found if entry is not None} == {b"1"}
    store.reader.refresh(catalog_changed=False)
    assert {entry.value for name in names if (entry := store.get(name, "k"))} == {b"2"}


def test_a_dropped_store_is_never_read_under_the_name_of_another(store: Store) -> None:
    for number in range(20):
        store.put("a", "k", b"%d" % number)
        assert store.get("b", "k") is None
        store.put("b", "k", b'"b"')
        for name in ("a", "b"):
            store.clear(name)
            store.drop(store.trash()[0][0])
        assert store.contents("a") == store.contents("b") == {}


# --- the catalog and the trash


def test_the_catalog_comes_in_pages(store: Store) -> None:
    names = [f"asset-{number}" for number in range(1_200)]
    for start in range(0, 1_200, 400):
        store.activate(*names[start : start + 400])
    store.put("asset-3", "k", b"1")

    found = []
    after: int | None = 0
    while after is not None:
        page, after = store.reader.assets(after, 500)
        assert len(page) <= 500
        found += page

    assert [asset.name for asset in found] == ["a", "b", *names]
    assert [asset.name for asset in found if asset.entries] == ["asset-3"]


def test_a_page_of_the_catalog_with_long_names_ends_early(store: Store) -> None:
    store.activate(*(f"{number}".rjust(1_500, "ü") for number in range(300)))

    page, after = store.reader.assets(0, 1_000)

    assert after is not None
    assert len(page) < 300


def test_the_trash_comes_in_pages_without_what_is_being_dropped(store: Store) -> None:
    for _ in range(5):
        store.put("a", "k", b"1")
        store.clear("a")
    store.do(jobs.Condemn([store.trash()[0][0], store.trash()[2][0]]))

    first, after = store.reader.trash(0, 2, 1_000)
    assert len(first) == 2
    assert after == first[-1].id
    second, end = store.reader.trash(after, 2, 1_000)
    assert (len(second), end) == (1, None)
    assert {info.drops_at - info.since for info in first + second} == {1_000}


def test_the_sizes_are_those_of_the_file(store: Store) -> None:
    store.put("a", "k", b'"%s"' % (b"v" * 100_000))

    sizes = store.reader.sizes()

    assert sizes["map_bytes"] == 1 << 40
    assert sizes["assets_known"] == 2
    assert sizes["journal_events"] == 3
    # The value is in the store, and in the journal.
    assert 100_000 < sizes["journal_bytes"] < sizes["used_bytes"] - 100_000
    assert 100_000 < sizes["used_bytes"] <= (store.data_dir / "data.mdb").stat().st_size


# --- damage


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[Store]:
    """A store whose asset a has one damaged record among others, under the key bad."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        for key in ("before", "later"):
            store.put("a", key, b'"fine"')
        store.put("a", "bad", b'"distinctive"')
        store.put("b", "bad", b'"fine"')
    damage_record(tmp_path, b"bad", b'"distinctive"', b'"distinctivf"')
    with Store(tmp_path) as store:
        yield store


def test_a_damaged_record_is_reported_and_never_served(damaged: Store) -> None:
    with pytest.raises(Damaged) as refused:
        damaged.get("a", "bad")

    assert str(refused.value) == (
        "the record of key 'bad' of asset 'a' fails its checksum; it is not served. "
        "Write it anew, or restore a backup"
    )


def test_all_other_entries_are_served(damaged: Store) -> None:
    for name, key in (("a", "before"), ("a", "later"), ("b", "bad")):
        entry = damaged.get(name, key)
        assert entry is not None
        assert entry.value == b'"fine"'


def test_the_key_of_a_damaged_record_is_listed_and_counted(damaged: Store) -> None:
    assert damaged.reader.keys(A, "", None, 9) == (["bad", "before", "later"], False)
    assert damaged.reader.count(A, "b", None) == (2, None)


def test_a_listing_of_values_stops_at_a_damaged_one_and_goes_on_after_it(damaged: Store) -> None:
    with pytest.raises(Damaged, match="key 'bad'"):
        damaged.reader.items(A, "", None, 9)

    assert [key for key, _ in damaged.reader.items(A, "", "bad", 9)[0]] == ["before", "later"]


def test_a_damaged_record_can_be_written_anew(damaged: Store) -> None:
    damaged.put("a", "bad", b'"mended"')

    assert damaged.contents("a") == {
        "bad": b'"mended"',
        "before": b'"fine"',
        "later": b'"fine"',
    }


def test_a_damaged_record_can_be_deleted(damaged: Store) -> None:
    assert damaged.remove("a", "bad") is True
    assert damaged.contents("a") == {"before": b'"fine"', "later": b'"fine"'}


def test_a_record_under_another_key_than_its_own_is_damage(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "key-one", b"1")
    damage(tmp_path, b"key-one", b"key-two")

    with Store(tmp_path) as store:
        for key in ("key-one", "key-two"):
            with pytest.raises(Damaged):
                store.get("a", key)
        with pytest.raises(Damaged):
            store.reader.keys(A, "", None, 9)


def test_a_key_is_not_called_absent_where_a_damaged_one_is_in_its_place(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        for key in ("first", "key-one", "last"):
            store.put("a", key, b"1")
    damage(tmp_path, b"key-one", b"zzz-one")

    with Store(tmp_path) as store:
        asset_id = store.asset_id("a")
        for operation in (
            jobs.DeleteKey(asset_id, "key-one", None),
            jobs.SetKey(asset_id, "key-one", b"2", 0),
            jobs.IncrementKey(asset_id, "key-one", b"1", b"0"),
        ):
            with pytest.raises(Damaged, match="whether it was there is not known"):
                store.operate(operation)
        assert store.get("a", "first") is not None
        # What is set without a condition needs no answer.
        store.put("a", "key-one", b"3")
        entry = store.get("a", "key-one")
        assert entry is not None
        assert entry.value == b"3"


def test_a_record_whose_long_key_is_damaged_is_not_listed_under_another(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a", "b")
        fill(store, "a", LONG)
        store.put("b", "k", b"1")
    damage(tmp_path, LONG[1].encode()[480:], LONG[1].encode()[480:-1] + b"c")

    with Store(tmp_path) as store:
        with pytest.raises(Damaged):
            store.reader.keys(A, "", None, 9)
        with pytest.raises(Damaged):
            store.get("a", LONG[1])
        assert store.get("a", LONG[0]) is not None
        assert store.contents("b") == {"k": b"1"}


def test_a_row_of_the_journal_outlives_the_page_that_it_was_read_from(store: Store) -> None:
    """What is put together over several snapshots is answered when LMDB has reused the pages."""
    store.put("a", "k", b"1")
    row = store.reader.journal_row(store.reader.counters().revision)
    assert row is not None
    writer = bytes(row.writer)

    for number in range(200):
        store.put("b", f"{number % 7}", b'"%s"' % (b"y" * 900))

    assert bytes(row.writer) == writer

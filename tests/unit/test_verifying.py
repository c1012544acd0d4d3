"""The check of a store: each class of damage is made once and must be found, where it is, and
nothing else; a sound store, in whatever state, has none.
"""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.amount import amount
from tests.support.meddling import (
    Meddle,
    add_to_the_trash,
    change_a_row,
    change_an_asset,
    change_the_journal,
    change_the_trash,
    drop_a_sub_database,
    flip_a_bit,
    flip_a_bit_of_a_row,
    forget_a_deletion,
    lead_a_name_astray,
    leave_a_sub_database_behind,
    lose_a_row,
    meddling,
    misplace_a_deletion,
    move_a_record,
    remove_a_record,
    set_the_counters,
)
from tests.support.store import Store

from assetstore.entries import RecordedWriter
from assetstore.messages import ImportedEntry
from assetstored import datadir, jobs, keys, wal
from assetstored.catalog import index_keys
from assetstored.findings import REMEDIES, CannotVerify, Finding, Progress, Summary
from assetstored.image import Image
from assetstored.tables import (
    CATALOG,
    DELETED,
    JOURNAL,
    META,
    NAMES,
    TABLES,
    TRASH,
    Counters,
    Identity,
    Space,
    id_key,
    read_row,
)
from assetstored.tail import Delta, encode_delta
from assetstored.verifying import Step, verify
from assetstored.wal import BLOCK, FILE_BYTES, Wal

LONG = "ü" * 300

#: Random bits that are flipped, one at a time.
FLIPS = amount(200, whole=10_000)

#: LMDB's first two pages have no checksum: with another number of its last commit, the commit
#: before it counts, which is a sound store too.
METAS_BYTES = 2 * 4096

#: The assets of the fixture, and their stores. 1 and 2 are in the trash under these ids.
ORDERS, CUSTOMERS, GONE, NEVER_WRITTEN = 1, 2, 3, 4
CLEARED_STORE, GONE_STORE, ORDERS_STORE, CUSTOMERS_STORE = 1, 2, 3, 4


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with entries in use, one that was deleted, a cleared store and one that was left."""
    path = tmp_path_factory.mktemp("made") / "data"
    with Store(path) as store:
        store.activate("orders", "customers", "gone", "never-written")
        for name in ("customers", "gone", "orders"):
            for key in ("a", "b", LONG):
                store.put(name, key, b'"value"')
        store.put("orders", "d", b'"value"')
        store.remove("orders", "d")
        store.clear("customers")
        store.put("customers", "c", b"1")
        store.deactivate("gone")
    return path


@pytest.fixture
def data_dir(made: Path, tmp_path: Path) -> Path:
    """A copy of the store, to be damaged."""
    return shutil.copytree(made, tmp_path / "data")


def steps_of(data_dir: Path, **options: Any) -> list[Step]:
    return list(verify(data_dir, **options))


def findings_of(data_dir: Path) -> list[Finding]:
    return [step for step in steps_of(data_dir) if isinstance(step, Finding)]


def summary_of(data_dir: Path) -> Summary:
    """The summary of a store in which nothing is found."""
    steps = steps_of(data_dir)
    assert [step for step in steps if isinstance(step, Finding)] == []
    assert isinstance(steps[-1], Summary)
    return steps[-1]


def state_of(data_dir: Path) -> dict[str, tuple[bytes, int]]:
    """All files, byte by byte, and when they were written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in data_dir.iterdir()}


# --- what is sound


def test_a_sound_store_has_no_findings_and_is_counted(data_dir: Path) -> None:
    summary = summary_of(data_dir)

    # Of those in the trash, "customers" and "gone" have three each.
    assert (summary.assets, summary.stores, summary.entries) == (4, 4, 3 + 1 + 3 + 3)
    assert summary.events == summary.revision
    assert (summary.logged, summary.was_live, summary.findings) == (0, False, 0)
    assert summary.store_id


def test_a_check_tells_of_each_part_how_far_it_is_and_comes_to_its_end(data_dir: Path) -> None:
    told: dict[str, list[Progress]] = {}
    for step in steps_of(data_dir):
        if isinstance(step, Progress):
            told.setdefault(step.part, []).append(step)

    assert list(told) == ["structure", "tables", "entries", "journal"]
    for part in told.values():
        assert part[0].done == 0
        assert part[-1].done == part[-1].total
        assert [step.done for step in part] == sorted(step.done for step in part)


def test_a_check_changes_nothing_not_even_a_lock_file(data_dir: Path) -> None:
    (data_dir / datadir.ENGINE_LOCK_FILE).unlink()
    before = state_of(data_dir)

    summary_of(data_dir)

    assert state_of(data_dir) == before


def test_a_store_is_sound_after_moves_drops_restores_and_returns(data_dir: Path) -> None:
    with Store(data_dir) as store:
        store.activate("gone")
        for number in range(30):
            store.put("orders", "often", b"%d" % number)
        store.clear("orders")
        store.put("orders", "a", b"2")
        store.drop(store.trash()[0][0])
        store.clear("gone")
        store.deactivate("customers", "never-written")
        store.drop(store.trash()[-1][0])
        store.activate("customers")
        store.put("customers", "new", b"3")

    assert summary_of(data_dir).assets == 4


def test_whatever_a_value_may_be_is_sound(data_dir: Path) -> None:
    with Store(data_dir) as store:
        for number, text in enumerate((b"9" * 5_000, b" [1e2 ]\n", b"[" * 255 + b"]" * 255)):
            store.put("orders", f"k{number}", text)
        writer = RecordedWriter("task", "d", "r", "t", -1, 1, 2, 3)
        imported = [ImportedEntry("a", 5, writer, b"1"), ImportedEntry("new", 5, writer, b"2")]
        for replace in (False, True):
            store.operate(jobs.ImportKeys(ORDERS, imported, replace))

    assert summary_of(data_dir).stores == 5


def test_a_new_store_without_any_asset_is_sound(tmp_path: Path) -> None:
    Store(tmp_path).close()

    assert summary_of(tmp_path).assets == 0


# --- what is damaged


KEYS = index_keys("orders", "orders")


@pytest.mark.parametrize(
    ("meddle", "kind", "place", "problem"),
    [
        # records
        (flip_a_bit(ORDERS_STORE, b"a"), "entry", ("orders", "a"), "fails its checksum"),
        (flip_a_bit(GONE_STORE, b"b"), "entry", ("gone", "b"), "fails its checksum"),
        (
            move_a_record(ORDERS_STORE, CUSTOMERS_STORE, b"a"),
            "entry",
            ("customers", "a"),
            "fails its checksum",
        ),
        (remove_a_record(ORDERS_STORE, b"a"), "lost", ("orders", "a"), "and is gone"),
        (remove_a_record(CLEARED_STORE, b"a"), "trash", ("customers", None), "holds 2 entries"),
        # sub-databases
        (leave_a_sub_database_behind, "orphan", (None, None), "'s0000000063' belongs to nobody"),
        (drop_a_sub_database(ORDERS_STORE), "store", ("orders", None), "store 3 is missing"),
        (drop_a_sub_database(GONE_STORE), "store", ("gone", None), "store 2 is missing"),
        # the catalog
        (lose_a_row(CATALOG, id_key(ORDERS)), "orphan", (None, None), "belongs to nobody"),
        (lose_a_row(CATALOG, id_key(ORDERS)), "catalog", (None, None), "leads to no asset"),
        (flip_a_bit_of_a_row(CATALOG, id_key(ORDERS)), "row", (None, None), "'catalog' fails its"),
        (change_an_asset(ORDERS, trash_id=1), "catalog", ("orders", None), "and in the trash as 1"),
        (change_an_asset(GONE, trash_id=0), "catalog", ("gone", None), "is not in the trash"),
        (change_an_asset(GONE, trash_id=7), "catalog", ("gone", None), "not in the trash as 7"),
        (change_an_asset(GONE, state="dropped"), "catalog", ("gone", None), "it is dropped, and"),
        (change_an_asset(ORDERS, store_id=4), "store", ("customers", None), "is used 2 times"),
        (
            change_an_asset(ORDERS, boundary=3),
            "journal",
            ("orders", None),
            "in revision 3, and",
        ),
        # the indexes
        (lose_a_row(NAMES, KEYS.by_name), "catalog", ("orders", None), "its name is missing"),
        (lose_a_row(NAMES, KEYS.by_uri), "catalog", ("orders", None), "its uri is missing"),
        (lose_a_row(NAMES, KEYS.by_both), "catalog", ("orders", None), "name and uri is missing"),
        (
            lead_a_name_astray(KEYS.by_name, CUSTOMERS),
            "catalog",
            ("customers", None),
            "that is of another asset",
        ),
        (lead_a_name_astray(KEYS.by_uri, 99), "catalog", (None, None), "leads to no asset"),
        # the trash
        (lose_a_row(TRASH, id_key(1)), "orphan", (None, None), "belongs to nobody"),
        (lose_a_row(TRASH, id_key(2)), "catalog", ("gone", None), "not in the trash as 2"),
        (flip_a_bit_of_a_row(TRASH, id_key(1)), "row", (None, None), "'trash' fails its checksum"),
        (change_the_trash(1, asset_id=99), "trash", (None, None), "of asset 99, which is not"),
        (change_the_trash(1, entries=7), "trash", ("customers", None), "said to hold 7"),
        (add_to_the_trash(1, like=2), "trash", ("gone", None), "which has another (2)"),
        (add_to_the_trash(1, like=1, store_id=77), "store", ("customers", None), "77 is missing"),
        # the counters
        (set_the_counters(revision=3), "counter", (None, None), "the counter is at 3"),
        (set_the_counters(store_id=2), "counter", (None, None), "the counter is at 2"),
        (set_the_counters(trash_id=0), "counter", (None, None), "the counter is at 0"),
        (set_the_counters(asset_id=1), "counter", (None, None), "the counter is at 1"),
        (set_the_counters(active=4), "counter", (None, None), "3 assets are active"),
        (set_the_counters(compacted=99), "counter", (None, None), "revision 99 is in use"),
        (set_the_counters(revision=999), "journal", (None, None), "to 999, the last"),
        (flip_a_bit_of_a_row(META, b"counters"), "row", (None, None), "'meta' fails its checksum"),
        (lose_a_row(META, b"counters"), "row", (None, None), "'counters' of table 'meta' is miss"),
        # the journal
        (change_the_journal(-1), "journal", (None, None), "lacks revisions 18 to 18"),
        (change_the_journal(3), "journal", (None, None), "the journal lacks revisions 4 to 4"),
        (change_the_journal(-2), "journal", ("customers", "c"), "has no change 1 of it"),
        (change_the_journal(-2, value=b"2"), "journal", ("customers", "c"), "not what the journal"),
        (change_the_journal(-2, sequence=7), "journal", ("customers", "c"), "is not change 1"),
        (change_the_journal(-2, previous=99), "journal", ("customers", "c"), "later one before it"),
        (change_the_journal(-2, asset_id=99), "journal", (None, "c"), "is of no asset (99)"),
        (change_the_journal(-3, previous=3), "journal", ("customers", None), "follows 3, which is"),
        (flip_a_bit_of_a_row(JOURNAL, id_key(5)), "journal", (None, None), "'journal' fails its"),
        (forget_a_deletion, "journal", ("orders", "d"), "is nowhere said to be"),
        (
            misplace_a_deletion(lambda key: key[:-1] + b"?"),
            "journal",
            ("orders", "d"),
            "is that of another key",
        ),
        (
            misplace_a_deletion(lambda key: id_key(99) + key[8:]),
            "journal",
            (None, None),
            "rows of store 99",
        ),
        (
            misplace_a_deletion(lambda key: key[:8]),
            "journal",
            ("orders", None),
            "marked as being dropped",
        ),
        (
            change_a_row(META, b"identity", Identity, store_id="f" * 32),
            "file",
            (None, None),
            "files of two stores are mixed",
        ),
    ],
)
def test_what_is_damaged_is_found_with_its_place_and_what_to_do(
    data_dir: Path,
    meddle: Meddle,
    kind: str,
    place: tuple[str | None, str | None],
    problem: str,
) -> None:
    with meddling(data_dir) as (env, txn):
        meddle(env, txn)

    findings = findings_of(data_dir)

    fitting = [each for each in findings if each.kind == kind and problem in each.problem]
    assert fitting, [str(each) for each in findings]
    assert (fitting[0].asset, fitting[0].key) == place
    assert fitting[0].remedy


@pytest.mark.parametrize(
    "meddle", [flip_a_bit(ORDERS_STORE, b"a"), remove_a_record(ORDERS_STORE, b"a")]
)
def test_of_one_damaged_record_one_thing_is_said(data_dir: Path, meddle: Meddle) -> None:
    with meddling(data_dir) as (env, txn):
        meddle(env, txn)

    (finding,) = findings_of(data_dir)

    assert (finding.asset, finding.uri, finding.key) == ("orders", "orders", "a")


@pytest.mark.parametrize(
    "meddle",
    [drop_a_sub_database(ORDERS_STORE), flip_a_bit_of_a_row(CATALOG, id_key(ORDERS))],
)
def test_of_what_is_gone_as_a_whole_not_each_key_is_told(data_dir: Path, meddle: Meddle) -> None:
    with meddling(data_dir) as (env, txn):
        meddle(env, txn)

    assert {finding.kind for finding in findings_of(data_dir)} <= {"store", "row", "orphan"}


def test_of_a_damaged_record_with_a_long_key_its_beginning_is_told(data_dir: Path) -> None:
    with meddling(data_dir) as (env, txn):
        flip_a_bit(ORDERS_STORE, keys.stored_key(LONG))(env, txn)

    (finding,) = findings_of(data_dir)

    assert finding.key is not None
    assert finding.key.startswith("ü" * 200)
    assert finding.key.endswith("...")


def test_a_damaged_entry_that_was_written_anew_leaves_no_finding(data_dir: Path) -> None:
    with meddling(data_dir) as (env, txn):
        flip_a_bit(ORDERS_STORE, b"a")(env, txn)
    with Store(data_dir) as store:
        store.put("orders", "a", b'"anew"')

    assert summary_of(data_dir).findings == 0


def test_every_kind_of_finding_has_a_remedy() -> None:
    for kind, remedy in REMEDIES.items():
        assert Finding(kind, "x").remedy == remedy


# --- files


def test_where_there_is_no_store_there_is_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotVerify, match="there is no directory"):
        steps_of(tmp_path / "missing")
    with pytest.raises(CannotVerify, match="is no directory"):
        steps_of(tmp_path / "file")
    with pytest.raises(CannotVerify, match="there is no store in"):
        steps_of(tmp_path)


def test_whoever_may_not_read_the_files_is_told_who_may(data_dir: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(65534)
        try:
            steps_of(data_dir)
        except CannotVerify as exc:
            os.write(theirs, str(exc).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with open(ours) as said:
        message = said.read()
    os.waitpid(pid, 0)

    assert "cannot be read: Permission denied" in message
    assert "for the daemon's own user" in message
    assert "and for root: run this with sudo" in message


def truncate(name: str, size: int) -> Callable[[Path], None]:
    return lambda data_dir: os.truncate(data_dir / name, size)


def unlink(name: str) -> Callable[[Path], None]:
    return lambda data_dir: (data_dir / name).unlink()


def overwrite(name: str, at: int, data: bytes) -> Callable[[Path], None]:
    def damage(data_dir: Path) -> None:
        with open(data_dir / name, "r+b") as file:
            file.seek(at)
            file.write(data)

    return damage


@pytest.mark.parametrize(
    ("damage", "kind", "problem"),
    [
        (unlink("data.mdb"), "file", "data.mdb is missing, and store"),
        (truncate("data.mdb", 0), "file", "data.mdb is empty"),
        (overwrite("data.mdb", 0, b"x" * 8192), "file", "is not an LMDB file"),
        (truncate("data.mdb", 8192), "structure", "page"),
        (truncate("data.mdb", 20_000), "structure", "page"),
        (overwrite("data.mdb", 3 * 4096, bytes(4096)), "structure", "page"),
        (overwrite("store.json", 0, b"{]"), "file", "store.json cannot be read"),
        (unlink("data.wal"), "log", "data.wal: is missing"),
        (truncate("data.wal", 100), "log", "100 bytes"),
        (overwrite("data.wal", 0, b"x"), "log", "does not begin as"),
        (truncate("data.wal", 0), "log", "its beginning is missing"),
        (overwrite("data.wal", 20, b"x"), "log", "fails its checksum"),
    ],
)
def test_a_damaged_file_is_found(
    data_dir: Path, damage: Callable[[Path], None], kind: str, problem: str
) -> None:
    damage(data_dir)
    before = state_of(data_dir)

    findings = findings_of(data_dir)

    assert (findings[0].kind, problem in findings[0].problem) == (kind, True), findings[0]
    assert state_of(data_dir) == before


def test_a_log_that_is_said_to_have_been_empty_is_sound_as_it_is_to_a_start(data_dir: Path) -> None:
    (data_dir / "data.wal").write_text("nothing was logged\n")

    assert summary_of(data_dir).logged == 0


# --- what is logged, and not in the data file


def everything(data_dir: Path) -> dict[Space, dict[bytes, bytes]]:
    """All rows and records, by table and store."""
    with Image(data_dir, is_live=False) as image:
        spaces: list[Space] = [*TABLES, *(int(name[1:], 16) for name in image.stores())]
        return {space: dict(image.rows(space)) for space in spaces}


def revision_of(data_dir: Path) -> int:
    with Image(data_dir, is_live=False) as image:
        counters = read_row(image, META, b"counters", Counters)
    assert counters is not None
    return counters.revision


def test_a_bit_that_is_flipped_anywhere_is_found_or_changes_nothing_that_is_read(
    data_dir: Path, seed: int
) -> None:
    rng = random.Random(seed)
    data = data_dir / datadir.DATA_FILE
    sound, whole = data.read_bytes(), everything(data_dir)
    counted: Counter[str] = Counter()
    for _ in range(FLIPS):
        at, bit = rng.randrange(METAS_BYTES, len(sound)), 1 << rng.randrange(8)
        data.write_bytes(sound[:at] + bytes([sound[at] ^ bit]) + sound[at + 1 :])

        findings = findings_of(data_dir)

        if findings:
            counted[findings[0].kind] += 1
        else:
            counted["none"] += 1
            assert everything(data_dir) == whole, f"bit {bit} of byte {at}"
    print(f"what {FLIPS} flips were found as: {dict(counted)}")
    assert len(counted) > 1


@pytest.fixture
def logged_dir(data_dir: Path, tmp_path: Path) -> Path:
    """The same store with four changes in the log only, in three records."""
    behind = tmp_path / "behind"
    shutil.copytree(data_dir, behind)
    log = Wal(behind / datadir.WAL_FILE)
    for changes in (
        [("orders", "a", b"7")],
        [("customers", "new", b"8"), ("orders", "d", b"9")],
        [("orders", "a", None)],
    ):
        before, revision = everything(data_dir), revision_of(data_dir)
        with Store(data_dir) as store:
            for name, key, value in changes:
                if value is None:
                    assert store.remove(name, key)
                else:
                    store.put(name, key, value)
        delta: Delta = {
            space: {
                key: rows.get(key)
                for key in rows.keys() | before[space].keys()
                if rows.get(key) != before[space].get(key)
            }
            for space, rows in everything(data_dir).items()
        }
        log.append(encode_delta(delta), revision + 1, revision_of(data_dir))
    log.close()
    return behind


def test_what_is_logged_is_checked_as_a_start_would_find_it(
    logged_dir: Path, data_dir: Path
) -> None:
    before = state_of(logged_dir)

    summary, after_a_start = summary_of(logged_dir), summary_of(data_dir)

    assert summary.logged == 4
    assert (summary.entries, summary.events) == (after_a_start.entries, after_a_start.events)
    assert state_of(logged_dir) == before


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (overwrite("data.wal", BLOCK, bytes(BLOCK)), "revision 19 is missing, and revision 20"),
        (overwrite("data.wal", 2 * BLOCK, bytes(BLOCK)), "revision 20 is missing, and revision 22"),
        (overwrite("data.wal", 2 * BLOCK + 60, b"\xff"), "revision 20 is missing"),
        (truncate("data.wal", FILE_BYTES - 1), "bytes in place of"),
    ],
)
def test_a_log_that_was_cut_in_the_middle_is_found(
    logged_dir: Path, damage: Callable[[Path], None], problem: str
) -> None:
    damage(logged_dir)

    (finding,) = findings_of(logged_dir)

    assert finding.kind == "log"
    assert problem in finding.problem


def test_a_record_that_was_cut_at_the_end_of_the_log_was_never_acknowledged(
    logged_dir: Path,
) -> None:
    overwrite("data.wal", 3 * BLOCK, bytes(BLOCK))(logged_dir)

    assert summary_of(logged_dir).logged == 3


def test_a_log_of_another_store_is_found(logged_dir: Path) -> None:
    wal.create(logged_dir / "data.wal", "f" * 32)

    (finding,) = findings_of(logged_dir)

    assert "it is of store ffff" in finding.problem


def test_what_is_logged_of_a_store_that_is_not_there_is_found(logged_dir: Path) -> None:
    with meddling(logged_dir) as (env, txn):
        drop_a_sub_database(ORDERS_STORE)(env, txn)

    kinds = {finding.kind for finding in findings_of(logged_dir)}

    assert {"log", "store"} <= kinds


def test_an_index_of_deleted_keys_is_read_as_the_log_leaves_it(logged_dir: Path) -> None:
    with meddling(logged_dir) as (env, txn):
        # "d" is there again by the log; its deletion before is not what a start would find.
        deleted = env.open_db(DELETED, txn=txn, create=False)
        ((key, _),) = txn.cursor(db=deleted)
        txn.delete(key, db=deleted)

    assert summary_of(logged_dir).logged == 4

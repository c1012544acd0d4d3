"""The writer: batches as transactions, whose failure is nobody else's, and what a failure means."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from tests.support.serving import failing_calls
from tests.support.store import WRITER, Store, change

from assetstore.errors import StoreFull
from assetstore.framing import frame
from assetstore.messages import AssetRef
from assetstored import jobs, records
from assetstored.datadir import StartRefused
from assetstored.engine import verify
from assetstored.tables import JOURNAL, META, JournalRow, id_key, seal_row
from assetstored.writer import StoreOfWriter

LARGE = b'"%s"' % (b"v" * 1_000_000)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the assets a and b, each with one entry; whole when the test is over."""
    with Store(tmp_path) as store:
        store.activate("a", "b")
        store.put("a", "k", b"0")
        store.put("b", "k", b"0")
        yield store
    assert verify(str(tmp_path)) == []


@contextmanager
def file_limit(store: Store, free_bytes: int) -> Iterator[None]:
    """The writer's data file may grow by no more than this."""
    soft, hard = resource.prlimit(store.pid, resource.RLIMIT_FSIZE)
    size = (store.data_dir / "data.mdb").stat().st_size
    resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (size + free_bytes, hard))
    yield
    resource.prlimit(store.pid, resource.RLIMIT_FSIZE, (soft, hard))


def bug() -> jobs.Change:
    """A job that no serving process sends, and that the writer fails at."""
    return change(jobs.SetKey(-1, "k", b"1", None))


# --- batches


def test_all_jobs_of_a_batch_are_answered_in_their_order(store: Store) -> None:
    results = store.run(*(store.put_job("a", f"k{number}", b"1") for number in range(1_000)))

    revisions = [result.decoded()[0][0] for result in results]
    assert revisions == list(range(revisions[0], revisions[0] + 1_000))
    assert len(store.contents("a")) == 1_001


def test_an_empty_batch_is_answered(store: Store) -> None:
    before = store.reader.counters()

    assert store.run() == []
    assert store.reader.counters() == before


def test_a_refused_job_does_not_fail_its_batch(store: Store) -> None:
    results = store.run(
        store.put_job("a", "l", b"1"),
        change(jobs.RestoreStore(99)),
        store.put_job("b", "l", b"2"),
    )

    assert [result.code for result in results] == [None, "invalid_request", None]
    assert store.contents("a")["l"] == b"1"
    assert store.contents("b")["l"] == b"2"


def test_a_bug_in_a_job_is_a_server_fault_for_that_job_alone(store: Store) -> None:
    before = store.reader.counters().revision

    results = store.run(store.put_job("a", "l", b"1"), bug(), store.put_job("b", "l", b"2"))

    assert [result.code for result in results] == [None, "server_fault", None]
    assert re.fullmatch(r"a fault in the writer \(\w+Error\); its log has more", results[1].message)
    assert store.contents("a")["l"] == b"1"
    assert store.contents("b")["l"] == b"2"
    assert store.reader.counters().revision == before + 2


def test_a_store_made_beside_a_bug_is_made_in_the_second_try(store: Store) -> None:
    store.activate("c", "d")

    store.run(store.put_job("c", "k", b"1"), bug(), store.put_job("d", "k", b"2"))

    assert store.contents("c") == {"k": b"1"}
    assert store.contents("d") == {"k": b"2"}


def test_a_drop_beside_a_bug_harms_nobody_s_store(store: Store) -> None:
    store.clear("a")
    ((trash_id, *_),) = store.trash()
    store.do(jobs.Condemn([trash_id]))
    store.activate("c")

    # The dropped handle's slot is free for the next store, in the first try and in the second.
    results = store.run(
        jobs.DropSlice(trash_id),
        store.put_job("c", "k", b"1"),
        bug(),
        store.put_job("a", "l", b"2"),
    )

    assert [result.code for result in results] == [None, None, "server_fault", None]
    assert store.contents("a") == {"l": b"2"}
    assert store.contents("b") == {"k": b"0"}
    assert store.contents("c") == {"k": b"1"}


def test_damage_under_one_asset_is_not_the_trouble_of_others(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("sound", "broken")
        store.put("sound", "k", b"0")
        store.put("broken", "k", b"0")
        broken = store.reader.resolve(AssetRef("broken")).store_id
    # The catalog names a sub-database that is not there.
    rename_database(tmp_path, b"s%010x" % broken, b"s%010x" % 999)

    with Store(tmp_path) as store:
        results = store.run(store.put_job("sound", "l", b"1"), store.put_job("broken", "l", b"2"))

        assert [result.code for result in results] == [None, "damaged"]
        assert "LMDB cannot read what this change builds on" in results[1].message
        assert store.contents("sound") == {"k": b"0", "l": b"1"}


def rename_database(data_dir: Path, name: bytes, other: bytes) -> None:
    """Give a sub-database another name of the same length, as damage would."""
    data = (data_dir / "data.mdb").read_bytes()
    assert name in data
    (data_dir / "data.mdb").write_bytes(data.replace(name, other))


def test_more_stores_than_handles_fit_into_one_batch_after_another(store: Store) -> None:
    names = [f"asset-{number}" for number in range(1_500)]
    for start in range(0, 1_500, 500):
        store.activate(*names[start : start + 500])
    ids = {name: store.asset_id(name) for name in names}
    for round_ in range(2):
        for start in range(0, 1_500, 750):
            chosen = names[start : start + 750]
            value = b"%d" % round_
            store.run(*(change(jobs.SetKey(ids[name], "k", value, None)) for name in chosen))

    assert {tuple(store.contents(name).items()) for name in names} == {(("k", b"1"),)}


# --- no room


def test_what_does_not_fit_is_refused_and_what_fits_is_done(store: Store) -> None:
    with file_limit(store, 64 * 1_024):
        results = store.run(
            store.put_job("a", "l", b"1"),
            store.put_job("a", "large", LARGE),
            store.put_job("b", "l", b"2"),
        )

        assert [result.code for result in results] == [None, "store_full", None]
        assert store.contents("a") == {"k": b"0", "l": b"1"}
        assert store.contents("b") == {"k": b"0", "l": b"2"}


def test_the_refusal_tells_what_is_free_and_what_was_needed(store: Store) -> None:
    with file_limit(store, 50_000), pytest.raises(StoreFull) as refused:
        store.put("a", "large", LARGE)

    # What did fit of it has been written, past the end of what counts.
    free_bytes = refused.value.detail["free_bytes"]
    assert 0 <= free_bytes <= 50_000
    assert refused.value.detail == {"free_bytes": free_bytes, "needed_bytes": 2 * len(LARGE)}
    assert str(refused.value) == (
        f"no room on the disk of {store.data_dir}: {free_bytes:,} bytes are free, this write "
        "needs about 2,000,004; reads go on, and writes resume when there is room"
    )


def test_writes_resume_when_there_is_room(store: Store) -> None:
    with file_limit(store, 0):
        for _ in range(5):
            (result,) = store.run(store.put_job("a", "large", LARGE))
            assert result.code == "store_full"
            assert store.get("a", "k") is not None

    store.put("a", "large", LARGE)

    assert store.contents("a") == {"k": b"0", "large": LARGE}


def test_on_a_full_disk_what_is_in_the_trash_can_be_dropped_to_make_room(store: Store) -> None:
    store.put("a", "large", LARGE)
    store.clear("a")
    # Each commit takes some pages before it gives back others: what was freed two commits ago.
    store.put("b", "spare", LARGE[:99_999] + b'"')
    store.remove("b", "spare")
    with file_limit(store, 0):
        assert store.run(store.put_job("a", "large", LARGE))[0].code == "store_full"
        ((trash_id, *_),) = store.trash()
        store.drop(trash_id)

        # Once in the store, and once in the journal.
        store.put("a", "large", LARGE[:300_000] + b'"')

    assert list(store.reader.trash_rows()) == []


def test_nothing_of_a_refused_batch_counts_not_even_its_revisions(store: Store) -> None:
    before = store.reader.counters()
    with file_limit(store, 0):
        store.run(store.put_job("a", "large", LARGE), store.put_job("b", "large", LARGE))

    assert store.reader.counters() == before
    assert store.put("a", "l", b"1") == before.revision + 1


# --- the end


def test_the_writer_ends_with_its_daemon(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.reader.close()
    store._link.close()

    assert os.waitpid(store.pid, 0) == (store.pid, 0)


def test_the_writer_ends_well_when_nobody_is_left_to_take_its_answers(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.activate("a")
    job = store.put_job("a", "k", b"1")
    store.reader.close()
    store._link.sendall(frame(jobs.encode(jobs.Batch([job]))))
    # As a daemon that is killed with an answer on its way to it.
    store._link.recv(1, socket.MSG_PEEK)
    store._link.close()

    assert os.waitpid(store.pid, 0) == (store.pid, 0)


def test_what_was_sent_before_the_daemon_died_is_done_as_a_whole(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.activate("a")
    batch = [store.put_job("a", f"k{number}", b"1") for number in range(500)]
    store._link.sendall(frame(jobs.encode(jobs.Batch(list(batch)))))
    store.close()

    with Store(tmp_path) as store:
        assert len(store.contents("a")) == 500


@pytest.mark.parametrize("number", [2, 15, 1, 25], ids=["SIGINT", "SIGTERM", "SIGHUP", "SIGXFSZ"])
def test_signals_for_the_daemon_do_not_end_the_writer(store: Store, number: int) -> None:
    os.kill(store.pid, number)

    store.put("a", "l", b"1")


# --- starting


def test_revisions_go_on_where_they_were(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        first = store.put("a", "k", b"1")
    with Store(tmp_path) as store:
        assert store.put("a", "k", b"2") == first + 1


def test_a_store_keeps_its_id(tmp_path: Path) -> None:
    ids = set()
    for _ in range(2):
        store = StoreOfWriter(tmp_path)
        ids.add(store.identity.store_id)
        store.close()

    assert len(ids) == 1


def test_a_cut_file_is_refused_and_not_cut_further(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
        store.put("a", "large", LARGE)
    os.truncate(tmp_path / "data.mdb", 40_960)

    with pytest.raises(StartRefused, match=r"data\.mdb is damaged|cannot open"):
        StoreOfWriter(tmp_path)
    assert (tmp_path / "data.mdb").stat().st_size == 40_960


def test_a_damaged_row_of_meta_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path) as store:
        store.activate("a")
    marker = (tmp_path / "store.json").read_text()
    (store_id,) = re.findall(r'"store_id": "(\w+)"', marker)
    data = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data.replace(store_id.encode(), store_id[::-1].encode()))

    with pytest.raises(StartRefused, match="a row of table 'meta' fails its checksum"):
        StoreOfWriter(tmp_path)


def test_the_file_of_another_store_is_refused(tmp_path: Path) -> None:
    for name in ("one", "other"):
        Store(tmp_path / name).close()
    shutil.copy(tmp_path / "other/data.mdb", tmp_path / "one/data.mdb")

    with pytest.raises(StartRefused, match="files of two stores are mixed"):
        StoreOfWriter(tmp_path / "one")


# --- what was logged


def checkpoint(store: Store, work: jobs.Checkpoint) -> jobs.AnyReport:
    """The report of a checkpoint."""
    store._link.sendall(frame(jobs.encode(work)))
    report = store._receive()
    store.reader.refresh()
    return report


def logged(store: Store, value: bytes) -> jobs.Checkpoint:
    """The next change of the asset a, as it was logged: its record, its row, and the counters."""
    resolved = store.reader.resolve(AssetRef("a"))
    counters = store.reader.counters()
    counters.revision += 1
    head = records.Head(counters.revision, 2)
    record = records.encode_entry(
        resolved.store_id, b"k", head, updated_at=1, writer=WRITER, value=value, long_key=None
    )
    request = (b"0123456789abcdef", msgspec.Raw(msgspec.msgpack.encode([(7, 1, None, None)])))
    row = JournalRow(
        resolved.asset_id, "set", "k", value, WRITER, 1, 0, 2, resolved.store_id, request
    )
    key = id_key(counters.revision)
    return jobs.Checkpoint(
        {
            resolved.store_id: {b"k": record, b"never": None},
            JOURNAL: {key: seal_row(JOURNAL, key, row)},
            META: {b"counters": seal_row(META, b"counters", counters)},
        },
        [(request[0], counters.revision)],
        counters.revision,
    )


def test_what_was_logged_is_in_the_data_file_after_a_checkpoint_and_built_upon(
    store: Store,
) -> None:
    work = logged(store, b"7")

    assert checkpoint(store, work) == jobs.Checkpointed(jobs.Result(None))
    assert store.contents("a") == {"k": b"7"}
    assert store.reader.counters().revision == work.last
    assert store.put("a", "k", b"8") == work.last + 1


def test_the_repeat_of_what_was_logged_is_answered_by_the_writer(store: Store) -> None:
    checkpoint(store, logged(store, b"7"))
    before = store.reader.counters()
    job = jobs.SetKey(store.asset_id("a"), "k", b"7", None)

    again = store.do(change(job, request=b"0123456789abcdef", sent_at=time.monotonic()))

    assert again == [[7, 1, None, None]]
    assert store.reader.counters() == before


def test_a_checkpoint_that_does_not_fit_is_refused_and_can_be_made_later(store: Store) -> None:
    work = logged(store, LARGE)
    with file_limit(store, 50_000):
        for _ in range(3):
            report = checkpoint(store, work)
            assert isinstance(report, jobs.Checkpointed)
            assert report.result.code == "store_full"
            assert store.contents("a") == {"k": b"0"}

    assert checkpoint(store, work) == jobs.Checkpointed(jobs.Result(None))
    assert store.contents("a") == {"k": LARGE}


def test_a_checkpoint_that_cannot_be_made_ends_the_writer(tmp_path: Path) -> None:
    """The log has to be emptied; a restart finds out what is wrong."""
    store = Store(tmp_path)
    store.activate("a")
    store.put("a", "k", b"0")
    work = logged(store, b"7")
    work.changes[999] = {b"k": b"of a store that is not there"}

    report = checkpoint(store, work)

    assert isinstance(report, jobs.Broken)
    assert "LMDB cannot read what this change builds on" in report.message
    store.reader.close()
    store._link.close()
    assert os.waitstatus_to_exitcode(os.waitpid(store.pid, 0)[1]) == os.EX_IOERR
    with Store(tmp_path) as store:
        assert store.contents("a") == {"k": b"0"}


# --- readers that died


def test_the_slot_of_a_reader_that_died_is_freed(tmp_path: Path) -> None:
    store = StoreOfWriter(tmp_path)
    try:
        script = (
            "import os, sys; from assetstored import engine\n"
            "txn = engine.open_for_reading(sys.argv[1]).begin()\n"
            "os._exit(0)\n"
        )
        subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)

        assert store.check_readers() == 1
        assert store.check_readers() == 0
    finally:
        store.close()


# --- errors of the device


@pytest.mark.parametrize("calls", ["fdatasync", "pwrite64,pwritev,writev"], ids=["sync", "write"])
def test_after_an_error_of_the_device_nothing_is_acknowledged_and_the_writer_ends(
    tmp_path: Path, calls: str
) -> None:
    store = Store(tmp_path)
    store.activate("a")
    store.put("a", "k", b"0")
    with failing_calls(store.pid, calls):
        store._link.sendall(frame(jobs.encode(jobs.Batch([store.put_job("a", "l", b"1")]))))
        report = store._receive()

        assert isinstance(report, jobs.Broken)
        assert report.message.startswith("commit failed: ")
        assert store._link.recv(1) == b""
    store.reader.close()
    store._link.close()
    assert os.waitstatus_to_exitcode(os.waitpid(store.pid, 0)[1]) == os.EX_IOERR

    with Store(tmp_path) as store:
        assert store.contents("a")["k"] == b"0"
        # Nobody was told of it: it may be there or not, as a whole.
        assert store.contents("a").get("l", b"1") == b"1"
    assert verify(str(tmp_path)) == []

"""The data directory: whose it is, and which files may be opened as a store."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb
import pytest
from tests.support.store import Store

from assetstored import datadir, files_in_use
from assetstored.datadir import StartRefused
from assetstored.tables import Identity

MARKER = Identity(1, "0123456789abcdef", 1_700_000_000_000_000)

_NOBODY = 65_534


@pytest.fixture(scope="module")
def closed_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a store of some entries in it, closed; only to be copied."""
    data_dir = tmp_path_factory.mktemp("closed")
    with Store(data_dir) as store:
        store.activate("orders")
        value = b'"%s"' % (b"v" * 100)
        store.run(*(store.put_job("orders", f"key-{number}", value) for number in range(500)))
    return data_dir


@pytest.fixture
def data_dir(closed_store: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    shutil.copytree(closed_store, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that everybody may enter, unlike pytest's."""
    with tempfile.TemporaryDirectory(prefix="assetstore-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
        Path(name).chmod(0o755)


@contextmanager
def unprivileged() -> Iterator[None]:
    """Not root, to whom nothing is closed."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(_NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@contextmanager
def prepared(data_dir: Path) -> Iterator[None]:
    """The directory is prepared, and its lock held."""
    lock_fd = datadir.prepare(data_dir)
    try:
        yield
    finally:
        os.close(lock_fd)


def prepare_elsewhere(data_dir: Path) -> subprocess.CompletedProcess[str]:
    """Another process prepares the directory."""
    script = (
        "import sys; from pathlib import Path; from assetstored import datadir\n"
        "try: datadir.prepare(Path(sys.argv[1])); print('prepared')\n"
        "except datadir.StartRefused as exc: print(exc)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script, str(data_dir)], capture_output=True, text=True, check=True
    )


def check(data_dir: Path) -> bool:
    """What a start does before LMDB sees the data file."""
    return datadir.check_data_file(data_dir, datadir.read_marker(data_dir))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- whose it is


def test_a_directory_that_is_not_there_is_made_for_the_owner_alone(tmp_path: Path) -> None:
    with prepared(tmp_path / "a/b"):
        assert mode(tmp_path / "a/b") == 0o700
        assert mode(tmp_path / "a/b/assetstored.lock") == 0o600


def test_the_lock_tells_the_pid_of_its_holder(tmp_path: Path) -> None:
    (tmp_path / "assetstored.lock").write_text("123456789\n")
    with prepared(tmp_path):
        assert (tmp_path / "assetstored.lock").read_text() == f"{os.getpid()}\n"


def test_a_second_daemon_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with prepared(tmp_path):
        assert prepare_elsewhere(tmp_path).stdout == (
            f"process {os.getpid()} has {tmp_path}: it serves it, backs it up or restores it; "
            "stop it first, or name another data directory\n"
        )


def test_the_next_daemon_gets_the_directory_of_one_that_is_gone(tmp_path: Path) -> None:
    assert prepare_elsewhere(tmp_path).stdout == "prepared\n"
    assert prepare_elsewhere(tmp_path).stdout == "prepared\n"


def test_a_child_that_inherited_the_lock_keeps_it(tmp_path: Path) -> None:
    lock_fd = datadir.prepare(tmp_path)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, pass_fds=[lock_fd]) as child:
        os.close(lock_fd)

        assert f"process {os.getpid()} has" in prepare_elsewhere(tmp_path).stdout

        child.communicate()
    assert prepare_elsewhere(tmp_path).stdout == "prepared\n"


def test_a_new_daemon_waits_for_the_writer_of_one_that_was_killed(tmp_path: Path) -> None:
    lock_fd = datadir.prepare(tmp_path)
    # The holder's pid is that of a process that is gone; what it left still has the lock.
    with subprocess.Popen(["true"]) as gone:
        pass
    os.pwrite(lock_fd, b"%d\n" % gone.pid, 0)
    os.ftruncate(lock_fd, len(b"%d\n" % gone.pid))
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read(1)"],
        stdin=subprocess.PIPE,
        pass_fds=[lock_fd],
    ) as orphan:
        os.close(lock_fd)
        script = (
            "import sys; from pathlib import Path; from assetstored import datadir\n"
            "print('waiting', flush=True); datadir.prepare(Path(sys.argv[1])); print('prepared')\n"
        )
        with subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        ) as waiting:
            assert waiting.stdout is not None
            assert waiting.stdout.readline() == "waiting\n"
            assert waiting.poll() is None
            orphan.communicate(b"x")

            assert waiting.stdout.readline() == "prepared\n"


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")

    with pytest.raises(
        StartRefused,
        match=r"cannot make the data directory .*: .*something else, which is no directory",
    ):
        datadir.prepare(tmp_path / "data")


def test_a_directory_that_may_not_be_written_is_refused(open_dir: Path) -> None:
    open_dir.chmod(0o555)

    with unprivileged(), pytest.raises(StartRefused) as refused:
        datadir.prepare(open_dir)

    assert str(refused.value).startswith(
        f"cannot write in the data directory {open_dir}: Permission denied; it must belong to uid "
    )


def test_a_directory_in_place_of_the_lock_is_refused(tmp_path: Path) -> None:
    (tmp_path / "assetstored.lock").mkdir()

    with pytest.raises(StartRefused, match="cannot write in the data directory"):
        datadir.prepare(tmp_path)


# --- the marker


def test_a_directory_that_never_held_a_store_has_no_marker(tmp_path: Path) -> None:
    assert datadir.read_marker(tmp_path) is None


def test_the_marker_says_which_store_this_directory_has_held(tmp_path: Path) -> None:
    datadir.write_marker(tmp_path, MARKER)

    assert datadir.read_marker(tmp_path) == MARKER
    assert mode(tmp_path / "store.json") == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["store.json"]
    assert json.loads((tmp_path / "store.json").read_text()) == {
        "format": 1,
        "store_id": "0123456789abcdef",
        "created_at": 1_700_000_000_000_000,
        "engine": "LMDB 0.9",
    }


def test_a_first_start_leaves_the_marker(data_dir: Path) -> None:
    marker = datadir.read_marker(data_dir)

    assert marker is not None
    assert re.fullmatch(r"[0-9a-f]{32}", marker.store_id)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"format": 1}', '"x"', "\xff", '{"format": 1, "store_id": '],
)
def test_a_marker_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "store.json").write_bytes(text.encode("latin-1"))

    with pytest.raises(StartRefused, match=r"store\.json cannot be read .*restore the data dir"):
        datadir.read_marker(tmp_path)


def test_a_store_of_another_format_is_refused_with_both_formats(tmp_path: Path) -> None:
    datadir.write_marker(tmp_path, Identity(2, "id", 0))

    with pytest.raises(StartRefused, match="holds a store of format 2; this daemon knows format 1"):
        datadir.read_marker(tmp_path)


# --- the data file


def test_a_sound_file_needs_no_verification(data_dir: Path) -> None:
    assert check(data_dir) is False


def test_an_empty_directory_may_get_a_store(tmp_path: Path) -> None:
    assert check(tmp_path) is False


def test_a_missing_file_where_a_store_was_is_refused(data_dir: Path) -> None:
    (data_dir / "data.mdb").unlink()

    with pytest.raises(StartRefused, match=r"data\.mdb is missing, and store \w{32} was here"):
        check(data_dir)
    assert not (data_dir / "data.mdb").exists()


def test_an_emptied_file_is_refused(data_dir: Path) -> None:
    os.truncate(data_dir / "data.mdb", 0)

    with pytest.raises(StartRefused, match=r"data\.mdb is empty"):
        check(data_dir)


@pytest.mark.parametrize("size", [1, 100, 151])
def test_a_file_without_a_first_page_is_refused(data_dir: Path, size: int) -> None:
    os.truncate(data_dir / "data.mdb", size)

    with pytest.raises(StartRefused, match="is not an LMDB file"):
        check(data_dir)


@pytest.mark.parametrize("pages", [1, 2, 3, 10])
def test_a_file_that_is_shorter_than_it_says_is_verified_first(data_dir: Path, pages: int) -> None:
    os.truncate(data_dir / "data.mdb", pages * 4_096)

    assert check(data_dir) is True


@pytest.mark.parametrize("text", [b"not a database\n" * 1_000, bytes(100_000), b"\xff" * 8_192])
def test_a_file_that_is_not_lmdb_s_is_refused(data_dir: Path, text: bytes) -> None:
    (data_dir / "data.mdb").write_bytes(text)

    with pytest.raises(StartRefused, match="is not an LMDB file"):
        check(data_dir)


def test_a_file_of_lmdb_1_0_is_refused_and_left_alone(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), lib_version=1).close()
    before = (tmp_path / "data.mdb").read_bytes()

    with pytest.raises(StartRefused, match=r"was written by LMDB 1\.0, .* the 0\.9 format: dump"):
        datadir.check_data_file(tmp_path, MARKER)
    assert (tmp_path / "data.mdb").read_bytes() == before


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "FIFO"])
def test_what_is_no_file_is_refused(tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "data.mdb")

    with pytest.raises(StartRefused, match=r"data\.mdb is not a regular file"):
        datadir.check_data_file(tmp_path, MARKER)


def test_a_file_that_may_not_be_read_is_refused(closed_store: Path, open_dir: Path) -> None:
    shutil.copy(closed_store / "data.mdb", open_dir)
    (open_dir / "data.mdb").chmod(0)

    with unprivileged(), pytest.raises(StartRefused, match=r"cannot read .*data\.mdb: Permission"):
        datadir.check_data_file(open_dir, MARKER)


def test_every_refusal_says_where_to_read_on(data_dir: Path) -> None:
    os.truncate(data_dir / "data.mdb", 0)

    with pytest.raises(StartRefused, match=r"docs/operations\.md, 'The store is refused'"):
        check(data_dir)


# --- what a first start that was cut short leaves


def test_what_never_saw_a_commit_is_taken_away_where_no_store_was(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), lib_version=0).close()

    assert check(tmp_path) is False
    assert not (tmp_path / "data.mdb").exists()


@pytest.mark.parametrize("sectors", [0, 1, 8, 9, 16])
def test_what_a_power_cut_left_of_the_first_pages_is_taken_away(
    tmp_path: Path, sectors: int
) -> None:
    lmdb.open(str(tmp_path), lib_version=0).close()
    whole = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(whole[: sectors * 512].ljust(8_192, b"\0"))

    assert check(tmp_path) is False
    assert not (tmp_path / "data.mdb").exists()


def test_with_a_marker_even_such_a_file_stays(tmp_path: Path) -> None:
    lmdb.open(str(tmp_path), lib_version=0).close()

    datadir.check_data_file(tmp_path, MARKER)

    assert (tmp_path / "data.mdb").exists()


def test_a_committed_file_stays_without_a_marker(data_dir: Path) -> None:
    (data_dir / "store.json").unlink()

    assert check(data_dir) is False
    with Store(data_dir) as store:
        assert len(store.contents("orders")) == 500
    assert (data_dir / "store.json").exists()


def test_somebody_s_text_file_is_not_taken_away(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_text("dear diary")

    with pytest.raises(StartRefused, match="is not an LMDB file"):
        check(tmp_path)
    assert (tmp_path / "data.mdb").read_text() == "dear diary"


# --- which store it is


def test_the_store_that_the_marker_names_is_accepted(tmp_path: Path) -> None:
    datadir.check_identity(tmp_path, MARKER, MARKER)
    datadir.check_identity(tmp_path, None, MARKER)


def test_a_file_without_a_store_is_refused_where_one_was(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="holds no store, and store 0123456789abcdef was here"):
        datadir.check_identity(tmp_path, MARKER, None)


def test_files_of_two_stores_are_refused_with_both_ids(tmp_path: Path) -> None:
    other = Identity(1, "fedcba9876543210", 0)

    with pytest.raises(StartRefused, match=r"is store fedc.*store\.json says 0123.* are mixed"):
        datadir.check_identity(tmp_path, MARKER, other)


def test_a_data_file_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="the store has format 2; this daemon knows format 1"):
        datadir.check_identity(tmp_path, MARKER, Identity(2, MARKER.store_id, 0))


# --- whether the files are still there


def test_the_files_are_the_same_as_long_as_nobody_touches_them(data_dir: Path) -> None:
    assert files_in_use.file_identity(data_dir) == files_in_use.file_identity(data_dir) is not None


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "data.wal"])
def test_a_file_that_is_removed_or_replaced_is_noticed(data_dir: Path, name: str) -> None:
    before = files_in_use.file_identity(data_dir)
    copy = data_dir / "copy"
    copy.write_bytes((data_dir / name).read_bytes())
    copy.rename(data_dir / name)
    assert files_in_use.file_identity(data_dir) != before

    (data_dir / name).unlink()
    assert files_in_use.file_identity(data_dir) is None


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "data.wal"])
def test_a_file_in_use_that_gets_shorter_is_named(data_dir: Path, name: str) -> None:
    files = files_in_use.FilesInUse(data_dir)
    with open(data_dir / name, "ab") as file:
        file.write(bytes(4096))
    files.check()
    os.truncate(data_dir / name, (data_dir / name).stat().st_size - 1)

    with pytest.raises(files_in_use.FilesChanged, match=f"{name} was cut off while in use"):
        files.check()

"""The door to LMDB: how it is opened, and what a failure means."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from assetstored import engine
from assetstored.engine import Failure, failure_of


@pytest.fixture
def env(tmp_path: Path) -> Iterator[engine.Environment]:
    """An environment open for writing."""
    env = engine.open_for_writing(str(tmp_path))
    yield env
    env.close()


def error(code: int) -> lmdb.Error:
    """LMDB's error for a code of the system, as py-lmdb raises it."""
    failed = lmdb.Error("mdb_txn_commit")
    failed.code = code  # type: ignore[misc]  # only the C code sets it
    return failed


def test_every_commit_syncs_data_and_meta_page(env: engine.Environment) -> None:
    flags = env.flags()

    assert flags["sync"] is True
    assert flags["metasync"] is True


def test_the_map_is_never_written_through(env: engine.Environment) -> None:
    flags = env.flags()

    assert flags["writemap"] is False
    assert flags["map_async"] is False


def test_the_engine_is_lmdb_0_9(env: engine.Environment) -> None:
    assert env.lib_version()[:2] == (0, 9)


def test_the_map_has_room_for_a_tebibyte_and_takes_next_to_nothing_of_the_disk(
    env: engine.Environment, tmp_path: Path
) -> None:
    assert env.info()["map_size"] == 1 << 40
    assert os.stat(tmp_path / "data.mdb").st_blocks * 512 <= 64 * 1024


def test_only_the_owner_may_read_the_files(env: engine.Environment, tmp_path: Path) -> None:
    for name in ("data.mdb", "lock.mdb"):
        assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600


def test_nothing_can_be_written_through_the_readers_environment(tmp_path: Path) -> None:
    engine.open_for_writing(str(tmp_path)).close()
    env = engine.open_for_reading(str(tmp_path))
    try:
        assert env.flags()["readonly"] is True
        with pytest.raises(lmdb.ReadonlyError):
            env.begin(write=True)
    finally:
        env.close()


def test_reading_does_not_make_a_store(tmp_path: Path) -> None:
    with pytest.raises(lmdb.Error):
        engine.open_for_reading(str(tmp_path / "none"))

    assert not (tmp_path / "none").exists()


def test_a_database_that_is_not_there_is_not_made_by_looking(env: engine.Environment) -> None:
    with env.begin(write=True) as txn, pytest.raises(engine.NotFoundError):
        engine.open_database(env, txn, b"none", create=False)


def test_verify_finds_nothing_in_a_sound_file_and_something_in_a_cut_one(tmp_path: Path) -> None:
    env = engine.open_for_writing(str(tmp_path))
    with env.begin(write=True) as txn:
        for number in range(2_000):
            txn.put(b"%d" % number, b"x" * 100)
    env.close()

    assert engine.verify(str(tmp_path)) == []

    os.truncate(tmp_path / "data.mdb", 40_960)
    with contextlib.suppress(engine.VerifyError):
        assert engine.verify(str(tmp_path)) != []


def test_a_full_map_is_a_lack_of_room(tmp_path: Path) -> None:
    assert failure_of(lmdb.MapFullError("full"), str(tmp_path), 0) is Failure.NO_ROOM


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_an_error_that_names_the_lack_of_room_is_one(tmp_path: Path, code: int) -> None:
    assert failure_of(error(code), str(tmp_path), 0) is Failure.NO_ROOM


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS, errno.EBADF])
def test_an_error_of_the_device_is_fatal_while_there_is_room(tmp_path: Path, code: int) -> None:
    assert failure_of(error(code), str(tmp_path), 0) is Failure.FATAL


def test_after_a_panic_nothing_else_counts(tmp_path: Path) -> None:
    assert failure_of(lmdb.PanicError("panic"), str(tmp_path), 1 << 60) is Failure.FATAL


def test_an_error_of_the_device_is_a_lack_of_room_where_the_batch_does_not_fit(
    tmp_path: Path,
) -> None:
    assert failure_of(error(errno.EIO), str(tmp_path), 1 << 60) is Failure.NO_ROOM


def test_the_limit_of_a_file_s_size_counts_as_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(bytes(100_000))
    # In a process of its own: the limit would stay with the tests.
    script = (
        "import errno, lmdb, resource, sys; from assetstored import engine\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))\n"
        "print(engine.free_bytes(sys.argv[1]))\n"
        "failed = lmdb.Error('mdb_txn_commit'); failed.code = errno.EIO\n"
        "print(engine.failure_of(failed, sys.argv[1], 0).name)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )

    assert done.stdout.split() == ["50000", "NO_ROOM"]


def test_without_a_limit_the_free_space_is_the_disk_s(tmp_path: Path) -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    disk = os.statvfs(tmp_path)

    free = engine.free_bytes(str(tmp_path))

    assert abs(free - disk.f_bavail * disk.f_frsize) < 1 << 30

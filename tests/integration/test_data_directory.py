"""What the daemon does about a data directory that is not as it should be: at start, and later.

Rule: nothing that was there may be lost: a refused start leaves every file as it is.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.serving import Serving, serve
from tests.support.store import Store, change
from tests.support.strangers import foreign_file, without_privileges
from tests.support.waiting import wait_until

import assetstore
from assetstored import jobs
from assetstored.wal import BLOCK, HALF_BYTES

#: How long a change under a running daemon may go unnoticed, on a busy machine.
NOTICED_S = 4.0

Damage = Callable[[Path], None]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that holds something worth keeping."""
    path = tmp_path_factory.mktemp("sound") / "data"
    make_store(path)
    return path


def make_store(path: Path) -> None:
    with Store(path) as store:
        store.activate("orders")
        for number in range(200):
            store.put("orders", f"key-{number:03}", b'"%s"' % (b"x" * 500))
        store.put("orders", "watermark", b"7")


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory as it is after a kill: the last ten changes are in the log only."""
    path = tmp_path_factory.mktemp("killed") / "data"
    make_store(path)

    async def scenario(serving: Serving) -> None:
        for number in range(10):
            await serving.change(change(jobs.SetKey(1, "watermark", b"%d" % (10 + number), None)))

    assert serve(path, scenario, logs=True) == 0
    return path


@pytest.fixture
def daemon_on_killed(make_daemon: Callable[..., Daemon], killed: Path) -> Daemon:
    """A daemon, not started, on a copy of the directory of a killed one."""
    daemon = make_daemon()
    daemon.set_manifest("orders")
    shutil.copytree(killed, daemon.data_dir)
    return daemon


@pytest.fixture
def daemon_on_copy(make_daemon: Callable[..., Daemon], sound: Path) -> Daemon:
    """A daemon, not started, on a copy of the sound directory."""
    daemon = make_daemon()
    daemon.set_manifest("orders")
    shutil.copytree(sound, daemon.data_dir)
    return daemon


def fingerprint(data_dir: Path) -> dict[str, str]:
    """Every file that matters, by name; not the two locks."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        for path in data_dir.iterdir()
        if path.name not in ("assetstored.lock", "lock.mdb")
    }


def refusal_of(daemon: Daemon) -> str:
    """The last line that a daemon logs which does not start."""
    daemon.launch()
    status = daemon.wait(10.0)
    assert status not in (0, 1), daemon.log_text()
    assert "Traceback" not in daemon.log_text()
    return daemon.log_text().splitlines()[-1]


# --- at start


def remove_data(data_dir: Path) -> None:
    (data_dir / "data.mdb").unlink()


def truncate_data(size_bytes: int) -> Damage:
    def damage(data_dir: Path) -> None:
        os.truncate(data_dir / "data.mdb", size_bytes)

    return damage


def halve_data(data_dir: Path) -> None:
    size_bytes = (data_dir / "data.mdb").stat().st_size
    os.truncate(data_dir / "data.mdb", size_bytes // 2 // 4096 * 4096)


def replace_data_by_text(data_dir: Path) -> None:
    (data_dir / "data.mdb").write_text("these are not the pages you are looking for\n" * 1_000)


def replace_data_by_zeros(data_dir: Path) -> None:
    (data_dir / "data.mdb").write_bytes(bytes((data_dir / "data.mdb").stat().st_size))


def replace_data_by_a_directory(data_dir: Path) -> None:
    remove_data(data_dir)
    (data_dir / "data.mdb").mkdir()


def replace_data_by_that_of_another_store(data_dir: Path) -> None:
    other = data_dir.parent / "other"
    make_store(other)
    shutil.copy(other / "data.mdb", data_dir / "data.mdb")


def replace_data_by_that_of_another_program(data_dir: Path) -> None:
    shutil.copy(foreign_file(data_dir.parent / "foreign", engine=0), data_dir / "data.mdb")


def replace_data_by_that_of_another_engine(data_dir: Path) -> None:
    shutil.copy(foreign_file(data_dir.parent / "newer", engine=1), data_dir / "data.mdb")


def replace_marker_by_that_of_another_store(data_dir: Path) -> None:
    other = data_dir.parent / "other"
    make_store(other)
    shutil.copy(other / "store.json", data_dir / "store.json")


def garble_marker(data_dir: Path) -> None:
    (data_dir / "store.json").write_bytes(b'{"format": 1, "store_id": \xff')


def put_a_later_format_into_the_marker(data_dir: Path) -> None:
    marker = json.loads((data_dir / "store.json").read_text())
    (data_dir / "store.json").write_text(json.dumps({**marker, "format": 2}))


@pytest.mark.parametrize(
    ("damage", "what", "what_to_do"),
    [
        (remove_data, "is missing", "restore the data directory from a backup"),
        (truncate_data(0), "is empty", "restore the data directory from a backup"),
        (truncate_data(1), "is not an LMDB file", "restore"),
        (truncate_data(100), "is not an LMDB file", "restore"),
        (truncate_data(4096), "is damaged", "restore"),
        (truncate_data(8192), "is damaged", "restore"),
        (halve_data, "is damaged", "restore"),
        (replace_data_by_text, "is not an LMDB file", "restore"),
        (replace_data_by_zeros, "is not an LMDB file", "restore"),
        (replace_data_by_a_directory, "is not a regular file", "restore"),
        (replace_data_by_that_of_another_store, "files of two stores are mixed", "restore"),
        (replace_data_by_that_of_another_program, "holds no store", "restore"),
        (replace_data_by_that_of_another_engine, "needs the 0.9 format", "dump it"),
        (replace_marker_by_that_of_another_store, "files of two stores are mixed", "restore"),
        (garble_marker, "store.json cannot be read", "restore"),
        (put_a_later_format_into_the_marker, "of format 2", "use the version of assetstore"),
    ],
)
def test_a_damaged_store_is_refused_with_what_to_do_and_left_as_it_is(
    daemon_on_copy: Daemon, damage: Damage, what: str, what_to_do: str
) -> None:
    damage(daemon_on_copy.data_dir)
    before = fingerprint(daemon_on_copy.data_dir)

    message = refusal_of(daemon_on_copy)

    assert what in message
    assert what_to_do in message
    assert fingerprint(daemon_on_copy.data_dir) == before


# --- the log, at start


def remove_log(data_dir: Path) -> None:
    (data_dir / "data.wal").unlink()


def truncate_log(size_bytes: int) -> Damage:
    def damage(data_dir: Path) -> None:
        os.truncate(data_dir / "data.wal", size_bytes)

    return damage


def write_into_log(at: int, data: bytes) -> Damage:
    def damage(data_dir: Path) -> None:
        with open(data_dir / "data.wal", "r+b") as file:
            file.seek(at)
            file.write(data)

    return damage


def replace_log_by_text(data_dir: Path) -> None:
    (data_dir / "data.wal").write_text("these are not the changes you are looking for\n" * 1_000)


def replace_log_by_a_directory(data_dir: Path) -> None:
    remove_log(data_dir)
    (data_dir / "data.wal").mkdir()


def replace_log_by_that_of_another_store(data_dir: Path) -> None:
    other = data_dir.parent / "other"
    make_store(other)
    shutil.copy(other / "data.wal", data_dir / "data.wal")


@pytest.mark.parametrize(
    ("damage", "what", "what_to_do"),
    [
        (remove_log, "data.wal is missing: it may hold changes", "Put it back, or restore"),
        (truncate_log(0), "its beginning is missing", "restore"),
        (truncate_log(1), "its beginning is missing", "restore"),
        (truncate_log(BLOCK), "it has 4,096 bytes in place of 8,392,704", "restore"),
        (truncate_log(BLOCK + HALF_BYTES), "it has 4,198,400 bytes", "restore"),
        (write_into_log(0, b"x"), "it does not begin as a write-ahead log", "restore"),
        (write_into_log(10, b"x"), "its beginning fails its checksum", "restore"),
        (write_into_log(BLOCK, bytes(BLOCK)), "revision 203 is missing", "restore"),
        (write_into_log(5 * BLOCK + 100, b"xyz"), "revision 207 is missing", "restore"),
        (replace_log_by_text, "it does not begin as a write-ahead log", "restore"),
        (replace_log_by_a_directory, "cannot read", "data.wal"),
        (replace_log_by_that_of_another_store, "it is of store", "restore"),
        (replace_data_by_that_of_another_store, "files of two stores are mixed", "restore"),
        (remove_data, "is missing", "restore"),
    ],
)
def test_a_damaged_log_is_refused_with_what_to_do_and_left_as_it_is(
    daemon_on_killed: Daemon, damage: Damage, what: str, what_to_do: str
) -> None:
    damage(daemon_on_killed.data_dir)
    before = fingerprint(daemon_on_killed.data_dir)

    message = refusal_of(daemon_on_killed)

    assert what in message
    assert what_to_do in message
    assert fingerprint(daemon_on_killed.data_dir) == before


def test_what_a_killed_daemon_had_logged_is_served_by_the_next(daemon_on_killed: Daemon) -> None:
    with daemon_on_killed as daemon, daemon.client() as client:
        assert client.store("orders").get("watermark") == 19
        history = [event.value for event in client.store("orders").history("watermark")]
        assert history == [*range(19, 9, -1), 7]
        assert "made 10 logged changes, up to revision 212" in daemon.log_text()
        client.store("orders").set("watermark", 20)
    assert daemon_on_killed.verify() == []


def test_a_log_that_is_said_to_have_been_empty_is_begun_anew(daemon_on_copy: Daemon) -> None:
    (daemon_on_copy.data_dir / "data.wal").write_text("nothing was logged\n")

    with daemon_on_copy as daemon, daemon.client() as client:
        assert client.store("orders").get("watermark") == 7
        assert "says that nothing was logged: a new log is begun" in daemon.log_text()
        client.store("orders").set("watermark", 8)


@pytest.mark.parametrize("left", ["store.json", "store.json and a part of a new log"])
def test_a_killed_store_that_lost_its_marker_is_served_with_what_was_logged(
    daemon_on_killed: Daemon, left: str
) -> None:
    (daemon_on_killed.data_dir / "store.json").unlink()
    if "part" in left:
        (daemon_on_killed.data_dir / "data.wal.new").write_bytes(bytes(10_000))

    with daemon_on_killed as daemon, daemon.client() as client:
        assert client.store("orders").get("watermark") == 19


def test_a_log_alone_is_no_new_store(daemon_on_killed: Daemon) -> None:
    (daemon_on_killed.data_dir / "store.json").unlink()
    remove_data(daemon_on_killed.data_dir)
    before = fingerprint(daemon_on_killed.data_dir)

    message = refusal_of(daemon_on_killed)

    assert "data.mdb is missing, and" in message
    assert "data.wal holds changes of it; restore" in message
    assert fingerprint(daemon_on_killed.data_dir) == before


# --- without a marker


def test_a_store_that_lost_its_marker_is_served_with_all_it_holds_and_gets_it_back(
    daemon_on_copy: Daemon,
) -> None:
    marker = json.loads((daemon_on_copy.data_dir / "store.json").read_text())
    (daemon_on_copy.data_dir / "store.json").unlink()

    with daemon_on_copy, daemon_on_copy.client() as client:
        assert client.store("orders").get("watermark") == 7

    assert json.loads((daemon_on_copy.data_dir / "store.json").read_text()) == marker


@pytest.mark.parametrize("damage", [replace_data_by_text, halve_data])
def test_a_damaged_store_is_no_new_one_even_without_its_marker(
    daemon_on_copy: Daemon, damage: Damage
) -> None:
    (daemon_on_copy.data_dir / "store.json").unlink()
    damage(daemon_on_copy.data_dir)
    before = fingerprint(daemon_on_copy.data_dir)

    refusal_of(daemon_on_copy)

    assert fingerprint(daemon_on_copy.data_dir) == before


@pytest.mark.parametrize(
    "left",
    [b"", bytes(8192), bytes(16384), bytes(100)],
    ids=["an empty file", "zeros", "more zeros", "less than a page"],
)
def test_what_a_power_cut_leaves_of_a_first_start_is_made_anew(
    make_daemon: Callable[..., Daemon], left: bytes
) -> None:
    daemon = make_daemon()
    daemon.data_dir.mkdir(parents=True)
    (daemon.data_dir / "data.mdb").write_bytes(left)

    with daemon, daemon.client() as client:
        client.store("orders").set("watermark", 1)

    assert daemon.verify() == []


def test_a_directory_without_room_for_permissions_is_made_for_the_daemon_alone(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    with daemon:
        assert daemon.data_dir.stat().st_mode & 0o777 == 0o700
        modes = {path.name: path.stat().st_mode & 0o777 for path in daemon.data_dir.iterdir()}

    files = ["assetstored.lock", "store.json", "data.mdb", "lock.mdb", "data.wal"]
    assert modes == dict.fromkeys(files, 0o600)


def make_read_only(data_dir: Path) -> None:
    (data_dir / "assetstored.lock").unlink(missing_ok=True)
    data_dir.chmod(0o500)


def give_away(data_dir: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    os.chown(data_dir, 65_534, 65_534)
    data_dir.chmod(0o700)


def make_data_unreadable(data_dir: Path) -> None:
    (data_dir / "data.mdb").chmod(0)


@pytest.mark.parametrize("damage", [make_read_only, give_away, make_data_unreadable])
def test_a_directory_that_is_not_the_daemons_is_refused_and_the_message_says_whose_it_must_be(
    tmp_path: Path, sound: Path, damage: Damage
) -> None:
    daemon = Daemon(tmp_path, command=without_privileges())
    daemon.set_manifest("orders")
    shutil.copytree(sound, daemon.data_dir)
    damage(daemon.data_dir)

    message = refusal_of(daemon)
    daemon.close()

    assert f"must belong to uid {os.geteuid()}" in message


def test_a_file_in_the_place_of_the_directory_is_refused(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.data_dir.write_text("precious")

    assert "cannot make the data directory" in refusal_of(daemon)
    assert daemon.data_dir.read_text() == "precious"


def test_a_second_daemon_on_the_same_directory_is_refused_and_the_first_serves_on(
    daemon: Daemon, client: assetstore.Client, tmp_path: Path
) -> None:
    second = Daemon(tmp_path / "second")
    second.data_dir = daemon.data_dir
    second.manifest = daemon.manifest
    client.store("orders").set("watermark", 1)
    assert daemon.process is not None

    message = refusal_of(second)
    second.close()

    assert f"process {daemon.process.pid} has {daemon.data_dir}" in message
    assert "stop it first" in message
    assert client.store("orders").set("watermark", 2) > 0
    assert client.store("orders").get("watermark") == 2


# --- under a running daemon


class Load(threading.Thread):
    """A writer that goes on until it is told that the daemon has ended, and knows what was
    acknowledged, and when."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self._daemon = daemon
        self.acknowledged = 0
        self.last_s = 0.0
        self.is_over = threading.Event()

    def run(self) -> None:
        with self._daemon.client(timeout=0.5) as client:
            store = client.store("orders")
            while not self.is_over.is_set():
                # On a busy machine a change may take longer, with nothing wrong.
                with contextlib.suppress(assetstore.AssetStoreError):
                    store.set("counter", self.acknowledged + 1)
                    self.acknowledged += 1
                    self.last_s = time.monotonic()


def unlink_data(data_dir: Path) -> None:
    (data_dir / "data.mdb").unlink()


def unlink_lock(data_dir: Path) -> None:
    (data_dir / "lock.mdb").unlink()


def replace_data(data_dir: Path) -> None:
    shutil.copy(data_dir / "data.mdb", data_dir / "copy")
    (data_dir / "copy").rename(data_dir / "data.mdb")


def replace_log(data_dir: Path) -> None:
    shutil.copy(data_dir / "data.wal", data_dir / "copy")
    (data_dir / "copy").rename(data_dir / "data.wal")


def remove_directory(data_dir: Path) -> None:
    shutil.rmtree(data_dir)


def move_directory(data_dir: Path) -> None:
    data_dir.rename(data_dir.with_name("elsewhere"))


CHANGES = [
    unlink_data,
    unlink_lock,
    replace_data,
    remove_log,
    replace_log,
    remove_directory,
    move_directory,
    truncate_data(0),
    truncate_data(8192),
    halve_data,
    truncate_log(0),
    truncate_log(BLOCK),
    truncate_log(BLOCK + HALF_BYTES),
]


@pytest.mark.parametrize(
    ("damage", "loaded"),
    # Without load nobody but the clock finds out.
    [
        *((damage, True) for damage in CHANGES),
        *((damage, False) for damage in (unlink_lock, halve_data, remove_log)),
    ],
)
def test_files_that_change_under_the_daemon_end_it_and_nothing_is_acknowledged_after_that(
    daemon_on_copy: Daemon, damage: Damage, loaded: bool
) -> None:
    daemon = daemon_on_copy.start()
    load = Load(daemon)
    if loaded:
        load.start()
    try:
        if loaded:
            wait_until(lambda: load.acknowledged, 20.0, "a change to be acknowledged")
        before = time.monotonic()
        damage(daemon.data_dir)

        status = daemon.wait(10.0)
        took_s = time.monotonic() - before
    finally:
        load.is_over.set()
        if loaded:
            load.join()

    assert status != 0
    assert took_s < NOTICED_S
    assert load.last_s <= before + took_s
    log = daemon.log_text()
    # LMDB reads the file as memory, so a page that is no longer there is a SIGBUS.
    assert "were removed or replaced while in use" in log or "cut off" in log or "Bus error" in log

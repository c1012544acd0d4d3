"""Disks that are full or fail: what is refused, what is fatal, and that nothing promised is lost.

Rule: the faults are the kernel's own (a small file system, a limit, strace's injections); no part
of the daemon is made to pretend.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.endings import strace
from tests.support.inspect_store import inspect
from tests.support.serving import failing_calls
from tests.support.tiny_disk import tiny_disk
from tests.support.waiting import wait_until

import assetstore
from assetstore import AssetStoreError, OutcomeUnknown, StoreFull

VALUE = "x" * 100_000

#: The write-ahead log, and as much again.
SMALL_MIB = 17

#: Changes are logged only where the disk has more room than 64 MiB.
ROOMY_MIB = 96


class Disk:
    """A small file system of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def resize(self, size_mib: int) -> None:
        """As when somebody makes room, or takes it."""
        _mount("-o", f"remount,size={size_mib}m", str(self.path))

    def take_the_rest(self) -> None:
        """Nothing is left."""
        info = os.statvfs(self.path)
        used_kib = (info.f_blocks - info.f_bfree) * info.f_frsize // 1024
        _mount("-o", f"remount,size={used_kib}k", str(self.path))

    def fill(self) -> Path:
        """Somebody else's file takes what is left."""
        path = self.path / "somebody-elses"
        with path.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return path


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with tiny_disk(tmp_path / "disk", SMALL_MIB << 20) as path:
        yield Disk(path)


@pytest.fixture
def daemon_on_disk(make_daemon: Callable[..., Daemon], disk: Disk) -> Daemon:
    """A daemon, not started, with its data, and nothing else of it, on the small disk."""
    daemon = make_daemon(grace="0s", sweep_interval="100ms")
    daemon.data_dir = disk.path / "data"
    return daemon


def fill_store(client: assetstore.Client, value: str = VALUE) -> tuple[int, StoreFull]:
    """Write until there is no more room; returns how many there are, and the refusal."""
    store = client.store("orders")
    for number in range(10_000):
        try:
            store.set(f"key-{number}", value)
        except StoreFull as exc:
            return number, exc
    raise AssertionError("the store never got full")


def is_writable(client: assetstore.Client) -> bool:
    try:
        client.store("orders").set("again", VALUE)
    except StoreFull:
        return False
    return True


def test_on_a_full_disk_writes_are_refused_reads_go_on_and_writes_resume_by_themselves(
    daemon_on_disk: Daemon, disk: Disk
) -> None:
    daemon = daemon_on_disk
    with daemon, daemon.client() as client:
        held, refused = fill_store(client)
        before = client.status()["revision"]

        assert held > 30
        assert set(refused.detail) == {"free_bytes", "needed_bytes"}
        assert refused.detail["free_bytes"] < refused.detail["needed_bytes"] + (1 << 20)
        assert f"{refused.detail['free_bytes']:,} bytes are free" in str(refused)
        assert "reads go on" in str(refused)
        for number in range(held):
            assert client.store("orders").get(f"key-{number}") == VALUE
        assert client.store("orders").get(f"key-{held}") is None
        for _ in range(20):
            assert not is_writable(client)
        assert client.status()["revision"] == before
        assert any("bytes are free" in problem for problem in client.status()["problems"])

        disk.resize(64)

        assert is_writable(client)
        assert client.store("orders").get("again") == VALUE
    assert inspect(daemon.data_dir).problems == []
    assert "Traceback" not in daemon.log_text()


def test_on_a_full_disk_a_clear_makes_room_once_the_sweep_has_dropped_what_was_cleared(
    daemon_on_disk: Daemon,
) -> None:
    with daemon_on_disk as daemon, daemon.client() as client:
        held, _ = fill_store(client)
        store = client.store("orders")

        # What a change needs beside the values is little, and may just fit, or may be made to.
        wait_until(lambda: delete_one(store, held), 10.0, "an entry to be deleted")
        wait_until(lambda: clear(store), 10.0, "the store to be cleared")
        wait_until(lambda: is_writable(client), 20.0, "the sweep to have made room")
    assert inspect(daemon.data_dir).problems == []


def delete_one(store: assetstore.Store, held: int) -> bool:
    try:
        return any(store.delete(f"key-{number}") for number in range(held))
    except StoreFull:
        return False


def clear(store: assetstore.Store) -> bool:
    try:
        store.clear()
    except StoreFull:
        return False
    return True


def test_a_manifest_that_the_disk_has_no_room_for_is_applied_when_there_is_room(
    daemon_on_disk: Daemon, disk: Disk
) -> None:
    with daemon_on_disk as daemon, daemon.client() as client:
        filler = disk.fill()
        assets = [f"asset-{number}" for number in range(5_000)]

        status = daemon.activate("orders", "customers", *assets)

        assert status["manifest"]["state"] == "unapplied"
        assert "bytes are free" in status["manifest"]["reason"]
        assert client.store("orders").count() == 0
        filler.unlink()
        wait_until(lambda: daemon.status()["manifest"]["state"] == "accepted", 20.0, "the manifest")
        assert daemon.status()["assets_active"] == 5_002
    assert inspect(daemon.data_dir).problems == []
    assert "Traceback" not in daemon.log_text()


def test_a_store_on_a_full_disk_starts_and_is_read(daemon_on_disk: Daemon, disk: Disk) -> None:
    daemon = daemon_on_disk
    with daemon.start().client() as client:
        client.store("orders").set("watermark", 1)
    daemon.stop()
    filler = disk.fill()

    # With a manifest to apply, too, which there is no room for.
    daemon.set_manifest("orders", "customers", *(f"asset-{number}" for number in range(5_000)))
    daemon.start()

    with daemon.client() as client:
        assert client.store("orders").get("watermark") == 1
        filler.unlink()
        wait_until(lambda: is_writable(client), 10.0, "room to write")
    assert "Traceback" not in daemon.log_text()


def test_a_new_store_on_a_full_disk_is_refused_with_the_reason_and_made_when_there_is_room(
    daemon_on_disk: Daemon, disk: Disk
) -> None:
    filler = disk.fill()
    daemon_on_disk.launch()

    assert daemon_on_disk.wait() not in (0, 1), daemon_on_disk.log_text()
    assert "No space left on device" in daemon_on_disk.log_text()
    assert "Traceback" not in daemon_on_disk.log_text()
    filler.unlink()
    with daemon_on_disk, daemon_on_disk.client() as client:
        assert client.store("orders").set("watermark", 1)


# --- a disk that gets full under what is logged

#: The journal has them too: together more than the log takes before a checkpoint.
LOGGED = 80
LOGGED_VALUE = "x" * 30_000


@pytest.fixture
def client_of_full_disk(daemon_on_disk: Daemon, disk: Disk) -> Iterator[assetstore.Client]:
    """A client of a daemon that has logged more than the disk has room for in the data file."""
    disk.resize(ROOMY_MIB)
    with daemon_on_disk as daemon, daemon.client(timeout=5.0) as client:
        client.store("orders").set("watermark", 0)
        writer_pid = daemon.status()["writer_pid"]
        os.kill(writer_pid, signal.SIGSTOP)
        try:
            for number in range(LOGGED):
                client.store("orders").set(f"logged-{number}", LOGGED_VALUE)
            disk.take_the_rest()
        finally:
            os.kill(writer_pid, signal.SIGCONT)
        yield client


def check_that_all_logged_is_shown(client: assetstore.Client) -> None:
    store = client.store("orders")
    assert store.count("logged-") == LOGGED
    assert all(store.get(f"logged-{number}") == LOGGED_VALUE for number in range(LOGGED))


def test_where_there_is_no_room_for_what_is_logged_it_is_read_and_nothing_more_is_taken(
    client_of_full_disk: assetstore.Client, daemon_on_disk: Daemon, disk: Disk
) -> None:
    client, daemon = client_of_full_disk, daemon_on_disk
    wait_until(lambda: not is_writable(client), 5.0, "the disk to be known to be full")
    before = client.status()["revision"]

    for _ in range(20):
        with pytest.raises(StoreFull) as refused:
            client.store("orders").set("again", VALUE)
        assert set(refused.value.detail) == {"free_bytes", "needed_bytes"}
    with pytest.raises(StoreFull):
        client.store("orders").clear()
    assert client.status()["revision"] == before
    check_that_all_logged_is_shown(client)
    assert any("bytes are free" in problem for problem in client.status()["problems"])

    disk.resize(ROOMY_MIB)

    wait_until(lambda: is_writable(client), 5.0, "writes to resume by themselves")
    check_that_all_logged_is_shown(client)
    daemon.stop()
    found = inspect(daemon.data_dir)
    assert found.problems == []
    assert len(found.active["orders"]) == LOGGED + 2
    assert "Traceback" not in daemon.log_text()


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_what_was_logged_before_the_disk_was_full_is_there_when_there_is_room_again(
    client_of_full_disk: assetstore.Client, daemon_on_disk: Daemon, disk: Disk, end: str
) -> None:
    daemon = daemon_on_disk
    wait_until(lambda: not is_writable(client_of_full_disk), 5.0, "it to be known to be full")
    getattr(daemon, end)()
    daemon.launch()

    assert daemon.wait() not in (0, 1)
    assert "logged changes cannot be brought into the data file: no room" in daemon.log_text()
    disk.resize(ROOMY_MIB)
    daemon.start()

    check_that_all_logged_is_shown(client_of_full_disk)
    assert "Traceback" not in daemon.log_text()


def test_a_limit_on_the_size_of_files_is_as_a_full_disk(tmp_path: Path) -> None:
    # In the place of LimitFSIZE= of a unit. Of 512 bytes, says POSIX.
    limited = ["sh", "-c", 'ulimit -f 20480; exec "$@"', "sh", sys.executable, "-m", "assetstored"]
    daemon = Daemon(tmp_path, command=limited)
    daemon.set_manifest("orders")
    with daemon, daemon.client() as client:
        held, refused = fill_store(client)

        assert held > 10
        assert refused.detail["free_bytes"] < 1 << 20
        assert not is_writable(client)
        for number in range(held):
            assert client.store("orders").get(f"key-{number}") == VALUE
    assert inspect(daemon.data_dir).problems == []


# --- a disk that fails

#: What the daemon says that cannot tell what is on disk.
GIVING_UP = re.compile(
    r"giving up: (commit failed|the write-ahead log cannot be (written|synced)): "
)


@pytest.mark.parametrize(
    "fault",
    [
        "fdatasync:error=EIO:when=6",
        # The first nine are those of the new log.
        "pwrite64:error=EIO:when=15",
        "writev,pwritev:error=EIO:when=4",
    ],
)
def test_a_failing_disk_ends_the_daemon_and_costs_nothing_that_was_acknowledged(
    tmp_path: Path, fault: str
) -> None:
    with closing(daemon_with(fault, tmp_path)) as failing:
        acknowledged, failure = write_until_it_fails(failing, 200)
        status = failing.wait(10.0)

    assert isinstance(failure, OutcomeUnknown | assetstore.NotConnected)
    assert status == os.EX_IOERR
    assert GIVING_UP.search(failing.log_text())
    check_that_it_holds(tmp_path, acknowledged)


@pytest.mark.parametrize("process", ["pid", "syncer_pid"])
def test_where_the_log_cannot_be_synced_nothing_is_acknowledged_and_the_daemon_ends(
    daemon: Daemon, process: str
) -> None:
    with daemon.client() as client:
        client.store("orders").set("counter", 0)
    with failing_calls(daemon.status()[process], "fdatasync"):
        # Whether others wait decides which process syncs, and so does a slow sync.
        acknowledged, failure = count_until_it_fails(daemon, 300)
        assert daemon.wait() == os.EX_IOERR

    assert isinstance(failure, OutcomeUnknown | assetstore.NotConnected)
    assert GIVING_UP.search(daemon.log_text())
    check_that_it_holds(daemon.root, acknowledged)


@pytest.mark.parametrize(
    "fault",
    [
        "pwrite64:error=ENOSPC:when=15",
        "writev,pwritev:error=ENOSPC:when=4..7",
        "fdatasync:error=ENOSPC:when=6",
    ],
)
def test_a_lack_of_space_at_any_point_is_refused_or_fatal_and_costs_nothing(
    tmp_path: Path, fault: str
) -> None:
    with closing(daemon_with(fault, tmp_path)) as failing:
        acknowledged, failure = write_until_it_fails(failing, 20)
        assert failure is not None
        if isinstance(failure, StoreFull):
            with failing.client() as client:
                assert client.store("orders").get("counter", 0) == acknowledged
                wait_until(lambda: is_writable(client), 10.0, "it to be writable again")
        else:
            assert failing.wait(10.0) == os.EX_IOERR
    check_that_it_holds(tmp_path, acknowledged)


@pytest.mark.parametrize("number", [2, 3])
def test_a_disk_that_fails_while_the_daemon_starts_ends_it_too(tmp_path: Path, number: int) -> None:
    with closing(daemon_with(f"fdatasync:error=EIO:when={number}+", tmp_path)) as failing:
        assert failing.wait(10.0) == os.EX_IOERR
        assert "giving up: commit failed" in failing.log_text()

    check_that_it_holds(tmp_path, 0)


def daemon_with(fault: str, root: Path) -> Daemon:
    """A daemon whose system calls fail; it has been launched, and may even get ready."""
    daemon = Daemon(root, command=[*strace(fault), sys.executable, "-m", "assetstored"])
    daemon.set_manifest("orders")
    daemon.launch()
    return daemon


def write_until_it_fails(daemon: Daemon, most: int) -> tuple[int, AssetStoreError | None]:
    daemon.wait_for("READY=1")
    return count_until_it_fails(daemon, most)


def count_until_it_fails(daemon: Daemon, most: int) -> tuple[int, AssetStoreError | None]:
    acknowledged = 0
    with daemon.client(timeout=2.0) as client:
        for number in range(1, most + 1):
            try:
                client.store("orders").set("counter", number)
            except AssetStoreError as exc:
                return acknowledged, exc
            acknowledged = number
    return acknowledged, None


def check_that_it_holds(root: Path, acknowledged: int) -> None:
    """The store is whole and shows the last acknowledged write, or the one that failed."""
    found = inspect(root / "data")
    assert found.problems == []
    value = found.active.get("orders", {}).get("counter", (0, 0))[0]
    assert value in (acknowledged, acknowledged + 1)
    daemon = Daemon(root)
    with daemon, daemon.client() as client:
        assert client.store("orders").get("counter", 0) == value
        assert client.store("orders").set("counter", 1_000) > 0


def test_on_a_full_disk_the_same_assets_in_another_file_are_accepted_all_the_same(
    daemon_on_disk: Daemon, disk: Disk
) -> None:
    daemon = daemon_on_disk
    with daemon, daemon.client() as client:
        disk.fill()
        fill_store(client, "x")
        before = client.status()["manifest"]
        daemon.manifest.write_bytes(daemon.manifest.read_bytes() + b"\n")

        assert client.reload_manifest()["manifest"] == before
        assert before["state"] == "accepted"

"""Backups of a running and of a stopped daemon, made by the command and by its program."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.command import Cli, Ran
from tests.support.daemon import Daemon
from tests.support.inspect_store import Contained, inspect
from tests.support.tiny_disk import tiny_disk

from assetstored import datadir

KILLS = amount(8, whole=100)


def held_by(backup: Path, asset: str = "orders") -> Contained:
    """What an asset has in a backup, which must be sound and as a daemon would have it."""
    assert sorted(file.name for file in backup.iterdir()) == ["data.mdb", "data.wal", "store.json"]
    assert {file.stat().st_mode & 0o777 for file in backup.iterdir()} == {0o600}
    assert backup.stat().st_mode & 0o777 == 0o700
    found = inspect(backup)
    assert found.problems == []
    return found.active[asset]


def offline(*arguments: str | Path) -> subprocess.Popen[bytes]:
    """The program that makes them, under way."""
    return subprocess.Popen(
        [sys.executable, "-m", "assetstored.offline", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
    )


def back_up(daemon: Daemon, *arguments: str | Path) -> Ran:
    return Cli(daemon.socket)("backup", *map(str, arguments))


def fill(daemon: Daemon, count: int = 200, size_bytes: int = 20_000) -> None:
    """So much that a copy takes a moment."""
    with daemon.client() as client:
        store = client.store("orders")
        for first in range(0, count, 20):
            store.set_many({f"big{n}": "x" * size_bytes for n in range(first, first + 20)})


@contextmanager
def writing(daemon: Daemon) -> Iterator[dict[str, int]]:
    """Somebody sets key after key meanwhile; what was acknowledged is in the dict, at once."""
    acknowledged: dict[str, int] = {}
    is_over = threading.Event()

    def write() -> None:
        with daemon.client() as client:
            store = client.store("orders")
            n = 0
            while not is_over.is_set():
                n += 1
                store.set(f"k{n % 5_000}", n)
                acknowledged[f"k{n % 5_000}"] = n

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield acknowledged
    finally:
        is_over.set()
        writer.join()


def test_a_backup_under_load_has_all_that_was_acknowledged_before_it(
    daemon: Daemon, tmp_path: Path
) -> None:
    fill(daemon)
    with writing(daemon) as acknowledged:
        for turn in range(3):
            before = dict(acknowledged)
            ran = back_up(daemon, "--json", tmp_path / f"b{turn}")
            assert ran.code == 0, ran.err
            [made] = ran.records
            assert made["path"] == str(tmp_path / f"b{turn}")

            held = held_by(tmp_path / f"b{turn}")
            assert {key for key, value in before.items() if held[key][0] < value} == set()
            assert inspect(tmp_path / f"b{turn}").revision == made["revision"]


def test_a_daemon_serves_a_copy_of_a_backup(
    daemon: Daemon, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    with daemon.client() as client:
        client.store("orders").set("k", {"a": 1})
        entry = client.store("orders").entry("k")
    assert back_up(daemon, tmp_path / "b").code == 0
    other = make_daemon("other")
    shutil.copytree(tmp_path / "b", other.data_dir)

    with other.start().client() as client:
        assert client.store("orders").entry("k") == entry
        client.store("orders").set("k", 2)
    assert other.status()["store_id"] == daemon.status()["store_id"]


def test_a_backup_leaves_out_what_is_free_in_the_data_file(daemon: Daemon, tmp_path: Path) -> None:
    fill(daemon)
    with daemon.client() as client:
        client.store("orders").clear()
        client.purge([store.id for store in client.trash()])
        client.store("orders").set("k", 1)

    [made] = back_up(daemon, "--json", tmp_path / "b").records

    assert (tmp_path / "b/data.mdb").stat().st_size < daemon.status()["data_bytes"]
    assert made["size_bytes"] == sum(file.stat().st_size for file in (tmp_path / "b").iterdir())


def test_with_keep_the_last_ones_of_this_store_are_left(daemon: Daemon, tmp_path: Path) -> None:
    others = tmp_path / "backups"
    (others / "20010101T000000.000000Z").mkdir(parents=True)
    (others / "mine").mkdir()
    made = []
    for turn in range(4):
        with daemon.client() as client:
            client.store("orders").set("turn", turn)
        ran = back_up(daemon, "--json", "--keep", "2", others)
        assert ran.code == 0, ran.err
        [record] = ran.records
        made.append(record["path"])
        assert record["removed"] == made[max(turn - 2, 0) : max(turn - 1, 0)]

    # What is no backup, or not of this store, stays.
    assert sorted(map(str, others.iterdir())) == sorted(
        [str(others / "20010101T000000.000000Z"), str(others / "mine"), *made[2:]]
    )
    assert [held_by(Path(path))["turn"][0] for path in made[2:]] == [2, 3]


def test_nothing_that_is_there_is_written_over(daemon: Daemon, tmp_path: Path) -> None:
    assert back_up(daemon, tmp_path / "b").code == 0
    before = (tmp_path / "b/data.mdb").read_bytes()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to("nowhere")

    for dest, code, says in (
        (tmp_path / "b", 1, "is there already"),
        (tmp_path / "file", 1, "is there already"),
        (tmp_path / "no/such", 1, "is no directory; make it first"),
        (tmp_path / "empty", 0, ""),
        (daemon.data_dir / "b", 1, "is in the data directory itself"),
        (daemon.data_dir, 1, "is in the data directory itself"),
    ):
        ran = back_up(daemon, dest)
        assert (ran.code, says in ran.err) == (code, True), ran.err
    for dest, says in (
        (tmp_path / "b", "is a backup"),
        (tmp_path / "file", "is no directory; with --keep name the one"),
        (tmp_path / "link", "is no directory; with --keep name the one"),
        (daemon.data_dir / "dated", "is in the data directory itself"),
    ):
        ran = back_up(daemon, "--keep", "3", dest)
        assert (ran.code, says in ran.err) == (1, True), ran.err
    assert sorted(path.name for path in daemon.data_dir.iterdir() if path.is_dir()) == []

    assert (tmp_path / "b/data.mdb").read_bytes() == before
    assert (tmp_path / "file").read_text() == "mine"
    assert hidden_in(tmp_path) == []


def hidden_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name.startswith(".")]


def test_killed_at_any_moment_it_leaves_whole_backups_only(
    daemon: Daemon, tmp_path: Path, seed: int
) -> None:
    fill(daemon)
    with daemon.client() as client:
        revision = client.checkpoint()
    chance = random.Random(seed)
    dest = tmp_path / "backups"
    arguments = ("backup", "--data-dir", daemon.data_dir, f"--served-up-to={revision}", "--keep=3")
    seen = set()
    for number in (signal.SIGKILL, signal.SIGTERM):
        for _ in range(KILLS // 2):
            with offline(*arguments, dest) as program:
                with suppress(subprocess.TimeoutExpired):
                    program.wait(chance.uniform(0.2, 1.0))
                program.send_signal(number)
            for path in dest.iterdir() if dest.exists() else ():
                if not path.name.startswith(".") and path not in seen:
                    assert len(held_by(path)) == 200
                    seen.add(path)

    assert back_up(daemon, "--keep", "3", dest).code == 0

    assert hidden_in(dest) == []
    assert 1 <= len(list(dest.iterdir())) <= 3


def test_interrupted_it_leaves_nothing_at_all(daemon: Daemon, tmp_path: Path) -> None:
    fill(daemon, count=1_000)
    dest = tmp_path / "there"
    dest.mkdir()
    with Cli(daemon.socket).terminal("backup", str(dest / "b")) as terminal:
        terminal.read_until("copy ")
        terminal.press("\x03")
        ran = terminal.end()

    # It may have been quicker than who pressed the keys.
    left = [path.name for path in dest.iterdir()]
    assert (ran.code, left) in ((130, []), (0, ["b"]))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB of its own."""
    with tiny_disk(tmp_path / "disk", 8 << 20) as place:
        yield place


def test_on_a_full_disk_no_backup_is_made_and_older_ones_stay(
    daemon: Daemon, small_disk: Path
) -> None:
    older = small_disk / "20010101T000000.000000Z"
    older.mkdir()
    marker = (daemon.data_dir / "store.json").read_bytes()
    (older / "store.json").write_bytes(marker)
    fill(daemon, count=600)

    ran = back_up(daemon, "--keep", "1", small_disk)

    assert ran.code == 1
    assert "No space left on device; make room on its disk" in ran.err
    assert [path.name for path in small_disk.iterdir()] == [older.name]
    assert daemon.status()["health"] == "ok"


def test_of_a_stopped_daemon_what_is_only_in_its_log_is_in_the_backup_too(
    daemon: Daemon, tmp_path: Path
) -> None:
    with daemon.client() as client:
        client.store("orders").set("first", 1)
    os.kill(daemon.status()["writer_pid"], signal.SIGSTOP)
    with daemon.client() as client:
        client.store("orders").set("logged", 2)
    writer = daemon.status()["writer_pid"]
    daemon.kill()
    os.kill(writer, signal.SIGKILL)
    before = {file.name: file.read_bytes() for file in stored_files(daemon)}

    ran = back_up(daemon, "--data-dir", daemon.data_dir, tmp_path / "b")

    assert ran.code == 0, ran.err
    assert {key: value for key, (value, _) in held_by(tmp_path / "b").items()} == {
        "first": 1,
        "logged": 2,
    }
    assert {file.name: file.read_bytes() for file in stored_files(daemon)} == before
    with daemon.start().client() as client:
        assert client.store("orders").get("logged") == 2


def stored_files(daemon: Daemon) -> list[Path]:
    return [daemon.data_dir / name for name in ("data.mdb", "data.wal", "store.json")]


def test_without_a_daemon_it_says_how_and_with_one_it_is_not_gone_around(
    daemon: Daemon, tmp_path: Path
) -> None:
    ran = back_up(daemon, "--data-dir", daemon.data_dir, tmp_path / "b")
    assert (ran.code, "stop it first" in ran.err) == (1, True)

    daemon.stop()

    assert back_up(daemon, tmp_path / "b").code == 4
    assert back_up(daemon, "--data-dir", tmp_path, tmp_path / "b").code == 1
    assert not (tmp_path / "b").exists()


def test_a_damaged_store_is_backed_up_only_where_that_is_wanted(
    daemon: Daemon, tmp_path: Path
) -> None:
    fill(daemon, count=20)
    assert back_up(daemon, "--keep", "1", tmp_path / "b").code == 0
    daemon.stop()
    damage(daemon.data_dir)
    daemon.damaged.append("its record fails its checksum")

    for options, code, count in ((), 1, 1), (("--allow-damage",), 0, 2):
        ran = back_up(
            daemon, "--keep", "1", *options, "--data-dir", daemon.data_dir, tmp_path / "b"
        )
        assert (ran.code, "damaged" in ran.err) == (code, True), ran.err
        assert len(list((tmp_path / "b").iterdir())) == count


def damage(data_dir: Path) -> None:
    """Change one byte within the value of an entry."""
    path = data_dir / datadir.DATA_FILE
    data = bytearray(path.read_bytes())
    data[data.index(b'"' + b"x" * 5_000) + 4_000] ^= 1
    path.write_bytes(data)

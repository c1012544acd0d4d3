"""A backup in the place of what a stopped daemon has, and what its clients see of that."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.amount import amount
from tests.support.command import Cli, Ran
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect

from assetstore import Compacted, Conflict

KILLS = amount(6, whole=60)

NOBODY = 65534


def run(daemon: Daemon, *arguments: str | Path) -> Ran:
    return Cli(daemon.socket)(*map(str, arguments))


def back_up(daemon: Daemon, dest: Path) -> Path:
    ran = run(daemon, "backup", dest)
    assert ran.code == 0, ran.err
    return dest


def restore(daemon: Daemon, source: Path, *arguments: str) -> Ran:
    return run(daemon, "restore", "--yes", "--data-dir", daemon.data_dir, *arguments, source)


def restored(daemon: Daemon, source: Path) -> dict[str, Any]:
    """Restore it, and say what became of it."""
    ran = restore(daemon, source, "--json")
    assert ran.code == 0, ran.err
    [record] = ran.records
    return record


def set_all(daemon: Daemon, **values: object) -> dict[str, int]:
    """Set keys of orders; returns their revisions."""
    with daemon.client() as client:
        return {key: client.store("orders").set(key, value) for key, value in values.items()}


def test_a_restored_store_is_as_it_was_and_what_it_replaced_is_kept(
    daemon: Daemon, tmp_path: Path
) -> None:
    set_all(daemon, a=1, b=2)
    with daemon.client() as client:
        before = {key: client.store("orders").entry(key) for key in ("a", "b")}
    source = back_up(daemon, tmp_path / "backup")
    lost = set_all(daemon, a="later", c="later")
    store_id = daemon.status()["store_id"]
    daemon.stop()

    record = restored(daemon, source)

    with daemon.start().client() as client:
        store = client.store("orders")
        assert {key: store.entry(key) for key in store} == before
        # Never again one that was given out, whatever was known of it.
        assert store.set("d", 1) > record["goes_on_after"] > max(lost.values())
        assert [event.value for event in store.history("a")] == [1]
    assert daemon.status()["store_id"] == store_id
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []
    aside = inspect(Path(record["aside"]))
    assert aside.problems == []
    assert {key: value for key, (value, _) in aside.active["orders"].items()} == {
        "a": "later",
        "b": 2,
        "c": "later",
    }

    # The way back, and forward again: revisions only ever grow.
    back = restored(daemon, Path(record["aside"]))
    with daemon.start().client() as client:
        assert client.store("orders").get("c") == "later"
    assert back["goes_on_after"] > record["goes_on_after"]


def test_who_has_seen_what_a_restore_lost_is_told(daemon: Daemon, tmp_path: Path) -> None:
    kept = set_all(daemon, a=1)["a"]
    source = back_up(daemon, tmp_path / "backup")
    lost = set_all(daemon, a=2, b=3)
    daemon.stop()
    record = restored(daemon, source)
    daemon.start()

    with daemon.client() as client:
        store = client.store("orders")
        asks: list[Callable[[], object]] = [
            lambda: next(iter(store.watch(since=lost["b"] + 1))),
            lambda: store.get("a", at=lost["a"]),
            lambda: store.rewind(to=lost["a"]),
        ]
        for ask in asks:
            with pytest.raises(Compacted, match="restored from a backup"):
                ask()
        with pytest.raises(Conflict):
            store.set("a", 9, if_revision=lost["a"])
        assert store.get("a", at=kept) == 1
        assert store.get("a", at=record["goes_on_after"]) == 1

        # Who has seen no more than is in the backup goes on, and misses nothing.
        [first, second] = [store.set(key, 4) for key in ("a", "b")]
        for since in (kept + 1, record["goes_on_after"] + 1):
            events = iter(store.watch(since=since))
            assert [next(events).revision, next(events).revision] == [first, second]
        assert [event.revision for event in store.history("a")] == [first, kept]


def test_the_time_between_a_backup_and_its_restore_is_not_known(
    daemon: Daemon, tmp_path: Path
) -> None:
    set_all(daemon, a=1)
    source = back_up(daemon, tmp_path / "backup")
    between = set_all(daemon, a=2)
    with daemon.client() as client:
        moment = client.store("orders").entry("a").updated_at  # type: ignore[union-attr]
    daemon.stop()
    restored(daemon, source)
    daemon.start()

    with daemon.client() as client:
        store = client.store("orders")
        with pytest.raises(Compacted, match="restored from a backup"):
            store.get("a", at=moment)
        assert store.get("a", at=datetime.now(UTC)) == 1
    assert between


def test_a_change_that_is_in_the_backup_is_not_carried_out_again(
    daemon: Daemon, tmp_path: Path
) -> None:
    with daemon.client() as client:
        client.store("orders").increment("n")
        source = back_up(daemon, tmp_path / "backup")
        daemon.stop()
        restored(daemon, source)
        daemon.start()
        # The client of before goes on with the daemon of after.
        assert client.store("orders").increment("n") == 2


def test_it_asks_and_does_nothing_without_a_yes(daemon: Daemon, tmp_path: Path) -> None:
    set_all(daemon, a=1)
    source = back_up(daemon, tmp_path / "backup")
    daemon.stop()
    before = snapshot(daemon.data_dir)

    assert run(daemon, "restore", "--data-dir", daemon.data_dir, source).code == 2
    for answer, code in (("n\n", 1), ("y\n", 0)):
        arguments = ("restore", "--data-dir", str(daemon.data_dir), str(source))
        with Cli(daemon.socket).terminal(*arguments) as terminal:
            assert "It takes the place of store" in terminal.read_until("Go on? [y/N] ")
            assert snapshot(daemon.data_dir) == before
            terminal.press(answer)
            assert terminal.end().code == code
    assert snapshot(daemon.data_dir) != before


def snapshot(data_dir: Path) -> dict[str, bytes]:
    """What is in the files of a store."""
    return {name: (data_dir / name).read_bytes() for name in ("data.mdb", "data.wal", "store.json")}


def test_what_cannot_be_restored_is_refused_and_changes_nothing(
    daemon: Daemon, tmp_path: Path
) -> None:
    set_all(daemon, a=1)
    source = back_up(daemon, tmp_path / "backup")
    dated = tmp_path / "dated"
    assert run(daemon, "backup", "--keep", "2", dated).code == 0
    assert "stop it first" in restore(daemon, source).err  # a daemon runs
    other = tmp_path / "other"
    other.mkdir()
    (tmp_path / "file").write_text("mine")

    running = Daemon(tmp_path / "running")
    running.set_manifest("orders")
    with running:
        daemon.stop()
        before = snapshot(daemon.data_dir)
        for wrong, says in (
            (tmp_path / "nothing", "is no directory"),
            (tmp_path / "file", "is no directory"),
            (other, "is no backup: it has no store.json"),
            (dated, f"there are 1 in it, the last is {next(dated.iterdir())}"),
            (daemon.data_dir, "is the data directory itself"),
            (running.data_dir, "a daemon serves"),
            (without(source, "data.wal"), "is no whole backup: it has no data.wal"),
            (without(source, "data.mdb"), "is no whole backup: it has no data.mdb"),
            (broken(source, "store.json", 0), "cannot be read"),
            (broken(source, "data.mdb", 0), "is not an LMDB file"),
            (broken(source, "data.wal", 0), "is damaged"),
            (broken(source, "data.mdb", 2), "is damaged"),
            (of_another_store(source, running.data_dir), "is damaged"),
        ):
            ran = restore(daemon, wrong)
            assert (ran.code, says in ran.err) == (1, True), (wrong, ran.err)
            assert snapshot(daemon.data_dir) == before
    assert [path.name for path in tmp_path.iterdir() if "before" in path.name] == []
    assert [path.name for path in daemon.data_dir.iterdir() if path.name.startswith(".")] == []
    daemon.start()


def without(source: Path, name: str) -> Path:
    copy = Path(shutil.copytree(source, source.with_name(f"without-{name}")))
    (copy / name).unlink()
    return copy


def broken(source: Path, name: str, part: int) -> Path:
    """A copy one page of which is overwritten, or of the small pages all but the first two."""
    copy = Path(shutil.copytree(source, source.with_name(f"broken-{name}-{part}")))
    data = bytearray((copy / name).read_bytes())
    end = 8192 if not part and name == "data.mdb" else 4096 * (part + 1)
    if part:
        end = len(data)
    for at in range(part * 4096, min(end, len(data))):
        data[at] ^= 0x5A
    (copy / name).write_bytes(data)
    return copy


def of_another_store(source: Path, other: Path) -> Path:
    copy = Path(shutil.copytree(source, source.with_name("mixed")))
    shutil.copy(other / "store.json", copy)
    return copy


def test_it_goes_into_an_empty_place_and_one_whose_store_cannot_be_read(
    daemon: Daemon, make_daemon: Callable[..., Daemon], tmp_path: Path
) -> None:
    set_all(daemon, a=1)
    source = back_up(daemon, tmp_path / "backup")
    for name, spoil in (
        ("none", lambda directory: None),
        ("empty", lambda directory: directory.mkdir()),
        ("other", lambda directory: shutil.copytree(other_store(make_daemon), directory)),
        ("emptied", lambda directory: spoiled(source, directory, "data.mdb")),
        ("no marker", lambda directory: spoiled(source, directory, "store.json")),
        ("no log", lambda directory: spoiled(source, directory, "data.wal")),
    ):
        target = make_daemon(name)
        spoil(target.data_dir)

        record = restored(target, source)

        assert (record["aside"] is None) == (name in ("none", "empty")), name
        with target.start().client() as client:
            assert client.store("orders").get("a") == 1
        target.stop()


def other_store(make_daemon: Callable[..., Daemon]) -> Path:
    other = make_daemon("made by another")
    other.start()
    set_all(other, z=1)
    other.stop()
    return other.data_dir


def spoiled(source: Path, directory: Path, name: str) -> None:
    shutil.copytree(source, directory)
    (directory / name).write_bytes(b"")


def test_files_belong_to_whom_the_data_directory_belongs(daemon: Daemon, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can restore for another user")
    set_all(daemon, a=1)
    source = back_up(daemon, tmp_path / "backup")
    daemon.stop()
    for path in (daemon.data_dir, *daemon.data_dir.iterdir()):
        os.chown(path, NOBODY, NOBODY)
    (daemon.data_dir / "assetstored.lock").unlink()

    record = restored(daemon, source)

    aside = Path(record["aside"])
    files = [*daemon.data_dir.iterdir(), daemon.data_dir, aside, *aside.iterdir()]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in files} == {(NOBODY, NOBODY)}
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600, 0o700}


def test_killed_at_any_moment_the_store_is_the_old_or_the_new_one(
    daemon: Daemon, tmp_path: Path, seed: int
) -> None:
    set_all(daemon, which="new", **{f"k{n}": "x" * 10_000 for n in range(100)})
    source = back_up(daemon, tmp_path / "backup")
    set_all(daemon, which="old")
    daemon.stop()
    chance = random.Random(seed)
    begun = time.monotonic()
    old = shutil.copytree(daemon.data_dir, tmp_path / "old")
    assert restored(daemon, source)
    took_s = time.monotonic() - begun
    for _ in range(KILLS):
        shutil.rmtree(daemon.data_dir)
        shutil.copytree(old, daemon.data_dir)
        with subprocess.Popen(
            [
                *(sys.executable, "-m", "assetstored.offline", "restore"),
                *("--data-dir", str(daemon.data_dir), str(source)),
            ],
            stdout=subprocess.DEVNULL,
        ) as program:
            with suppress(subprocess.TimeoutExpired):
                program.wait(chance.uniform(0.3, 1.2) * took_s)
            program.send_signal(signal.SIGKILL)
        with daemon.start().client() as client:
            assert client.store("orders").get("which") in ("old", "new")
        daemon.stop()
        assert inspect(daemon.data_dir).problems == []

    restored(daemon, source)
    assert [path.name for path in daemon.data_dir.iterdir() if path.name.startswith(".")] == []

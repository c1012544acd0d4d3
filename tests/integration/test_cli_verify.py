"""The verb verify: on the store of a daemon that runs, on that of one that does not, on none."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import lmdb
import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon
from tests.support.endings import wait_until_deserted
from tests.support.meddling import flip_a_bit, meddling
from tests.support.waiting import wait_until

from assetstore import Client
from assetstored import records
from assetstored.image import Image
from assetstored.wal import BLOCK

MakeDaemon: TypeAlias = Callable[..., Daemon]

#: As many small entries as make the data file long enough to lose its second half.
MANY = 2_000

#: They are opened in groups of 500.
STORES = 1_200


@pytest.fixture
def damaged(make_daemon: MakeDaemon) -> Daemon:
    """A daemon that is stopped, and has one record damaged: "k" of "orders"."""
    daemon = make_daemon()
    with daemon.start().client() as client:
        client.store("orders").update({"k": 1, "l": 2})
    daemon.stop()
    with meddling(daemon.data_dir) as (env, txn):
        flip_a_bit(1, b"k")(env, txn)
    return daemon


@pytest.fixture
def stopped(make_daemon: MakeDaemon) -> Daemon:
    """A daemon that is stopped, with many entries in "orders"."""
    daemon = make_daemon()
    with daemon.start().client() as client:
        client.store("orders").update({f"key {number}": "x" * 100 for number in range(MANY)})
    daemon.stop()
    return daemon


@pytest.fixture
def writing(daemon: Daemon) -> Iterator[Callable[[], int]]:
    """While the test lasts somebody writes, deletes and clears; how many times so far."""
    rounds, ends = 0, threading.Event()

    def write() -> None:
        nonlocal rounds
        with daemon.client(timeout=30.0) as client:
            while not ends.is_set():
                client.store("orders").set("often", rounds)
                client.store("customers").update({f"k{rounds % 50}": rounds, "x": rounds})
                if rounds % 10 == 9:
                    client.store("customers").delete("x")
                if rounds % 100 == 99:
                    client.store("customers").clear()
                rounds += 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield lambda: rounds
    finally:
        ends.set()
        thread.join()


# --- while a daemon runs


def test_the_store_of_the_daemon_that_runs_is_checked_up_to_the_last_acknowledged_change(
    cli: Cli, client: Client, daemon: Daemon
) -> None:
    client.store("orders").set("a", 1)
    last = client.store("customers").set("b", 2)

    ran = cli("verify", "--json")

    assert (ran.code, ran.err) == (0, "")
    (summary,) = ran.records
    assert summary["sound"] is True
    assert summary["was_live"] is True
    assert summary["revision"] >= last
    assert (summary["assets"], summary["entries"], summary["findings"]) == (2, 2, 0)
    assert summary["data_dir"] == str(daemon.data_dir)


def test_a_person_is_told_in_a_sentence_that_it_is_sound(cli: Cli, client: Client) -> None:
    client.store("orders").set("a", 1)

    ran = cli("verify")

    assert ran.code == 0
    assert re.search(r"/data is sound: 2 assets, 1 entry in 1 store, \d+ events up to", ran.out)


def test_nothing_is_found_in_a_sound_store_that_is_changed_all_the_while(
    cli: Cli, writing: Callable[[], int]
) -> None:
    for _ in range(5):
        before = writing()
        wait_until(lambda before=before: writing() > before + 20, 30.0, "changes")  # type: ignore[misc]

        ran = cli("verify", "--json")

        assert (ran.code, ran.records[-1]["findings"]) == (0, 0), ran.out


def test_a_check_leaves_no_reader_behind(cli: Cli, daemon: Daemon) -> None:
    assert cli("verify").code == 0

    with lmdb.open(str(daemon.data_dir), readonly=True, lib_version=0, map_size=1 << 40) as env:
        # A title, and then a line for each reader: its process, thread and transaction.
        pids = {int(line.split()[0]) for line in env.readers().splitlines()[1:]}
    assert pids <= {daemon.status()["pid"]}


def test_a_damaged_entry_of_a_daemon_that_runs_is_named(damaged: Daemon) -> None:
    cli = Cli(damaged.start().socket)

    ran = cli("verify", "--json")

    assert ran.code == 6
    finding, summary = ran.records
    assert (finding["kind"], finding["asset"], finding["key"]) == ("entry", "orders", "k")
    assert finding["uri"] == "s3://data/orders/"
    assert "assetstore set" in finding["remedy"]
    assert (summary["sound"], summary["findings"], summary["was_live"]) == (False, 1, True)


# --- while none runs


def test_a_damaged_entry_of_a_directory_is_shown_with_what_to_do(damaged: Daemon) -> None:
    ran = Cli("/nowhere")("verify", str(damaged.data_dir))

    assert ran.code == 6
    title, row, blank, remedy = ran.out.splitlines()
    assert title.split() == ["WHAT", "ASSET", "KEY", "PROBLEM"]
    assert row.split(maxsplit=3) == ["entry", "orders", "k", "its record fails its checksum"]
    assert (blank, remedy.split(":")[0]) == ("", "entry")
    assert ran.err == f"Error: 1 finding in {damaged.data_dir}\n"


def test_a_store_whose_daemon_was_killed_is_sound_with_what_is_in_its_log(
    daemon: Daemon, cli: Cli
) -> None:
    with daemon.client() as client:
        client.store("orders").set("a", 0)
        client.checkpoint()
        for number in range(10):
            client.store("orders").set("a", number)
        daemon.kill()
    # Its writer may be in the middle of a commit, and until its end the store is in use.
    wait_until_deserted(daemon.data_dir)

    ran = cli("verify", str(daemon.data_dir), "--json")

    assert ran.code == 0, ran.out
    (summary,) = ran.records
    assert (summary["sound"], summary["was_live"], summary["entries"]) == (True, False, 1)
    shown = cli("verify", str(daemon.data_dir)).out
    assert ("in the log only" in shown) == (summary["logged"] > 0)
    daemon.start()
    with daemon.client() as client:
        assert client.store("orders").get("a") == 9


def test_a_file_that_was_cut_off_is_a_message_and_no_crash(stopped: Daemon) -> None:
    data = stopped.data_dir / "data.mdb"
    os.truncate(data, data.stat().st_size // 2)

    ran = Cli("/nowhere").process("verify", str(stopped.data_dir))

    assert ran.code == 6
    assert "data.mdb: " in ran.out
    assert "structure: stop the daemon" in ran.out
    assert "Traceback" not in ran.out + ran.err
    assert ran.err.startswith("Error: ")


def test_a_signal_that_lmdb_ends_the_check_with_is_told_as_a_finding(stopped: Daemon) -> None:
    # All but the roots of the trees is gone, and LMDB is asked for it all the same.
    os.truncate(stopped.data_dir / "data.mdb", 3 * 4096)

    ran = Cli("/nowhere")("verify", str(stopped.data_dir), "--json")

    assert ran.code == 6
    last = ran.records[-2]
    assert last["kind"] == "structure"
    assert "LMDB was ended by SIGBUS" in last["problem"]
    assert ran.records[-1]["sound"] is False
    assert ran.records[-1]["revision"] is None
    # As the help has them, whoever found it.
    named = ["kind", "asset", "uri", "key", "trash_id", "problem", "remedy"]
    assert [list(each) for each in ran.records[:-1]] == [named] * (len(ran.records) - 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "there is no directory"),
        (lambda path: path.mkdir(), "there is no store in"),
        (lambda path: path.write_text(""), "is no directory"),
    ],
)
def test_where_there_is_no_store_there_is_no_verdict(
    tmp_path: Path, make: Callable[[Path], object], says: str
) -> None:
    make(tmp_path / "x")

    ran = Cli("/nowhere")("verify", str(tmp_path / "x"))

    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err


def test_without_a_directory_and_without_a_daemon_nothing_can_be_checked(tmp_path: Path) -> None:
    ran = Cli(tmp_path / "none")("verify", "--timeout", "0.1")

    assert ran.code == 4


def test_without_the_parts_of_the_daemon_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)

    ran = Cli("/nowhere")("verify", str(tmp_path))

    assert ran.code == 1
    assert "pip install 'assetstore[daemon]'" in ran.err


def test_a_program_that_cannot_be_started_is_a_message(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))

    ran = Cli("/nowhere")("verify", str(tmp_path))

    assert (ran.code, ran.out) == (1, "")
    assert f"cannot be started: {tmp_path / 'python'}: No such file or directory" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("verify", ""),
        ("backup", ""),
        ("backup", "--data-dir=", "x"),
        ("restore", ""),
        ("restore", "--yes", "--data-dir=", "x"),
        ("doctor", "--config="),
        ("export", "--output="),
        ("import", ""),
        ("manifest", "check", ""),
    ],
)
def test_a_path_that_a_script_left_empty_is_wrong_usage_and_not_the_working_directory(
    arguments: tuple[str, ...],
) -> None:
    ran = Cli("/nowhere")(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert "the path is empty" in ran.err


# --- on a terminal


def test_on_a_terminal_it_shows_how_far_it_is(cli: Cli, client: Client) -> None:
    client.store("orders").set("a", 1)

    with cli.terminal("verify", columns=200) as terminal:
        shown = terminal.end()

    assert shown.code == 0
    for part in ("structure", "tables", "entries", "journal"):
        assert f"\r{part} [" in shown.out
    assert "is sound" in shown.out


def test_interrupted_it_ends_with_its_program_and_no_traceback(stopped: Daemon) -> None:
    marker = stopped.data_dir / "store.json"
    marker.unlink()
    os.mkfifo(marker)

    # The second is there as soon as the marker is read.
    with (
        Cli("/nowhere").terminal("verify", str(stopped.data_dir)) as terminal,
        open(marker, "wb"),
    ):
        terminal.press("\x03")
        shown = terminal.end()

    assert shown.code == 130
    assert "Traceback" not in shown.out


# --- what only a running daemon can show


def test_a_log_that_is_damaged_under_a_daemon_that_runs_is_found(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.store("orders").set("a", 0)
        client.checkpoint()
        # From here on all stays in the log.
        writer = daemon.status()["writer_pid"]
        os.kill(writer, signal.SIGSTOP)
        try:
            before = (daemon.data_dir / "data.wal").read_bytes()
            for number in range(5):
                client.store("orders").set("a", number)
            sound = Cli("/nowhere")("verify", str(daemon.data_dir), "--json")
            after = (daemon.data_dir / "data.wal").read_bytes()
            written = [
                at
                for at in range(0, len(after), 4096)
                if after[at : at + 64] != before[at : at + 64]
            ]
            with open(daemon.data_dir / "data.wal", "r+b") as log:
                log.seek(written[2])
                log.write(bytes(BLOCK))

            ran = Cli("/nowhere")("verify", str(daemon.data_dir), "--json")
        finally:
            os.kill(writer, signal.SIGCONT)

        assert (sound.code, sound.records[-1]["was_live"]) == (0, True), sound.out
        assert ran.code == 6
        finding, summary = ran.records
        assert finding["kind"] == "log"
        assert "is missing, and revision" in finding["problem"]
        assert summary["was_live"] is True
        # The daemon has it all in memory, and brings it into the data file.
        client.checkpoint()


@pytest.fixture(scope="module")
def many_stores(
    starter: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Daemon, Client]]:
    """A daemon with so many stores that they are opened in three groups; "n" is the number."""
    daemon = Daemon(tmp_path_factory.mktemp("many"))
    daemon.set_manifest(*(f"asset-{number}" for number in range(STORES)))
    with daemon, daemon.client(timeout=30.0) as client:
        for first in range(0, STORES, 100):
            with client.transaction() as together:
                for number in range(first, first + 100):
                    together.store(f"asset-{number}").set("n", number)
        yield daemon, client
    assert daemon.verify() == []


@pytest.mark.parametrize("commit_after", [None, 0, 1, 499, 500, 501, 999, 1_100])
def test_all_stores_are_read_of_one_snapshot_whatever_is_committed_meanwhile(
    many_stores: tuple[Daemon, Client], commit_after: int | None
) -> None:
    daemon, client = many_stores
    changed = client.store(f"asset-{STORES - 1}")
    changed.set("n", STORES - 1)
    client.checkpoint()

    with Image(daemon.data_dir, is_live=True) as image:
        ids = [int(name[1:], 16) for name in image.stores()]
        found = []
        for place, store_id in enumerate(ids):
            if place == commit_after:
                changed.set("n", -1)
                client.store("asset-0").clear()
                client.store("asset-0").set("n", 0)
                client.checkpoint()
            for key, record in image.rows(store_id):
                assert records.is_sound(store_id, key, record)
                found.append(int(records.decode_entry(record).value))
        was_newest = image.is_newest()

    # Stores that earlier rounds have cleared are there too.
    assert sorted(set(found)) == list(range(STORES))
    assert len(found) == len(ids)
    assert was_newest == (commit_after is None)

"""The verb doctor against real daemons with real faults: each is found, with a remedy.

Rule: what follows from facts alone is in tests/unit/test_diagnosis.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon
from tests.support.tiny_disk import fill, tiny_disk
from tests.support.waiting import wait_until

MakeDaemon = Callable[..., Daemon]

#: Of the machine that the tests run on, and not of any fault that they make.
OF_THE_MACHINE = re.compile(r"is in memory|are free|is free|is on fuse|bytes are free")


def config_of(daemon: Daemon, **more: object) -> Path:
    """A configuration that says where this daemon has everything."""
    values = {
        "data_dir": str(daemon.data_dir),
        "socket": str(daemon.socket),
        "manifest": str(daemon.manifest),
        **more,
    }
    path = daemon.root / "doctor.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items()))
    return path


def found(daemon: Daemon, *arguments: str, **more: object) -> list[dict[str, Any]]:
    """What doctor finds and what it says it has not seen; checks that its exit code tells."""
    ran = Cli(daemon.socket)(
        "doctor", "--json", "--timeout", "5", f"--config={config_of(daemon, **more)}", *arguments
    )
    assert ran.err == ""
    records = ran.records
    assert ran.code == int(any(each["seen"] for each in records)), records
    assert all(list(each) == ["seen", "about", "text", "remedy"] for each in records)
    assert all(each["remedy"] for each in records if each["seen"])
    return [each for each in records if not OF_THE_MACHINE.search(each["text"])]


def texts(records: list[dict[str, Any]], about: str) -> list[str]:
    return [each["text"] for each in records if each["about"] == about]


def test_a_daemon_that_is_well_has_no_findings(daemon: Daemon) -> None:
    assert found(daemon) == []


def test_a_person_is_told_what_to_do(daemon: Daemon) -> None:
    daemon.data_dir.chmod(0o755)

    ran = Cli(daemon.socket)("doctor", f"--config={config_of(daemon)}")

    assert ran.code == 1
    assert re.search(r"^\d findings?:$", ran.out.splitlines()[0])
    assert f"! permissions: {daemon.data_dir} is open to others (mode 0755)" in ran.out
    assert f"    chmod 0700 {daemon.data_dir}\n" in ran.out


def test_files_that_others_may_read_or_change_are_found(daemon: Daemon) -> None:
    (daemon.data_dir / "data.mdb").chmod(0o644)
    daemon.socket.chmod(0o666)
    daemon.manifest.chmod(0o666)

    records = found(daemon)

    assert texts(records, "permissions") == [
        f"{daemon.data_dir / 'data.mdb'} is open to others (mode 0644)"
    ]
    assert texts(records, "socket") == [
        f"everybody on this host may connect to {daemon.socket} (mode 0666)"
    ]
    assert texts(records, "manifest") == [f"anybody may write to {daemon.manifest} (mode 0666)"]
    assert len(records) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_found(daemon: Daemon) -> None:
    os.chown(daemon.data_dir / "store.json", 12_345, -1)

    (record,) = found(daemon)

    assert record["text"].endswith("store.json belongs to uid 12345, and the daemon is uid 0")
    assert record["remedy"] == f"chown 0 {daemon.data_dir / 'store.json'}"


def test_a_held_manifest_is_found_with_the_command_that_accepts_it(daemon: Daemon) -> None:
    daemon.activate("a", "b", "c", "d")
    digest = daemon.activate("a")["manifest"]["held"]["digest"]

    (record,) = found(daemon)

    assert record["about"] == "manifest"
    assert record["text"].startswith("the manifest is held: ")
    assert f"assetstore manifest accept {digest}" in record["remedy"]


@contextmanager
def killed_reader(data_dir: Path) -> Iterator[None]:
    """A process that read the data file and was killed in its transaction."""
    program = (
        "import sys; from assetstored import engine\n"
        "env = engine.open_for_reading(sys.argv[1]); txn = env.begin()\n"
        "print('reads', flush=True); sys.stdin.read()"
    )
    reader = subprocess.Popen(
        [sys.executable, "-c", program, str(data_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    try:
        assert reader.stdout.readline() == b"reads\n"
    finally:
        reader.kill()
        reader.wait()
        reader.stdin.close()
        reader.stdout.close()
    yield


def test_a_reader_that_was_killed_is_found(daemon: Daemon) -> None:
    with killed_reader(daemon.data_dir):
        records = found(daemon)

        assert daemon.status()["stale_readers"] == 1

    assert texts(records, "readers") == [
        "1 reader of the data file ended without letting go, so it grows"
    ]


def test_a_full_disk_is_found_and_so_is_one_in_memory(tmp_path: Path, starter: None) -> None:
    with tiny_disk(tmp_path / "disk", 32 << 20) as disk:
        daemon = Daemon(disk / "root")
        daemon.set_manifest("orders")
        with daemon:
            config = config_of(daemon)
            fill(disk)
            ran = Cli(daemon.socket)("doctor", "--json", f"--config={config}")
            (disk / "filler").unlink()
        stopped = Cli(daemon.socket)("doctor", "--json", "--timeout", "0.3", f"--config={config}")

    shown = texts(ran.records, "disk")
    assert [text for text in shown if text == "only 0 bytes are free on the disk of the store"]
    assert [text for text in shown if "is in memory (tmpfs)" in text]
    assert [text for text in texts(stopped.records, "disk") if "are free at" in text]


def test_a_configuration_that_the_running_daemon_does_not_have_is_found(daemon: Daemon) -> None:
    (record,) = found(daemon, grace="3d")

    assert record["about"] == "configuration"
    assert "grace is 259200.0 in" in record["text"]
    assert "restart" in record["remedy"]


def test_a_configuration_that_would_be_refused_is_found(daemon: Daemon) -> None:
    (record,) = found(daemon, grace="soon")

    assert record["about"] == "configuration"
    assert "'soon' is no duration" in record["text"]


def test_without_a_daemon_its_files_are_looked_at_all_the_same(daemon: Daemon) -> None:
    daemon.stop()
    (daemon.data_dir / "data.mdb").chmod(0o604)

    records = found(daemon, "--timeout", "0.3")

    assert texts(records, "daemon")[0].startswith("it does not answer: ")
    assert texts(records, "socket") == [f"there is no socket at {daemon.socket}"]
    assert [each["about"] for each in records if not each["seen"]] == [
        "health, trash, log, readers, versions"
    ]
    assert texts(records, "permissions")
    assert len(records) == 4


def test_a_daemon_that_hangs_is_named_by_its_pid(daemon: Daemon) -> None:
    assert daemon.process is not None
    pid = daemon.process.pid
    os.kill(pid, 19)
    try:
        records = found(daemon, "--timeout", "0.3")
    finally:
        os.kill(pid, 18)

    (record,) = (each for each in records if each["about"] == "daemon")
    assert f"process {pid} has the store of {daemon.data_dir}" in record["remedy"]


def test_files_that_are_missing_while_no_daemon_runs_are_found(daemon: Daemon) -> None:
    daemon.stop()
    log = daemon.data_dir / "data.wal"
    log.rename(daemon.root / "aside")

    records = found(daemon, "--timeout", "0.3")

    assert texts(records, "store") == [f"{log} is missing, and a store was here"]
    (daemon.root / "aside").rename(log)


def test_without_a_daemon_and_a_configuration_it_says_what_it_does_not_know(tmp_path: Path) -> None:
    ran = Cli(tmp_path / "s")("doctor", "--json", "--timeout", "0.2")

    assert ran.code == 1
    assert [each["about"] for each in ran.records] == [
        "daemon",
        "health, trash, log, readers, versions",
        "host",
    ]


def test_a_manifest_that_is_gone_is_found(daemon: Daemon) -> None:
    daemon.manifest.unlink()
    wait_until(lambda: daemon.status()["problems"], 10.0, "the daemon to notice")

    assert texts(found(daemon), "manifest")[0].startswith("the manifest is missing")
    daemon.set_manifest("orders", "customers")

"""The status report: true numbers, and each problem as long as it lasts."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import Damaged

MakeDaemon = Callable[..., Daemon]


def test_the_numbers_are_true(make_daemon: MakeDaemon) -> None:
    started = time.monotonic()
    before_us = time.time_ns() // 1_000
    with make_daemon(grace="3d", sweep_interval="2h", max_connections=77) as daemon:
        assert daemon.process is not None
        with daemon.client() as client:
            # A slice of the manifest, its end, and a first look at the journal.
            wait_until(lambda: client.status()["batched"] == 3, 10.0, "the daemon to rest")
            first = client.status()
            store = client.store("orders")
            for number in range(10):
                revision = store.set("k", number)
            client.store("customers").set("k", 1)
            store.clear()
            daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "other")
            report = client.reload_manifest()

            assert report["pid"] == daemon.process.pid
            assert parent_of(report["writer_pid"]) == report["pid"]
            assert report["socket"] == str(daemon.socket)
            assert report["data_dir"] == str(daemon.data_dir)
            assert report["store_id"] == first["store_id"] != ""
            assert (report["grace_s"], report["sweep_interval_s"]) == (3 * 86_400, 7_200)
            assert (report["connections"], report["max_connections"]) == (1, 77)
            assert report["revision"] > revision
            # Ten sets, one more, a clear; then a slice of the manifest, and its end.
            assert report["batched"] - first["batched"] == 14
            assert 3 <= report["commits"] - first["commits"] <= 14
            assert report["requests"] - first["requests"] == 13
            assert report["queued"] == 0
            assert (report["assets_active"], report["assets_known"]) == (2, 3)
            assert report["trash_stores"] == 2
            assert report["journal_events"] == report["revision"]
            assert report["journal_oldest"] == 1
            assert 0 < report["journal_bytes"] < report["used_bytes"]
            assert report["waiting_for_events"] == 0
            assert report["data_bytes"] == (daemon.data_dir / "data.mdb").stat().st_size
            assert 0 < report["used_bytes"] <= report["data_bytes"]
            assert report["map_bytes"] == 1 << 40
            assert 0 < report["disk_free_bytes"] < 1 << 60
            assert 0 < first["uptime_s"] < report["uptime_s"] < time.monotonic() - started
            assert before_us <= report["last_sweep"] <= time.time_ns() // 1_000
            manifest = report["manifest"]
            assert manifest["path"] == str(daemon.manifest)
            assert (manifest["state"], manifest["reason"], manifest["held"]) == (
                "accepted",
                None,
                None,
            )
            assert manifest["digest"] != first["manifest"]["digest"]
            assert before_us <= first["manifest"]["accepted_at"] < manifest["accepted_at"]


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_manifest_that_cannot_be_used_is_a_problem_until_it_is_mended(daemon: Daemon) -> None:
    assert daemon.status()["problems"] in ([], low_disk(daemon))
    with daemon.client() as client:
        daemon.manifest.write_text("{")
        invalid = client.reload_manifest()
        daemon.manifest.unlink()
        missing = client.reload_manifest()
        mended = daemon.activate("orders", "customers")

        for report, state in ((invalid, "invalid"), (missing, "missing")):
            assert report["health"] == "degraded"
            assert report["manifest"]["state"] == state
            assert report["manifest"]["digest"] is not None, "the last accepted one stays"
            (problem,) = (each for each in report["problems"] if "manifest" in each)
            assert problem == f"the manifest is {state}: {report['manifest']['reason']}"
            assert str(daemon.manifest) in problem
        assert not any("manifest" in problem for problem in mended["problems"])
        assert mended["manifest"]["state"] == "accepted"


def test_a_held_manifest_shows_what_it_would_do(daemon: Daemon) -> None:
    with daemon.client() as client:
        before = daemon.activate("a", "b", "c", "d", "e", "f")
        held = daemon.activate("a", "b", "new")

        assert held["health"] == "degraded"
        assert held["manifest"]["state"] == "held"
        assert held["manifest"]["digest"] == before["manifest"]["digest"]
        digest = held["manifest"]["held"]["digest"]
        assert held["manifest"]["held"] == {
            "digest": digest,
            "activates": 1,
            "deactivates": 4,
            "active": 6,
        }
        assert held["assets_active"] == 6

        accepted = client.accept_manifest(digest)
        assert accepted["manifest"]["held"] is None
        assert accepted["manifest"]["digest"] == digest
        assert accepted["assets_active"] == 3


def test_a_damaged_record_is_a_problem_that_is_told_once(daemon: Daemon) -> None:
    with daemon.client() as client:
        client.store("orders").set("k", "distinctive")
        client.store("orders").set("l", "fine")
    daemon.stop()
    data = (daemon.data_dir / "data.mdb").read_bytes()
    (daemon.data_dir / "data.mdb").write_bytes(data.replace(b'"distinctive"', b'"distinctivf"'))
    # The same bytes stand in the journal.
    daemon.damaged = ["asset 'orders', key 'k': its record fails", "of table 'journal' fails"]
    daemon.start()

    with daemon.client() as client:
        for _ in range(3):
            with pytest.raises(Damaged):
                client.store("orders").get("k")
        report = client.status()

    assert report["health"] == "degraded"
    damaged = [problem for problem in report["problems"] if "fails its checksum" in problem]
    assert len(damaged) == 1
    assert damaged[0].startswith("the record of key 'k' of asset 'orders' fails its checksum")
    assert daemon.log_text().count("the record of key 'k'") == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=700", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small disk: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_a_disk_that_is_nearly_full_is_a_problem(small_disk: Path) -> None:
    with Daemon(small_disk) as daemon:
        report = daemon.status()

        assert report["disk_free_bytes"] <= 64 << 20
        assert low_disk(daemon) != []
        assert report["health"] == "degraded"


def low_disk(daemon: Daemon) -> list[str]:
    """The problem that a nearly full disk is, where it is one."""
    report = daemon.status()
    return [problem for problem in report["problems"] if "are free on the disk" in problem]

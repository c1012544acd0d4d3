"""What facts about a daemon mean: findings with remedies, from facts that are hard to come by."""

from __future__ import annotations

from typing import Any

import pytest

from assetstore_cli.diagnosis import Facts, Finding, diagnose

NOW_US = 1_800_000_000_000_000

VERSION = "0.1.0"


def path(name: str, kind: str | None, mode: int = 0o600, uid: int = 7) -> dict[str, Any]:
    facts: dict[str, Any] = {"path": name, "kind": kind, "error": None}
    return facts if kind is None else facts | {"mode": mode, "uid": uid, "gid": 7, "size_bytes": 9}


def status(**more: Any) -> dict[str, Any]:
    """The report of a daemon that is well, as far as it is looked at."""
    return {
        "version": VERSION, "lmdb_version": "3", "problems": [], "connections": 1,
        "max_connections": 4_096, "stale_readers": 0, "log_used_bytes": 0, "data_dir": "/d",
        "last_sweep": NOW_US - 1_000_000, "grace_s": 604_800.0, "sweep_interval_s": 60.0,
        "max_deactivate_fraction": 0.5,
        "manifest": {"path": "/m/m.json", "state": "accepted", "held": None}, **more,
    }  # fmt: skip


def host(**more: Any) -> dict[str, Any]:
    """A host where all is as it should be, and daemons belong to uid 7."""
    values = {
        "data_dir": "/d", "manifest": "/m/m.json", "grace_s": 604_800.0, "sweep_interval_s": 60.0,
        "max_deactivate_fraction": 0.5, "max_connections": 4_096,
    }  # fmt: skip
    names = ("data.mdb", "data.wal", "store.json", "lock.mdb", "assetstored.lock")
    return {
        "uid": 0,
        "versions": {"assetstore": VERSION, "lmdb": "3", "python": "3.11"},
        "config": {"file": path("/c", "file", 0o644, 0), "problem": None, "values": values},
        "data_dir": path("/d", "directory", 0o700),
        "files": {name: path(f"/d/{name}", "file") for name in names},
        "held_by": 12,
        "disk": {
            "file_system": "ext4", "is_remote": False, "is_read_only": False,
            "free_bytes": 1 << 40, "has_inodes": True,
        },
        "socket": path("/s/s", "socket", 0o660),
        "socket_dir": path("/s", "directory", 0o755, 0),
        "manifest": path("/m/m.json", "file", 0o644, 0),
        "manifest_dir": path("/m", "directory", 0o755, 0),
        **more,
    }  # fmt: skip


def units(**more: str) -> dict[str, dict[str, str]]:
    service = {
        "LoadState": "loaded", "ActiveState": "active", "Result": "success", "NRestarts": "0",
        "NeedDaemonReload": "no", "WatchdogUSec": "30s", "LimitNOFILE": "65536", **more,
    }  # fmt: skip
    socket = {"LoadState": "loaded", "ActiveState": "active", "Result": "success"}
    return {"assetstored.service": service, "assetstored.socket": socket}


def findings(**more: Any) -> list[Finding]:
    well = Facts(
        VERSION, status=status(), host=host(), units=units(), overdue=0, daemon_uid=7, now_us=NOW_US
    )
    return diagnose(well._replace(**more))


def test_where_all_is_well_nothing_is_found() -> None:
    assert findings() == []


@pytest.mark.parametrize(
    ("more", "about", "part"),
    [
        ({"status": status(version="0.2.0")}, "versions", "is 0.2.0, this command 0.1.0"),
        ({"status": status(lmdb_version="2")}, "versions", "lmdb 3 is installed here, 2 runs"),
        ({"status": status(connections=4_000)}, "daemon", "4,000 of 4,096 connections"),
        ({"status": status(log_used_bytes=4 << 20)}, "log", "4.0 MiB of the log"),
        ({"status": status(stale_readers=2)}, "readers", "2 readers of the data file"),
        ({"status": status(last_sweep=NOW_US - 3_600_000_000)}, "trash", "last sweep ended long"),
        ({"overdue": NOW_US - 3_600_000_000}, "trash", "past their grace"),
        ({"status": status(problems=["the metrics file /x cannot"])}, "metrics", "metrics file"),
        ({"status": status(problems=["only 5 bytes are free on the disk"])}, "disk", "only 5"),
        ({"status": status(problems=["the record of key"])}, "store", "the record of key"),
        ({"status": status(max_connections=100)}, "configuration", "room for 100"),
        ({"status": status(data_dir="/e")}, "configuration", "data_dir is '/d' in /c, and '/e'"),
        ({"host": host(data_dir=path("/d", "file"))}, "store", "/d is no directory"),
        ({"host": host(socket=path("/s/s", "file"))}, "socket", "is no socket"),
        ({"host": host(socket=path("/s/s", None))}, "socket", "there is no socket at /s/s"),
        ({"host": host(socket_dir=path("/s", "directory", 0o777))}, "socket", "anybody may write"),
        ({"host": host(manifest_dir=path("/m", "directory", 0o777))}, "manifest", "write to /m "),
        ({"host": host(manifest=path("/m/m.json", "file", 0o600, 0))}, "manifest", "by uid 7"),
        ({"units": units(ActiveState="failed", Result="signal")}, "systemd", "failed (signal)"),
        ({"units": units(NRestarts="9")}, "systemd", "restarted 9 times"),
        ({"units": units(WatchdogUSec="0")}, "systemd", "no watchdog"),
        ({"units": units(NeedDaemonReload="yes")}, "systemd", "changed since it was loaded"),
        ({"units": units(LimitNOFILE="1024")}, "systemd", "may open 1,024 files"),
    ],
)  # fmt: skip
def test_one_thing_that_is_wrong_is_one_finding_with_a_remedy(
    more: dict[str, Any], about: str, part: str
) -> None:
    (finding,) = findings(**more)

    assert finding.about == about
    assert part in finding.text
    assert finding.remedy


@pytest.mark.parametrize(
    ("disk", "part"),
    [
        ({"file_system": "nfs4", "is_remote": True}, "remote file system (nfs4)"),
        ({"file_system": "fuse.sshfs", "is_remote": True}, "remote file system"),
        ({"file_system": "fuse.mergerfs"}, "on fuse.mergerfs"),
        ({"file_system": "tmpfs"}, "gone after a reboot"),
        ({"is_read_only": True}, "mounted read-only"),
        ({"has_inodes": False}, "no inodes are left"),
    ],
)
def test_a_disk_that_a_store_should_not_be_on_is_found(disk: dict[str, Any], part: str) -> None:
    (finding,) = findings(host=host(disk=host()["disk"] | disk))

    assert finding.about == "disk"
    assert part in finding.text


def test_others_cannot_take_a_file_from_a_directory_with_the_sticky_bit() -> None:
    assert findings(host=host(socket_dir=path("/s", "directory", 0o1777))) == []


def test_what_is_due_since_a_moment_ago_is_not_overdue() -> None:
    assert findings(overdue=NOW_US - 30_000_000) == []


def test_a_unit_that_is_not_installed_is_none_of_our_business() -> None:
    assert findings(units=units(LoadState="not-found", ActiveState="failed")) == []


def test_a_socket_unit_that_is_down_is_found() -> None:
    down = units()
    down["assetstored.socket"]["ActiveState"] = "inactive"

    assert [each.text for each in findings(units=down)] == ["assetstored.socket is not active"]


def test_what_could_not_be_seen_is_told_last_and_without_a_remedy() -> None:
    *_, unseen = findings(status=None, silence="no socket", unseen={"trash": "no answer"})

    assert unseen == Finding("trash", "no answer", None)


def test_a_daemon_that_is_silent_is_looked_for_by_the_lock_of_its_store() -> None:
    (running,) = findings(status=None, silence="timeout")
    (gone, *_) = findings(status=None, silence="timeout", host=host(held_by=None))

    (shut,) = findings(status=None, silence="join the group", is_shut=True, host=None)

    assert shut.text == "it cannot be asked: join the group"
    assert "systemctl" not in str(shut.remedy)
    assert "process 12 has the store of /d" in str(running.remedy)
    assert "systemctl start" in str(gone.remedy)

"""What the facts about a daemon mean: findings, each with a remedy, and what could not be seen.

Rule: pure. Facts come in as doctor.py has gathered them, findings go out; nothing is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from assetstore_cli.manifests import REMEDIES
from assetstore_cli.render import counted, size

#: Below this a write may soon be refused; the daemon's status says so too.
LOW_DISK_BYTES = 256 << 20

#: A half of the log has 4 MiB and is brought into the data file when it is half full.
FULL_LOG_BYTES = 7 << 19

#: How long after its grace a store may be there still: sweeps rest between their slices.
_OVERDUE_S = 600.0

#: Descriptors that a daemon needs beside those of its connections.
_RESERVED_FDS = 64

_Facts = Mapping[str, Any]


class Finding(NamedTuple):
    """Something that is wrong, and what to do. ``remedy`` is None for what could not be seen."""

    about: str
    text: str
    remedy: str | None


class Facts(NamedTuple):
    """All that was seen. What is None was not, for the reason in ``unseen``: about -> why.

    ``silence``: why there is no answer, where there is none. ``is_shut``: the daemon may be well,
    and this user may not connect. ``status``: the daemon's report.
    ``host``: what ``python -m assetstored.offline look`` says. ``units``: unit -> its properties,
    as systemctl shows them. ``overdue``: when the first store of the trash was due, in microseconds
    since 1970; 0 where none is. ``daemon_uid``: whose process it is.
    """

    version: str
    silence: str | None = None
    is_shut: bool = False
    status: _Facts | None = None
    host: _Facts | None = None
    units: Mapping[str, Mapping[str, str]] | None = None
    overdue: int | None = None
    daemon_uid: int | None = None
    now_us: int = 0
    unseen: Mapping[str, str] = {}


def diagnose(facts: Facts) -> list[Finding]:
    """All findings, what is worst first in each part, and then what could not be seen."""
    found: list[Finding] = []
    if facts.status is None:
        found += _of_silence(facts)
    else:
        found += _of_status(facts.status)
        found += _of_versions(facts, facts.status)
        found += _of_trash(facts, facts.status)
    if facts.host is not None:
        found += _of_configuration(facts.host, facts.status)
        # Without a daemon its directory says whose it is.
        owner = facts.host["data_dir"].get("uid") if facts.daemon_uid is None else facts.daemon_uid
        found += _of_files(facts.host, owner)
        found += _of_disk(facts.host, facts.status)
        found += _of_access(facts.host, owner)
    if facts.units is not None:
        found += _of_units(facts.units, facts.status)
    return found + [Finding(about, why, None) for about, why in facts.unseen.items()]


def _of_silence(facts: Facts) -> Iterator[Finding]:
    host = facts.host
    if facts.is_shut:
        remedy = "run this as root, or as a user who may connect"
        yield Finding("daemon", f"it cannot be asked: {facts.silence}", remedy)
        return
    if host is not None and (pid := host["held_by"]):
        remedy = (
            f"process {pid} has the store of {host['data_dir']['path']}, and hangs or listens "
            "elsewhere: look at its log, at --socket and ASSETSTORE_SOCKET, or restart it"
        )
    else:
        remedy = "systemctl start assetstored.socket assetstored.service; journalctl -u assetstored"
    yield Finding("daemon", f"it does not answer: {facts.silence}", remedy)


def _of_status(status: _Facts) -> Iterator[Finding]:
    manifest = status["manifest"]
    for problem in status["problems"]:
        if problem.startswith("the manifest is"):
            remedy = REMEDIES.get(manifest["state"])
            if held := manifest["held"]:
                remedy = (
                    "assetstore manifest diff shows what it would do; then mend the file, or "
                    f"assetstore manifest accept {held['digest']}"
                )
            yield Finding("manifest", problem, remedy or "journalctl -u assetstored")
        elif "free on the disk" in problem:
            yield Finding("disk", problem, "make room there; assetstore trash purge frees pages")
        elif problem.startswith("the metrics file"):
            yield Finding(
                "metrics", problem, "make the directory, and let the daemon's user write there"
            )
        else:
            yield Finding(
                "store", problem, "assetstore verify finds all of it; restore or write it anew"
            )
    if stale := status.get("stale_readers"):
        yield Finding(
            "readers",
            f"{counted(stale, 'reader')} of the data file ended without letting go, so it grows",
            "the daemon frees them within a minute; if they come back, find what opens data.mdb",
        )
    if status.get("log_used_bytes", 0) > FULL_LOG_BYTES:
        yield Finding(
            "log",
            f"{size(status['log_used_bytes'])} of the log are not in the data file, and it is full",
            "the disk is full or very slow: iostat -x 1, journalctl -u assetstored",
        )
    most = status["max_connections"]
    if most and status["connections"] > 0.9 * most:
        yield Finding(
            "daemon",
            f"{status['connections']:,} of {most:,} connections are taken",
            "look for clients that are made and not closed, or raise max_connections",
        )


def _of_versions(facts: Facts, status: _Facts) -> Iterator[Finding]:
    restart = "systemctl restart assetstored.service (clients wait meanwhile)"
    if status["version"] != facts.version:
        yield Finding(
            "versions",
            f"the daemon that runs is {status['version']}, this command {facts.version}",
            f"install the same version of both; then {restart}",
        )
    if facts.host is None:
        return
    for part, here in (("assetstore", "version"), ("lmdb", "lmdb_version")):
        installed, running = facts.host["versions"][part], status.get(here)
        if running not in (None, installed) and (part != "assetstore" or running == facts.version):
            yield Finding(
                "versions", f"{part} {installed} is installed here, {running} runs", restart
            )


def _of_trash(facts: Facts, status: _Facts) -> Iterator[Finding]:
    last = status["last_sweep"]
    late_us = (_OVERDUE_S + 2 * status["sweep_interval_s"]) * 1e6
    if last is not None and facts.now_us - last > late_us:
        yield Finding(
            "trash",
            "the last sweep ended long ago",
            "journalctl -u assetstored --grep sweep; the disk may be full",
        )
    if facts.overdue and facts.now_us - facts.overdue > late_us:
        yield Finding(
            "trash",
            "stores are past their grace and not dropped",
            "assetstore sweep; journalctl -u assetstored --grep sweep says what stops it",
        )


def _of_configuration(host: _Facts, status: _Facts | None) -> Iterator[Finding]:
    config = host["config"]
    if config["problem"]:
        yield Finding(
            "configuration",
            config["problem"],
            "mend it: the next start of the daemon would be refused",
        )
    file, values = config["file"], config["values"]
    if file is None or values is None:
        return
    if _is_writable_by_others(file):
        yield _anyone_may_change("configuration", file)
    if status is None:
        return
    said = {**status, "manifest": status["manifest"]["path"]}
    for key in ("data_dir", "manifest", "grace_s", "sweep_interval_s", "max_deactivate_fraction"):
        if values[key] != said[key]:
            yield Finding(
                "configuration",
                f"{key.removesuffix('_s')} is {values[key]!r} in {file['path']}, and {said[key]!r} "
                "in the daemon that runs",
                "systemctl restart assetstored.service; or a flag of its command line wins",
            )
    if status["max_connections"] < values["max_connections"]:
        yield Finding(
            "configuration",
            f"max_connections is {values['max_connections']:,}, and file descriptors leave room "
            f"for {status['max_connections']:,}",
            "raise LimitNOFILE= in a drop-in: systemctl edit assetstored.service",
        )


def _of_files(host: _Facts, daemon_uid: int | None) -> Iterator[Finding]:
    directory, files = host["data_dir"], host["files"]
    if directory["kind"] not in (None, "directory"):
        yield Finding("store", f"{directory['path']} is no directory", "set data_dir to one")
        return
    seen = [each for each in (directory, *files.values()) if each["kind"] is not None]
    if files["store.json"]["kind"] is not None:
        for name in ("data.mdb", "data.wal"):
            if files[name]["kind"] is None and files[name]["error"] is None:
                yield Finding(
                    "store",
                    f"{files[name]['path']} is missing, and a store was here",
                    "put it back, or restore a backup; the daemon refuses to start without it",
                )
    if files["data.mdb"]["kind"] is not None and files["data.mdb"].get("size_bytes") == 0:
        yield Finding("store", f"{files['data.mdb']['path']} is empty", "restore a backup")
    for each in seen:
        if each["mode"] & 0o077:
            right = "0700" if each["kind"] == "directory" else "0600"
            yield Finding(
                "permissions",
                f"{each['path']} is open to others (mode {each['mode']:04o})",
                f"chmod {right} {each['path']}",
            )
        if daemon_uid is not None and each["uid"] != daemon_uid:
            yield Finding(
                "permissions",
                f"{each['path']} belongs to uid {each['uid']}, and the daemon is uid {daemon_uid}",
                f"chown {daemon_uid} {each['path']}",
            )


def _of_disk(host: _Facts, status: _Facts | None) -> Iterator[Finding]:
    disk = host["disk"]
    if disk is None:
        return
    kind, place = disk["file_system"] or "", host["data_dir"]["path"]
    move = "move the store to a local disk (docs/operations.md, 'Move to another disk')"
    if disk["is_remote"]:
        yield Finding("disk", f"{place} is on a remote file system ({kind})", move)
    elif kind.startswith("fuse"):
        yield Finding("disk", f"{place} is on {kind}: nobody knows whether a sync holds", move)
    elif kind in ("tmpfs", "ramfs"):
        yield Finding("disk", f"{place} is in memory ({kind}), and gone after a reboot", move)
    if disk["is_read_only"]:
        yield Finding(
            "disk",
            f"{place} is on a file system that is mounted read-only",
            "journalctl -k says why; mount it for writing again",
        )
    # Of a daemon that runs, its status has said so.
    if status is None and disk["free_bytes"] < LOW_DISK_BYTES:
        yield Finding(
            "disk", f"only {size(disk['free_bytes'])} are free at {place}", "make room there"
        )
    if not disk["has_inodes"]:
        yield Finding("disk", f"no inodes are left at {place}", "remove files there")


def _of_access(host: _Facts, daemon_uid: int | None) -> Iterator[Finding]:
    socket, directory = host["socket"], host["socket_dir"]
    if socket["kind"] not in (None, "socket"):
        yield Finding("socket", f"{socket['path']} is no socket", "remove it, or use another path")
    elif socket["kind"] == "socket" and socket["mode"] & 0o002:
        yield Finding(
            "socket",
            f"everybody on this host may connect to {socket['path']} (mode {socket['mode']:04o})",
            f"chmod 0660 {socket['path']}; SocketMode= in assetstored.socket",
        )
    if socket["kind"] is None and socket["error"] is None:
        yield Finding(
            "socket",
            f"there is no socket at {socket['path']}",
            "systemctl start assetstored.socket, or start the daemon",
        )
    for about, place in (("socket", directory), ("manifest", host["manifest_dir"])):
        if _is_writable_by_others(place):
            yield _anyone_may_change(about, place)
    manifest = host["manifest"]
    if _is_writable_by_others(manifest):
        yield _anyone_may_change("manifest", manifest)
    is_others = daemon_uid not in (None, 0, manifest.get("uid"))
    if manifest["kind"] == "file" and is_others and not manifest["mode"] & 0o044:
        yield Finding(
            "manifest",
            f"{manifest['path']} may not be read by uid {daemon_uid} (mode {manifest['mode']:04o})",
            f"chmod a+r {manifest['path']}",
        )


def _of_units(units: Mapping[str, Mapping[str, str]], status: _Facts | None) -> Iterator[Finding]:
    for unit, shown in units.items():
        if shown.get("LoadState") != "loaded":
            continue
        if shown.get("ActiveState") == "failed" or shown.get("Result") not in (None, "", "success"):
            yield Finding(
                "systemd",
                f"{unit} failed ({shown.get('Result')})",
                f"journalctl -u {unit} -n 20; systemctl restart {unit}",
            )
        elif unit.endswith(".socket") and shown.get("ActiveState") != "active":
            yield Finding("systemd", f"{unit} is not active", f"systemctl start {unit}")
        if shown.get("NeedDaemonReload") == "yes":
            yield Finding(
                "systemd", f"{unit} was changed since it was loaded", "systemctl daemon-reload"
            )
        if not unit.endswith(".service"):
            continue
        if shown.get("WatchdogUSec") in ("0", "infinity"):
            yield Finding(
                "systemd",
                f"{unit} has no watchdog: nobody notices if it hangs",
                "WatchdogSec=30s, as the unit that is installed with it has",
            )
        if _number(shown.get("NRestarts")) > 3:
            yield Finding(
                "systemd",
                f"{unit} was restarted {shown['NRestarts']} times",
                f"journalctl -u {unit} says what it ended of",
            )
        limit = _number(shown.get("LimitNOFILE"))
        if status is not None and 0 < limit < status["max_connections"] + _RESERVED_FDS:
            yield Finding(
                "systemd",
                f"{unit} may open {limit:,} files, too few for max_connections",
                "raise LimitNOFILE= in a drop-in",
            )


def _is_writable_by_others(facts: _Facts) -> bool:
    """Whether anybody may change it; in a directory with the sticky bit nobody else's files."""
    return facts["kind"] is not None and bool(facts["mode"] & 0o002) and not facts["mode"] & 0o1000


def _anyone_may_change(about: str, facts: _Facts) -> Finding:
    return Finding(
        about,
        f"anybody may write to {facts['path']} (mode {facts['mode']:04o})",
        f"chmod o-w {facts['path']}",
    )


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else 0

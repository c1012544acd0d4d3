"""What a look at the host finds of a daemon's configuration and files: facts, and no verdict.

It works while no daemon runs, changes nothing, and does not open the store. What may not be looked
at has its reason in the place of its facts.

Rule: facts only; what they mean the command line's diagnosis.py says.
"""

from __future__ import annotations

import os
import platform
import stat
from pathlib import Path
from typing import Any

import msgspec

from assetstore.version import VERSION
from assetstored import engine
from assetstored.config import Config, ConfigInvalid, load
from assetstored.datadir import (
    DATA_FILE,
    ENGINE_LOCK_FILE,
    LOCK_FILE,
    MARKER_FILE,
    REMOTE_FILE_SYSTEMS,
    WAL_FILE,
)


def look(config: Path | None, **paths: str) -> dict[str, Any]:
    """All facts, by what they are about. ``paths``: data_dir, socket and manifest, as far as they
    are known otherwise; they win over the configuration."""
    settings, problem = _settings(config)
    found = {
        key: paths.get(key) or getattr(settings, key) for key in ("data_dir", "socket", "manifest")
    }
    data_dir = Path(found["data_dir"])
    return {
        "uid": os.geteuid(),
        "versions": {
            "assetstore": VERSION,
            "lmdb": engine.LMDB_VERSION,
            "python": platform.python_version(),
        },
        "config": {
            "file": None if config is None else path_facts(config),
            "problem": problem,
            "values": None if problem else _values(settings),
        },
        "data_dir": path_facts(data_dir),
        "files": {
            name: path_facts(data_dir / name)
            for name in (DATA_FILE, WAL_FILE, MARKER_FILE, ENGINE_LOCK_FILE, LOCK_FILE)
        },
        "held_by": _held_by(data_dir / LOCK_FILE),
        "disk": _disk(data_dir),
        "socket": path_facts(Path(found["socket"])),
        "socket_dir": path_facts(Path(found["socket"]).parent),
        "manifest": path_facts(Path(found["manifest"])),
        "manifest_dir": path_facts(Path(found["manifest"]).parent),
    }


def path_facts(path: Path) -> dict[str, Any]:
    """What is at a path, links followed. ``error`` is a reason where that cannot be seen."""
    facts: dict[str, Any] = {"path": str(path), "kind": None, "error": None}
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return facts
    except (OSError, ValueError) as exc:
        facts["error"] = getattr(exc, "strerror", None) or str(exc)
        return facts
    return facts | {
        "kind": _KINDS.get(stat.S_IFMT(found.st_mode), "other"),
        "mode": stat.S_IMODE(found.st_mode),
        "uid": found.st_uid,
        "gid": found.st_gid,
        "size_bytes": found.st_size,
    }


_KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFSOCK: "socket"}


def _settings(config: Path | None) -> tuple[Config, str | None]:
    try:
        return load(config, {}), None
    except ConfigInvalid as exc:
        return Config(), str(exc)


def _values(settings: Config) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(settings)
    return values | {
        "grace_s": settings.grace_s,
        "sweep_interval_s": settings.sweep_interval_s,
    }


def _held_by(lock: Path) -> int | None:
    """The pid that has locked the data directory. It is read, not tried: a daemon that starts at
    this moment would take us for another one."""
    try:
        found = os.stat(lock)
        locks = Path("/proc/locks").read_text().splitlines()
    except (OSError, ValueError):
        return None
    wanted = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    for line in locks:
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5] == wanted:
            return int(fields[4])
    return None


def _disk(data_dir: Path) -> dict[str, Any] | None:
    """The file system of the data directory, or of what there is on the way to it."""
    place = data_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        space, device = os.statvfs(place), os.stat(place).st_dev
    except OSError:
        return None
    kind = _file_system(device)
    return {
        "file_system": kind,
        "is_remote": kind in REMOTE_FILE_SYSTEMS,
        "is_read_only": bool(space.f_flag & os.ST_RDONLY),
        "free_bytes": space.f_bavail * space.f_frsize,
        # Some file systems do not count them, and say 0 of 0.
        "has_inodes": not space.f_files or space.f_favail > 0,
    }


def _file_system(device: int) -> str | None:
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in mounts:
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            return right.split()[0]
    return None

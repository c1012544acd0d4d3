"""What the figures were measured on: processors, kernel, file system and device of the data.

Rule: reads the system's own files; names neither the host nor a path.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import NamedTuple

#: File systems in memory, where a sync costs nothing.
_IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}


class NotOnDisk(Exception):
    """The directory is in memory; the message says what to do."""


class Mount(NamedTuple):
    """Where a directory is."""

    point: str
    file_system: str
    device: str


def mount_of(directory: Path, mounts: str) -> Mount:
    """The mount that holds the directory, by the text of /proc/self/mountinfo."""
    found = Mount("", "unknown", "unknown")
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        point = left.split()[4].encode().decode("unicode_escape")
        file_system, device = right.split()[:2]
        # A later mount on the same point hides the earlier one.
        if directory.is_relative_to(point) and len(point) >= len(found.point):
            found = Mount(point, file_system, device)
    return found


def check_on_disk(directory: Path) -> Mount:
    """The mount of the directory. Raises NotOnDisk where a sync would cost nothing."""
    mount = mount_of(directory.resolve(), Path("/proc/self/mountinfo").read_text())
    if mount.file_system in _IN_MEMORY:
        raise NotOnDisk(
            f"{directory} is in memory ({mount.file_system}), where a sync costs nothing: "
            "give --dir a directory on a disk"
        )
    return mount


def describe_machine(mount: Mount) -> dict[str, str | int]:
    """What a reader of the figures needs to know."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _first_line("/proc/cpuinfo", "model name"),
        "memory_mib": int(_first_line("/proc/meminfo", "MemTotal").split()[0]) // 1024,
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": mount.file_system,
        "device": mount.device,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _first_line(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, text = line.partition(":")
        if key.strip() == name:
            return text.strip()
    return "unknown"

"""The floor of a durable write: one pwrite and one fdatasync of 4 KiB, nothing else."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.system import Session, System, Value

_PAGE_BYTES = 4096
#: Written in advance, so that a write changes no metadata of the file.
_PAGES = 1024


class DiskSession:
    """One file, of which page after page is overwritten."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR)
        self._page = bytes(_PAGE_BYTES)
        self._at = 0

    def get(self, index: int) -> Any:
        return os.pread(self._file, _PAGE_BYTES, 0)

    def set(self, index: int, value: Value) -> Any:
        self._at = (self._at + 1) % _PAGES
        os.pwrite(self._file, self._page, self._at * _PAGE_BYTES)
        os.fdatasync(self._file)

    def close(self) -> None:
        os.close(self._file)


class Disk(System):
    """A file, preallocated and written once."""

    name = "disk"
    title = "floor: pwrite and fdatasync of 4 KiB"
    does = frozenset({"set"})
    max_clients = 1

    def start(self, disk: Path, sockets: Path) -> None:
        disk.mkdir()
        self._path = disk / "pages"
        with self._path.open("wb") as file:
            file.write(bytes(_PAGES * _PAGE_BYTES))
            file.flush()
            os.fsync(file.fileno())

    def session(self, assets: Sequence[str]) -> Session:
        return DiskSession(self._path)

    def versions(self) -> dict[str, str]:
        return {"kernel": platform.release()}

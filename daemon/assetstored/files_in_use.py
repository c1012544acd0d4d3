"""The files of the store while they are in use: whether they still are what was opened.

Rule: stat only. lmdb.h forbids to open and close the files within a process that uses them.
"""

from __future__ import annotations

import os
from pathlib import Path

from assetstored.datadir import DATA_FILE, ENGINE_LOCK_FILE, RESTORE, WAL_FILE

#: What must not be touched.
_FILES = (DATA_FILE, ENGINE_LOCK_FILE, WAL_FILE)


class FilesChanged(Exception):
    """Somebody has meddled with files in use; the message says what and what to do."""


class FilesInUse:
    """The files of the store as they are when this is made, and whether they still are.

    stat only: lmdb.h forbids to open and close the files within a process that uses them.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._paths = [str(data_dir / name) for name in _FILES]
        self._identity = file_identity(data_dir)
        self._sizes = [0] * len(_FILES)
        self.check()

    def check(self) -> None:
        """Raise FilesChanged if one of them was removed, replaced or cut off."""
        found = _stat_files(self._paths)
        if found is None or _identity_of(found) != self._identity:
            raise FilesChanged(
                f"the files in {self._data_dir} were removed or replaced while in use; what "
                "was acknowledged is in the old ones. Put them back, or restore a backup"
            )
        sizes = [info.st_size for info in found]
        for name, size, before in zip(_FILES, sizes, self._sizes, strict=True):
            if size < before:
                raise FilesChanged(f"{self._data_dir / name} was cut off while in use; {RESTORE}")
        self._sizes = sizes


def file_identity(data_dir: Path) -> tuple[tuple[int, int], ...] | None:
    """Device and inode of the files of the store, or None where one is missing or unlinked."""
    found = _stat_files([str(data_dir / name) for name in _FILES])
    return None if found is None else _identity_of(found)


def _stat_files(paths: list[str]) -> list[os.stat_result] | None:
    try:
        return [os.stat(path) for path in paths]
    except OSError:
        return None


def _identity_of(found: list[os.stat_result]) -> tuple[tuple[int, int], ...]:
    return tuple((info.st_dev, info.st_ino) for info in found)

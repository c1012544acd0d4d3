"""A store as a start of the daemon would find it: a snapshot of the data file, and over it what is
in the write-ahead log only.

Rule: bytes, by space and key; what they mean is for the one who reads. Changes nothing on disk.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from pathlib import Path

from assetstored import engine
from assetstored.datadir import ENGINE_LOCK_FILE
from assetstored.tables import TABLES, Space, Tables, store_name
from assetstored.tail import Delta

#: Stores that are opened in one transaction: each is compared with all that are open.
_GROUP = 500

#: struct flock: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


class SnapshotLost(Exception):
    """After an error of LMDB no more can be read of the same snapshot, as there is a newer one."""


class Image:
    """One snapshot. One thread; to be closed.

    Where a daemon has the store open it is pinned: the file grows while it is read.
    """

    def __init__(self, data_dir: Path, *, is_live: bool) -> None:
        """Raises engine.EngineError, or NotFoundError where the tables are not there."""
        self._is_live = is_live
        self._env = engine.open_for_checking(str(data_dir), lock=is_live)
        try:
            self._tables = Tables(self._env, None, create=False)
            self._txn = self._env.begin()
        except BaseException:
            self._env.close()
            raise
        self._group = self._txn
        self._stores: dict[int, engine.Database | None] = {}
        self._logged: Delta = {}

    def close(self) -> None:
        """Give up the snapshot."""
        for txn in {self._txn, self._group}:
            txn.abort()
        self._env.close()

    def __enter__(self) -> Image:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def lay_over(self, logged: Delta) -> None:
        """From now on these changes show, in place of what is in the data file."""
        self._logged = logged

    @property
    def transaction(self) -> int:
        """Which commit of LMDB the snapshot is of."""
        return self._txn.id()

    def is_newest(self) -> bool:
        """Whether nothing was committed since the snapshot was made."""
        newest: int = self._env.info()["last_txnid"]
        return newest == self.transaction

    def stores(self) -> dict[bytes, int]:
        """The names of all sub-databases but the tables, with the number of their entries."""
        with self._txn.cursor() as cursor:
            return {
                name: engine.entries_in(record) for name, record in cursor if name not in TABLES
            }

    def count(self, table: bytes) -> int:
        """How many rows the data file has in a table."""
        entries: int = self._txn.stat(self._tables[table])["entries"]
        return entries

    def has_store(self, store_id: int) -> bool:
        """Whether the sub-database of a store is there."""
        return self._store(store_id) is not None

    def get(self, space: Space, key: bytes, /) -> bytes | None:
        """What stands under a key."""
        changes = self._logged.get(space)
        if changes is not None and key in changes:
            return changes[key]
        if isinstance(space, bytes):
            return self._txn.get(key, db=self._tables[space])
        store = self._store(space)
        return None if store is None else self._group.get(key, db=store)

    def get_newest(self, table: bytes, key: bytes) -> bytes | None:
        """What stands under a key of a table in the newest commit of the data file."""
        with self._env.begin() as txn:
            return txn.get(key, db=self._tables[table])

    def rows(self, space: Space, beginning: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """All that stands under keys that begin so, in their order."""
        changes = self._logged.get(space, {})
        ahead = sorted((key for key in changes if key.startswith(beginning)), reverse=True)
        for key, value in self._stored(space, beginning):
            while ahead and ahead[-1] < key:
                new = ahead.pop()
                if (logged := changes[new]) is not None:
                    yield new, logged
            if ahead and ahead[-1] == key:
                if (logged := changes[ahead.pop()]) is not None:
                    yield key, logged
            else:
                yield key, value
        for new in reversed(ahead):
            if (logged := changes[new]) is not None:
                yield new, logged

    def renew(self) -> None:
        """After an error of LMDB: read on, of the same commit. Raises SnapshotLost."""
        before = self.transaction
        for txn in {self._txn, self._group}:
            txn.abort()
        self._stores.clear()
        self._txn = self._group = self._env.begin()
        if self.transaction != before:
            raise SnapshotLost

    def _stored(self, space: Space, beginning: bytes) -> Iterator[tuple[bytes, bytes]]:
        if isinstance(space, bytes):
            txn, database = self._txn, self._tables[space]
        else:
            store = self._store(space)
            if store is None:
                return
            txn, database = self._group, store
        with txn.cursor(db=database) as cursor:
            if not (cursor.set_range(beginning) if beginning else cursor.first()):
                return
            for key, value in cursor:
                if not key.startswith(beginning):
                    return
                yield key, value

    def _store(self, store_id: int) -> engine.Database | None:
        if store_id not in self._stores:
            if len(self._stores) % _GROUP == 0:
                self._next_group()
            try:
                handle = engine.open_database(
                    self._env, self._group, store_name(store_id), create=False
                )
            except engine.NotFoundError:
                handle = None
            self._stores[store_id] = handle
        return self._stores[store_id]

    def _next_group(self) -> None:
        """Let go of the handles that were opened, as long as the same commit can be seen anew."""
        if self._stores and self._group is self._txn:
            return  # a transaction that has opened some must stay the only one that does
        if self._group is not self._txn:
            self._group.abort()
            self._stores.clear()
        self._group = self._env.begin()
        if self._group.id() != self._txn.id():
            self._group.abort()
            self._group = self._txn


def is_in_use(data_dir: Path) -> bool:
    """Whether another process has the store open: LMDB locks the first byte of its lock file.

    Not to be called by a process that has it open itself: to close the file drops its locks.
    """
    try:
        fd = os.open(data_dir / ENGINE_LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
        kind, *_ = _FLOCK.unpack(fcntl.fcntl(fd, fcntl.F_GETLK, asked))
    finally:
        os.close(fd)
    return bool(kind != fcntl.F_UNLCK)

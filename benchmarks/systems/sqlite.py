"""SQLite through Python's own module, the file opened by each worker."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from benchmarks.systems.system import KEY, Session, System, Value

#: How long a writer waits for the others. 64 of them need more than the default of 5 s.
_BUSY_S = 60.0

_TABLE = """
create table entries (
    asset text not null, key text not null, value blob not null, primary key (asset, key)
) without rowid
"""
_GET = "select value from entries where asset = ? and key = ?"
_SET = "insert into entries values (?, ?, ?) on conflict do update set value = excluded.value"


class SqliteSession:
    """One connection. sqlite3 keeps the statements prepared."""

    def __init__(self, path: Path, assets: Sequence[str]) -> None:
        # None: transactions begin where the code says so.
        self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        self._connection.execute("pragma synchronous = full")
        self._assets = assets

    def get(self, index: int) -> Any:
        found = self._connection.execute(_GET, (self._assets[index], KEY)).fetchone()
        return msgspec.json.decode(found[0])

    def set(self, index: int, value: Value) -> Any:
        execute = self._connection.execute
        # Immediate: one that begins as a reader may find that it cannot become a writer.
        execute("begin immediate")
        execute(_SET, (self._assets[index], KEY, msgspec.json.encode(value)))
        execute("commit")

    def close(self) -> None:
        self._connection.close()


class Sqlite(System):
    """Write-ahead log, and a sync at each commit."""

    name = "sqlite"
    title = "SQLite, WAL, synchronous=FULL"

    def start(self, disk: Path, sockets: Path) -> None:
        disk.mkdir()
        self._path = disk / "entries.sqlite"
        connection = sqlite3.connect(self._path)
        connection.execute("pragma journal_mode = wal")
        connection.execute(_TABLE)
        connection.commit()
        connection.close()

    def session(self, assets: Sequence[str]) -> Session:
        return SqliteSession(self._path, assets)

    def versions(self) -> dict[str, str]:
        return {"SQLite": sqlite3.sqlite_version}

"""LMDB without a daemon: the environment opened by each worker."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lmdb
import msgspec
from benchmarks.systems.system import KEY, Session, System, Value

_MAP_BYTES = 1 << 30


class LmdbSession:
    """One environment, with its defaults: each commit is synced, one writer at a time."""

    def __init__(self, path: Path, assets: Sequence[str]) -> None:
        self._environment = lmdb.open(str(path), map_size=_MAP_BYTES)
        self._keys = [f"{asset}/{KEY}".encode() for asset in assets]

    def get(self, index: int) -> Any:
        with self._environment.begin() as transaction:
            return msgspec.json.decode(transaction.get(self._keys[index], b""))

    def set(self, index: int, value: Value) -> Any:
        with self._environment.begin(write=True) as transaction:
            transaction.put(self._keys[index], msgspec.json.encode(value))

    def close(self) -> None:
        self._environment.close()


class PlainLmdb(System):
    """py-lmdb as it comes."""

    name = "lmdb"
    title = "py-lmdb in each worker"

    def start(self, disk: Path, sockets: Path) -> None:
        self._path = disk

    def session(self, assets: Sequence[str]) -> Session:
        return LmdbSession(self._path, assets)

    def versions(self) -> dict[str, str]:
        return {"lmdb": version("lmdb"), "LMDB": ".".join(map(str, lmdb.version()))}

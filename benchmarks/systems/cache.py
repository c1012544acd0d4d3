"""diskcache: SQLite files in a directory, opened by each worker."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import diskcache
import msgspec
from benchmarks.systems.system import KEY, Session, System, Value


class CacheSession:
    """A FanoutCache, which its documents advise where several write."""

    def __init__(self, directory: Path, assets: Sequence[str], synchronous: int) -> None:
        # A store must not evict, and sqlite_synchronous is what diskcache passes to SQLite.
        self._cache = diskcache.FanoutCache(
            str(directory),
            shards=8,
            eviction_policy="none",
            cull_limit=0,
            sqlite_synchronous=synchronous,
        )
        self._keys = [f"{asset}:{KEY}" for asset in assets]

    def get(self, index: int) -> Any:
        # retry: without it a cache that is busy says that there is no such key.
        return msgspec.json.decode(self._cache.get(self._keys[index], retry=True))

    def set(self, index: int, value: Value) -> Any:
        return self._cache.set(self._keys[index], msgspec.json.encode(value), retry=True)

    def close(self) -> None:
        self._cache.close()


class DiskCacheFull(System):
    """With ``sqlite_synchronous=2``, FULL: a sync at each commit."""

    name = "diskcache"
    title = "diskcache, synchronous=FULL"
    synchronous: ClassVar[int] = 2

    def start(self, disk: Path, sockets: Path) -> None:
        self._directory = disk
        # The first to open it writes the settings of all shards.
        CacheSession(disk, [], self.synchronous).close()

    def session(self, assets: Sequence[str]) -> Session:
        return CacheSession(self._directory, assets, self.synchronous)

    def versions(self) -> dict[str, str]:
        return {"diskcache": version("diskcache")}


class DiskCacheNormal(DiskCacheFull):
    """As it comes: NORMAL, which in write-ahead mode syncs only now and then."""

    name = "diskcache-normal"
    title = "diskcache, its default synchronous=NORMAL"
    survives = "kill -9"
    synchronous = 1

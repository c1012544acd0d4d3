"""assetstore: its daemon as installed beside this interpreter, and its two clients."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.interrupts import held
from benchmarks.systems.process import ServerProcess
from benchmarks.systems.system import KEY, AsyncSession, Session, System, Value, asset_name

import assetstore
from assetstore import AssetStoreError, AsyncClient, Client

#: Of a call, in seconds: 64 processes that set at once wait for each other.
_TIMEOUT_S = 60.0

#: How many changes a transaction may have.
_MOST_CHANGES = 1_000


class OurSession:
    """A blocking client."""

    def __init__(self, socket: str, assets: Sequence[str]) -> None:
        self._client = Client(socket, timeout=_TIMEOUT_S)
        self._stores = [self._client.store(asset) for asset in assets]

    def get(self, index: int) -> Any:
        return self._stores[index].get(KEY)

    def set(self, index: int, value: Value) -> Any:
        return self._stores[index].set(KEY, value)

    def close(self) -> None:
        self._client.close()


class OurAsyncSession:
    """A client that coroutines share: one connection."""

    def __init__(self, socket: str, asset: str) -> None:
        self._client = AsyncClient(socket, timeout=_TIMEOUT_S)
        self._store = self._client.store(asset)

    async def get(self) -> Any:
        return await self._store.get(KEY)

    async def set(self, value: Value) -> Any:
        return await self._store.set(KEY, value)

    async def close(self) -> None:
        await self._client.close()


class Assetstore(System):
    """The daemon with its default configuration: the journal on, every commit synced."""

    name = "assetstore"
    title = "assetstore"
    does = frozenset({"get", "set", "mix", "async"})

    _server: ServerProcess | None = None

    def start(self, disk: Path, sockets: Path) -> None:
        disk.mkdir()
        manifest = disk / "manifest.json"
        names = [asset_name(number) for number in range(self.assets)]
        manifest.write_text(json.dumps({"version": 1, "assets": names}))
        self.socket = str(sockets / "s")
        with held():
            self._server = server = ServerProcess(
                [
                    *(sys.executable, "-m", "assetstored"),
                    *("--data-dir", str(disk / "data")),
                    *("--socket", self.socket),
                    *("--manifest", str(manifest)),
                ],
                disk / "log",
            )
        server.wait_until(self._is_ready)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def session(self, assets: Sequence[str]) -> Session:
        return OurSession(self.socket, assets)

    async def async_session(self, asset: str) -> AsyncSession:
        return OurAsyncSession(self.socket, asset)

    def processes(self) -> dict[str, int]:
        with Client(self.socket, timeout=_TIMEOUT_S) as client:
            status = client.status()
        return {"serving": status["pid"], "writer": status["writer_pid"]}

    def versions(self) -> dict[str, str]:
        return {each: version(each) for each in ("assetstore", "lmdb", "msgspec")}

    def _is_ready(self) -> bool:
        try:
            with Client(self.socket, timeout=1) as client:
                manifest = client.status()["manifest"]
                return bool(manifest["state"] == "accepted")
        except AssetStoreError:
            return False


class Assetstore100(Assetstore):
    """A daemon with 100 active assets, each with an entry."""

    name = "assetstore-100"
    title = "assetstore, 100 assets"
    does = frozenset({"assets"})

    def start(self, disk: Path, sockets: Path) -> None:
        super().start(disk, sockets)
        value = {"watermark": "2026-01-01T00:00:00+00:00", "rows": 10_000}
        with assetstore.connect(self.socket, timeout=_TIMEOUT_S) as client:
            for first in range(0, self.assets, _MOST_CHANGES):
                with client.transaction() as change:
                    for number in range(first, min(first + _MOST_CHANGES, self.assets)):
                        change.store(asset_name(number)).set(KEY, value)


class Assetstore100k(Assetstore100):
    """A daemon with 100,000 active assets, each with an entry."""

    name = "assetstore-100k"
    title = "assetstore, 100,000 assets"
    assets = 100_000

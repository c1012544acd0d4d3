"""Redis, as Debian packs it, through redis-py with hiredis over a Unix socket."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import hiredis
import msgspec
import redis
import redis.asyncio
from benchmarks.interrupts import held
from benchmarks.systems.process import ServerProcess
from benchmarks.systems.system import KEY, AsyncSession, Session, System, SystemFailed, Value

# redis-py takes the parser of hiredis by itself where it is installed.
assert hiredis


class RedisSession:
    """A client with its one connection."""

    def __init__(self, socket: str, assets: Sequence[str]) -> None:
        self._client = redis.Redis(unix_socket_path=socket)
        self._keys = [f"{asset}:{KEY}" for asset in assets]

    def get(self, index: int) -> Any:
        return msgspec.json.decode(self._client.get(self._keys[index]))

    def set(self, index: int, value: Value) -> Any:
        return self._client.set(self._keys[index], msgspec.json.encode(value))

    def close(self) -> None:
        self._client.close()


class RedisAsyncSession:
    """A client that coroutines share."""

    def __init__(self, socket: str, asset: str, *, is_single: bool) -> None:
        self._client = redis.asyncio.Redis(
            unix_socket_path=socket, single_connection_client=is_single
        )
        self._key = f"{asset}:{KEY}"

    async def get(self) -> Any:
        return msgspec.json.decode(await self._client.get(self._key))

    async def set(self, value: Value) -> Any:
        return await self._client.set(self._key, msgspec.json.encode(value))

    async def close(self) -> None:
        await self._client.aclose()


class RedisAlways(System):
    """Each set is on disk before it is answered: ``appendfsync always``."""

    name = "redis"
    title = "Redis, appendfsync always"
    does = frozenset({"get", "set", "mix", "async"})
    fsync: ClassVar[str] = "always"

    _server: ServerProcess | None = None

    def start(self, disk: Path, sockets: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise SystemFailed("redis-server is not installed: apt-get install redis-server")
        disk.mkdir()
        self.socket = str(sockets / "s")
        with held():
            self._server = server = ServerProcess(
                [
                    *(program, "--port", "0", "--unixsocket", self.socket),
                    *("--dir", str(disk), "--daemonize", "no"),
                    *("--appendonly", "yes", "--appendfsync", self.fsync),
                    # What the log of all writes holds needs no snapshots besides.
                    *("--save", ""),
                ],
                disk / "log",
            )
        server.wait_until(self._is_ready)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()

    def session(self, assets: Sequence[str]) -> Session:
        return RedisSession(self.socket, assets)

    async def async_session(self, asset: str) -> AsyncSession:
        # A connection for each coroutine that waits, from the client's pool: its default.
        return RedisAsyncSession(self.socket, asset, is_single=False)

    def processes(self) -> dict[str, int]:
        assert self._server is not None
        return {"server": self._server.pid}

    def versions(self) -> dict[str, str]:
        shown = subprocess.run(
            ["redis-server", "--version"], capture_output=True, text=True, check=True
        )
        return {
            "redis-server": shown.stdout.partition("v=")[2].partition(" ")[0],
            "redis-py": version("redis"),
            "hiredis": version("hiredis"),
        }

    def _is_ready(self) -> bool:
        client = redis.Redis(unix_socket_path=self.socket)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()


class RedisEverySecond(RedisAlways):
    """A set is answered before it is on disk: ``appendfsync everysec``, which is the default."""

    name = "redis-everysec"
    title = "Redis, appendfsync everysec"
    survives = "kill -9"
    does = frozenset({"get", "set", "mix"})
    fsync = "everysec"


class RedisSingle(RedisAlways):
    """The asynchronous client with one connection that all coroutines share."""

    name = "redis-single"
    title = "Redis, appendfsync always, one connection"
    does = frozenset({"async"})

    async def async_session(self, asset: str) -> AsyncSession:
        return RedisAsyncSession(self.socket, asset, is_single=True)

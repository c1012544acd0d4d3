"""Which systems there are, and which of them can be measured here.

Rule: imports a system only when it is asked for, as its packages may be missing.
"""

from __future__ import annotations

from importlib import import_module

from benchmarks.systems.system import System

#: Name -> where its class is, in the order of the tables.
SYSTEMS = {
    "assetstore": "ours:Assetstore",
    "redis": "redis:RedisAlways",
    "redis-everysec": "redis:RedisEverySecond",
    "redis-single": "redis:RedisSingle",
    "sqlite": "sqlite:Sqlite",
    "diskcache": "cache:DiskCacheFull",
    "diskcache-normal": "cache:DiskCacheNormal",
    "lmdb": "plain_lmdb:PlainLmdb",
    "airflow": "airflow:Airflow",
    "echo": "echo:Echo",
    "echo-asyncio": "echo:EchoAsyncio",
    "echo-uvloop": "echo_uvloop:EchoUvloop",
    "disk": "disk:Disk",
    "assetstore-100": "ours:Assetstore100",
    "assetstore-100k": "ours:Assetstore100k",
}


class Missing(Exception):
    """A system that cannot be measured here; the message says what it lacks."""


def system(name: str, airflow: str) -> System:
    """A new system of that name, not started; ``airflow`` is the interpreter that has Airflow.

    Raises Missing without its packages.
    """
    module, _, cls = SYSTEMS[name].partition(":")
    try:
        found = getattr(import_module(f"benchmarks.systems.{module}"), cls)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.startswith(("benchmarks", "assetstore")):
            raise
        raise Missing(f"{exc.name} is not installed") from exc
    made: System = found(airflow) if name == "airflow" else found()
    return made

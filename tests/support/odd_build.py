"""The daemon, built otherwise: with a small log, or so that it must lose something in a power cut.

    python -m tests.support.odd_build BUILD FLAGS

    small-log       halves of 64 KiB: it goes around often, and changes wait for room
    no-metasync     LMDB's pages with the roots are not synced
    unsynced-log    the log is not synced
    early           changes are acknowledged, and the log is synced a little later
    careless        a sync of the log that fails is as good as one that does not

The last four are the proof that a test would notice.

Rule: one thing is changed for each, before anything has begun; its processes inherit it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

from tests.support import small_log

from assetstored import app, engine, syncer


def _no_metasync() -> None:
    open_environment = vars(engine)["lmdb"].open

    def open_otherwise(path: str, **options: Any) -> Any:
        return open_environment(path, **{**options, "metasync": False})

    _change(engine, "lmdb", open=open_otherwise)


def _unsynced_log() -> None:
    _change(syncer, "os", fdatasync=lambda fd: None)


def _early() -> None:
    def sync_now(self: syncer.Syncer) -> None:
        asyncio.get_running_loop().call_later(0.005, os.fdatasync, self._fd)

    def sync(self: syncer.Syncer, done: Callable[[], None]) -> None:
        sync_now(self)
        asyncio.get_running_loop().call_soon(done)

    for method in (sync_now, sync):
        assert hasattr(syncer.Syncer, method.__name__)
        setattr(syncer.Syncer, method.__name__, method)


def _careless() -> None:
    def fdatasync(fd: int) -> None:
        with contextlib.suppress(OSError):
            os.fdatasync(fd)

    _change(syncer, "os", fdatasync=fdatasync)


def _change(module: ModuleType, imported: str, **changes: object) -> None:
    """Let the module find something else in one that it has imported; nobody else does."""
    real = vars(module)[imported]
    setattr(module, imported, SimpleNamespace(**{**vars(real), **changes}))


_BUILDS: dict[str, Callable[[], None]] = {
    "small-log": small_log.shrink,
    "no-metasync": _no_metasync,
    "unsynced-log": _unsynced_log,
    "early": _early,
    "careless": _careless,
}


def command(build: str) -> list[str]:
    """What starts it; to be followed by its flags."""
    return [sys.executable, "-m", "tests.support.odd_build", build]


if __name__ == "__main__":
    _BUILDS[sys.argv[1]]()
    sys.exit(app.main(sys.argv[2:]))

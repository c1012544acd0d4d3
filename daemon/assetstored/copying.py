"""A consistent copy of a data file, compacted, while others may write to it.

One read transaction is copied, so it is one moment of the store. As long as it lasts, the store
uses no page again that was in use at its beginning: its file grows by what is changed meanwhile.

Rule: one file from one environment; which directory it goes to and what else is there is not known.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from assetstored import engine
from assetstored.tables import META, Counters, Identity, Snapshot, Tables, read_row

#: Done and to be done, in bytes; the latter is an upper bound, as free pages are left out.
Tell: TypeAlias = Callable[[int, int], None]

#: What is written and synced at once beside a daemon: its own syncs wait for it.
_CHUNK_BYTES: Final = 1 << 20

#: How long the disk is left to the daemon after a chunk, at most; else as long as the chunk took.
_LONGEST_REST_S: Final = 0.05

#: What is left free on a disk that the store is on, too: with less than half of it the daemon
#: begins to be careful.
_RESERVE_BYTES: Final = 128 << 20


class CopyFailed(Exception):
    """There is no copy; the message says why, and what to do."""


def copy_data_file(source: Path, target: Path, *, is_served: bool, tell: Tell) -> Counters:
    """Copy the data file of the directory source to the file target, which is not there yet.

    On disk when this returns: what is in the file, not its name. Returns the counters of its
    moment. ``is_served``: a daemon runs on source, and is given way to. Raises CopyFailed, Damaged
    and OSError.
    """
    try:
        env = (
            engine.open_for_reading(str(source))
            if is_served
            else engine.open_for_checking(str(source), lock=False)
        )
    except engine.EngineError as exc:
        raise CopyFailed(f"LMDB cannot open the store in {source}: {exc}") from exc
    try:
        tables = Tables(env, None, create=False)
        with env.begin(buffers=True) as txn:
            snapshot = Snapshot(txn, tables)
            identity = read_row(snapshot, META, b"identity", Identity)
            counters = read_row(snapshot, META, b"counters", Counters)
            if identity is None or counters is None:
                raise CopyFailed(f"{source} holds no store")
            if is_served:
                # Not before: who waits for a lock of LMDB's must not wait for a slow process.
                with contextlib.suppress(OSError):
                    os.nice(19)  # in a sandbox the unit has seen to it
            _Copy(env, txn, target, source if is_served else None, tell).run()
            return counters
    except engine.EngineError as exc:
        raise CopyFailed(f"LMDB cannot copy the store in {source}: {exc}") from exc
    finally:
        env.close()


class _Copy:
    """LMDB writes into a pipe, in a thread; here it comes out, and signals are taken."""

    def __init__(
        self,
        env: engine.Environment,
        txn: engine.ReadTransaction,
        target: Path,
        beside: Path | None,
        tell: Tell,
    ) -> None:
        self._env = env
        self._txn = txn
        self._target = target
        self._tell = tell
        self._total = engine.size_bytes(env)
        self._is_beside = beside is not None
        self._reserve = (
            _RESERVE_BYTES
            if beside is not None and os.stat(beside).st_dev == os.stat(target.parent).st_dev
            else 0
        )
        self._failure: engine.EngineError | None = None

    def run(self) -> None:
        outlet, inlet = os.pipe()
        thread = threading.Thread(target=self._fill, args=(inlet,), name="copy")
        fd = -1
        try:
            fd = os.open(self._target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            thread.start()
            with open(outlet, "rb", buffering=_CHUNK_BYTES, closefd=False) as pipe:
                self._drain(pipe.read, fd)
            os.fsync(fd)
        finally:
            # If it was given up, LMDB ends at the next write.
            os.close(outlet)
            if thread.ident is None:
                os.close(inlet)
            else:
                thread.join()
            if fd >= 0:
                os.close(fd)
        if self._failure is not None:
            raise self._failure

    def _fill(self, inlet: int) -> None:
        try:
            engine.copy_compacted(self._env, self._txn, inlet)
        except engine.EngineError as exc:
            self._failure = exc
        finally:
            os.close(inlet)

    def _drain(self, read: Callable[[int], bytes], fd: int) -> None:
        done = 0
        while chunk := read(_CHUNK_BYTES):
            if self._reserve and self._free_bytes() < self._reserve:
                raise CopyFailed(
                    f"{self._target.parent} is on the disk of the store and has less than "
                    f"{self._reserve:,} bytes free, which are left to the daemon; make room, or "
                    "back up to another disk"
                )
            begun = time.monotonic()
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]
            if self._is_beside:
                # Little by little: all of it at the end would keep the disk busy for long.
                os.fdatasync(fd)
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
                time.sleep(min(time.monotonic() - begun, _LONGEST_REST_S))
            done += len(chunk)
            self._tell(done, max(done, self._total))

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._target.parent)
        return disk.f_bavail * disk.f_frsize

"""A consistent copy of a data file, compacted, while others may write to it.

One read transaction is copied, so it is one moment of the store. As long as it lasts, the store
uses no page again that was in use at its beginning: its file grows by what is changed meanwhile.

Rule: one file from one environment; which directory it goes to and what else is there is not known.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import threading
import time
from collections.abc import Callable
from io import BufferedIOBase, BufferedReader, FileIO
from pathlib import Path
from typing import Final, TypeAlias

from assetstored import engine
from assetstored.tables import META, Counters, Identity, Snapshot, Tables, read_row

#: Done and to be done, in bytes; the latter is an upper bound, as free pages are left out.
Tell: TypeAlias = Callable[[int, int], None]

#: What is written at once beside a daemon: its own writes and syncs wait for it.
_CHUNK_BYTES: Final = 256 << 10

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
                    os.nice(19)  # what a sandbox does not allow is not needed
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
            fd = _create(self._target)
            thread.start()
            with (
                BufferedReader(FileIO(outlet, closefd=False), _CHUNK_BYTES) as pipe,
                mmap.mmap(-1, _CHUNK_BYTES) as chunk,  # which lies where O_DIRECT wants it
                memoryview(chunk) as view,
            ):
                self._drain(pipe, view, fd)
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

    def _drain(self, pipe: BufferedIOBase, chunk: memoryview, fd: int) -> None:
        done = 0
        while size := pipe.readinto(chunk):
            if self._reserve and self._free_bytes() < self._reserve:
                raise CopyFailed(
                    f"{self._target.parent} is on the disk of the store and has less than "
                    f"{self._reserve:,} bytes free, which are left to the daemon; make room, or "
                    "back up to another disk"
                )
            begun = time.monotonic()
            written = 0
            while written < size:
                written += os.write(fd, chunk[written:size])
            if self._is_beside:
                time.sleep(min(time.monotonic() - begun, _LONGEST_REST_S))
            done += size
            self._tell(done, max(done, self._total))

    def _free_bytes(self) -> int:
        disk = os.statvfs(self._target.parent)
        return disk.f_bavail * disk.f_frsize


def _create(path: Path) -> int:
    """A new file, written past the page cache where its file system can do that.

    What gathers in the cache is written all at once some time, and the daemon's syncs wait for it.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags | os.O_DIRECT, 0o600)
    except OSError as exc:
        if exc.errno != errno.EINVAL:
            raise
    path.unlink(missing_ok=True)  # some have made it all the same
    return os.open(path, flags, 0o600)

"""The one door to LMDB: how the environment is opened, and what its errors mean.

What lmdb.h warns of, and how this project answers:

- "Do not have open an LMDB database twice in the same process": the serving process opens it
  once, read-only; the writer process opens it once, for writing. Nothing else in either
  process opens the files, not even to look: closing a descriptor drops the locks of a process.
- "Use an MDB_env* in the process which opened it, not after fork()": the writer is forked
  before either process has opened anything, and neither forks afterwards.
- mdb_dbi_open "must not be called from multiple concurrent transactions in the same process":
  each process has one thread that uses LMDB and one transaction at a time.
- "Avoid long-lived transactions": the serving process gives up its snapshot at each commit.
- Handles: a handle that was dropped, or opened in a transaction that ended, silently reads and
  writes whichever sub-database takes its slot next. Only snapshots.Snapshots and
  stores.StoreHandles keep handles, and both forget them with the transaction or the drop.
- No remote file system: datadir.py refuses them.
- writemap and nosync are never used: a full disk would be SIGBUS, a power cut a lost write.

Rule: the only file that imports lmdb; no format and no decision about the data here.
"""

from __future__ import annotations

import errno
import os
import resource
import struct
from enum import Enum
from typing import NamedTuple, TypeAlias

import lmdb
from lmdb import verify as _verify

Environment: TypeAlias = lmdb.Environment
# Only their stubs know that they are generic.
Transaction: TypeAlias = "lmdb.Transaction[bytes]"
ReadTransaction: TypeAlias = "lmdb.Transaction[memoryview]"
ReadCursor: TypeAlias = "lmdb.Cursor[memoryview]"
AnyTransaction: TypeAlias = "lmdb.Transaction[bytes] | lmdb.Transaction[memoryview]"
Database: TypeAlias = lmdb._Database
EngineError = lmdb.Error
LMDB_VERSION = f"{lmdb.__version__} ({'.'.join(map(str, lmdb.version()))})"
NotFoundError = lmdb.NotFoundError
MapFullError = lmdb.MapFullError
VerifyError = _verify.VerifyError

#: The LMDB 0.9 format. 1.0 has another, and py-lmdb would take whichever it was told to.
ENGINE_VERSION = 0

#: Address space, not disk: the disk is the limit, so the map never has to grow under load.
MAP_BYTES = 1 << 40

MAX_KEY_BYTES = 511

#: Readers are the serving process and tools; a fleet's clients are not readers.
_MAX_READERS = 126

#: Handles that the writer keeps open before it reopens the environment, since py-lmdb cannot
#: close one: each makes every transaction dearer (26 us at 5,000), and reopening takes 1 ms.
WRITER_HANDLES = 1_000

#: Stores that one transaction may open beside those.
TRANSACTION_HANDLES = 1_000

#: Handles within one read transaction. Opening one compares its name with all open ones,
#: so few are faster than many.
READER_HANDLES = 56

#: Handles that one request may need within one snapshot.
HELD_HANDLES = 1_000

#: Handles of a check of a store that is being changed: all its stores, in one snapshot.
_CHECKER_HANDLES = 1 << 20

#: In the native order, and with the alignment, of the C struct MDB_db.
_ENTRIES = struct.Struct("Q")
_DB_BYTES, _ENTRIES_AT = 48, 32

#: The tables, beside the stores.
_RESERVED_HANDLES = 8


def open_for_writing(path: str) -> Environment:
    """Open, or create, the environment in the directory path. Durable: every commit syncs."""
    return lmdb.open(
        path,
        map_size=MAP_BYTES,
        max_dbs=WRITER_HANDLES + _RESERVED_HANDLES + TRANSACTION_HANDLES,
        max_readers=_MAX_READERS,
        mode=0o600,
        sync=True,
        metasync=True,
        writemap=False,
        map_async=False,
        lib_version=ENGINE_VERSION,
    )


def open_for_reading(path: str) -> Environment:
    """Open the existing environment in the directory path; nothing can be written through it."""
    return lmdb.open(
        path,
        map_size=MAP_BYTES,
        max_dbs=READER_HANDLES + HELD_HANDLES + _RESERVED_HANDLES,
        max_readers=_MAX_READERS,
        readonly=True,
        create=False,
        lib_version=ENGINE_VERSION,
    )


def open_for_checking(path: str, *, lock: bool) -> Environment:
    """As open_for_reading, for a check of all there is, by a process of its own.

    Without ``lock`` nothing is written, not even to LMDB's lock file; then no other process may
    have it open.
    """
    return lmdb.open(
        path,
        map_size=MAP_BYTES,
        max_dbs=_CHECKER_HANDLES if lock else HELD_HANDLES + _RESERVED_HANDLES,
        max_readers=_MAX_READERS,
        readonly=True,
        create=False,
        lock=lock,
        lib_version=ENGINE_VERSION,
    )


def entries_in(record: bytes) -> int:
    """How many entries a sub-database has, by its record in the main one (MDB_db, md_entries)."""
    return _ENTRIES.unpack_from(record, _ENTRIES_AT)[0] if len(record) == _DB_BYTES else 0


def open_database(
    env: Environment, txn: AnyTransaction | None, name: bytes, *, create: bool
) -> Database:
    """The handle of a named database; raises NotFoundError if it is not there.

    Opened in a read transaction it dies with it, even with its commit (py-lmdb 3.0); in a write
    transaction it lasts if that is committed; in none, it lasts.
    """
    return env.open_db(name, txn=txn, create=create)


class ReaderSlot(NamedTuple):
    """One reader that LMDB's lock file has. ``is_reading``: within a transaction now, which keeps
    all pages from being used again that were freed since. ``is_stale``: its process is gone."""

    pid: int
    is_reading: bool
    is_stale: bool


def readers(env: Environment) -> list[ReaderSlot]:
    """All slots that are taken, those of this process included."""
    found = []
    # Its answer is a text for people: a head, then pid, thread and transaction, "-" for none.
    for line in env.readers().splitlines()[1:]:
        pid, _, transaction = line.split()
        found.append(ReaderSlot(int(pid), transaction != "-", not _is_running(int(pid))))
    return found


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # another user's
    return True


def copy_compacted(env: Environment, txn: ReadTransaction | Transaction, fd: int) -> None:
    """Write what the transaction sees to fd, as a data file without free pages. Syncs nothing.

    Other threads run meanwhile. Ends with EngineError where fd takes no more.
    """
    env.copyfd(fd, compact=True, txn=txn)


def size_bytes(env: Environment) -> int:
    """How much of the data file is in use, free pages among it included."""
    page_bytes: int = env.stat()["psize"]
    last_page: int = env.info()["last_pgno"]
    return (last_page + 1) * page_bytes


def verify(path: str) -> list[str]:
    """Problems in the structure of the file in directory path; reads it without opening it."""
    problems: list[str] = _verify.verify(path)  # type: ignore[no-untyped-call]
    return problems


def problems_of(path: str) -> list[str]:
    """As verify, with a file that it cannot make sense of as the one problem."""
    try:
        return verify(path)
    except VerifyError as exc:
        return [str(exc)]


def is_of_system(exc: EngineError) -> bool:
    """Whether the system has refused something (permissions, memory); else it is the file."""
    return exc.code > 0


class Failure(Enum):
    """What a failed commit or change means for what was asked."""

    NO_ROOM = "no room"  # nothing changed; works again when there is room
    FATAL = "fatal"  # what is on disk is not known; only a restart finds out


def failure_of(exc: Exception, data_path: str, needed_bytes: int) -> Failure:
    """Tell a lack of room from an error of the device.

    LMDB reports a full disk as EIO after a short write, so the class of the error does not
    tell; the file system and the process's own limit do.
    """
    if isinstance(exc, MapFullError):
        return Failure.NO_ROOM
    if isinstance(exc, lmdb.PanicError):
        return Failure.FATAL
    if isinstance(exc, lmdb.Error) and exc.code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return Failure.NO_ROOM
    # Twice what the batch needs, and at least 1 MiB: LMDB writes pages, not bytes.
    if free_bytes(data_path) < max(2 * needed_bytes, 1 << 20):
        return Failure.NO_ROOM
    return Failure.FATAL


def free_bytes(path: str) -> int:
    """How much more the data file can grow: by the disk, and by RLIMIT_FSIZE."""
    disk = os.statvfs(path)
    free = disk.f_bavail * disk.f_frsize
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY:
        free = min(free, max(0, limit - os.stat(os.path.join(path, "data.mdb")).st_size))
    return free

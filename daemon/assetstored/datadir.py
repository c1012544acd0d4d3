"""The data directory: who owns it, and whether what lies in it may be opened.

    assetstored.lock   held by the daemon's processes as long as one of them lives
    store.json         the marker: this directory has held a store, and which
    data.mdb, lock.mdb LMDB's
    data.wal           the write-ahead log: what is acknowledged and not yet in data.mdb

LMDB takes an emptied data file for a new store and a shortened one for a SIGBUS later on, so what
the marker and the file's own first pages say is compared before LMDB sees the file.

Rule: runs before the environment is open; it never writes to data.mdb.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import struct
import sys
import time
from enum import Enum
from pathlib import Path

from assetstored.tables import FORMAT, Identity

LOCK_FILE = "assetstored.lock"
MARKER_FILE = "store.json"
DATA_FILE = "data.mdb"
ENGINE_LOCK_FILE = "lock.mdb"
WAL_FILE = "data.wal"

#: What LMDB makes of it for 126 readers.
_ENGINE_LOCK_BYTES = 8192

#: How long a new daemon waits for the writer process of one that was killed: its last commit.
_ORPHAN_WAIT_S = 10.0

REMOTE_FILE_SYSTEMS = frozenset(
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs"]
)
_LMDB_MAGIC = 0xBEEFC0DE
_LMDB_09 = 1
_META_10 = 24  # where LMDB 1.0 has its magic: its page header is longer
RESTORE = "restore the data directory from a backup (docs/operations.md, 'The store is refused')"


class StartRefused(Exception):
    """The daemon must not start on this directory; the message says why and what to do."""


def unreadable(path: Path, exc: OSError) -> StartRefused:
    """The refusal of a file that cannot be opened."""
    if isinstance(exc, NotADirectoryError):
        return StartRefused(f"cannot read {path}: {path.parent} is no directory")
    return StartRefused(
        f"cannot read {path}: {exc.strerror}; it must belong to uid {os.geteuid()}, as whom this "
        "runs; or run this as its owner, or as root"
    )


def refused_log(data_dir: Path, exc: Exception) -> StartRefused:
    """The refusal of a log that was good a moment ago, when the writer looked at it."""
    if isinstance(exc, OSError):
        return unreadable(data_dir / WAL_FILE, exc)
    return StartRefused(f"the write-ahead log cannot be opened: {exc}")


def prepare(data_dir: Path) -> int:
    """Make the directory if it is not there, and take its lock; returns the lock's descriptor.

    The lock lives as long as the descriptor, or a copy of it in a forked child, is open.
    """
    try:
        # py-lmdb would make it with the mode of the files, which lets nobody in.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, ValueError) as exc:
        why = (exc.strerror or exc) if isinstance(exc, OSError) else exc
        if isinstance(exc, FileExistsError):
            why = "there is something else, which is no directory"
        raise StartRefused(f"cannot make the data directory {data_dir}: {why}") from exc
    _check_file_system(data_dir)
    lock_path = data_dir / LOCK_FILE
    try:
        lock_fd = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StartRefused(
            f"cannot write in the data directory {data_dir}: {exc.strerror}; "
            f"it must belong to uid {os.geteuid()}, the user of this daemon"
        ) from exc
    _lock(lock_fd, data_dir)
    # Whose it is, for the message of the next: not worth failing for on a full disk.
    with contextlib.suppress(OSError):
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, b"%d\n" % os.getpid(), 0)
    return lock_fd


def _lock(lock_fd: int, data_dir: Path) -> None:
    deadline = time.monotonic() + _ORPHAN_WAIT_S
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        holder = os.pread(lock_fd, 32, 0).strip().decode(errors="replace")
        # If the daemon itself is gone, only its writer is left, finishing its last commit.
        if (holder.isdigit() and _is_alive(int(holder))) or time.monotonic() > deadline:
            raise StartRefused(
                f"process {holder or 'unknown'} has {data_dir}: it serves it, backs it up or "
                "restores it; stop it first, or name another data directory"
            )
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state not in ("Z", "X")


def _check_file_system(data_dir: Path) -> None:
    """lmdb.h: "Do not use LMDB databases on remote filesystems"."""
    device = os.stat(data_dir).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in mounts:
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted and right.split()[0] in REMOTE_FILE_SYSTEMS:
            raise StartRefused(
                f"{data_dir} is on a remote file system ({right.split()[0]}), on which LMDB "
                "cannot keep its promises; use a local disk"
            )


def read_marker(data_dir: Path) -> Identity | None:
    """The identity of the store that this directory has held, or None if it never held one."""
    path = data_dir / MARKER_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise unreadable(path, exc) from exc
    try:
        marker = json.loads(text)
        identity = Identity(marker["format"], marker["store_id"], marker["created_at"])
    except (ValueError, KeyError, TypeError) as exc:
        raise StartRefused(f"{path} cannot be read ({exc}); {RESTORE}") from exc
    if identity.format != FORMAT:
        raise StartRefused(
            f"{data_dir} holds a store of format {identity.format}; this daemon knows format "
            f"{FORMAT}: use the version of assetstore that wrote it, or {RESTORE}"
        )
    return identity


def write_marker(data_dir: Path, identity: Identity, **more: object) -> None:
    """Leave the marker, durably: when the store's first commit is on disk, or in a copy of it.

    ``more`` is for whom it concerns: read_marker passes over it.
    """
    for directory in (data_dir, data_dir.parent):
        sync_directory(directory)  # LMDB does not sync the directories of its files
    text = json.dumps(
        {
            "format": identity.format,
            "store_id": identity.store_id,
            "created_at": identity.created_at,
            "engine": "LMDB 0.9",
            **more,
        }
    )
    temporary = data_dir / (MARKER_FILE + ".new")
    with open(temporary, "w", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(data_dir / MARKER_FILE)
    sync_directory(data_dir)


def sync_directory(directory: Path) -> None:
    """See that the names of files in it are on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError:
        pass  # some file systems have no such thing, and a parent may not be ours to sync
    finally:
        os.close(fd)


class DataFile(Enum):
    """What there is in the place of data.mdb."""

    ABSENT = "absent"
    UNBORN = "never committed to"  # a first start was cut: nobody was ever answered from it
    WHOLE = "as long as it says"
    SHORT = "shorter than it says"  # which a sound file may be


def sync_file(path: Path) -> None:
    """See that what is in a file is on disk. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def give_to(path: Path, owner: os.stat_result) -> None:
    """Give what root has made to whom something else belongs: the daemon may not be root."""
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)


def check_data_file(data_dir: Path, marker: Identity | None) -> bool:
    """Look at data.mdb before LMDB does. Returns whether its structure has to be verified first.

    Raises StartRefused unless it is a whole file of the 0.9 format, or absent in a directory that
    never held a store. What an interrupted first start left behind is removed.
    """
    found = look_at_data_file(data_dir, marker)
    if found is DataFile.UNBORN:
        (data_dir / DATA_FILE).unlink()
    return found is DataFile.SHORT


def look_at_data_file(data_dir: Path, marker: Identity | None) -> DataFile:
    """As check_data_file, and changes nothing."""
    path = data_dir / DATA_FILE
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        if marker is None:
            return DataFile.ABSENT
        raise StartRefused(
            f"{path} is missing, and store {marker.store_id} was here: an empty store in its "
            f"place would lose everything; {RESTORE}"
        ) from None
    except OSError as exc:
        raise StartRefused(f"cannot look at {path}: {exc}") from exc
    if not stat.S_ISREG(path.stat().st_mode):
        raise StartRefused(f"{path} is not a regular file; {RESTORE}")
    try:
        with open(path, "rb") as file:
            head = file.read(2 * 65536)
    except OSError as exc:
        raise unreadable(path, exc) from exc
    if marker is None and _never_committed(head):
        return DataFile.UNBORN
    if not head:
        raise StartRefused(f"{path} is empty; {RESTORE}")
    pages_bytes = _size_by_meta(path, head)
    return DataFile.SHORT if size < pages_bytes else DataFile.WHOLE


def reserve_lock_file(data_dir: Path) -> None:
    """See that LMDB's lock file has its blocks: it is written through memory, where a full disk
    would be SIGBUS. Raises StartRefused."""
    path = data_dir / ENGINE_LOCK_FILE
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, _ENGINE_LOCK_BYTES)
        finally:
            os.close(fd)
    except OSError as exc:
        raise StartRefused(
            f"cannot write {path}: {exc.strerror}; make room on its disk, or see that it belongs "
            f"to uid {os.geteuid()}"
        ) from exc


def _never_committed(head: bytes) -> bool:
    """Whether the two meta pages are as LMDB first writes them, or as a power cut leaves those."""
    metas = head[:8192]
    for at in range(0, len(metas), 512):
        sector = metas[at : at + 512]
        if not sector.strip(b"\0"):
            continue
        if at not in (0, 4096) or len(sector) < 152:
            return False
        magic, transaction = (
            *struct.unpack_from("<I", sector, 16),
            *struct.unpack_from("<Q", sector, 144),
        )
        if magic != _LMDB_MAGIC or transaction != 0:
            return False
    return True


def _size_by_meta(path: Path, head: bytes) -> int:
    """How long the newest meta page says that the file is.

    A sound file can be shorter (pages that were taken and given back in one transaction are
    never written), so a shorter file is for verify to judge.
    """
    best: tuple[int, int] | None = None  # transaction, size
    page_size = struct.unpack_from("<I", head, 40)[0] if len(head) >= 152 else 0
    if page_size not in (4096, 8192, 16384, 32768, 65536):
        page_size = 4096
    for page in (0, 1):
        at = page * page_size + 16
        if len(head) < at + 136:
            continue
        magic, version = struct.unpack_from("<II", head, at)
        if magic == _LMDB_MAGIC and version != _LMDB_09:
            raise StartRefused(
                f"{path} has LMDB format {version}, this daemon needs the 0.9 format (1): dump it "
                f"with the engine that wrote it and load it here, or {RESTORE}"
            )
        if magic == _LMDB_MAGIC:
            last_page, transaction = struct.unpack_from("<QQ", head, at + 120)
            if best is None or transaction >= best[0]:
                best = (transaction, (last_page + 1) * page_size)
    if best is None and head[_META_10 : _META_10 + 4] == _LMDB_MAGIC.to_bytes(4, sys.byteorder):
        raise StartRefused(
            f"{path} was written by LMDB 1.0, this daemon needs the 0.9 format: dump it with the "
            f"engine that wrote it and load it here, or {RESTORE}"
        )
    if best is None:
        raise StartRefused(f"{path} is not an LMDB file; {RESTORE}")
    return best[1]


def check_identity(data_dir: Path, marker: Identity | None, found: Identity | None) -> None:
    """Compare what the marker says with what the opened store says of itself."""
    if found is None and marker is not None:
        raise StartRefused(
            f"{data_dir / DATA_FILE} holds no store, and store {marker.store_id} was here; "
            f"{RESTORE}"
        )
    if found is None:
        raise StartRefused(
            f"{data_dir / DATA_FILE} is an LMDB file of another program; give the daemon a "
            "directory of its own"
        )
    if found.format != FORMAT:
        raise StartRefused(
            f"the store has format {found.format}; this daemon knows format {FORMAT}"
        )
    if marker is not None and found.store_id != marker.store_id:
        raise StartRefused(
            f"{data_dir / DATA_FILE} is store {found.store_id}, but {MARKER_FILE} says "
            f"{marker.store_id}: files of two stores are mixed; {RESTORE}"
        )

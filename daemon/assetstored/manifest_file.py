"""Reading the manifest file, whatever lies at its path, and noticing that it is another one.

Rule: bytes come out, and their meaning is not looked at. Reading may block for as long as the
file system does and waits for a file to settle, so it belongs into the short-lived child
(proposal.py), never into the serving process; signature() alone may be called anywhere.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import ClassVar, Literal, TypeAlias

from assetstore.errors import AssetStoreError
from assetstore.manifest import MAX_MANIFEST_BYTES, check_size

#: A file that was written so short a time ago may be in the middle of being rewritten in place.
#: Half of a TOML file can be a valid manifest, and one with fewer assets.
SETTLE_S = 0.05

#: How often a file that changes under our hands is read again before we give up; whoever
#: keeps writing for so long (1 s at least) will make another change that we are told of.
READ_ATTEMPTS = 20

_CHUNK_BYTES = 1024 * 1024

# NONBLOCK: opening a FIFO returns at once. NOCTTY: opening a terminal does not make it ours.
_OPEN_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

#: What tells one content of a path from the next: device, inode, size, mtime, ctime (a chmod
#: can make a file readable). None: nothing is there. One number: what stat() failed with.
Signature: TypeAlias = tuple[int, ...] | None


class ManifestMissing(AssetStoreError):
    """There is nothing at the path."""

    state: ClassVar[Literal["missing"]] = "missing"


class ManifestUnreadable(AssetStoreError):
    """Something is at the path, and it is no file, or not ours to read, or does not stand still."""

    state: ClassVar[Literal["unreadable"]] = "unreadable"


def read(path: str, *, settle_s: float = SETTLE_S) -> bytes:
    """The whole content of the file, as it was at one moment.

    Raises ManifestMissing, ManifestUnreadable, or ManifestInvalid if it is too long.
    """
    for _ in range(READ_ATTEMPTS):
        content = _read_once(path, settle_s)
        if content is not None:
            return content
    raise ManifestUnreadable(
        f"{path}: changed each of the {READ_ATTEMPTS} times it was read. Is a program rewriting "
        "it all the time? Write to another file and rename that over this one"
    )


def signature(path: str) -> Signature:
    """What changes whenever the file does; symbolic links are followed. Does not open it."""
    try:
        return _signature(os.stat(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        return (getattr(exc, "errno", None) or errno.EINVAL,)


def _signature(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _read_once(path: str, settle_s: float) -> bytes | None:
    """The content, or None if the file changed meanwhile.

    If another file is renamed over the path meanwhile, what comes back is the old one, whole.
    """
    fd = _open(path)
    try:
        before = os.fstat(fd)
        check_size(before.st_size, path=path)
        content = _read_all(fd)
        check_size(len(content), path=path)
        age_s = time.time() - before.st_mtime
        if age_s < settle_s:
            # A clock that was set back makes the age negative; then one full wait is enough.
            time.sleep(settle_s - max(age_s, 0))
        return content if _is_unchanged(before, os.fstat(fd)) else None
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    finally:
        os.close(fd)


def _is_unchanged(before: os.stat_result, after: os.stat_result) -> bool:
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        return False
    # ctime shows what sets mtime back (rsync --times), but also that another file was renamed
    # over this one, which takes away a link and leaves the content alone.
    return before.st_ctime_ns == after.st_ctime_ns or before.st_nlink != after.st_nlink


def _open(path: str) -> int:
    try:
        # Opening a device can have effects, so look first. Should it be swapped for a device
        # just between the two calls, fstat() still finds out.
        _check_regular(path, os.stat(path))
        fd = os.open(path, _OPEN_FLAGS)
    except (OSError, ValueError) as exc:
        raise _unreadable(path, exc) from exc
    try:
        _check_regular(path, os.fstat(fd))
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    kind = {
        stat.S_IFDIR: "a directory",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }.get(stat.S_IFMT(status.st_mode), "no regular file")
    raise ManifestUnreadable(f"{path}: is {kind}; put the manifest there as a file")


def _read_all(fd: int) -> bytes:
    """All there is, but not much beyond the limit, however the file grows."""
    chunks = []
    remaining = MAX_MANIFEST_BYTES + 1
    while remaining > 0 and (chunk := os.read(fd, min(_CHUNK_BYTES, remaining))):
        chunks.append(chunk)
        remaining -= len(chunk)
    return b"".join(chunks)


def _unreadable(path: str, exc: OSError | ValueError) -> AssetStoreError:
    match getattr(exc, "errno", None):
        case errno.ENOENT | errno.ENOTDIR:
            if os.path.islink(path):
                target = os.readlink(path)
                return ManifestMissing(
                    f"{path}: is a symbolic link to {target}, which is not there"
                )
            return ManifestMissing(f"{path}: is not there; write the manifest to this path")
        case errno.EACCES | errno.EPERM:
            return ManifestUnreadable(
                f"{path}: the daemon's user (uid {os.geteuid()}) may not read it; "
                "see to the permissions of the file and of the directories above it"
            )
        case errno.ELOOP:
            return ManifestUnreadable(f"{path}: symbolic links that lead in a circle")
        case None:
            return ManifestUnreadable(f"{path!r}: is no possible path: {exc}")
        case _:
            reason = exc.strerror if isinstance(exc, OSError) else exc
            return ManifestUnreadable(f"{path}: cannot be read: {reason}")

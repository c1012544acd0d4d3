"""Restoring: a backup takes the place of what is in the data directory of a stopped daemon.

What is there is kept aside first, as links. The backup is copied and checked beside it, and then
renamed over it, file by file; the data file is the first, and with it the store is the restored one
at any moment from then on: its revisions begin beyond all that the old log can hold.

Revisions that were given out after the backup was taken are lost and never given out again: the
restored store goes on after the number of microseconds since 1970. No store makes a million changes
a second, so that is more than it, or any that was restored before, can have given out; nothing of
what is lost has to be known for it. What is skipped is written down in the table ``meta``, so that
who has seen what was lost is told (history.py).

Rule: never writes to the source, nor to a file that a store has; those are linked and replaced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from assetstore.errors import Refused
from assetstored import backup, datadir, engine, halfmade, opening, soundness, wal
from assetstored.datadir import DATA_FILE, ENGINE_LOCK_FILE, LOCK_FILE, MARKER_FILE, WAL_FILE
from assetstored.soundness import Tell
from assetstored.tables import (
    META,
    Counters,
    Gap,
    Gaps,
    Identity,
    Snapshot,
    Tables,
    read_row,
    write_row,
)

_PREFIX: Final = ".assetstore-restore-"
_FILES: Final = (DATA_FILE, WAL_FILE, MARKER_FILE)
_CHUNK_BYTES: Final = 1 << 20


class RestoreRefused(Exception):
    """The data directory is as it was; the message says why, and what to do."""


class _Noted(msgspec.Struct, frozen=True):
    """What the marker of a backup says beside whose it is."""

    revision: int | None = None
    taken_at: int | None = None


_decode_noted = msgspec.json.Decoder(_Noted).decode


class Source(msgspec.Struct, frozen=True, tag="source"):
    """What would be restored, and what it would replace; before anything was checked.

    ``revision`` and ``taken_at`` are None where the source is a data directory and no backup.
    """

    path: str
    store_id: str
    revision: int | None
    taken_at: int | None
    size_bytes: int
    data_dir: str
    replaces: str | None


class Restored(msgspec.Struct, frozen=True, tag="restored"):
    """What is in the data directory now. ``aside``: where what it replaced is, if anything."""

    data_dir: str
    store_id: str
    revision: int
    goes_on_after: int
    aside: str | None


def look(source: Path, data_dir: Path) -> Source:
    """What a restore would do. Raises RestoreRefused, StartRefused and OSError."""
    try:
        identity = _identity_of(source)
        noted = _decode_noted((source / MARKER_FILE).read_bytes())
    except (datadir.StartRefused, msgspec.DecodeError) as exc:
        raise RestoreRefused(
            f"{source} is no backup: its {MARKER_FILE} cannot be read: {exc}"
        ) from exc
    if data_dir.exists() and data_dir.samefile(source):
        raise RestoreRefused(f"{source} is the data directory itself; name a backup")
    replaced = _replaced(data_dir)
    return Source(
        path=str(source),
        store_id=identity.store_id,
        revision=noted.revision,
        taken_at=noted.taken_at,
        size_bytes=(source / DATA_FILE).stat().st_size,
        data_dir=str(data_dir),
        replaces=None if replaced is None else replaced.store_id or "unknown",
    )


def restore(data_dir: Path, source: Path, tell: Tell) -> Restored:
    """Put the store of a backup in the place of the one in data_dir, and keep that aside.

    On disk when this returns. Raises RestoreRefused, StartRefused, Refused and OSError; then
    data_dir holds what it held, or if that was another store and the files were half exchanged,
    what a daemon refuses to start on, and all of it is aside.
    """
    found = look(source, data_dir)
    taken_at = found.taken_at or (source / DATA_FILE).stat().st_mtime_ns // 1_000
    existed = data_dir.exists()
    lock_fd = datadir.prepare(data_dir)
    try:
        owner = data_dir.stat()
        datadir.give_to(data_dir / LOCK_FILE, owner)
        _check_unused(data_dir)
        with _unused_source(source), halfmade.making(data_dir, _PREFIX) as new:
            identity = _copy(source, new, tell)
            restored_at = time.time_ns() // 1_000
            if restored_at < taken_at:
                raise RestoreRefused(
                    f"the backup is of {_moment(taken_at)}, and the clock of this host says that "
                    f"it is {_moment(restored_at)}; set the clock: the restored store counts its "
                    "revisions from there on"
                )
            _check(new, source, tell)
            backup.bring_in(new)
            known = _last_revision(data_dir, identity)
            gap = _go_on_beyond(new, known, taken_at, restored_at)
            wal.create(new / WAL_FILE, identity.store_id)
            datadir.write_marker(new, identity)
            (new / ENGINE_LOCK_FILE).unlink(missing_ok=True)
            for name in _FILES:
                datadir.give_to(new / name, owner)
                datadir.sync_file(new / name)
            datadir.sync_directory(new)
            aside = _keep_aside(data_dir, restored_at, owner)
            _exchange(new, data_dir)
    except BaseException:
        if not existed:
            with contextlib.suppress(OSError):
                (data_dir / LOCK_FILE).unlink()
                data_dir.rmdir()
        raise
    finally:
        os.close(lock_fd)
    return Restored(
        data_dir=str(data_dir),
        store_id=identity.store_id,
        revision=gap.after,
        goes_on_after=gap.upto,
        aside=None if aside is None else str(aside),
    )


# --- the source


def _identity_of(source: Path) -> Identity:
    if not source.is_dir():
        raise RestoreRefused(f"{source} is no directory; name a backup")
    identity = datadir.read_marker(source)
    if identity is None:
        inside = backup.dated(source)
        raise RestoreRefused(
            f"{source} is no backup: it has no {MARKER_FILE}"
            + (f"; there are {len(inside)} in it, the last is {inside[-1]}" if inside else "")
        )
    for name in _FILES:
        if not (source / name).is_file():
            raise RestoreRefused(f"{source} is no whole backup: it has no {name}")
    return identity


@contextlib.contextmanager
def _unused_source(source: Path) -> Iterator[None]:
    """No daemon runs on the source meanwhile; of a backup, none ever did."""
    try:
        fd = os.open(source / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise RestoreRefused(
            f"a daemon serves {source}; stop it, or make a backup of it and restore that"
        ) from None
    finally:
        os.close(fd)


def _copy(source: Path, new: Path, tell: Tell) -> Identity:
    sizes = [(name, (source / name).stat().st_size) for name in _FILES]
    total = sum(size for _, size in sizes)
    free = os.statvfs(new)
    if free.f_bavail * free.f_frsize < total:
        raise RestoreRefused(
            f"{source} has {total:,} bytes, and the disk of {new.parent} has "
            f"{free.f_bavail * free.f_frsize:,} bytes free; make room"
        )
    done = 0
    for name, _ in sizes:
        with open(source / name, "rb") as old, open(new / name, "xb", opener=_private) as copy:
            while chunk := old.read(_CHUNK_BYTES):
                copy.write(chunk)
                done += len(chunk)
                tell("copy", done, max(done, total))
    return _identity_of(new)


def _check(new: Path, source: Path, tell: Tell) -> None:
    """Raise RestoreRefused where the copy of source in new is not sound, with its log."""
    # Of the copy nobody has heard.
    problems = [each.replace(str(new), str(source)) for each in soundness.problems_of(new, tell)]
    if problems:
        raise RestoreRefused(
            f"{source} is damaged ({len(problems)} problems, first: {problems[0]}); restore "
            "another backup"
        )


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _go_on_beyond(new: Path, known: int, taken_at: int, restored_at: int) -> Gap:
    """Have the store in new go on far beyond all revisions that were given out; returns what it
    skips."""
    opened = opening.open_store(new)
    assert opened is not None
    env, counters = opened.env, opened.counters
    try:
        with env.begin(write=True) as txn:
            snapshot = Snapshot(txn, opened.tables)
            gaps = read_row(snapshot, META, b"gaps", Gaps) or Gaps([])
            upto = max(known, counters.revision, restored_at)
            gap = Gap(counters.revision, upto, taken_at, restored_at)
            counters.revision = upto
            write_row(txn, opened.tables, META, b"counters", counters)
            write_row(txn, opened.tables, META, b"gaps", Gaps([*gaps.gaps, gap]))
    finally:
        env.close()
    return gap


# --- the data directory


def _replaced(data_dir: Path) -> Identity | None:
    """What is in the data directory, as far as it says so; with an empty id where it does not."""
    if not any((data_dir / name).exists() for name in _FILES):
        return None
    try:
        identity = datadir.read_marker(data_dir)
    except (datadir.StartRefused, OSError):
        identity = None
    return identity or Identity(0, "", 0)


def _check_unused(data_dir: Path) -> None:
    """Raises RestoreRefused while a backup or a check reads the files."""
    try:
        fd = os.open(data_dir / ENGINE_LOCK_FILE, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        # LMDB has this byte locked in each process that has the file open.
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 0)
    except OSError:
        raise RestoreRefused(
            f"another process reads {data_dir}: a backup, or a check; wait for its end, or end it"
        ) from None
    finally:
        os.close(fd)


def _last_revision(data_dir: Path, identity: Identity) -> int:
    """The last revision that the store in place has given out, if it can be read; else 0."""
    replaced = _replaced(data_dir)
    if replaced is None or replaced.store_id != identity.store_id:
        return 0
    try:
        env = engine.open_for_checking(str(data_dir), lock=False)
        try:
            with env.begin() as txn:
                snapshot = Snapshot(txn, Tables(env, None, create=False))
                counters = read_row(snapshot, META, b"counters", Counters)
        finally:
            env.close()
        last = 0 if counters is None else counters.revision
        logged = wal.recover(data_dir / WAL_FILE, identity.store_id, last)
    except (OSError, Refused, engine.EngineError, wal.WalDamaged):
        return 0
    return logged[-1].last if logged else last


def _keep_aside(data_dir: Path, moment_us: int, owner: os.stat_result) -> Path | None:
    """A directory with links to all files of the store that is in place; None without any."""
    if _replaced(data_dir) is None:
        return None
    data_dir = data_dir.resolve()
    within = data_dir / f"before-{backup.name_of(moment_us)}"
    aside = data_dir.with_name(f"{data_dir.name}.{within.name}")
    if data_dir.stat().st_dev != data_dir.parent.stat().st_dev:
        aside = within  # data_dir is a disk of its own
    try:
        aside.mkdir(mode=0o700)
    except PermissionError:
        aside = within
        aside.mkdir(mode=0o700)
    for name in _FILES:
        if (data_dir / name).exists():
            os.link(data_dir / name, aside / name)
    datadir.give_to(aside, owner)
    datadir.sync_directory(aside)
    datadir.sync_directory(aside.parent)
    return aside


def _exchange(new: Path, data_dir: Path) -> None:
    # What LMDB has noted of the old file must not be taken for the new one's.
    (data_dir / ENGINE_LOCK_FILE).unlink(missing_ok=True)
    datadir.sync_directory(data_dir)
    for name in _FILES:
        (new / name).rename(data_dir / name)
        datadir.sync_directory(data_dir)


def _moment(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y-%m-%d %H:%M:%S} UTC"

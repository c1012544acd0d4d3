"""Backups: complete copies of a data directory, each of one moment, whole or not there at all.

A backup is a data directory itself: a data file, an empty write-ahead log and the marker. It is
made under a hidden name beside its place, checked, synced, and then renamed; so whatever has the
name of a backup is one, whenever the process was killed.

Rule: never changes the store that it copies; what is put back is restore.py's.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from assetstored import datadir, halfmade, soundness, wal
from assetstored.copying import copy_data_file
from assetstored.datadir import StartRefused
from assetstored.soundness import Tell
from assetstored.tables import Identity
from assetstored.writer import StoreOfWriter

#: The name of a dated backup: the moment at which it was begun, so that names are in its order.
_DATED: Final = re.compile(r"\d{8}T\d{6}\.\d{6}Z")

#: What is being made, or removed: hidden, and not to be mistaken for anything else's.
_PREFIX: Final = ".assetstore-backup-"


class BackupRefused(Exception):
    """There is no new backup, and whatever was there is as it was; the message says why."""


class Backup(msgspec.Struct, frozen=True, tag="backup"):
    """What was made, and which older ones were removed for it."""

    path: str
    store_id: str
    revision: int
    size_bytes: int
    findings: list[str]
    removed: list[str]


def back_up(
    data_dir: Path,
    dest: Path,
    *,
    keep: int | None,
    served_up_to: int | None,
    allow_damage: bool,
    tell: Tell,
) -> Backup:
    """Make a backup of the store in data_dir: dest itself, or with ``keep`` a dated one in it.

    ``served_up_to``: a daemon runs, and its data file has all up to this revision; so has the
    backup. Without it the daemon's lock is taken, so that none starts meanwhile. On disk when this
    returns; of the dated ones of the same store the last ``keep`` are left.

    Raises BackupRefused, StartRefused, CopyFailed, CannotVerify, Refused and OSError.
    """
    is_served = served_up_to is not None
    begun = time.time_ns() // 1_000
    identity = datadir.read_marker(data_dir)
    if identity is None:
        raise BackupRefused(
            f"{data_dir} holds no store: it has no {datadir.MARKER_FILE}. Name the data directory "
            "of the daemon"
        )
    # A restore moves what is in the data directory out of the way, and with it this backup.
    if dest.resolve().is_relative_to(data_dir.resolve()):
        raise BackupRefused(
            f"{dest} is in the data directory itself ({data_dir}); name a place outside of it, and "
            "best on another disk"
        )
    place = _place_of(dest, begun, is_dated=keep is not None)
    # Two that make the same one do not clean each other away: what is being made is locked.
    with (
        _quiet(data_dir, is_served=is_served),
        halfmade.making(place.parent, _PREFIX) as new,
    ):
        reached = _fill(new, data_dir, identity, is_served=is_served, begun=begun, tell=tell)
        if served_up_to is not None and reached < served_up_to:
            raise BackupRefused(
                f"the copy ends with revision {reached:,}, and {served_up_to:,} was acknowledged "
                f"before it was begun: is {data_dir} the data directory of this daemon?"
            )
        if is_served:
            # The copy is made, and nothing of the store is held any more: whatever else there is to
            # do goes first.
            with suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        findings = soundness.problems_of(new, tell)
        if findings and not allow_damage:
            raise BackupRefused(
                f"the store is damaged, and so is its copy ({len(findings)} problems, first: "
                f"{findings[0]}); no backup was made, and older ones were left. See "
                "`assetstore verify`; --allow-damage makes one all the same"
            )
        _settle(new, place)
    size = sum(file.stat().st_size for file in place.iterdir())
    # What is damaged does not take the place of what may be whole.
    removed = _thin_out(place, identity, keep) if keep is not None and not findings else []
    return Backup(str(place), identity.store_id, reached, size, findings, removed)


def dated(directory: Path) -> list[Path]:
    """The dated backups in a directory, oldest first."""
    return sorted(
        path
        for path in directory.iterdir()
        if _DATED.fullmatch(path.name) and (path / datadir.MARKER_FILE).is_file()
    )


def name_of(time_us: int) -> str:
    """The name of what is dated."""
    return f"{datetime.fromtimestamp(time_us / 1e6, UTC):%Y%m%dT%H%M%S.%fZ}"


def _place_of(dest: Path, begun_us: int, *, is_dated: bool) -> Path:
    if is_dated:
        if (dest / datadir.MARKER_FILE).exists():
            raise BackupRefused(
                f"{dest} is a backup, or a data directory; with --keep name a directory that "
                "holds backups only"
            )
        if os.path.lexists(dest) and not dest.is_dir():
            raise BackupRefused(
                f"{dest} is no directory; with --keep name the one that the backups go into"
            )
        dest.mkdir(mode=0o700, parents=True, exist_ok=True)
        datadir.sync_directory(dest.parent)
        return dest / name_of(begun_us)
    if dest.is_symlink() or (dest.exists() and (not dest.is_dir() or any(dest.iterdir()))):
        raise BackupRefused(
            f"{dest} is there already; name one that is not, or use --keep N to have dated backups "
            "in it, of which the last N are kept"
        )
    if not dest.parent.is_dir():
        raise BackupRefused(f"{dest.parent} is no directory; make it first")
    return dest


@contextmanager
def _quiet(data_dir: Path, *, is_served: bool) -> Iterator[None]:
    """No daemon begins or ends in data_dir meanwhile in a way that would matter."""
    if is_served:
        yield
        return
    lock_fd = datadir.prepare(data_dir)
    try:
        datadir.give_to(data_dir / datadir.LOCK_FILE, data_dir.stat())
        yield
    finally:
        os.close(lock_fd)


def _fill(
    new: Path, data_dir: Path, identity: Identity, *, is_served: bool, begun: int, tell: Tell
) -> int:
    """Make new a data directory; returns the last revision in it."""
    if not is_served:
        soundness.check_before_use(data_dir)
    counters = copy_data_file(
        data_dir,
        new / datadir.DATA_FILE,
        is_served=is_served,
        tell=lambda done, total: tell("copy", done, total),
    )
    reached = counters.revision
    if is_served:
        # What is logged beyond it was not acknowledged when this began.
        wal.create(new / datadir.WAL_FILE, identity.store_id)
        datadir.write_marker(new, identity, taken_at=begun, revision=reached)
    else:
        reached = _replay(new, data_dir, identity)
        datadir.write_marker(new, identity, taken_at=begun, revision=reached)
    return reached


def _replay(new: Path, data_dir: Path, identity: Identity) -> int:
    """Bring what a daemon that was killed has left in its log into the copy."""
    log = new / datadir.WAL_FILE
    try:
        log.write_bytes((data_dir / datadir.WAL_FILE).read_bytes())
    except FileNotFoundError:
        raise BackupRefused(
            f"{data_dir / datadir.WAL_FILE} is missing: it may hold changes that were "
            "acknowledged. Put it back; or start the daemon, which says more"
        ) from None
    datadir.write_marker(new, identity)
    reached = bring_in(new)
    wal.create(log, identity.store_id)
    return reached


def bring_in(directory: Path) -> int:
    """Bring what is logged in a data directory into its data file, as the start of a daemon does.

    Returns the last revision. Leaves no lock of LMDB's. Raises StartRefused.
    """
    store = StoreOfWriter(directory)
    try:
        return store.revision
    finally:
        store.close()
        (directory / datadir.ENGINE_LOCK_FILE).unlink(missing_ok=True)


def _settle(new: Path, place: Path) -> None:
    """Give the backup its name, with all of it on disk before."""
    for file in new.iterdir():
        datadir.sync_file(file)
    datadir.sync_directory(new)
    try:
        new.rename(place)
    except OSError as exc:
        raise BackupRefused(f"{place} has come into being meanwhile: {exc.strerror}") from exc
    datadir.sync_directory(place.parent)


def _thin_out(newest: Path, identity: Identity, keep: int) -> list[str]:
    """Remove the oldest of the dated backups of a store beyond so many; never the newest."""
    others = [
        path
        for path in dated(newest.parent)
        if path != newest and _store_of(path) == identity.store_id
    ]
    doomed = others[: max(len(others) - (keep - 1), 0)]
    for path in doomed:
        halfmade.remove(path, _PREFIX)
    return [str(path) for path in doomed]


def _store_of(path: Path) -> str | None:
    try:
        marker = datadir.read_marker(path)
    except (StartRefused, OSError):
        return None  # of another version, perhaps: not ours to remove
    return None if marker is None else marker.store_id

"""The files of a store, checked from outside: what they are, LMDB's structure, and the log.

Rule: looks, and never writes; what the records in them mean is for verifying_tables.py and
verifying_entries.py.
"""

from __future__ import annotations

import errno
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from assetstored import datadir, engine, wal
from assetstored.findings import CannotVerify, Finding
from assetstored.tables import Identity
from assetstored.tail import Delta, decode_delta

#: What walks over a file that is being written may have missed its growth: it is asked again.
_STRUCTURE_LOOKS: Final = 3

#: A live log is written over while it is read. A record that is missing stays missing.
_LOG_LOOKS: Final = 50


def check_access(data_dir: Path) -> None:
    """Raise CannotVerify where there is no store, or none that this user may read."""
    try:
        with os.scandir(data_dir) as listed:
            names = {each.name for each in listed}
        for name in names & {datadir.DATA_FILE, datadir.WAL_FILE, datadir.MARKER_FILE}:
            if not os.access(data_dir / name, os.R_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), data_dir / name)
    except FileNotFoundError:
        raise CannotVerify(f"there is no directory {data_dir}") from None
    except NotADirectoryError:
        raise CannotVerify(
            f"{data_dir} is no directory; give the data directory, in which data.mdb is"
        ) from None
    except PermissionError as exc:
        raise CannotVerify(
            f"{exc.filename} cannot be read: {exc.strerror}. It is for the daemon's own user"
            f"{_owner(data_dir)} and for root: run this with sudo"
        ) from exc
    except OSError as exc:
        raise CannotVerify(f"{exc.filename} cannot be read: {exc.strerror}") from exc
    if not names & {datadir.DATA_FILE, datadir.MARKER_FILE, datadir.WAL_FILE}:
        raise CannotVerify(f"there is no store in {data_dir}; is it a data directory?")


def _owner(data_dir: Path) -> str:
    try:
        uid = data_dir.stat().st_uid
    except OSError:
        return ""
    try:
        return f" ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f" (uid {uid})"


def look_at_files(data_dir: Path) -> tuple[Identity | None, datadir.DataFile]:
    """The marker, and what there is in the place of the data file. Raises StartRefused."""
    marker = datadir.read_marker(data_dir)
    return marker, datadir.look_at_data_file(data_dir, marker)


# --- structure


def structure(data_dir: Path) -> Iterator[Finding]:
    """What LMDB's own rules say of a file that nobody has open. Pure Python; cannot crash."""
    yield from _structural(_problems_of(data_dir))


def _problems_of(data_dir: Path) -> list[str]:
    try:
        return engine.verify(str(data_dir))
    except (engine.VerifyError, OSError) as exc:
        return [f"the structure cannot be checked: {exc}"]


def _structural(problems: list[str]) -> Iterator[Finding]:
    for problem in problems:
        yield Finding("structure", f"{datadir.DATA_FILE}: {problem}")


def print_problems(data_dir: Path) -> None:
    """What a process of its own does for LiveStructure."""
    sys.stdout.buffer.write(msgspec.json.encode(_problems_of(data_dir)))


class LiveStructure:
    """The same of a file that is in use, by another process, while this one pins a snapshot.

    Every page that the newest commit can reach stays as it is while an older one is pinned.
    """

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        # The files are open in this process, and may not be opened and closed in it once more.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "assetstored.offline", "structure", str(self._data_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )

    def findings(self) -> Iterator[Finding]:
        """Wait for it. What is damaged is found again by a second look."""
        problems = self._result()
        for _ in range(_STRUCTURE_LOOKS - 1):
            if not problems:
                return
            self._process = self._start()
            problems = self._result()
        yield from _structural(problems)

    def _result(self) -> list[str]:
        out, _ = self._process.communicate()
        if self._process.returncode:
            return [f"the check of the structure ended with status {self._process.returncode}"]
        problems: list[str] = msgspec.json.decode(out, type=list[str])
        return problems

    def close(self) -> None:
        """End it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.communicate()


# --- the log


class Logged:
    """What the log holds beyond the data file, up to which revision, and what is wrong with it."""

    def __init__(self, revision: int) -> None:
        self.changes: Delta = {}
        self.last = revision
        self.findings: list[Finding] = []

    def _complain(self, problem: str) -> None:
        self.findings.append(Finding("log", f"{datadir.WAL_FILE}: {problem}"))


def read_log(data_dir: Path, store_id: str, revision: int) -> Logged:
    """What a start would bring into a data file that is at this revision."""
    logged = Logged(revision)
    path = data_dir / datadir.WAL_FILE
    try:
        if wal.is_said_to_be_empty(path):
            return logged  # as a start takes it: all was in the data file
        found = wal.recover(path, store_id, revision)
    except FileNotFoundError:
        logged._complain(
            "is missing: it may hold changes that were acknowledged. If data.mdb is from a daemon "
            f"that was stopped, one that says {wal.NOTHING_LOGGED.decode()!r} will do in its place"
        )
    except wal.WalDamaged as exc:
        logged._complain(str(exc))
    except OSError as exc:
        logged._complain(f"cannot be read: {exc.strerror}")
    else:
        for record in found:
            _take(logged, record)
    return logged


def _take(logged: Logged, record: wal.Record) -> None:
    try:
        delta = decode_delta(record.payload)
    except msgspec.DecodeError as exc:
        logged._complain(f"the record of revision {record.first:,} cannot be decoded: {exc}")
        return
    for space, values in delta.items():
        logged.changes.setdefault(space, {}).update(values)
    logged.last = record.last


def check_live_log(
    data_dir: Path, store_id: str, revision_now: Callable[[], int]
) -> Iterator[Finding]:
    """What is wrong with a log that is being written; ``revision_now`` is that of the data file.

    Only what several looks agree on counts: while the file is read, records are added to it, and
    half of it may be written over, as what is there has come into the data file.
    """
    before: list[Finding] = []
    agreed = 0
    for _ in range(_LOG_LOOKS):
        revision = revision_now()
        found = read_log(data_dir, store_id, revision).findings
        if not found:
            return
        agreed = agreed + 1 if found == before and revision_now() == revision else 0
        before = found
        if agreed == _STRUCTURE_LOOKS:
            yield from found
            return

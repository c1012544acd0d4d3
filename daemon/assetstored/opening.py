"""Opening the store for writing: whether what lies in the data directory belongs together.

A directory that never held a store gets one. In any other a missing or foreign file is refused: an
empty one in its place would lose what was acknowledged.

Rule: nothing is changed in a store that is there; what is logged is brought into it by writer.py.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from assetstore.errors import Refused
from assetstored import datadir, engine, records, wal
from assetstored.apply import now_us
from assetstored.tables import (
    FORMAT,
    META,
    Counters,
    Identity,
    Snapshot,
    Tables,
    read_row,
    write_row,
)

_log = logging.getLogger("assetstored.writer")


class Opened(NamedTuple):
    """The environment open for writing, and what it says of itself."""

    env: engine.Environment
    tables: Tables
    identity: Identity
    counters: Counters


def open_checked(data_dir: Path) -> tuple[Opened, list[wal.Record]]:
    """The store of a directory, a new one if it never held one; and what is logged beyond it.

    Raises StartRefused.
    """
    marker = datadir.read_marker(data_dir)
    if datadir.check_data_file(data_dir, marker):
        _verify(data_dir)
    datadir.reserve_lock_file(data_dir)
    # A file that is there without the marker is this project's, from a first start that was
    # cut before the marker, or somebody else's: either way it is not for us to begin anew.
    is_new = not (data_dir / datadir.DATA_FILE).exists()
    has_log = marker is not None or _has_log(data_dir)
    if is_new and has_log:
        raise datadir.StartRefused(
            f"{data_dir / datadir.DATA_FILE} is missing, and {data_dir / datadir.WAL_FILE} holds "
            "changes of it; restore the data directory from a backup"
        )
    opened = open_store(data_dir, Identity(FORMAT, uuid4().hex, now_us()) if is_new else None)
    datadir.check_identity(data_dir, marker, opened and opened.identity)
    assert opened is not None
    if not has_log:
        _create_log(data_dir, opened.identity)
    logged = _logged(data_dir, opened)
    if marker is None:
        try:
            datadir.write_marker(data_dir, opened.identity)
        except OSError as exc:
            raise _unwritable(data_dir, exc) from exc
    return opened, logged


def open_store(data_dir: Path, new: Identity | None = None) -> Opened | None:
    """Open the environment. A store without an identity gets ``new``, or is None without it.

    Raises StartRefused.
    """
    try:
        env = engine.open_for_writing(str(data_dir))
        with env.begin(write=True) as txn:
            # Whatever else the file may be, it stays as it is.
            tables = Tables(env, txn, create=new is not None)
            snapshot = Snapshot(txn, tables)
            identity = read_row(snapshot, META, b"identity", Identity)
            if identity is None and new is not None:
                write_row(txn, tables, META, b"identity", new)
                write_row(txn, tables, META, b"counters", Counters())
                identity = new
            counters = read_row(snapshot, META, b"counters", Counters)
            if identity is not None and counters is None:
                # Without them revisions would be given out again.
                raise records.damaged_beside("what the store has counted")
    except engine.NotFoundError:
        return None
    except engine.EngineError as exc:
        raise datadir.StartRefused(
            f"LMDB cannot open {data_dir / datadir.DATA_FILE}: {exc}; "
            "restore the data directory from a backup"
        ) from exc
    except Refused as exc:
        raise datadir.StartRefused(str(exc)) from exc
    if identity is None or counters is None:
        return None
    return Opened(env, tables, identity, counters)


def _verify(data_dir: Path) -> None:
    if problems := engine.problems_of(str(data_dir)):
        raise datadir.StartRefused(
            f"{data_dir / datadir.DATA_FILE} is damaged ({len(problems)} problems, "
            f"first: {problems[0]}); restore the data directory from a backup"
        )


def _create_log(data_dir: Path, identity: Identity) -> None:
    try:
        wal.create(data_dir / datadir.WAL_FILE, identity.store_id)
    except OSError as exc:
        raise _unwritable(data_dir, exc) from exc


def _unwritable(data_dir: Path, exc: OSError) -> datadir.StartRefused:
    return datadir.StartRefused(f"cannot write in the data directory {data_dir}: {exc.strerror}")


def _has_log(data_dir: Path) -> bool:
    """Whether there is a log, and anything was ever written to it."""
    path = data_dir / datadir.WAL_FILE
    try:
        return not wal.is_blank(path)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise datadir.unreadable(path, exc) from exc


def _logged(data_dir: Path, opened: Opened) -> list[wal.Record]:
    """The changes that are in the log and not in the data file."""
    path = data_dir / datadir.WAL_FILE
    try:
        if wal.is_said_to_be_empty(path):
            _log.warning("%s says that nothing was logged: a new log is begun", path)
            _create_log(data_dir, opened.identity)
        return wal.recover(path, opened.identity.store_id, opened.counters.revision)
    except FileNotFoundError:
        raise datadir.StartRefused(
            f"{path} is missing: it may hold changes that were acknowledged. Put it back, or "
            "restore the data directory from a backup; if data.mdb is from a daemon that was "
            f"stopped, and not killed, say so: echo {wal.NOTHING_LOGGED.decode()} > {path}"
        ) from None
    except wal.WalDamaged as exc:
        raise datadir.StartRefused(
            f"{path} is damaged: {exc}; restore the data directory from a backup"
        ) from exc
    except OSError as exc:
        raise datadir.unreadable(path, exc) from exc

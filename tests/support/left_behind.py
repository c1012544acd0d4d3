"""What a log and a data file would leave behind if everything ended now: by a kill, or a power cut.

A kill leaves what was written. A power cut leaves what was synced, and of what was written to the
log since, any blocks. (The data file needs no such care: LMDB syncs its pages before the one that
makes them count, and that one as it is written.)

Rule: files and processes only; what ought to be in them is not known here.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from assetstored import datadir, wal


class Halting:
    """A child of this process that can be made to stand still, as on a disk that takes its time."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.is_halted = False

    def halt(self) -> None:
        """It stands still when this returns: what it was writing is written."""
        if not self.is_halted:
            os.kill(self.pid, signal.SIGSTOP)
            # Left waitable, as whoever awaits its end does so later.
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            self.is_halted = True

    def go_on(self) -> None:
        """It runs."""
        if self.is_halted:
            os.kill(self.pid, signal.SIGCONT)
            self.is_halted = False


@contextmanager
def standing_still(processes: list[Halting]) -> Iterator[None]:
    """All of them are halted within; those that were not go on then."""
    running = [process for process in processes if not process.is_halted]
    for process in running:
        process.halt()
    try:
        yield
    finally:
        for process in running:
            process.go_on()


class SyncedLog:
    """A copy of the log as of its last sync, kept up by whoever syncs it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on syncs are noted, also those of processes that are forked later."""
        sync = os.fdatasync

        def noting(fd: int) -> None:
            written = os.pread(fd, wal.FILE_BYTES, 0)
            sync(fd)
            # Of one process at a time, and whole at any moment.
            new = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            new.write_bytes(written)
            new.rename(self.path)

        monkeypatch.setattr(os, "fdatasync", noting)

    def begin(self, log: Path) -> None:
        """All that is in the log is synced."""
        shutil.copy(log, self.path)


def copy_killed(data_dir: Path, to: Path) -> None:
    """What a kill of all processes leaves; those that write must stand still."""
    to.mkdir()
    # Not LMDB's lock file: to close it here would let go of the lock that the reader has.
    for name in (datadir.DATA_FILE, datadir.WAL_FILE, datadir.MARKER_FILE):
        shutil.copyfile(data_dir / name, to / name)


def copy_cut(killed: Path, synced: bytes, to: Path, rng: random.Random) -> None:
    """What a power cut might have left at the moment of that copy."""
    shutil.copytree(killed, to)
    written = (killed / datadir.WAL_FILE).read_bytes()
    assert len(synced) == len(written)
    share = rng.choice([0.0, 0.5])
    blocks = [
        (written if rng.random() < share else synced)[at : at + wal.BLOCK]
        for at in range(0, len(written), wal.BLOCK)
    ]
    (to / datadir.WAL_FILE).write_bytes(b"".join(blocks))

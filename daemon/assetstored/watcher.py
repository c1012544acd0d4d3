"""Says when the manifest file may have changed: the only user of watchfiles.

Watched are directories, never the file: a file that is renamed into place, or reached through
symbolic links as Kubernetes lays out a ConfigMap, is another inode each time. Every directory
that has a part in resolving the path is watched for the one name in it that matters, and as
events can fail to come (a bind mount, a directory made anew, no inotify instance left) the
file's signature is also looked at every POLL_S.

Rule: the file is never opened here. Whether anything in it changed is for others to find out.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import NamedTuple, Self

from watchfiles import watch

from assetstored.manifest_file import signature

#: How late a change is noticed at worst, if no event tells of it.
POLL_S = 0.5

#: At most ten calls a second, however often the file changes: each costs a child process.
MIN_INTERVAL_S = 0.1

#: How long to rely on the poll alone before events are tried again.
RETRY_S = 30.0

#: How often there is a look at the clock while no event comes.
_TICK_MS = 100

#: As in the kernel's own path resolution.
_MAX_LINKS = 40

_log = logging.getLogger(__name__)

# It reports every change in a watched directory at level INFO.
logging.getLogger("watchfiles").setLevel(logging.WARNING)


class Watcher:
    """From start() to close(), calls on_change after every change of the file.

    It calls from a thread of its own. Many changes in a short time may share one call, which
    comes after the last of them; and a call may come where nothing changed, after all.
    Read the file once after start().
    """

    def __init__(self, path: str, on_change: Callable[[], object]) -> None:
        self._path = os.path.abspath(path)
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="manifest-watcher", daemon=True)
        self._seen = signature(self._path)
        self._next_poll = 0.0
        self._complaint = ""

    def start(self) -> None:
        """From now on no change goes unnoticed."""
        self._seen = signature(self._path)
        self._thread.start()

    def close(self) -> None:
        """No further call is made; the thread has ended (within some 50 ms)."""
        self._stop.set()
        if self._thread.is_alive():
            # With a limit, as stat() hangs where the manifest is on a dead network share.
            self._thread.join(timeout=2.0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                layout = find_layout(self._path)
                # Finds what changed before these directories were watched.
                self._next_poll = 0.0
                with closing(self._batches(layout)) as batches:
                    for changed in batches:
                        if self._look(changed, layout):
                            break
        except Exception:
            _log.exception("the manifest is no longer watched; reload it by hand after a change")

    def _batches(self, layout: Layout) -> Generator[set[str]]:
        """The paths that changed, whenever there are some; nothing, now and then."""
        try:
            for changes in watch(
                *layout.directories,
                watch_filter=None,
                recursive=False,
                step=50,
                debounce=100,
                rust_timeout=_TICK_MS,
                yield_on_timeout=True,
                stop_event=self._stop,
                raise_interrupt=False,
            ):
                yield {path for _, path in changes}
        # watchfiles has no base class for its errors: a directory that is gone or may not be read,
        # no inotify instance or watch left, a name that is not UTF-8, a fault inside.
        except (OSError, RuntimeError, ValueError) as exc:
            complaint = f"{', '.join(layout.directories)}: {exc}"
            if complaint != self._complaint:
                _log.warning(
                    "cannot watch for manifest changes, so looking every %s s: %s",
                    POLL_S,
                    complaint,
                )
                self._complaint = complaint
            retry_at = time.monotonic() + RETRY_S
            while time.monotonic() < retry_at and not self._stop.wait(POLL_S):
                yield set()

    def _look(self, changed: set[str], layout: Layout) -> bool:
        """Call on_change if need be; True if the directories to be watched are now others."""
        relevant = not changed.isdisjoint(layout.paths)
        # Other files of the directory may change all the time; that must not delay the poll.
        if not relevant and time.monotonic() < self._next_poll:
            return False
        now = signature(self._path)
        if relevant or now != self._seen:
            self._seen = now
            self._on_change()
            self._stop.wait(MIN_INTERVAL_S)
        self._next_poll = time.monotonic() + POLL_S
        return find_layout(self._path) != layout


class Layout(NamedTuple):
    """How a path is resolved at the moment.

    ``directories`` maps each directory on the way to its device and inode, so that one made
    anew is not taken for the old one. ``paths`` is what an event must name to be of interest.
    """

    directories: dict[str, tuple[int, int]]
    paths: frozenset[str]


def find_layout(path: str) -> Layout:
    """The directories in which a change can make path another file.

    These are the one that holds the file, those that hold a symbolic link on the way to it and,
    while a part of the way is missing, the one that it is missing from.
    """
    directories: dict[str, tuple[int, int]] = {}
    paths: set[str] = set()
    for directory, name in _turns(path):
        try:
            status = os.stat(directory)
        except OSError:
            continue
        directories[directory] = (status.st_dev, status.st_ino)
        # The directory itself is named where it is moved or removed.
        paths.update((directory, os.path.join(directory, name)))
    return Layout(directories, frozenset(paths))


def _turns(path: str) -> Iterator[tuple[str, str]]:
    """Directory and name, for each symbolic link on the way along path, and for its end."""
    here = "/"
    ahead = path.split("/")[::-1]
    links = 0
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        if name == "..":
            here = os.path.dirname(here)
            continue
        there = os.path.join(here, name)
        try:
            target = os.readlink(there)
        except OSError:
            if not ahead or not os.path.isdir(there):
                yield here, name
                return
            here = there
            continue
        yield here, name
        links += 1
        if links > _MAX_LINKS:
            return
        if target.startswith("/"):
            here = "/"
        ahead += target.split("/")[::-1]

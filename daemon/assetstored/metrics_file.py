"""The file for the textfile collector of Prometheus' node exporter, written anew at each interval.

Whoever reads it sees a whole one: it is written beside it and renamed. That the file cannot be
written is a problem of its reader's, and never stops the daemon.

Rule: writes text; what stands in it is metrics.py's.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from assetstore.errors import Refused

_log = logging.getLogger("assetstored.metrics")

#: For everybody: the node exporter is another user, whatever our umask is.
_MODE = 0o644


class MetricsFile:
    """Writes until cancelled. ``problem`` says why it could not the last time, or is None."""

    def __init__(
        self, path: str, *, interval_s: float, metrics: Callable[[], Awaitable[str]]
    ) -> None:
        self._path = Path(path)
        self._interval_s = interval_s
        self._metrics = metrics
        self.problem: str | None = None

    async def run(self) -> None:
        """Write it now and after every interval."""
        while True:
            try:
                text = await self._metrics()
                # In a thread: the directory may lie on another disk than the store, and hang.
                await asyncio.to_thread(write_whole, self._path, text)
            except OSError as exc:
                self._failed(exc.strerror or str(exc))
            except Refused as exc:
                self._failed(str(exc))
            else:
                if self.problem is not None:
                    _log.info("the metrics file %s is written again", self._path)
                self.problem = None
            await asyncio.sleep(self._interval_s)

    def _failed(self, reason: str) -> None:
        """Log it once, not at each interval."""
        problem = f"the metrics file {self._path} cannot be written: {reason}"
        if problem != self.problem:
            _log.warning("the metrics file %s cannot be written: %s", self._path, reason)
        self.problem = problem


def write_whole(path: Path, text: str) -> None:
    """Put a file with this text in the place of path, in one step, readable by all.

    Raises OSError; then the file is as it was, and nothing is left beside it.
    """
    # A name of which the collector takes no notice, and always the same: what a crash leaves is
    # one file, and it goes with the next write.
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    # As new: in a directory where others may write, a link could lead elsewhere.
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    try:
        with open(fd, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            os.fchmod(file.fileno(), _MODE)
        os.rename(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise

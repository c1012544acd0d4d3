"""The daemon's log: one line per event, on stderr.

Rule: only the shape of lines; what is worth a line is decided where it happens.
"""

from __future__ import annotations

import logging
import os
import sys

#: sd-daemon(3): a line that begins with <N> has that priority in the journal.
_PRIORITIES = {
    logging.DEBUG: "<7>",
    logging.INFO: "<6>",
    logging.WARNING: "<4>",
    logging.ERROR: "<3>",
    logging.CRITICAL: "<2>",
}


class _OneLine(logging.Formatter):
    """A record on one line, with a priority for systemd or a time for people."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__(
            "%(message)s" if journal else "%(asctime)s %(levelname)-7s %(message)s",
            datefmt="%Y-%m-%dT%H:%M:%S%z",
        )
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record).replace("\n", "\\n")
        # Names and keys come from outside: none of them may drive a terminal or fake a line.
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
        text = text.encode(errors="backslashreplace").decode()
        return _PRIORITIES.get(record.levelno, "<6>") + text if self._journal else text


def start(level: str) -> None:
    """Log from now on; ``level`` is debug, info, warning or error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine(journal="JOURNAL_STREAM" in os.environ))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)

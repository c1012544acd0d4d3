"""What a stream is like for those who read it: a terminal of some width, or a pipe or file.

Rule: looks at streams and the environment; writes nothing.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import TextIO

from assetstore_cli.options import Settings
from assetstore_cli.render import Screen


def screen_of(stream: TextIO | None, settings: Settings) -> Screen:
    """The screen that the stream is, or none where it is no terminal."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    if stream is None or not is_terminal(stream):
        return Screen(encoding=encoding)
    return Screen(
        width=_columns(stream),
        colour=not settings.no_color and os.environ.get("TERM") != "dumb",
        now=datetime.now(UTC),
        encoding=encoding,
    )


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody may read, or type, there."""
    return stream is not None and stream.isatty()


def _columns(stream: TextIO) -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        # A terminal that does not know its width says 0.
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80

"""One entry as a person sees it whole: a line for each of its parts.

Rule: pure, as render.py is.
"""

from __future__ import annotations

from collections.abc import Iterator

from assetstore import Entry
from assetstore_cli.records import writer_text
from assetstore_cli.render import Screen, cut, json_cell, json_text, moment, styled, timestamp
from assetstore_cli.tables import fields

# As wide as the labels before it.
_VALUE = "value     "


def details(entry: Entry, screen: Screen) -> Iterator[str]:
    """Key, revision, time and writer, and the whole value."""
    yield from _about(entry, screen)
    yield f"{styled('value', 'bold', screen)}     {json_text(entry.value, screen)}"


def brief(entry: Entry, screen: Screen) -> Iterator[str]:
    """As ``details``, but of a long value only what a line of the screen can show."""
    yield from _about(entry, screen)
    text = json_cell(entry.value, screen)
    if screen.width is not None:
        text = cut(text, screen.width - len(_VALUE), screen.encoding)
    yield f"{styled('value', 'bold', screen)}     {text}"


def _about(entry: Entry, screen: Screen) -> Iterator[str]:
    when = timestamp(entry.updated_at)
    if screen.now is not None:
        when += f" ({moment(entry.updated_at, screen)})"
    return fields(
        [
            ("key", entry.key),
            ("revision", str(entry.revision)),
            ("updated", when),
            ("by", writer_text(entry.updated_by)),
        ],
        screen,
    )

"""The golden frames: what docs/protocol.md prints, as data.

Rule: reads tests/data/frames.json and the document; says nothing about right or wrong.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from tests.support.checkout import ROOT

DOCUMENT = ROOT / "docs/protocol.md"

TO_DAEMON = "client to daemon"
TO_CLIENT = "daemon to client"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Where the bytes of a line end and the explanation begins: 16 bytes with spaces between.
_HEX_WIDTH = 16 * 3 - 1


class Golden(NamedTuple):
    """One frame. ``answers`` names the frame that it answers; ``varies`` the fields that may
    differ from those of the example."""

    name: str
    direction: str
    tag: str
    fields: dict[str, Any]
    hex: str
    answers: str | None = None
    varies: tuple[str, ...] = ()

    @property
    def bytes(self) -> bytes:
        """The whole frame."""
        return bytes.fromhex(self.hex)

    @property
    def array(self) -> list[Any]:
        """The message: its tag, then its fields."""
        return [self.tag, *map(_with_bytes, self.fields.values())]


def frames() -> list[Golden]:
    """All golden frames, in the order of the document."""
    return [Golden(**each) for each in json.loads((ROOT / "tests/data/frames.json").read_text())]


def printed_frames() -> dict[tuple[str, str], str]:
    """What the document prints: name and direction -> the bytes in hex."""
    printed = {}
    for block in document_blocks("frame"):
        title, *lines = block.splitlines()
        name, _, direction = title.partition(", ")
        printed[name, direction] = "".join(line[:_HEX_WIDTH].replace(" ", "") for line in lines)
    return printed


def document_blocks(language: str) -> list[str]:
    """The code blocks in that language, as they stand in the document."""
    return [text for name, text in _BLOCK.findall(DOCUMENT.read_text()) if name == language]


def _with_bytes(value: Any) -> Any:
    """JSON has no bytes: the text of a bin stands in {"bin": ...}, other bytes in {"hex": ...}."""
    match value:
        case {"bin": text}:
            return text.encode()
        case {"hex": digits}:
            return bytes.fromhex(digits)
        case dict():
            return {key: _with_bytes(inner) for key, inner in value.items()}
        case list():
            return list(map(_with_bytes, value))
    return value

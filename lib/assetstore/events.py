"""What the journal tells, as a caller sees it.

Rule: values only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from assetstore.entries import Entry, RecordedWriter
from assetstore.messages import AssetRef


class Origin(msgspec.Struct, frozen=True):
    """When, and by whom, an entry was written before it was imported."""

    updated_at: datetime
    updated_by: RecordedWriter


class Event(msgspec.Struct, frozen=True):
    """One change that was committed: what, when, and by whom.

    ``kind`` of a key: "set", "delete", "advance", "increment", "merge", "rewind", "import";
    ``value`` is its new value, None where it was deleted; ``previous`` is the revision of the
    change of this key before it, or 0. Of an import ``updated_at`` and ``updated_by`` say when it
    was imported and by whom, and ``origin`` when and by whom the entry was written before.

    ``kind`` of an asset, with key None: "clear", "activated", "deactivated", "restored", "moved",
    "dropped"; of the whole store, with asset None too: "manifest". ``detail`` says more of these.
    A later version may have other kinds.
    """

    revision: int
    updated_at: datetime
    kind: str
    asset: AssetRef | None
    key: str | None
    value: Any
    detail: dict[str, Any] | None
    updated_by: RecordedWriter
    previous: int
    origin: Origin | None = None


class Difference(msgspec.Struct, frozen=True):
    """An entry as it stands, and as it stood then; None where there is or was none."""

    key: str
    now: Entry | None
    then: Entry | None


class Rewound(msgspec.Struct, frozen=True):
    """What ``rewind`` wrote again, in the order of keys.

    ``revision`` is the last one it was given, None where nothing differed. Of a dry run,
    ``differences`` is what it would write, and ``revision`` what to give as ``expected``.
    """

    revision: int | None
    differences: list[Difference]

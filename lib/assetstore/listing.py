"""What the catalog and the trash hold, as a caller sees them: with datetimes.

Rule: values only.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

from assetstore import messages
from assetstore.entries import time_from_us
from assetstore.errors import InvalidRequest


class AssetInfo(msgspec.Struct, frozen=True):
    """An asset that the daemon knows, and since when it is in its state.

    ``state``: "active"; "inactive", its store is closed and waits in the trash, or it never had
    one; "dropped", its store is gone for good.
    """

    name: str
    uri: str
    group: str | None
    state: Literal["active", "inactive", "dropped"]
    since: datetime
    entries: int

    @classmethod
    def of(cls, info: messages.AssetInfo) -> AssetInfo:
        return cls(
            name=info.name,
            uri=info.uri,
            group=info.group,
            state=info.state,
            since=time_from_us(info.since),
            entries=info.entries,
        )


class TrashInfo(msgspec.Struct, frozen=True):
    """A store in the trash, why it is there since when, and when a sweep may drop it."""

    id: int
    name: str
    uri: str
    reason: Literal["deactivated", "cleared", "replaced"]
    since: datetime
    drops_at: datetime
    entries: int
    size_bytes: int

    @classmethod
    def of(cls, info: messages.TrashInfo) -> TrashInfo:
        return cls(
            id=info.id,
            name=info.name,
            uri=info.uri,
            reason=info.reason,
            since=time_from_us(info.since),
            drops_at=time_from_us(info.drops_at),
            entries=info.entries,
            size_bytes=info.size_bytes,
        )


def check_trash_id(trash_id: int) -> int:
    """Return the id, or raise TypeError or InvalidRequest if it can be none."""
    if isinstance(trash_id, bool) or not isinstance(trash_id, int):
        raise TypeError(f"trash id must be an int, not {type(trash_id).__name__}")
    if not 0 <= trash_id < 2**63:
        raise InvalidRequest(f"{trash_id} is no id of the trash")
    return trash_id


class Restored(msgspec.Struct, frozen=True):
    """The asset that has its store back, and how many entries are in it."""

    name: str
    uri: str
    count: int

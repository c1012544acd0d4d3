"""What a check of a store tells: how far it is, what is damaged, and what was looked at.

Rule: words and figures; what is checked, and how, is in the modules verifying*.py.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

Kind = Literal[
    "file", "structure", "log", "counter", "row", "catalog", "trash", "store", "orphan", "entry",
    "lost", "journal",
]  # fmt: skip

#: The parts of a check, and the copying before it.
Part = Literal["copy", "structure", "tables", "entries", "journal"]

_RESTORE: Final = (
    "stop the daemon, keep its files as they are aside, and restore the data directory from a "
    "backup"
)

#: What to do about each kind of damage.
REMEDIES: Final[dict[Kind, str]] = {
    "file": _RESTORE,
    "structure": _RESTORE,
    "log": f"what is in the log may have been acknowledged: {_RESTORE}",
    "counter": f"ids and revisions may be given out twice: {_RESTORE}",
    "row": _RESTORE,
    "catalog": _RESTORE,
    "trash": "drop it with `assetstore trash purge`, or, if it is still wanted, restore a backup",
    "store": _RESTORE,
    "orphan": "nothing that is served is wrong; it takes up room, which a backup does not bring "
    "back either: leave it, or restore a backup that was made before",
    "entry": "write the key anew with `assetstore set`, or remove it with `assetstore delete`; its "
    "value from before is in a backup",
    "lost": "the key is gone, and the journal has its last value: see `assetstore log --json`, and "
    "write it anew, or restore a backup",
    "journal": "what is served now is right; `history`, `log`, `rewind` and reads of the past may "
    "refuse or lack this: restore a backup if you need it",
}


class Progress(msgspec.Struct, frozen=True, tag="progress"):
    """So much of a part of the check is done; a new part begins at 0."""

    part: Part
    done: int
    total: int


class Finding(msgspec.Struct, frozen=True, tag="finding"):
    """One thing that is not as it must be, where it is, and what to do about it.

    ``asset`` and ``uri`` name the asset that it is of, if it is of one; ``trash_id`` its store in
    the trash. ``key`` is a key of the store, or what can be read of it.
    """

    kind: Kind
    problem: str
    asset: str | None = None
    uri: str | None = None
    key: str | None = None
    trash_id: int | None = None
    remedy: str = ""

    def __post_init__(self) -> None:
        if not self.remedy:
            msgspec.structs.force_setattr(self, "remedy", REMEDIES[self.kind])

    def __str__(self) -> str:
        where = [
            f"asset {self.asset!r}" if self.asset is not None else "",
            f"store {self.trash_id} in the trash" if self.trash_id is not None else "",
            f"key {self.key!r}" if self.key is not None else "",
        ]
        place = ", ".join(part for part in where if part)
        return f"{place}: {self.problem}" if place else self.problem


class Summary(msgspec.Struct, frozen=True, tag="summary"):
    """The end of a check that came to its end.

    ``logged``: how many of the changes are in the write-ahead log only. ``was_live``: a daemon had
    the store open, and what it logged meanwhile is not part of the verdict.
    """

    store_id: str
    revision: int
    assets: int
    stores: int
    entries: int
    events: int
    logged: int
    was_live: bool
    findings: int


class CannotVerify(Exception):
    """There is no verdict; the message says why and what to do."""

"""What exports and imports come to, and what is wrong with an import.

Rule: values and words only; no files and no daemon.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from assetstore.errors import InactiveAsset, UnknownAsset
from assetstore.messages import ImportedEntry
from assetstore.survey import Section

#: So many assets are named in an error; the number of the others is said.
_NAMED = 10

_encode = msgspec.msgpack.Encoder().encode


class Exported(msgspec.Struct, frozen=True):
    """What an export holds: so many entries of so many assets, as of a revision."""

    store_id: str
    revision: int
    assets: int
    entries: int


class ImportedAsset(msgspec.Struct, frozen=True):
    """What an import makes of one asset, compared with what it held just before.

    ``state``: "active", or why it was left out: "inactive", "dropped" or "unknown". ``removed``:
    what went to the trash and did not come back, with replace.
    """

    name: str
    uri: str
    state: str
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0

    @property
    def differs(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class Imported(msgspec.Struct, frozen=True):
    """What was imported, or with dry_run would be, and from which export."""

    store_id: str
    revision: int
    assets: list[ImportedAsset]


class Comparison(NamedTuple):
    added: int
    changed: int
    removed: int
    unchanged: int


def digest_of(entry: ImportedEntry) -> bytes:
    return blake2b(_encode(entry), digest_size=16).digest()


def not_active(missing: Sequence[tuple[Section, str]], of: int) -> UnknownAsset:
    sections = [section for section, _ in missing]
    kind = UnknownAsset if any(state == "unknown" for _, state in missing) else InactiveAsset
    return kind(
        f"{len(missing):,} of the {of:,} assets of this export are not active here: "
        f"{names_of(sections)}. Nothing was imported. Put them into the manifest, with the same "
        "name and uri, or leave them out with --skip-missing"
    )


def names_of(sections: Sequence[Section]) -> str:
    shown = ", ".join(repr(section.asset.name) for section in sections[:_NAMED])
    more = len(sections) - _NAMED
    return f"{shown} and {more:,} more" if more > 0 else shown

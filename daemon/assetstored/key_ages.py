"""When chosen keys were written last: what ``metrics_ages`` of the configuration asks for.

The assets that a pattern fits are remembered until the catalog changes. All of it goes in steps
of a millisecond, so a long look holds up nobody; and it is bounded, as each key found is a series
of the monitoring system's.

Rule: reads; the patterns are assetstore.globs'.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from assetstore.errors import Damaged, InactiveAsset, UnknownAsset
from assetstore.globs import KeyGlob
from assetstore.limits import MAX_KEY_CHARS, MAX_PAGE_ITEMS
from assetstore.messages import AssetRef
from assetstored import records
from assetstored.paging import Budget
from assetstored.reader import Reader

#: Keys that are told of, and characters of their names: the text has to fit an answer.
MAX_KEYS = 10_000
MAX_CHARS = 512 * 1024

#: Keys that are looked at for patterns with a wildcard in the key.
MAX_LOOKED_AT = 100_000


class Ages(NamedTuple):
    """``updated``: asset and key -> when, in microseconds since 1970. ``found`` and ``missing``:
    pattern -> how many keys it fits; and how many active assets it fits that have none of them, or
    whose key cannot be read. ``is_whole``: False where there were more than may be told of."""

    updated: dict[tuple[str, str], int]
    found: dict[str, int]
    missing: dict[str, int]
    is_whole: bool


class KeyAges:
    """Looks for the keys, each time it is asked."""

    def __init__(self, reader: Reader, globs: Sequence[KeyGlob]) -> None:
        self._reader = reader
        self._globs = globs
        self._names: dict[str, list[str]] = {}
        self._catalog_version = -1

    async def look(self) -> Ages:
        """All that there is now."""
        look = _Look(self._reader)
        if self._globs:
            try:
                await self._learn_names()
            except Damaged:
                look.is_whole = False  # whoever reads that row of the catalog hears of it
        for glob in self._globs:
            look.found[glob.text] = look.missing[glob.text] = 0
            for name in self._names.get(glob.text, ()):
                for _ in look.at(glob, name):
                    await asyncio.sleep(0)
        return Ages(look.updated, look.found, look.missing, look.is_whole)

    async def _learn_names(self) -> None:
        """Know which active assets each pattern fits."""
        reader = self._reader
        if self._catalog_version == reader.catalog_version:
            return
        version = reader.catalog_version
        names: dict[str, list[str]] = {glob.text: [] for glob in self._globs}
        after: int | None = 0
        while after is not None:
            budget = Budget(MAX_PAGE_ITEMS)
            position, after = after, None
            for asset_id, row in reader.catalog_rows(position):
                if budget.is_full or budget.is_late:
                    after = position
                    break
                position = asset_id
                budget.spend(0)
                if row.state == "active":
                    for glob in self._globs:
                        if glob.asset.fits(row.name):
                            names[glob.text].append(row.name)
            await asyncio.sleep(0)
        # What has changed meanwhile is seen the next time.
        self._names, self._catalog_version = names, version


class _Look:
    """One look, and what it has seen so far."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._chars = 0
        self._looked_at = 0
        self._budget = Budget(MAX_PAGE_ITEMS)
        self.updated: dict[tuple[str, str], int] = {}
        self.found: dict[str, int] = {}
        self.missing: dict[str, int] = {}
        self.is_whole = True

    def at(self, glob: KeyGlob, name: str) -> Iterator[None]:
        """Find the keys of one asset; yields where others should have their turn."""
        before = self.found[glob.text]
        try:
            if glob.key.literal is not None:
                self._take(glob, name, glob.key.literal)
            else:
                yield from self._walk(glob, name)
        except (UnknownAsset, InactiveAsset):
            return  # it has just left
        if self.found[glob.text] == before:
            self.missing[glob.text] += 1
        if self._budget.is_late:
            yield
            self._budget = Budget(MAX_PAGE_ITEMS)

    def _walk(self, glob: KeyGlob, name: str) -> Iterator[None]:
        after: str | None = None
        prefix = glob.key.prefix[:MAX_KEY_CHARS]
        more = True
        while more:
            if self._looked_at >= MAX_LOOKED_AT:
                self.is_whole = False
                return
            try:
                keys, more = self._reader.keys(AssetRef(name), prefix, after, MAX_PAGE_ITEMS)
            except Damaged:
                return
            self._looked_at += len(keys)
            for key in keys:
                if glob.key.fits(key):
                    self._take(glob, name, key)
            if more:
                after = keys[-1]
                yield

    def _take(self, glob: KeyGlob, name: str, key: str) -> None:
        store_id = self._reader.resolve(AssetRef(name)).store_id
        if not store_id or len(key) > MAX_KEY_CHARS:
            return
        try:
            record = self._reader.record(store_id, name, key)
        except Damaged:
            return
        if record is None:
            return
        if (name, key) not in self.updated:
            self._chars += len(name) + len(key)
            if len(self.updated) >= MAX_KEYS or self._chars > MAX_CHARS:
                self.is_whole = False
                return
            self.updated[name, key] = records.decode_entry(record).updated_at
        self.found[glob.text] += 1

"""Requests that are answered with a page: of keys, of events, of assets, of the trash.

Rule: makes one page; whose turn it is, and who may ask, is decided before.
"""

from __future__ import annotations

from assetstore import messages as m
from assetstore.limits import MAX_PAGE_ITEMS, check_key, check_prefix
from assetstored.border import Border, Permit
from assetstored.catalog import checked
from assetstored.feed import Feed, Wanted
from assetstored.raw_answers import EventPageRaw, ItemPageRaw
from assetstored.reader import Reader


class Paging:
    """Makes pages, of what somebody may see."""

    def __init__(self, border: Border, reader: Reader, feed: Feed, *, grace_us: int) -> None:
        self._border = border
        self._reader = reader
        self._feed = feed
        self._grace_us = grace_us

    def page(self, request: m.AnyRequest, permit: Permit) -> object:
        """The answer to one of the requests that are answered with a page."""
        reader, seen = self._reader, self._border.seen
        match request:
            case m.Keys(id, _, asset, prefix, after, limit):
                return m.KeyPage(id, *reader.keys(asset, *_range(prefix, after), limit))
            case m.Items(id, _, asset, prefix, after, limit):
                return ItemPageRaw(id, *reader.items(asset, *_range(prefix, after), limit))
            case m.Count(id, _, asset, prefix, after):
                return m.Counted(id, *reader.count(asset, *_range(prefix, after)))
            case m.Log(id, _, asset, prefix, before, since, since_time, limit):
                page = self._feed.preceding(
                    self.wanted(asset, prefix, permit),
                    2**63 if before is None else before,
                    since or 0,
                    since_time or 0,
                    min(limit, MAX_PAGE_ITEMS),
                )
                return EventPageRaw(id, *page)
            case m.Assets(id, _, after_id, limit):
                return m.AssetPage(id, *seen(reader.assets(after_id, limit), permit))
            case m.ListTrash(id, _, after_id, limit):
                stores = reader.trash(after_id, limit, self._grace_us)
                return m.TrashPage(id, *seen(stores, permit))
        raise AssertionError(request)

    def wanted(self, asset: m.AssetRef | None, prefix: str, permit: Permit) -> Wanted:
        """Which events somebody asks for, of those that they may see."""
        if asset is None:
            return Wanted(None, check_prefix(prefix), self._border.sight(permit))
        # Of an asset that has left, too: why it has left is what its journal tells.
        asset_id, _ = self._reader.find(checked(asset)) or self._reader.find_active(asset)
        return Wanted(asset_id, check_prefix(prefix))


def _range(prefix: str, after: str | None) -> tuple[str, str | None]:
    return check_prefix(prefix), None if after is None else check_key(after)

"""The store of one asset, as its user sees it.

Rule: a method is one request, or the pages of one listing; a store holds no state but which asset.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from assetstore.answers import entry_of, revision_of
from assetstore.assets import describe
from assetstore.asynchronous.calls import Calls
from assetstore.asynchronous.views import StoreItems, StoreKeys
from assetstore.entries import Entry
from assetstore.errors import ProtocolError
from assetstore.limits import MAX_PAGE_ITEMS, check_key, check_prefix

# sync: from assetstore.mapping import StoreMapping
from assetstore.messages import (
    Absent,
    AssetRef,
    ClearStore,
    Count,
    Counted,
    DeleteKey,
    Found,
    Get,
    ItemPage,
    Items,
    KeyPage,
    Keys,
    SetKey,
)
from assetstore.values import decode_value, encode_value
from assetstore.views import Span


# sync: class Store(StoreMapping):
class AsyncStore:  # async only
    """The keys and values of one asset. Made by ``client.store(asset)`` or ``container[asset]``.

    It holds no connection and costs nothing to make or drop; it works as long as its client does.
    Every call raises ``UnknownAsset`` if the asset is not in the accepted manifest, and its
    subclass ``InactiveAsset`` if it has been there; NotConnected, OutcomeUnknown or
    DeadlineExceeded as ``connect`` says.

    The blocking ``Store`` is a ``MutableMapping`` besides: ``store[key]``, ``store[key] = value``,
    ``del store[key]``, ``key in store``, ``len(store)``, iteration over the keys.
    """

    def __init__(self, calls: Calls, ref: AssetRef) -> None:
        self._call = calls.call
        self._change = calls.change
        self._ref = ref

    @property
    def asset(self) -> AssetRef:
        """The reference by which this store asks for its asset."""
        return self._ref

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of key, or default if the asset is active and has no such key.

        It equals what was set, and so do the types of all its parts. It is on disk: a value is
        shown to nobody before it is. Key: 1 to 512 characters, else InvalidRequest (a ValueError).
        Damaged if the stored record fails its checksum.
        """
        answer: Found | Absent = await self._call(Get, self._ref, check_key(key))
        if type(answer) is Found:
            return decode_value(answer.entry.value)
        return default

    async def set(self, key: str, value: Any) -> int:
        """Write or overwrite the value of key, and return the revision of this change.

        When it returns, the value is on disk. A value is str, int of any size, float, bool, list
        or dict with str keys, nested at most 255 levels deep, and 1 MiB of JSON text unless the
        daemon is configured otherwise. Refused, with the place inside the value: TypeError for
        other types, InvalidRequest (a ValueError) for None itself, NaN, infinities, lone
        surrogates and what is too large.

        After DeadlineExceeded the value may be the new or the old one; to set it again is safe.
        """
        operation = SetKey(self._ref, check_key(key), encode_value(value), None)
        [outcome] = await self._change((operation,))
        return revision_of(outcome)

    async def delete(self, key: str) -> bool:
        """Delete key; return whether it was there.

        When it returns, the key is gone on disk.
        """
        [outcome] = await self._change((DeleteKey(self._ref, check_key(key), None),))
        return outcome.revision is not None

    # sync: def clear(self) -> int:  # type: ignore[override]
    async def clear(self) -> int:  # async only
        """Delete all keys in one step; return how many there were.

        Takes the same time for one key as for a million. They stay in the trash for the daemon's
        grace (7 days by default), and ``assetstore trash restore`` brings them back.
        """
        [outcome] = await self._change((ClearStore(self._ref),))
        return outcome.count

    async def entry(self, key: str) -> Entry | None:
        """The value of key with its revision, and when and by whom it was written; or None."""
        answer: Found | Absent = await self._call(Get, self._ref, check_key(key))
        if type(answer) is Found:
            return entry_of(key, answer.entry)
        return None

    def keys(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreKeys:
        """The keys that begin with prefix and come after ``after``, at most limit of them.

        In byte order of their UTF-8. The prefix is exact, there are no wildcards. They are
        fetched while they are walked, a page of up to 1,000 at a time. Each page is one snapshot:
        a key that is there from the first page to the last is seen once, one that comes or goes
        meanwhile may be missed.
        """
        return StoreKeys(self, Span.of(prefix, after, limit))

    def items(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreItems:
        """As ``keys``, with the values: pairs of key and value."""
        return StoreItems(self, Span.of(prefix, after, limit))

    def entries(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Entry]:
        """As ``keys``, with everything: an iterator of ``Entry``."""
        return self._scan_entries(*Span.of(prefix, after, limit))

    async def count(self, prefix: str = "") -> int:
        """How many keys begin with prefix. A long count is made in parts, each one snapshot."""
        check_prefix(prefix)
        total = 0
        after: str | None = None
        while True:
            answer: Counted = await self._call(Count, self._ref, prefix, after)
            total += answer.count
            after = answer.after
            if after is None:
                return total

    def __aiter__(self) -> AsyncIterator[str]:  # async only
        return self._scan_keys("", None, None)  # async only

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {describe(self._ref)}>"

    async def _has(self, key: str) -> bool:
        # Of all keys that begin with key, key itself comes first; so its value need not travel.
        answer: KeyPage = await self._call(Keys, self._ref, check_key(key), None, 1)
        return answer.keys == [key]

    async def _scan_keys(
        self,
        prefix: str,
        after: str | None,
        limit: int | None,
    ) -> AsyncIterator[str]:
        while limit is None or limit > 0:
            page: KeyPage = await self._call(Keys, self._ref, prefix, after, _page_size(limit))
            # sync: yield from page.keys
            for key in page.keys:  # async only
                yield key  # async only
            if not page.more:
                return
            after = _last(page.keys)
            limit = None if limit is None else limit - len(page.keys)

    async def _scan_entries(
        self,
        prefix: str,
        after: str | None,
        limit: int | None,
    ) -> AsyncIterator[Entry]:
        while limit is None or limit > 0:
            page: ItemPage = await self._call(Items, self._ref, prefix, after, _page_size(limit))
            for key, stored in page.items:
                yield entry_of(key, stored)
            if not page.more:
                return
            after = _last([key for key, _ in page.items])
            limit = None if limit is None else limit - len(page.items)


def _page_size(limit: int | None) -> int:
    return MAX_PAGE_ITEMS if limit is None else min(limit, MAX_PAGE_ITEMS)


def _last(keys: list[str]) -> str:
    if not keys:
        raise ProtocolError("a page without keys says that there are more")
    return keys[-1]

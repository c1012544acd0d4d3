"""Listings of an asynchronous store: they ask the daemon each time they are walked, page by page.

Rule: knows a store by its calls only; no messages, no sockets.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from assetstore.views import Span

if TYPE_CHECKING:
    from assetstore.asynchronous.store import AsyncStore


class StoreKeys:
    """Keys of a store in byte order, for ``async for``."""

    def __init__(self, store: AsyncStore, span: Span) -> None:
        self._store = store
        self._span = span

    def __aiter__(self) -> AsyncIterator[str]:
        return self._store._scan_keys(*self._span)


class StoreItems:
    """Keys with their values, as pairs, in byte order of the keys, for ``async for``."""

    def __init__(self, store: AsyncStore, span: Span) -> None:
        self._store = store
        self._span = span

    async def __aiter__(self) -> AsyncIterator[tuple[str, Any]]:
        async for entry in self._store._scan_entries(*self._span):
            yield entry.key, entry.value

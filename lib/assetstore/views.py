"""Listings of a store: they ask the daemon each time they are walked, page by page.

Rule: knows a store by its calls only; no messages, no sockets.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from typing import TYPE_CHECKING, Any, NamedTuple

from assetstore.errors import InvalidRequest
from assetstore.limits import MAX_PAGE_ITEMS, check_prefix

if TYPE_CHECKING:
    from assetstore.store import Store


class Span(NamedTuple):
    """Which keys: those that begin with prefix, come after ``after``, and at most limit of them."""

    prefix: str = ""
    after: str | None = None
    limit: int | None = None

    @classmethod
    def of(cls, prefix: str, after: str | None, limit: int | None) -> Span:
        """The span, or TypeError, or InvalidRequest for what is beyond the limits of a key."""
        check_limit(limit)
        # Every key comes after the empty one, which is none.
        after = None if after is None else check_prefix(after, "after") or None
        return cls(check_prefix(prefix), after, limit)

    @property
    def is_counted_by_prefix(self) -> bool:
        return self.after is None and self.limit is None

    def may_hold(self, key: str) -> bool:
        """Whether key lies in the span; limit aside."""
        # Code points sort as their UTF-8 does.
        return key.startswith(self.prefix) and (self.after is None or key > self.after)


class StoreKeys(KeysView[str]):
    """Keys of a store in byte order. Set-like, as the keys of a dict."""

    def __init__(self, store: Store, span: Span) -> None:
        super().__init__(store)
        self._store = store
        self._span = span

    def __iter__(self) -> Iterator[str]:
        return self._store._scan_keys(*self._span)

    def __len__(self) -> int:
        return _length(self._store, self._span)

    def __contains__(self, key: object) -> bool:
        if self._span.limit is not None:
            return any(each == key for each in self)
        return isinstance(key, str) and self._span.may_hold(key) and key in self._store

    def __repr__(self) -> str:
        return f"{self._store!r}.keys({_shown(self._span)})"


class StoreItems(ItemsView[str, Any]):
    """Keys with their values, as pairs, in byte order of the keys."""

    def __init__(self, store: Store, span: Span) -> None:
        super().__init__(store)
        self._store = store
        self._span = span

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for entry in self._store._scan_entries(*self._span):
            yield entry.key, entry.value

    def __len__(self) -> int:
        return _length(self._store, self._span)

    def __contains__(self, item: object) -> bool:
        if self._span.limit is not None:
            return any(each == item for each in self)
        match item:
            case (str(key), value) if self._span.may_hold(key):
                entry = self._store.entry(key)
                return entry is not None and bool(entry.value == value)
        return False

    def __repr__(self) -> str:
        return f"{self._store!r}.items({_shown(self._span)})"


class StoreValues(ValuesView[Any]):
    """Values of a store, in byte order of their keys."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._store = store

    def __iter__(self) -> Iterator[Any]:
        # A page at a time; the mixin would ask for one value at a time.
        for entry in self._store._scan_entries("", None, None):
            yield entry.value

    def __contains__(self, value: object) -> bool:
        return any(each == value for each in self)

    def __repr__(self) -> str:
        return f"{self._store!r}.values()"


def check_limit(limit: int | None) -> int | None:
    """Return the limit, or raise TypeError or InvalidRequest if it can be none."""
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int)):
        raise TypeError(f"limit must be an int or None, not {type(limit).__name__}")
    if limit is not None and limit < 0:
        raise InvalidRequest(f"limit is {limit}; it must not be negative")
    return limit


def page_size(limit: int | None) -> int:
    """How many to ask for next, if limit are still wanted."""
    return MAX_PAGE_ITEMS if limit is None else min(limit, MAX_PAGE_ITEMS)


def _length(store: Store, span: Span) -> int:
    if span.is_counted_by_prefix:
        return store.count(span.prefix)
    return sum(1 for _ in store._scan_keys(*span))


def _shown(span: Span) -> str:
    given = span._asdict().items()
    return ", ".join(f"{name}={value!r}" for name, value in given if value not in ("", None))

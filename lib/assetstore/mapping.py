"""The mapping side of the blocking store: what Python's syntax means in its calls.

Rule: pure syntax; whatever it does is a call that the store has too.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, MutableMapping
from time import monotonic
from typing import Any, overload

from assetstore.calls import Calls
from assetstore.contest import Contest
from assetstore.entries import Entry
from assetstore.errors import Conflict
from assetstore.exchange import RequestTooLong
from assetstore.limits import MAX_OPERATIONS
from assetstore.operations import Pairs, pairs_of
from assetstore.views import StoreKeys, StoreValues

_ABSENT: Any = object()


class StoreMapping(MutableMapping[str, Any]):
    """``store[key]``, ``=``, ``del``, ``in``, ``len``, iteration; the rest is MutableMapping's.

    ``pop``, ``popitem`` and ``setdefault`` are atomic, as those of a dict are. ``==`` is several
    requests, so another writer may come between them.
    """

    __slots__ = ()

    _calls: Calls

    def __getitem__(self, key: str) -> Any:
        value = self.get(key, _ABSENT)
        if value is _ABSENT:
            raise KeyError(key)
        return value

    def __setitem__(self, key: str, value: Any) -> None:
        self.set(key, value)

    def __delitem__(self, key: str) -> None:
        if not self.delete(key):
            raise KeyError(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._has(key)

    def __len__(self) -> int:
        return self.count()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def values(self) -> StoreValues:
        """All values, in byte order of their keys; each page of them is one snapshot."""
        return StoreValues(self)  # type: ignore[arg-type]

    def setdefault(self, key: str, default: Any = None) -> Any:
        """The value of key; if it is absent, default, which is on disk then."""
        if default is None:
            value = self.get(key, _ABSENT)
            if value is not _ABSENT:
                return value
        try:
            self.create(key, default)
        except Conflict as exc:
            return exc.entry.value
        return default

    def pop(self, key: str, default: Any = _ABSENT) -> Any:
        """Delete key and return the value that it had; of several who pop it, one gets it.

        If it is absent, default, or KeyError without one.
        """
        entry = self._take(lambda: self.entry(key))
        if entry is not None:
            return entry.value
        if default is _ABSENT:
            raise KeyError(key)
        return default

    def popitem(self) -> tuple[str, Any]:
        """Delete the first key, in byte order, and return it with the value that it had.

        KeyError if there is none.
        """
        entry = self._take(lambda: next(self.entries(limit=1), None))
        if entry is None:
            raise KeyError("the store is empty")
        return entry.key, entry.value

    @overload  # type: ignore[override]
    def update(self, key: str, function: Callable[[Any], Any], default: Any = None, /) -> Any: ...
    @overload
    def update(
        self, key: str, function: Callable[[Any], Any], /, *, default: Any = None
    ) -> Any: ...
    @overload
    def update(self, values: Pairs = (), /, **more: Any) -> None: ...
    def update(self, /, *args: Any, **kwargs: Any) -> Any:
        """``update(key, function, default=None)``: one value; ``update(values, **more)``: many.

        With a key and a function: write what function makes of the value of key, or of default;
        return the new value. When it returns, the value is on disk, and nobody has written between
        the reading and the writing. If somebody has, function is called again with what they wrote,
        so it may be called several times and must do nothing else. If it raises, nothing happened.
        It tries again for as long as the client's timeout, then it raises the last Conflict; each
        of its requests may take that long too. To count or to keep the greatest, ``increment`` and
        ``advance`` cost less.

        With a mapping or pairs, as of a dict: write all of them; when it returns, they are on
        disk. All at once, as ``set_many``, if they are at most 1,000 and about 1 MiB together; else
        in several commits, one after the other.
        """
        if len(args) > 1:
            return self._update_one(*args, **kwargs)
        pairs = pairs_of(args[0]) if args else []
        pairs += kwargs.items()
        for start in range(0, len(pairs), MAX_OPERATIONS):
            self._set_all(pairs[start : start + MAX_OPERATIONS])
        return None

    def _update_one(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        return self._update(key, function, default)

    def _set_all(self, pairs: list[tuple[str, Any]]) -> None:
        """Write all pairs in as few commits as they fit."""
        try:
            self.set_many(pairs)
        except RequestTooLong:
            if len(pairs) == 1:
                raise
            middle = len(pairs) // 2
            self._set_all(pairs[:middle])
            self._set_all(pairs[middle:])

    def _take(self, find: Callable[[], Entry | None]) -> Entry | None:
        """Delete the entry that is found, as it was found."""
        deadline = monotonic() + self._calls.timeout_s
        contest = Contest()
        while (entry := find()) is not None:
            try:
                self.delete(entry.key, if_revision=entry.revision)
                return entry
            except Conflict as exc:
                pause_s = contest.pause_after(exc, deadline - monotonic())
            time.sleep(pause_s)
        return None

    @abstractmethod
    def get(self, key: str, default: Any = None) -> Any: ...

    @abstractmethod
    def entry(self, key: str) -> Entry | None: ...

    @abstractmethod
    def set(self, key: str, value: Any) -> int: ...

    @abstractmethod
    def create(self, key: str, value: Any) -> int: ...

    @abstractmethod
    def set_many(self, values: Pairs) -> int | None: ...

    @abstractmethod
    def delete(self, key: str, *, if_revision: int | None = None) -> bool: ...

    @abstractmethod
    def count(self, prefix: str = "") -> int: ...

    @abstractmethod
    def keys(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreKeys: ...

    @abstractmethod
    def entries(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> Iterator[Entry]: ...

    @abstractmethod
    def _has(self, key: str) -> bool: ...

    @abstractmethod
    def _update(self, key: str, function: Callable[[Any], Any], default: Any) -> Any: ...

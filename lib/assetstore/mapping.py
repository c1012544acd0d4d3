"""The mapping side of the blocking store: what Python's syntax means in its calls.

Rule: one call per operation, and none that the store does not have itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, MutableMapping
from typing import Any

from assetstore.views import StoreKeys, StoreValues

_ABSENT: Any = object()


class StoreMapping(MutableMapping[str, Any]):
    """``store[key]``, ``=``, ``del``, ``in``, ``len``, iteration; the rest is MutableMapping's.

    ``pop``, ``popitem``, ``setdefault``, ``update`` and ``==`` are several requests, so another
    writer may come between them.
    """

    __slots__ = ()

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

    @abstractmethod
    def get(self, key: str, default: Any = None) -> Any: ...

    @abstractmethod
    def set(self, key: str, value: Any) -> int: ...

    @abstractmethod
    def delete(self, key: str) -> bool: ...

    @abstractmethod
    def count(self, prefix: str = "") -> int: ...

    @abstractmethod
    def keys(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreKeys: ...

    @abstractmethod
    def _has(self, key: str) -> bool: ...

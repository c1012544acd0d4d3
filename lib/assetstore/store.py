# Made from asynchronous/store.py by scripts/unasync.py: change that one.
"""The store of one asset, as its user sees it.

Rule: a method is one request, or the pages of one listing, or tries of one change; a store holds no
state but which asset.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from datetime import datetime
from time import monotonic
from typing import Any

from assetstore.answers import entry_of, result_of
from assetstore.assets import describe
from assetstore.calls import Calls
from assetstore.contest import Contest
from assetstore.entries import Advance, Entry
from assetstore.errors import Conflict, ProtocolError
from assetstore.journal import StoreJournal
from assetstore.limits import check_key, check_prefix
from assetstore.mapping import StoreMapping
from assetstore.messages import (
    Absent,
    AssetRef,
    ClearStore,
    Count,
    Counted,
    Found,
    Get,
    GetAt,
    ItemPage,
    Items,
    KeyPage,
    Keys,
    Order,
)
from assetstore.moments import check_moment
from assetstore.operations import (
    How,
    Number,
    Pairs,
    Path,
    advance_key,
    delete_key,
    increment_key,
    merge_key,
    pairs_of,
    set_key,
)
from assetstore.values import decode_value
from assetstore.views import Span, StoreItems, StoreKeys, page_size


class Store(StoreMapping, StoreJournal):
    """The keys and values of one asset. Made by ``client.store(asset)`` or ``container[asset]``.

    It holds no connection and costs nothing to make or drop; it works as long as its client does.
    Every call raises ``UnknownAsset`` if the asset is not in the accepted manifest, and its
    subclass ``InactiveAsset`` if it has been there; NotConnected, OutcomeUnknown or
    DeadlineExceeded as ``connect`` says. When a call that changes something returns, the change is
    on disk; when it raises anything but those two last, nothing changed.

    Where several may write, read and write in one call: ``advance``, ``increment``, ``merge`` and
    ``update`` lose nobody's change. ``if_revision`` makes a change only if the key still stands at
    that revision, 0 for "is absent", and raises ``Conflict`` otherwise.

    The blocking ``Store`` is a ``MutableMapping`` besides: ``store[key]``, ``store[key] = value``,
    ``del store[key]``, ``key in store``, ``len(store)``, iteration over the keys.
    """

    def __init__(self, calls: Calls, ref: AssetRef) -> None:
        super().__init__(calls, ref)
        self._call = calls.call
        self._do = calls.do

    @property
    def asset(self) -> AssetRef:
        """The reference by which this store asks for its asset."""
        return self._ref

    def get(self, key: str, default: Any = None, *, at: int | datetime | None = None) -> Any:
        """The value of key, or default if the asset is active and has no such key.

        It equals what was set, and so do the types of all its parts. It is on disk: a value is
        shown to nobody before it is. Key: 1 to 512 characters, else InvalidRequest (a ValueError).
        Damaged if the stored record fails its checksum.

        With ``at``, the value as it stood after the change of that revision, or at that time, an
        aware datetime. Compacted if the journal does not reach so far.
        """
        answer = self._look_up(key, at)
        if type(answer) is Found:
            return decode_value(answer.entry.value)
        return default

    def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of those of the keys that are there, in the order of keys.

        All are of one moment: no transaction is seen in part. At most 1,000, and 15 MiB of entries
        together: InvalidRequest beyond.
        """
        wanted = [check_key(key) for key in keys]
        found = self._calls.get_many([(self._ref, key) for key in wanted])
        return {
            key: decode_value(stored.value)
            for key, stored in zip(wanted, found, strict=True)
            if stored is not None
        }

    def set(self, key: str, value: Any, *, if_revision: int | None = None) -> int:
        """Write or overwrite the value of key, and return the revision of this change.

        When it returns, the value is on disk. A value is str, int of any size, float, bool, list
        or dict with str keys, nested at most 255 levels deep, and 1 MiB of JSON text unless the
        daemon is configured otherwise. Refused, with the place inside the value: TypeError for
        other types, InvalidRequest (a ValueError) for None itself, NaN, infinities, lone
        surrogates and what is too large.

        Conflict, which has the entry, if ``if_revision`` is given and is not the key's revision.
        After DeadlineExceeded the value may be the new or the old one.
        """
        revision: int = self._do(set_key(self._ref, key, value, if_revision))
        return revision

    def create(self, key: str, value: Any) -> int:
        """Write the value of key, which is absent, and return the revision of this change.

        Of several who create the same key at once, one succeeds: it is on disk then. The others
        get Conflict, with the entry, as for ``set(key, value, if_revision=0)``.
        """
        revision: int = self._do(set_key(self._ref, key, value, 0))
        return revision

    def set_many(self, values: Pairs) -> int | None:
        """Write all of a mapping, or of pairs, in one commit; return the last revision.

        All of it is on disk then, and no reader has seen a part; None if there was nothing to
        write. At most 1,000 keys, and about 1 MiB together: InvalidRequest beyond, nothing changed.
        """
        operations = [set_key(self._ref, key, value, None) for key, value in pairs_of(values)]
        if not operations:
            return None
        outcomes = self._calls.change(operations)
        last: int = result_of(operations[-1], outcomes[-1])
        return last

    def delete(self, key: str, *, if_revision: int | None = None) -> bool:
        """Delete key; return whether it was there.

        When it returns, the key is gone on disk. Conflict, which has the entry, if ``if_revision``
        is given and is not the key's revision.
        """
        existed: bool = self._do(delete_key(self._ref, key, if_revision))
        return existed

    def advance(self, key: str, value: Any, *, order: Order = "value") -> Advance:
        """Write the value of key if it is absent or less; return the entry as it stands after.

        The daemon compares, so of many who advance a key at once none sets it back. When it
        returns, the entry is on disk; ``applied`` says whether this call wrote it.

        Comparable are two numbers, two strings, by code point, and two lists of such, item by
        item. With ``order="time"`` strings are RFC 3339 instants, so that "+02:00" and "Z" order
        rightly. InvalidRequest for anything else, also where key is absent.
        """
        result: Advance = self._do(advance_key(self._ref, key, value, order))
        return result

    def increment(self, key: str, by: Number = 1, default: Number = 0) -> Number:
        """Add ``by`` to the number that key holds, or to default; return the new value.

        The daemon adds, so none of many increments at once is lost, and each is carried out once.
        When it returns, the value is on disk. Exact for int of any size. InvalidRequest if the
        value is no number, or the sum no finite one.
        """
        value: Number = self._do(increment_key(self._ref, key, by, default))
        return value

    def merge(
        self,
        key: str,
        patch: dict[str, Any],
        *,
        remove: Iterable[Path] = (),
        how: How = "replace",
        order: Order = "value",
    ) -> dict[str, Any]:
        """Lay the fields of patch over those of the dict that key holds; return the value after.

        A dict in patch is laid over a dict in the same way, and everything else replaces what was
        there; None is a value. ``remove`` names fields to take out first, by name, or by the list
        of names that leads to them. With ``how="max"`` a field is taken only where it is absent or
        less, by the rule of ``advance`` and its ``order``: several may keep their cursors in one
        key. An absent key is an empty dict.

        The daemon merges, so that none of many merges at once is lost. When it returns, the value
        is on disk. InvalidRequest if key holds something else.
        """
        operation = merge_key(self._ref, key, patch, remove, how, order)
        value: dict[str, Any] = self._do(operation)
        return value

    def _update(self, key: str, function: Callable[[Any], Any], default: Any) -> Any:
        """Write what function makes of the value of key, or of default; return the new value.

        When it returns, the value is on disk, and nobody has written between the reading and the
        writing. If somebody has, function is called again with what they wrote, so it may be
        called several times and must do nothing else. If it raises, nothing happened.

        It tries again for as long as the client's timeout, then it raises the last Conflict;
        each of its requests may take that long too. To count or to keep the greatest,
        ``increment`` and ``advance`` cost less.
        """
        deadline = monotonic() + self._calls.timeout_s
        contest = Contest()
        entry = self.entry(key)
        while True:
            value = function(deepcopy(default) if entry is None else entry.value)
            try:
                self.set(key, value, if_revision=0 if entry is None else entry.revision)
                return value
            except Conflict as exc:
                entry = exc.entry
                pause_s = contest.pause_after(exc, deadline - monotonic())
            if pause_s:
                time.sleep(pause_s)
                entry = self.entry(key)

    def clear(self) -> int:  # type: ignore[override]
        """Delete all keys in one step; return how many there were.

        Takes the same time for one key as for a million. They stay in the trash for the daemon's
        grace (7 days by default), and ``assetstore trash restore`` brings them back.
        """
        count: int = self._do(ClearStore(self._ref))
        return count

    def entry(self, key: str, *, at: int | datetime | None = None) -> Entry | None:
        """The value of key with its revision, and when and by whom it was written; or None.

        With ``at`` as it stood then, as for ``get``.
        """
        answer = self._look_up(key, at)
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
    ) -> Iterator[Entry]:
        """As ``keys``, with everything: an iterator of ``Entry``."""
        return self._scan_entries(*Span.of(prefix, after, limit))

    def count(self, prefix: str = "") -> int:
        """How many keys begin with prefix. A long count is made in parts, each one snapshot."""
        check_prefix(prefix)
        total = 0
        after: str | None = None
        while True:
            answer: Counted = self._call(Count, self._ref, prefix, after)
            total += answer.count
            after = answer.after
            if after is None:
                return total

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {describe(self._ref)}>"

    def _look_up(self, key: str, at: int | datetime | None) -> Found | Absent:
        answer: Found | Absent
        if at is None:
            answer = self._call(Get, self._ref, check_key(key))
        else:
            answer = self._call(GetAt, self._ref, check_key(key), *check_moment(at, "at"))
        return answer

    def _has(self, key: str) -> bool:
        # Of all keys that begin with key, key itself comes first; so its value need not travel.
        answer: KeyPage = self._call(Keys, self._ref, check_key(key), None, 1)
        return answer.keys == [key]

    def _scan_keys(
        self,
        prefix: str,
        after: str | None,
        limit: int | None,
    ) -> Iterator[str]:
        while limit is None or limit > 0:
            page: KeyPage = self._call(Keys, self._ref, prefix, after, page_size(limit))
            yield from page.keys
            if not page.more:
                return
            after = _last(page.keys)
            limit = None if limit is None else limit - len(page.keys)

    def _scan_entries(
        self,
        prefix: str,
        after: str | None,
        limit: int | None,
    ) -> Iterator[Entry]:
        while limit is None or limit > 0:
            page: ItemPage = self._call(Items, self._ref, prefix, after, page_size(limit))
            for key, stored in page.items:
                yield entry_of(key, stored)
            if not page.more:
                return
            after = _last([key for key, _ in page.items])
            limit = None if limit is None else limit - len(page.items)


def _last(keys: list[str]) -> str:
    if not keys:
        raise ProtocolError("a page without keys says that there are more")
    return keys[-1]

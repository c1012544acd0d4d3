"""The tail: what is on disk in the write-ahead log, and not yet in the data file.

It is kept in memory in two parts. The older one is on its way into the data file and does not
change any more; the newer one grows. Whoever reads looks here first.

Rule: keys and values are bytes here, as in overlay.py; what they mean is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from assetstored.tables import JOURNAL, Space, id_key

#: What is changed: by space, the keys with their values, None for a key that is removed.
Delta: TypeAlias = dict[bytes | int, dict[bytes, bytes | None]]

#: The answer of ``find`` where the data file is to be asked.
ELSEWHERE: Final = object()


encode_delta = msgspec.msgpack.Encoder().encode
decode_delta = msgspec.msgpack.Decoder(Delta).decode


class Order:
    """The keys of a space in one part of the tail, in their order; some are kept apart."""

    __slots__ = ("_seen", "apart", "keys")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.apart: list[bytes] = []
        self._seen = 0

    def catch_up(
        self, changes: dict[bytes, bytes | None], is_apart: Callable[[bytes], bool]
    ) -> None:
        """Take in what has come since; nothing ever goes."""
        if self._seen == len(changes):
            return
        new = list(islice(changes, self._seen, None))
        self._seen = len(changes)
        self.keys += (key for key in new if not is_apart(key))
        self.keys.sort()
        self.apart += (key for key in new if is_apart(key))


class Tail:
    """Changes that are durable already. What is found here is newer than any data file."""

    __slots__ = (
        "_first",
        "_frozen",
        "_frozen_last",
        "_frozen_orders",
        "_last",
        "_recent",
        "_recent_orders",
        "is_empty",
    )

    def __init__(self) -> None:
        self._recent: Delta = {}
        self._frozen: Delta = {}
        # Made for those that are listed, and kept: each page begins somewhere in the order.
        self._recent_orders: dict[Space, Order] = {}
        self._frozen_orders: dict[Space, Order] = {}
        self._first = 0
        self._last = 0
        self._frozen_last = 0
        self.is_empty = True

    def find(self, space: Space, key: bytes) -> object:
        """What stands under key, None where it was removed, ELSEWHERE where it is not known."""
        changes = self._recent.get(space)
        if changes is not None:
            found = changes.get(key, ELSEWHERE)
            if found is not ELSEWHERE:
                return found
        changes = self._frozen.get(space)
        return ELSEWHERE if changes is None else changes.get(key, ELSEWHERE)

    def of(self, space: Space) -> dict[bytes, bytes | None]:
        """All that is known of a space; not to be changed."""
        recent, frozen = self._recent.get(space), self._frozen.get(space)
        if recent is None or frozen is None:
            return recent or frozen or {}
        return frozen | recent

    def orders(self, space: Space, is_apart: Callable[[bytes], bool]) -> list[Order]:
        """The keys of a space, by part; a key may be in both. ``is_apart`` is always the same."""
        found = []
        for part, orders in (
            (self._frozen, self._frozen_orders),
            (self._recent, self._recent_orders),
        ):
            changes = part.get(space)
            if changes is not None:
                order = orders.get(space)
                if order is None:
                    order = orders[space] = Order()
                order.catch_up(changes, is_apart)
                found.append(order)
        return found

    @property
    def spaces(self) -> int:
        """How many stores and tables the newer part has changes of."""
        return len(self._recent)

    @property
    def has_recent(self) -> bool:
        """Whether anything is to be frozen."""
        return bool(self._recent)

    @property
    def is_frozen(self) -> bool:
        """Whether there is an older part."""
        return bool(self._frozen)

    def revisions(self) -> range:
        """The revisions whose changes are here: all from the first to the last."""
        return range(self._first, self._last + 1) if self._first else range(0)

    def journal_row(self, revision: int) -> bytes | None:
        """The row of the journal, if the revision is one of those here."""
        row = self.find(JOURNAL, id_key(revision))
        assert row is None or isinstance(row, bytes)
        return row

    def take(self, delta: Delta, first: int, last: int) -> None:
        """These changes are on disk."""
        for space, changes in delta.items():
            if changes:
                self._recent.setdefault(space, {}).update(changes)
        self._first = self._first or first
        self._last = last
        self.is_empty = False

    def freeze(self) -> Delta:
        """Begin a newer part; returns the older one. There must be none yet."""
        assert not self._frozen
        self._frozen, self._recent = self._recent, {}
        self._frozen_orders, self._recent_orders = self._recent_orders, {}
        self._frozen_last = self._last
        return self._frozen

    def drop_frozen(self) -> None:
        """The older part is in the data file, and whoever reads has a snapshot with it."""
        self._frozen = {}
        self._frozen_orders = {}
        self._first = self._frozen_last + 1 if self._recent else 0
        self.is_empty = not self._recent

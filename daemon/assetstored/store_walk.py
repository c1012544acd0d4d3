"""Listing: the entries of one store in the order of their keys, from the tail and the data file.

A listing that left out a key would be a wrong answer, so each record on the way is checked to have
been written under its key, and keys to be in order; and one that goes over a whole store, that
there were as many as the store says. What a page that LMDB finds in place of another can still do
is said in docs/reliability.md.

Rule: keys and records; which store is an asset's, reader.py knows.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

import msgspec

from assetstore.errors import Damaged
from assetstored import absence, engine, keys, records
from assetstored.journal_reader import JournalReader
from assetstored.tail import ELSEWHERE, Order


class Place(NamedTuple):
    """A store, 0 before its first write; and the name of its asset, for messages."""

    store_id: int
    asset: str


class StoreWalk(JournalReader):
    """Looks for keys, one by one or in order. One thread; all from one snapshot."""

    def is_absent(self, store_id: int, stored_key: bytes) -> bool:
        """Whether a key that was not found is known not to be there. Raises NotFoundError."""
        if self.tail.find(store_id, stored_key) is not ELSEWHERE:
            return True
        return self._is_absent(store_id, self._store(store_id), stored_key)

    def _is_absent(self, store_id: int, store: engine.Database, stored_key: bytes) -> bool:
        is_sound = partial(self._is_its_key, store_id)
        return absence.is_absent(self._txn_now(), store, stored_key, is_sound)

    def walk(
        self, place: Place, prefix: str, after: str | None, *, values: bool
    ) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Key, stored key and record (empty unless ``values``), in the order of keys."""
        store_id = place.store_id
        if not store_id:
            return
        in_file = self._walk_file(place, prefix, after, values=values)
        orders = self.tail.orders(store_id, keys.is_digest)
        if not orders:
            yield from in_file
            return
        # Both go on in step: what is in both is taken from the tail when it comes.
        last = None
        in_tail = self._logged(store_id, orders, prefix, after)
        for key, stored_key, record in heapq.merge(in_file, in_tail):
            if stored_key == last:
                continue
            last = stored_key
            if (logged := self.tail.find(store_id, stored_key)) is ELSEWHERE:
                yield key, stored_key, record
            elif logged is not None:
                yield key, stored_key, cast("bytes", logged)

    def _logged(
        self, store_id: int, orders: list[Order], prefix: str, after: str | None
    ) -> Iterator[tuple[bytes, bytes, bytes]]:
        """As _walk, of the tail, without records; some of the keys may have been deleted."""
        first, low = prefix.encode(), (after or "").encode()
        digests = {
            (_long_key(cast("bytes", record)), stored_key, b"")
            for order in orders
            for stored_key in order.apart
            if (record := self.tail.find(store_id, stored_key)) is not None
        }
        short = (_from(order.keys, max(first, low)) for order in orders)
        for found in heapq.merge(*short, sorted(digests)):
            if found[0].startswith(first):
                if found[0] > low:
                    yield found
            elif found[0] > first:
                return

    def _walk_file(
        self, place: Place, prefix: str, after: str | None, *, values: bool
    ) -> Iterator[tuple[bytes, bytes, bytes]]:
        """As _walk, of what is in the data file. Raises Damaged rather than leave out a key."""
        store_id = place.store_id
        first, low = prefix.encode(), (after or "").encode()
        head = first[: keys.HEAD_BYTES]
        store = self._store(store_id)
        count = 0
        with self._txn_now().cursor(db=store) as cursor:
            # The digests of a head are in no order, so they are entered at their beginning.
            start = max(first, low)[: keys.HEAD_BYTES]
            found = cursor.set_range(start)
            # Where it is not there, what is beside it says whether this is the right place.
            if (
                start
                and bytes(cursor.key()) != start
                and not self._is_absent(store_id, store, start)
            ):
                raise _damaged_listing(place)
            last = b""
            while found:
                stored_key = self._checked_key(place, cursor, last, low)
                if not stored_key.startswith(head):
                    return
                last = stored_key
                if keys.is_longer_than_head(stored_key):
                    digests = self._digests(store, place, stored_key)
                    short = self._until_digests(place, cursor)
                    for key, stored_key in heapq.merge(short, sorted(digests)):
                        count += 1
                        if key.startswith(first) and key > low:
                            record = self._txn_now().get(stored_key, b"", db=store)
                            yield key, stored_key, bytes(record) if values else b""
                    if digests:
                        last = max(stored_key for _, stored_key in digests)
                        if not cursor.set_key(last):
                            raise _damaged_listing(place)
                        cursor.next()
                    found = bool(cursor.key())
                    continue
                count += 1
                if stored_key.startswith(first) and stored_key > low:
                    yield stored_key, stored_key, bytes(cursor.value()) if values else b""
                found = cursor.next()
        if not start and count != self._txn_now().stat(store)["entries"]:
            raise _damaged_listing(place)

    def _digests(
        self, store: engine.Database, place: Place, stored_key: bytes
    ) -> list[tuple[bytes, bytes]]:
        """Key and stored key of all digests that share the head of stored_key."""
        beginning = keys.digests_of(stored_key)
        found: list[tuple[bytes, bytes]] = []
        if not self._is_absent(place.store_id, store, beginning):
            raise _damaged_listing(place)
        with self._txn_now().cursor(db=store) as cursor:
            more = cursor.set_range(beginning)
            while more and (digest := bytes(cursor.key())).startswith(beginning):
                try:
                    key = records.long_key_in_place(cursor.value())
                    is_sound = keys.stored_key(key) == digest
                except (msgspec.MsgspecError, UnicodeError):
                    is_sound = False
                if not is_sound:
                    beginning_of_key = stored_key[:40].decode(errors="ignore") + "..."
                    raise records.damaged_entry(place.asset, beginning_of_key)
                found.append((key.encode(), digest))
                more = cursor.next()
        return found

    def _checked_key(
        self, place: Place, cursor: engine.ReadCursor, last: bytes, low: bytes = b""
    ) -> bytes:
        """The key at the cursor, which must come after last, and have been written there.

        Those up to ``low`` are not listed, so they may be damaged.
        """
        stored_key = bytes(cursor.key())
        if stored_key <= last:
            raise _damaged_listing(place)
        if stored_key > low and not self._is_its_key(place.store_id, stored_key, cursor.value()):
            raise records.damaged_entry(place.asset, stored_key.decode(errors="replace"))
        return stored_key

    def _is_its_key(self, store_id: int, stored_key: bytes, record: memoryview) -> bool:
        return (
            records.is_sound(store_id, stored_key, record)
            # Written anew since: then what is in the file will never show.
            or self.tail.find(store_id, stored_key) is not ELSEWHERE
            or absence.is_its_key(self.snapshot(), store_id, stored_key, record)
        )

    def _until_digests(
        self, place: Place, cursor: engine.ReadCursor
    ) -> Iterator[tuple[bytes, bytes]]:
        """The keys from the cursor on that have its head and are no digests: key and stored key."""
        head = bytes(cursor.key())[: keys.HEAD_BYTES]
        last = b""
        more = True
        while more and bytes(cursor.key()).startswith(head):
            key = self._checked_key(place, cursor, last)
            if keys.is_digest(key):
                return
            yield key, key
            last = key
            more = cursor.next()


def _damaged_listing(place: Place) -> Damaged:
    return Damaged(
        f"the keys of asset {place.asset!r} cannot be listed: a page of the data file is damaged, "
        "and some would be left out. What can be got by its key is served; restore the data "
        "directory from a backup"
    )


def _from(ordered: list[bytes], low: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Of keys in order those that are not lower."""
    return ((ordered[n], ordered[n], b"") for n in range(bisect_left(ordered, low), len(ordered)))


def _long_key(record: bytes) -> bytes:
    key = records.long_key(record)
    assert key is not None
    return key.encode()

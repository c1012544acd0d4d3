"""What a transaction is going to write, kept beside it until all of its jobs are done.

A job that is refused half-way takes back what it has put here, and LMDB never hears of it: so jobs
that share a transaction cannot harm each other. And each key is written once, however often it was
changed: cheaper for the hot key of a fleet, and verify (py-lmdb 3.0) takes a large and then a small
value of one key in one transaction for damage.

The serving process keeps changes in the same way, over what it reads, and logs them; what it needs
a transaction for is left to the writer.

Rule: keys and values are bytes here; what they mean is decided elsewhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from assetstored import absence
from assetstored.absence import Check
from assetstored.engine import Database, NotFoundError, Transaction
from assetstored.stores import StoreHandles
from assetstored.tables import JOURNAL, Space, Tables
from assetstored.tail import Delta

#: What stands in the notes of a job for a key that had not been changed before.
_UNCHANGED = object()


class NeedsWriter(Exception):
    """This cannot be done beside a transaction: it is for the writer to do."""


class Overlay:
    """The changes of one transaction, seen before they are written."""

    def __init__(self, txn: Transaction, tables: Tables, handles: StoreHandles) -> None:
        self._txn = txn
        self._tables = tables
        self._handles = handles
        self._changes: Delta = {}
        self._created: set[int] = set()
        self._undo: list[tuple[Space, bytes, object]] = []
        self._undo_created: list[int] = []
        self._wrote = False
        #: How many bytes of values were put here, also those that were taken back.
        self.size_bytes = 0

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self._wrote or bool(self._created) or any(self._changes.values())

    @property
    def delta(self) -> Delta:
        """The changes; not to be changed."""
        return self._changes

    def get(self, space: Space, key: bytes, /) -> bytes | None:
        """What stands under key, as this transaction leaves it; None in a store that is gone."""
        changes = self._changes.get(space)
        if changes is not None and key in changes:
            return changes[key]
        return self._stored(space, key)

    def is_absent(self, store_id: int, key: bytes, is_sound: Check) -> bool:
        """Whether a key that was not found in a store is known not to be there."""
        if key in self._changes.get(store_id, ()):
            return True
        database = self._store(store_id)
        return database is None or absence.is_absent(self._txn, database, key, is_sound)

    def put(self, space: Space, key: bytes, value: bytes) -> None:
        """Let value stand under key."""
        self._change(space, key, value)

    def remove(self, space: Space, key: bytes) -> None:
        """Leave nothing under key."""
        self._change(space, key, None)

    def create(self, store_id: int) -> None:
        """A store that does not exist yet."""
        self._created.add(store_id)
        self._undo_created.append(store_id)

    def begin(self) -> None:
        """A job begins: ``take_back`` leads back to here."""
        self._undo.clear()
        self._undo_created.clear()

    def take_back(self) -> None:
        """Forget what was changed since ``begin``."""
        for space, key, before in reversed(self._undo):
            if before is _UNCHANGED:
                del self._changes[space][key]
            else:
                assert before is None or isinstance(before, bytes)
                self._changes[space][key] = before
        self._created.difference_update(self._undo_created)
        self.begin()

    def measure(self, store_id: int) -> tuple[int, int]:
        """How many entries a store holds, and how many bytes of the data file, where written."""
        entries = size_bytes = 0
        database = self._store(store_id)
        if database is not None:
            stat = self._txn.stat(database)
            entries = stat["entries"]
            pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            size_bytes = pages * stat["psize"]
        for key, value in self._changes.get(store_id, {}).items():
            existed = database is not None and self._txn.get(key, db=database) is not None
            entries += (value is not None) - existed
        return entries, size_bytes

    def count(self, store_id: int, beginning: bytes, limit: int) -> int:
        """How many keys of a store begin so; at most limit are looked at."""
        changes = self._changes.get(store_id, {})
        found = {key for key, value in changes.items() if value and key.startswith(beginning)}
        database = self._store(store_id)
        if database is not None:
            with self._txn.cursor(db=database) as cursor:
                more = cursor.set_range(beginning)
                while more and len(found) < limit and cursor.key().startswith(beginning):
                    if changes.get(cursor.key(), b"") is not None:
                        found.add(cursor.key())
                    more = cursor.next()
        return min(len(found), limit)

    def preload(self, changes: Delta) -> None:
        """Begin with these changes, which nothing takes back."""
        self._changes = changes

    def flush(self) -> None:
        """Hand all changes to LMDB; still part of the transaction, and the last of it."""
        for space, changes in self._changes.items():
            if not changes:
                continue  # taken back, and the store with it if it was a new one
            if isinstance(space, int):
                database = self._handles.get(self._txn, space, create=space in self._created)
            else:
                database = self._tables[space]
            for key, value in sorted(changes.items()):
                if value is None:
                    self._txn.delete(key, db=database)
                else:
                    # Revisions go up: LMDB then fills its pages, instead of halving them.
                    self._txn.put(key, value, db=database, append=space == JOURNAL)
        # A store that was made and never written to does not exist for LMDB; make it.
        for store_id in self._created:
            self._handles.get(self._txn, store_id, create=True)

    # --- what is written at once: work that has a transaction for itself

    def drop_some(self, store_id: int, *, budget_s: float, small_bytes: int) -> bool:
        """Remove entries for budget_s, or the whole store if it is small; True if it was gone.

        LMDB frees a whole sub-database in one go, and for a large one that takes long and
        leaves one huge list of free pages; so a large one is emptied bit by bit before.
        """
        database = self._store(store_id)
        if database is None:
            return True
        self._wrote = True
        _, size_bytes = self.measure(store_id)
        if size_bytes > small_bytes:
            deadline = time.monotonic() + budget_s
            with self._txn.cursor(db=database) as cursor:
                left = cursor.first()
                while left:
                    left = cursor.delete()
                    # Only now: one at least goes each time, so that there is an end to it.
                    if time.monotonic() > deadline:
                        break
            return False
        self._handles.forget(store_id)
        self._txn.drop(database, delete=True)
        return False

    def remove_some(self, table: bytes, beginning: bytes, *, budget_s: float) -> bool:
        """Remove rows whose keys begin so and go on, for budget_s; True if none is left."""
        deadline = time.monotonic() + budget_s
        with self._txn.cursor(db=self._tables[table]) as cursor:
            left = cursor.set_range(beginning + b"\0")
            while left and cursor.key().startswith(beginning):
                if time.monotonic() > deadline:
                    return False
                self._wrote = True
                left = cursor.delete()
        return True

    def remove_where(
        self, table: bytes, first: bytes, is_to_go: Callable[[bytes, bytes], bool | None]
    ) -> None:
        """Remove the rows from a key on of which it is said, until None is said of one."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            left = cursor.set_range(first)
            while left and (goes := is_to_go(*cursor.item())) is not None:
                self._wrote |= goes
                left = cursor.delete() if goes else cursor.next()

    def rows(self, table: bytes, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a table as it was when the transaction began, from a key on."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if cursor.set_range(first):
                yield from cursor.iternext()

    def rows_backwards(self, table: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The rows of a table as it was when the transaction began, the last first."""
        with self._txn.cursor(db=self._tables[table]) as cursor:
            if cursor.last():
                yield from cursor.iterprev()

    @property
    def handles(self) -> int:
        """How many stores are open."""
        return len(self._handles)

    def _stored(self, space: Space, key: bytes) -> bytes | None:
        """What stands under key without the changes here."""
        if isinstance(space, bytes):
            return self._txn.get(key, db=self._tables[space])
        database = self._store(space)
        return None if database is None else self._txn.get(key, db=database)

    def _change(self, space: Space, key: bytes, value: bytes | None) -> None:
        changes = self._changes.setdefault(space, {})
        self._undo.append((space, key, changes.get(key, _UNCHANGED)))
        self.size_bytes += 0 if value is None else len(value)
        changes[key] = value

    def _store(self, store_id: int) -> Database | None:
        """The handle of a store, or None if LMDB has no such store, yet or any more."""
        if store_id in self._created:
            return None
        try:
            return self._handles.get(self._txn, store_id)
        except NotFoundError:
            return None

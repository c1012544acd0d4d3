"""The sub-databases of assets, as the writer uses them: handles, and changes not yet written.

Rule: keys and records are bytes here; what they mean is changes to the catalog elsewhere.
"""

from __future__ import annotations

import time

from assetstored.engine import Database, Environment, Transaction, open_database
from assetstored.tables import store_name


class StoreHandles:
    """Handles of sub-databases, valid between the transactions of one environment.

    A handle is good only if the transaction that opened it was committed, and until its
    sub-database is dropped; after that LMDB gives its slot to another one without a word.
    So they are kept here and nowhere else, and forgotten in those two cases.
    """

    def __init__(self, env: Environment) -> None:
        self.env = env
        self._settled: dict[int, Database] = {}
        self._opened: dict[int, Database] = {}

    def __len__(self) -> int:
        return len(self._settled) + len(self._opened)

    def get(self, txn: Transaction, store_id: int, *, create: bool = False) -> Database:
        """The handle of a store, for use within txn."""
        handle = self._settled.get(store_id) or self._opened.get(store_id)
        if handle is None:
            handle = open_database(self.env, txn, store_name(store_id), create=create)
            self._opened[store_id] = handle
        return handle

    def forget(self, store_id: int) -> None:
        """Its sub-database is dropped in the present transaction, whatever becomes of that."""
        self._settled.pop(store_id, None)
        self._opened.pop(store_id, None)

    def committed(self) -> None:
        """The transaction that they were opened in was committed."""
        self._settled |= self._opened
        self._opened.clear()

    def aborted(self) -> None:
        """The transaction that they were opened in was aborted: those handles are dead."""
        self._opened.clear()


class StoreWriter:
    """Changes to stores within one transaction, written when it ends.

    Only the last change of each key is written: cheaper for the hot key of a fleet, and
    verify (py-lmdb 3.0) takes a large and then a small value of one key in one transaction
    for damage.
    """

    def __init__(self, txn: Transaction, handles: StoreHandles) -> None:
        self._txn = txn
        self._handles = handles
        self._changes: dict[int, dict[bytes, bytes | None]] = {}
        self._created: set[int] = set()
        self._flushed: set[tuple[int, bytes]] = set()
        self.pending_bytes = 0

    def create(self, store_id: int) -> None:
        """A store that does not exist yet."""
        self._created.add(store_id)

    def get(self, store_id: int, key: bytes) -> bytes | None:
        """The record under key, as this transaction will leave it."""
        changes = self._changes.get(store_id)
        if changes is not None and key in changes:
            return changes[key]
        if store_id in self._created:
            return None
        return self._txn.get(key, db=self._handles.get(self._txn, store_id))

    def put(self, store_id: int, key: bytes, record: bytes) -> None:
        """Store the record under key."""
        self._changes.setdefault(store_id, {})[key] = record
        self.pending_bytes += len(key) + len(record)

    def remove(self, store_id: int, key: bytes) -> None:
        """Leave nothing under key."""
        self._changes.setdefault(store_id, {})[key] = None

    def flush(self) -> None:
        """Hand all changes to LMDB; still part of the transaction."""
        for store_id, changes in self._changes.items():
            database = self._handles.get(self._txn, store_id, create=store_id in self._created)
            for key, record in sorted(changes.items()):
                # What this transaction wrote before is taken out, not overwritten: see above.
                if record is None or (store_id, key) in self._flushed:
                    self._txn.delete(key, db=database)
                if record is not None:
                    self._txn.put(key, record, db=database)
                    self._flushed.add((store_id, key))
        # A store that was made and never written to does not exist for LMDB; make it.
        for store_id in self._created:
            self._handles.get(self._txn, store_id, create=True)
        self._changes.clear()
        self._created.clear()

    def measure(self, store_id: int) -> tuple[int, int]:
        """How many entries a store holds, and how many bytes of the data file."""
        self.flush()
        stat = self._txn.stat(self._handles.get(self._txn, store_id))
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return stat["entries"], pages * stat["psize"]

    def count(self, store_id: int, beginning: bytes, limit: int) -> int:
        """How many keys of a store begin so; at most limit are looked at."""
        self.flush()
        count = 0
        with self._txn.cursor(db=self._handles.get(self._txn, store_id)) as cursor:
            more = cursor.set_range(beginning)
            while more and count < limit and cursor.key().startswith(beginning):
                count += 1
                more = cursor.next()
        return count

    def drop_some(self, store_id: int, *, budget_s: float, small_bytes: int) -> bool:
        """Remove entries for budget_s, or the whole store if it is small; True if it is gone.

        LMDB frees a whole sub-database in one go, and for a large one that takes long and
        leaves one huge list of free pages; so a large one is emptied bit by bit before.
        """
        _, size_bytes = self.measure(store_id)
        database = self._handles.get(self._txn, store_id)
        if size_bytes > small_bytes:
            deadline = time.monotonic() + budget_s
            with self._txn.cursor(db=database) as cursor:
                left = cursor.first()
                while left and time.monotonic() < deadline:
                    left = cursor.delete()
            return False
        self._handles.forget(store_id)
        self._txn.drop(database, delete=True)
        return True

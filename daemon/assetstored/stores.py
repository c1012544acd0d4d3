"""The handles of the sub-databases of assets, as the writer uses them.

Rule: knows when a handle is good, and nothing of what is in a store.
"""

from __future__ import annotations

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

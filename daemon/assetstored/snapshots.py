"""The environment open for reading, and the snapshot that reads are answered from.

A snapshot is one read transaction. It is given up as soon as a commit makes it old, so at any
moment it pins no page that a newer commit has freed, and every answer that is given after a commit
was acknowledged sees that commit. Over it lies the tail: what is logged and not yet in the file.

Rule: transactions and handles; what is read through them is reader.py's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple, cast

from assetstored import absence, engine, records
from assetstored.tables import DELETED, Snapshot, Tables, id_key, store_name
from assetstored.tail import ELSEWHERE, Tail


class TailSnapshot(NamedTuple):
    """The tables as they are now: a snapshot, and the tail over it."""

    txn: engine.ReadTransaction
    tables: Tables
    tail: Tail

    def get(self, space: bytes, key: bytes, /) -> bytes | memoryview | None:
        if not self.tail.is_empty:
            found = self.tail.find(space, key)
            if found is not ELSEWHERE:
                return cast("bytes | None", found)
        return self.txn.get(key, db=self.tables[space])


class Snapshots:
    """One snapshot at a time, begun when it is needed. One thread."""

    def __init__(self, data_dir: str) -> None:
        self._env = engine.open_for_reading(data_dir)
        self._tables = Tables(self._env, None, create=False)
        self._txn: engine.ReadTransaction | None = None
        self._stores: dict[int, engine.Database] = {}
        self._is_held = False
        # The newest commit that is known of.
        self._commit = 0
        #: Whoever logs changes puts them here.
        self.tail = Tail()

    def close(self) -> None:
        """Give up the snapshot and close the environment."""
        self.give_up()
        self._env.close()

    def give_up(self) -> None:
        """What is read next is read in a new snapshot."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
        self._stores.clear()  # handles opened in a transaction die with it

    def renew(self) -> None:
        """What is read next is read in a new snapshot, which shows what the writer has reported.

        At once, before the writer has more to do: what it commits next is not reported then.
        """
        self.give_up()
        with contextlib.suppress(engine.EngineError):  # whoever reads next will meet it
            self._txn = self._env.begin(buffers=True)
            self._commit = self._txn.id()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """All that is read within is of one snapshot, also of engine.HELD_HANDLES stores."""
        if len(self._stores) > engine.READER_HANDLES:
            self.give_up()
        # What is kept beside the snapshot must not be older than it.
        self._txn_now()
        self._is_held = True
        try:
            yield
        finally:
            self._is_held = False

    def readers(self) -> list[engine.ReaderSlot]:
        """Who reads the data file, this process included."""
        return engine.readers(self._env)

    def snapshot(self) -> TailSnapshot:
        """The tables as they are now."""
        return TailSnapshot(self._txn_now(), self._tables, self.tail)

    def stored(self) -> Snapshot:
        """The tables as they are in the data file."""
        return Snapshot(self._txn_now(), self._tables)

    def is_row_absent(self, table: bytes, key: bytes) -> bool:
        """Whether a row that was not found is known not to be there."""
        if self.tail.find(table, key) is not ELSEWHERE:
            return True
        is_sound = partial(records.is_sealed, table)
        return absence.is_absent(self._txn_now(), self._tables[table], key, is_sound)

    def has_store(self, store_id: int) -> bool:
        """Whether a store is there as a whole, be it in use or in the trash."""
        if self.snapshot().get(DELETED, id_key(store_id)) is not None:
            return False
        try:
            self._store(store_id)
        except engine.NotFoundError:
            return False
        return True

    def _txn_now(self) -> engine.ReadTransaction:
        if self._txn is None:
            # Buffers, so that what is only looked into is not copied. They die with the
            # snapshot, so whatever is kept or handed out is made bytes at once.
            self._txn = self._env.begin(buffers=True)
            if self._txn.id() != self._commit:
                self._commit = self._txn.id()
                self._got_ahead()
        return self._txn

    def _got_ahead(self) -> None:
        """It shows a commit that is not reported yet: what that has changed is not known."""

    def _store(self, store_id: int) -> engine.Database:
        handle = self._stores.get(store_id)
        if handle is None:
            if len(self._stores) >= engine.READER_HANDLES and not self._is_held:
                # No handle can be closed alone. A commit that is not reported yet may show after
                # this, so what must be of one snapshot is read within held().
                self.give_up()
            handle = engine.open_database(
                self._env, self._txn_now(), store_name(store_id), create=False
            )
            self._stores[store_id] = handle
        return handle

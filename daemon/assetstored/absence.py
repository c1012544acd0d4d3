"""Whether a key that LMDB does not find is really not there.

LMDB finds a key by comparing it with others. A flipped bit in one of those, or in a page that
leads to them, sends it to the wrong place, and there it says "not found". So what lies beside the
place is looked at: it must be a record that was written under the key which it has now, and the
keys must be in order. The key that was damaged is one of the two neighbours of where it was.

A record that fails its checksum may be so for its value alone: then the journal, which has a
checksum of its own, still says which key its revision was.

Rule: looks through a cursor; what is said of damage is for others to word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from assetstore.errors import Damaged
from assetstored import keys, records
from assetstored.engine import AnyTransaction, Database
from assetstored.tables import JOURNAL, JournalRow, RowSource, id_key, read_row

#: Whether what stands under a key was written there.
Check: TypeAlias = Callable[[bytes, Any], bool]


def is_absent(txn: AnyTransaction, database: Database, key: bytes, is_sound: Check) -> bool:
    """Whether a key that was not found cannot be there, going by its neighbours."""
    with txn.cursor(db=database) as cursor:
        if cursor.set_range(key):
            after = bytes(cursor.key())
            if after <= key or not is_sound(after, cursor.value()):
                return False
            has_before = cursor.prev()
        else:
            has_before = cursor.last()
        if not has_before:
            return True
        before = bytes(cursor.key())
        return before < key and is_sound(before, cursor.value())


def is_its_key(
    rows: RowSource, store_id: int, stored_key: bytes, record: bytes | memoryview
) -> bool:
    """Whether a record was written under this key of this store, be its value damaged or not."""
    if records.is_sound(store_id, stored_key, record):
        return True
    if len(record) < records.LEAST_BYTES:
        return False
    revision = records.head_of(record).revision
    try:
        row = read_row(rows, JOURNAL, id_key(revision), JournalRow)
    except Damaged:
        return False
    return (
        row is not None
        and row.store_id == store_id
        and row.key is not None
        and keys.stored_key(row.key) == stored_key
    )

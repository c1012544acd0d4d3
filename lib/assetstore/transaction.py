# Made from asynchronous/transaction.py by scripts/unasync.py: change that one.
"""A transaction: what is collected in a block goes to the daemon as one change when it ends.

Rule: what is collected, and how, is in collecting.py.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from assetstore.assets import reference
from assetstore.calls import Calls
from assetstore.collecting import Collected, TransactionStore


class Transaction:
    """Changes of any stores of any assets, all of which happen or none. Made by a client:

        with client.transaction() as tx:
            tx.store("orders").set("cursor", "2026-01-31")
            rows = tx.store("totals").increment("rows", 250)
        print(rows.result(), tx.revision)

    The calls only collect, in order; they are not awaited with an asynchronous client either, whose
    block is an asynchronous one. When the block ends they are sent as one message and carried out
    in one commit: when it is left, all of it is on disk, and no reader has seen a part. An
    exception in the block sends nothing, nor does an empty block. No lock is held meanwhile:
    what must not have changed since it was read is said with ``if_revision`` or ``check``.

    Leaving the block raises ``Conflict`` if a condition did not hold, and whatever a single change
    raises; then nothing happened, unless it is OutcomeUnknown or DeadlineExceeded. At most 1,000
    operations, and about 1 MiB together: InvalidRequest beyond. It is used once, by one thread.
    """

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._collected = Collected()

    def store(self, asset: Any) -> TransactionStore:
        """The store of one asset in this transaction. The asset is named as for a client."""
        return TransactionStore(self._collected, reference(asset))

    @property
    def revision(self) -> int | None:
        """The last revision that its changes were given; None if nothing changed, or not yet."""
        return self._collected.revision

    def __enter__(self) -> Self:
        self._collected.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        operations = self._collected.operations
        self._collected.state = "failed"
        if exc_type is None:
            outcomes = self._calls.change(operations) if operations else []
            self._collected.finish(outcomes)

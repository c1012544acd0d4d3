"""The operations that a transaction collects, and their results when it has been carried out.

Rule: no calls; what is collected is sent by transaction.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Generic, Literal, TypeVar

from assetstore.answers import result_of
from assetstore.assets import describe
from assetstore.entries import Advance
from assetstore.errors import InvalidRequest
from assetstore.limits import MAX_OPERATIONS
from assetstore.messages import AnyOperation, AssetRef, ClearStore, Order, Outcome
from assetstore.operations import (
    How,
    Number,
    Path,
    advance_key,
    check_key_at,
    delete_key,
    increment_key,
    merge_key,
    set_key,
)

T = TypeVar("T")

#: "open": takes operations. Then "done", or "failed": not carried out, or nobody knows.
State = Literal["new", "open", "done", "failed"]


class Collected:
    """Operations in order, and what became of them."""

    __slots__ = ("_outcomes", "operations", "state")

    def __init__(self) -> None:
        self.operations: list[AnyOperation] = []
        self.state: State = "new"
        self._outcomes: list[Outcome] = []

    @property
    def revision(self) -> int | None:
        """The last revision that the operations were given, or None if nothing changed."""
        given = [each.revision for each in self._outcomes if each.revision is not None]
        return max(given, default=None)

    def open(self) -> None:
        if self.state != "new":
            raise RuntimeError("a transaction is used once; make another one")
        self.state = "open"

    def add(self, operation: AnyOperation) -> Pending[Any]:
        if self.state != "open":
            raise RuntimeError('a transaction takes operations inside its "with" block')
        if len(self.operations) >= MAX_OPERATIONS:
            raise InvalidRequest(
                f"a transaction holds at most {MAX_OPERATIONS:,} operations; use several"
            )
        self.operations.append(operation)
        return Pending(self, len(self.operations) - 1)

    def finish(self, outcomes: list[Outcome]) -> None:
        self._outcomes = outcomes
        self.state = "done"

    def result(self, index: int) -> Any:
        if self.state == "open":
            raise RuntimeError("the results of a transaction are there when its block has ended")
        if self.state == "failed":
            raise RuntimeError("there are no results: the transaction ended with an error")
        return result_of(self.operations[index], self._outcomes[index])


class Pending(Generic[T]):
    """One operation of a transaction, whose result is there when the block has ended."""

    __slots__ = ("_collected", "_index")

    def __init__(self, collected: Collected, index: int) -> None:
        self._collected = collected
        self._index = index

    def result(self) -> T:
        """What the same call of a store would have returned.

        RuntimeError before the block has ended, and if the transaction failed.
        """
        result: T = self._collected.result(self._index)
        return result

    def __repr__(self) -> str:
        return f"<Pending {self._collected.operations[self._index]!r:.200}>"


class TransactionStore:
    """The store of one asset inside a transaction. Its calls only collect, and ask nobody.

    Arguments are checked at once, all else when the block ends.
    """

    __slots__ = ("_collected", "_ref")

    def __init__(self, collected: Collected, ref: AssetRef) -> None:
        self._collected = collected
        self._ref = ref

    def set(self, key: str, value: Any, *, if_revision: int | None = None) -> Pending[int]:
        """Write or overwrite the value of key. Result: the revision."""
        return self._collected.add(set_key(self._ref, key, value, if_revision))

    def create(self, key: str, value: Any) -> Pending[int]:
        """Write the value of key, which must be absent. Result: the revision."""
        return self._collected.add(set_key(self._ref, key, value, 0))

    def delete(self, key: str, *, if_revision: int | None = None) -> Pending[bool]:
        """Delete key. Result: whether it was there."""
        return self._collected.add(delete_key(self._ref, key, if_revision))

    def clear(self) -> Pending[int]:
        """Delete all keys. Result: how many there were."""
        return self._collected.add(ClearStore(self._ref))

    def advance(self, key: str, value: Any, *, order: Order = "value") -> Pending[Advance]:
        """Write the value of key if it is absent or less. Result: an ``Advance``.

        What does not apply is no failure, and the other operations are carried out.
        """
        return self._collected.add(advance_key(self._ref, key, value, order))

    def increment(self, key: str, by: Number = 1, default: Number = 0) -> Pending[Number]:
        """Add ``by`` to a number. Result: the new value."""
        return self._collected.add(increment_key(self._ref, key, by, default))

    def merge(
        self,
        key: str,
        patch: dict[str, Any],
        *,
        remove: Iterable[Path] = (),
        how: How = "replace",
        order: Order = "value",
    ) -> Pending[dict[str, Any]]:
        """Lay the fields of patch over those of an object. Result: the value as it stands after."""
        return self._collected.add(merge_key(self._ref, key, patch, remove, how, order))

    def check(self, key: str, if_revision: int) -> Pending[None]:
        """Let the whole transaction fail unless key stands at this revision, 0 for "is absent"."""
        return self._collected.add(check_key_at(self._ref, key, if_revision))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {describe(self._ref)}>"

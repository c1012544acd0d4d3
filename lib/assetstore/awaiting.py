"""What ``wait_for`` waits for, and whether an entry is that.

Rule: pure; no calls and no clock.
"""

from __future__ import annotations

import math
from typing import Any

from assetstore.entries import Entry
from assetstore.errors import InvalidRequest, WaitTimeout
from assetstore.messages import Order
from assetstore.moments import check_revision
from assetstore.operations import check_order
from assetstore.ordering import check_ordered, is_greater


class Awaited:
    """A value that is at least so great, or a revision that is greater: one of them."""

    __slots__ = ("_after", "_at_least", "_order")

    def __init__(self, at_least: Any, after: int | None, order: Order) -> None:
        if (at_least is None) == (after is None):
            raise TypeError("wait_for() takes either at_least or after")
        self._order = check_order(order)
        if after is None:
            check_ordered(at_least, order)
        else:
            check_revision(after, "after")
        self._at_least = at_least
        self._after = after

    def is_met_by(self, entry: Entry) -> bool:
        """Raises InvalidRequest if there is no order between what is stored and at_least."""
        if self._after is not None:
            return entry.revision > self._after
        return not is_greater(self._at_least, entry.value, self._order)

    def timed_out(self, key: str, timeout_s: float, last: Entry | None) -> WaitTimeout:
        """The error, which says what was there in the end."""
        wanted = (
            f"at least {self._at_least!r:.80}"
            if self._after is None
            else f"after revision {self._after}"
        )
        found = "it is absent" if last is None else f"it stands at revision {last.revision}"
        return WaitTimeout(
            f"{key!r} was awaited for {timeout_s:g} s, with a value {wanted}; {found}"
        )


def check_wait(timeout_s: float | None) -> float:
    """The seconds to wait, without end for None; TypeError or InvalidRequest if they are none."""
    if timeout_s is None:
        return math.inf
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout_s).__name__}")
    if not timeout_s >= 0:
        raise InvalidRequest(f"timeout is {timeout_s} s; it must not be negative")
    return float(timeout_s)

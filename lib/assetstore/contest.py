"""When to try again after a conflict, where several writers want the same key at once.

Of all who try together one gets through, so each has its turn if none has to stand back: a pause
that grew would starve whoever has waited longest. Pauses are there so that fewer try together,
since each try that fails costs the daemon as much as one that does not.

Rule: pure. No clock and no waiting; the caller says how much time is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from assetstore.chance import chance
from assetstore.errors import Conflict

#: The first conflict is answered at once, with the entry that it brought. Then pauses are up to
#: 2, 4, 8 ms, and so on up to this: with 16 writers of one key, two or three tries for a change.
LONGEST_PAUSE_S: Final = 0.032
_FIRST_PAUSE_S: Final = 0.002


class Contest:
    """What one call has gone through. Made when it meets the first conflict."""

    __slots__ = ("_longest_s", "_random")

    def __init__(self, random: Callable[[], float] = chance) -> None:
        self._random = random
        self._longest_s = 0.0

    def pause_after(self, conflict: Conflict, left_s: float) -> float:
        """How long to wait before reading again; 0: do not read, but take the conflict's entry.

        Raises the conflict if no time is left.
        """
        if left_s <= 0:
            raise conflict
        pause_s = min(self._random() * self._longest_s, left_s / 2)
        self._longest_s = min(max(self._longest_s * 2, _FIRST_PAUSE_S), LONGEST_PAUSE_S)
        return pause_s

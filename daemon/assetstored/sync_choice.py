"""Whether the log is synced in the serving process, or by the syncing process.

Here it is sooner by two changes of process, but everybody waits meanwhile.

Rule: decides; who syncs is not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

#: A sync that takes longer is left to the syncing process, and so are as many after it.
_SHORT_SYNC_S: Final = 0.002
_AFTER_LONG_SYNC: Final = 100


class SyncChoice:
    """Decides for each batch."""

    def __init__(self) -> None:
        self._crowd: Callable[[], int] | None = None
        self._reads: Callable[[], int] = lambda: 0
        self._crowd_before = -1
        self._reads_before = -1
        self._syncs_aside = 0

    def watch_others(self, crowd: Callable[[], int], reads: Callable[[], int]) -> None:
        """``crowd()`` counts how often another client has asked for something than just before,
        and ``reads()`` what was asked for that is no change."""
        self._crowd = crowd
        self._reads = reads

    def is_alone(self) -> bool:
        """Whether nobody has to wait while the log is synced here: one process less is asked.

        So it is with one client, and where nobody reads, however many change things: who wants to
        change something would have to wait for the sync in any case, and what has come meanwhile
        is one batch then.
        """
        if self._crowd is None:
            return False
        before, self._crowd_before = self._crowd_before, self._crowd()
        reads_before, self._reads_before = self._reads_before, self._reads()
        if self._syncs_aside:
            self._syncs_aside -= 1
            return False
        return before == self._crowd_before or reads_before == self._reads_before

    def took(self, seconds: float) -> None:
        """A sync here took so long."""
        if seconds > _SHORT_SYNC_S:
            self._syncs_aside = _AFTER_LONG_SYNC

"""The ids of changes, by which the daemon knows a repeat.

Rule: makes ids and knows nothing of what they are for.
"""

from __future__ import annotations

import os
from itertools import count

from assetstore.forking import after_fork


class RequestIds:
    """Ids of 16 bytes, each once: 10 that are this process's alone, and a counter of 6.

    Safe to share between threads: ``next`` of a counter is one step of the interpreter.
    """

    def __init__(self) -> None:
        self.forget_inherited()
        after_fork(self)

    def forget_inherited(self) -> None:
        """A child counts on where its parent does, so it needs another beginning."""
        self._prefix = os.urandom(10)
        self._numbers = count(1)

    def make(self) -> bytes:
        """A new id."""
        return self._prefix + next(self._numbers).to_bytes(6, "big")


#: An id for each change of this process, whichever client makes it.
new_request_id = RequestIds().make

"""Numbers at random, for pauses.

Rule: not for secrets. The module random would do, but its import costs a worker's start a
millisecond.
"""

from __future__ import annotations

import os

_BYTES = 7
_RANGE = 1 << (8 * _BYTES)


def chance() -> float:
    """A number from 0 up to 1."""
    return int.from_bytes(os.urandom(_BYTES), "big") / _RANGE

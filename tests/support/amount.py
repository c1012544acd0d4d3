"""How much a random or repeated test does: a sample, or with ASSETSTORE_FULL=1 the whole.

Rule: a sample has each kind of what the whole has; only how often differs.
"""

from __future__ import annotations

import os

IS_FULL = os.environ.get("ASSETSTORE_FULL") == "1"


def amount(sample: int, *, whole: int) -> int:
    """The sample, or the whole where it was asked for."""
    return whole if IS_FULL else sample

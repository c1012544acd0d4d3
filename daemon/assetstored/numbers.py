"""Adding to a stored number: the rule of ``increment``.

Rule: pure, over values as decode_value returns them.
"""

from __future__ import annotations

import math
from typing import Any, Final

from assetstore.errors import InvalidRequest
from assetstore.ordering import kind_of

# By exact type: bool is a subclass of int, and no number here.
_NUMBERS: Final = (int, float)


def incremented(current: Any, by: Any) -> int | float:
    """The sum: exact for two integers of any size, else rounded to a float as Python does.

    Raises InvalidRequest if one of them is no number, or a float cannot hold the sum.
    """
    if type(current) not in _NUMBERS or type(by) not in _NUMBERS:
        raise InvalidRequest(
            f"value is {kind_of(current)} and cannot be incremented by {kind_of(by)}; "
            "numbers are incremented by numbers"
        )
    # The messages show neither number: Python refuses to write an integer of 4,300 digits.
    try:
        total: int | float = current + by
    except OverflowError:
        raise InvalidRequest(
            "value cannot be incremented: one of the two numbers is a float, "
            "and the other is an integer too large for one"
        ) from None
    if type(total) is float and not math.isfinite(total):
        raise InvalidRequest("value cannot be incremented: the sum is too large for a float")
    return total

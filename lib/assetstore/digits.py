"""Integers of any size to decimal text and back.

Python refuses to convert more than 4,300 digits, because its way takes quadratic time; the limit is
the whole process's, so a library must not touch it. Both ways here split the number in halves
and cost little more than one multiplication of its size.

Rule: nothing but arithmetic.
"""

from __future__ import annotations

import decimal

# Python converts up to here whatever sys.set_int_max_str_digits says (640 is the least it takes).
_SURE_DIGITS = 600
_SURE_BITS = 1_900


def to_digits(number: int) -> str:
    """The decimal text of number."""
    if number.bit_length() <= _SURE_BITS:
        return str(number)
    if number < 0:
        return "-" + to_digits(-number)
    powers: dict[int, decimal.Decimal] = {}
    # libmpdec multiplies in n log n, and the text of a Decimal has no limit.
    with decimal.localcontext() as context:
        context.prec = decimal.MAX_PREC
        context.Emax = decimal.MAX_EMAX
        context.Emin = decimal.MIN_EMIN
        context.traps[decimal.Inexact] = True
        return str(_to_decimal(number, number.bit_length(), powers))


def from_digits(text: str) -> int:
    """The number whose decimal text this is: digits, perhaps after a minus sign."""
    if text.startswith("-"):
        return -from_digits(text[1:])
    return _from_slice(text, 0, len(text), {})


def _to_decimal(number: int, bits: int, powers: dict[int, decimal.Decimal]) -> decimal.Decimal:
    if bits <= _SURE_BITS:
        return decimal.Decimal(number)
    low_bits = bits // 2
    high = number >> low_bits
    low = number - (high << low_bits)
    if low_bits not in powers:
        powers[low_bits] = decimal.Decimal(2) ** low_bits
    return _to_decimal(high, bits - low_bits, powers) * powers[low_bits] + _to_decimal(
        low, low_bits, powers
    )


def _from_slice(text: str, start: int, end: int, powers: dict[int, int]) -> int:
    if end - start <= _SURE_DIGITS:
        return int(text[start:end])
    low_digits = (end - start) // 2
    middle = end - low_digits
    if low_digits not in powers:
        powers[low_digits] = 5**low_digits
    # 10**n is 5**n * 2**n, and the second factor is a shift.
    high = _from_slice(text, start, middle, powers) * powers[low_digits] << low_digits
    return high + _from_slice(text, middle, end, powers)

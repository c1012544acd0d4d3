"""What a value may be, and how it becomes JSON text and back, type for type.

A value is made of str, int, float, bool, list and dict with str keys, exactly these types and no
subclass; None may stand inside a list or dict. JSON readers and writers that take more change it on
the way (a tuple comes back as a list, NaN as null), and a watermark that comes back as something
else is worse than one that was refused.

Rule: text and values only; the size limit is the daemon's to set, so it is checked where the
daemon's limits are known.
"""

from __future__ import annotations

import json
import marshal
import math
import re
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec

from assetstore.digits import from_digits, to_digits
from assetstore.errors import InvalidRequest, ProtocolError
from assetstore.limits import MAX_VALUE_DEPTH

_TAKES = "a value is made of str, int, float, bool, list and dict with str keys"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# Version 2 of the format has binary floats, and none of the later short cuts
# (references, interned strings) that make equal values differ.
_MARSHAL_VERSION: Final = 2

# Possessive, and content with an end of text in place of the closing quote: each byte is read once,
# whatever a hostile text holds.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STRETCH: Final = 256
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}

# Of a long path a message shows both ends: with keys of 40 characters, a whole one has 100 KB.
_END_STEPS: Final = 8


def encode_value(value: Any) -> bytes:
    """The JSON text of value; decode_value gives back an equal value of the same types.

    Raises TypeError for anything that JSON would change (tuples, sets, bytes, datetimes, keys
    that are no str, subclasses), and InvalidRequest, which is a ValueError, for None at the top,
    NaN, infinities, lone surrogates and nesting beyond 255 levels. The message says where:
    ``value["a"][3]``.
    """
    kind = type(value)
    try:
        if kind is str:
            return _encode(value)
        if kind is int and -(2**63) <= value < 2**64:
            return _encode(value)
        text = _encode(value)
        # Equal bytes are equal values of equal types: marshal takes no subclass of anything, and
        # tells bool from int, -0.0 from 0.0, and a tuple from a list. NaN has become null and
        # differs.
        if (
            value is not None
            and marshal.dumps(value, _MARSHAL_VERSION)
            == marshal.dumps(_decode(text), _MARSHAL_VERSION)
            and _is_shallow(text)
        ):
            return text
    except Exception:
        # Whatever it was, the walk below finds it and says where.
        pass
    if value is None:
        raise InvalidRequest("Cannot set value as None")
    _check(value, [])
    # Nothing to object to: it holds an integer that is beyond the fast path.
    return _encode_exactly(value).encode()


def decode_value(text: bytes) -> Any:
    """The value of JSON text that encode_value or check_json has passed.

    Raises ProtocolError for other text: the daemon stores none.
    """
    try:
        return _decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        try:
            return _decode_exactly(text, from_digits)
        except ValueError as exc:
            raise ProtocolError(f"the stored value is not JSON: {exc}") from exc


def check_json(text: bytes) -> None:
    """Raise InvalidRequest unless text is JSON that decode_value can read, and is not null.

    Meant for text from strangers: takes time in proportion to its length, whatever it holds.
    """
    try:
        value = _decode(text)
    except RecursionError:
        raise InvalidRequest(_too_deep("value")) from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        value = _check_slowly(text)
    if value is None:
        raise InvalidRequest("Cannot set value as None")
    if not _is_shallow(text):
        raise InvalidRequest(_too_deep("value"))


def place_of(path: Sequence[str | int]) -> str:
    """Where in a value this path of keys and indexes leads, for messages: ``value["a"][3]``."""
    if len(path) > 2 * _END_STEPS:
        return f"{place_of(path[:_END_STEPS])}...{place_of(path[-_END_STEPS:])[len('value') :]}"
    steps = (f"[{step if isinstance(step, int) else json.dumps(step[:40])}]" for step in path)
    return "value" + "".join(steps)


def _is_shallow(text: bytes) -> bool:
    """Whether the JSON text is nested at most MAX_VALUE_DEPTH levels deep."""
    if text.count(b"[") + text.count(b"{") <= MAX_VALUE_DEPTH:
        return True
    brackets = _STRING.sub(b"", text).translate(None, _ALL_BUT_BRACKETS)
    depth = 0
    # Bracket by bracket only where it may matter: 1 MiB of "[]," takes 2 ms instead of 50.
    for start in range(0, len(brackets), _STRETCH):
        stretch = brackets[start : start + _STRETCH]
        opening = stretch.count(b"[") + stretch.count(b"{")
        if depth + opening > MAX_VALUE_DEPTH:
            steps = map(_STEP.__getitem__, stretch)
            if max(accumulate(steps, initial=depth)) > MAX_VALUE_DEPTH:
                return False
        depth += 2 * opening - len(stretch)
    return True


def _check(value: Any, path: list[str | int]) -> None:
    """Raise for the first thing in value that JSON would change."""
    kind = type(value)
    if kind is list or kind is dict:
        # A value that contains itself ends here too.
        if len(path) >= MAX_VALUE_DEPTH:
            raise InvalidRequest(_too_deep(place_of(path[:3]) + "..."))
        for step, inner in value.items() if kind is dict else enumerate(value):
            if kind is dict:
                _check_dict_key(step, path)
            path.append(step)
            _check(inner, path)
            path.pop()
    elif kind is str:
        _check_text(value, place_of(path))
    elif kind is float:
        if not math.isfinite(value):
            raise InvalidRequest(f"{place_of(path)} is {value}, which JSON cannot hold")
    elif not (value is None or kind is bool or kind is int):
        raise TypeError(f"{place_of(path)} is of type {_type_name(kind)}; {_TAKES}")


def _check_dict_key(key: object, path: list[str | int]) -> None:
    if type(key) is not str:
        raise TypeError(
            f"{place_of(path)} has a key of type {_type_name(type(key))}, {key!r:.40}; {_TAKES}"
        )
    _check_text(key, f"a key of {place_of(path)}")


def _check_text(text: str, place: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequest(
            f"{place} holds a lone surrogate at position {exc.start}, which is no character"
        ) from None


def _type_name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _too_deep(place: str) -> str:
    return f"{place} is nested more than {MAX_VALUE_DEPTH} levels deep, or contains itself"


# --- integers beyond 4,300 digits, which msgspec leaves alone


def _encode_exactly(value: Any) -> str:
    """JSON text of a value that _check has passed."""
    if type(value) is list:
        return "[" + ",".join(map(_encode_exactly, value)) + "]"
    if type(value) is dict:
        pairs = (_encode(key).decode() + ":" + _encode_exactly(value[key]) for key in value)
        return "{" + ",".join(pairs) + "}"
    if type(value) is int:
        return to_digits(value)
    return _encode(value).decode()


def _decode_exactly(text: bytes, parse_int: Callable[[str], int]) -> Any:
    """Raises ValueError (UnicodeDecodeError and JSONDecodeError are such) if text is not JSON."""
    decoder = json.JSONDecoder(
        parse_int=parse_int, parse_float=_parse_float, parse_constant=_parse_constant
    )
    return decoder.decode(text.decode())


def _check_slowly(text: bytes) -> Any:
    """The value, with 0 for every integer: to know that one is well-formed, none is converted."""
    try:
        value = _decode_exactly(text, lambda _: 0)
        # The json module lets lone surrogates pass as escapes, and msgspec writes none.
        _encode(value)
    except RecursionError:
        raise InvalidRequest(_too_deep("value")) from None
    except ValueError as exc:
        raise InvalidRequest(f"value is not JSON: {exc}") from None
    return value


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"number out of range: {text:.40}")
    return number


def _parse_constant(text: str) -> float:
    raise ValueError(f"{text} is no JSON")

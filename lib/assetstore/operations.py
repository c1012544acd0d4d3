"""The operations that a change is made of, from what a caller gives, checked.

Rule: pure. What only the daemon knows, as the limit of a value's size, is checked later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, get_args

from assetstore.errors import InvalidRequest
from assetstore.limits import check_key
from assetstore.messages import (
    AdvanceKey,
    AssetRef,
    CheckKey,
    DeleteKey,
    IncrementKey,
    MergeKey,
    Order,
    SetKey,
)
from assetstore.moments import check_revision
from assetstore.values import encode_value

How: TypeAlias = Literal["replace", "max"]

Number: TypeAlias = int | float

#: Names a field of an object: by its name, or by the names on the way to it.
Path: TypeAlias = str | list[str] | tuple[str, ...]

#: What dict() takes too: a mapping, or pairs.
Pairs: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]


def set_key(ref: AssetRef, key: str, value: Any, if_revision: int | None) -> SetKey:
    return SetKey(ref, check_key(key), encode_value(value), _condition(if_revision))


def delete_key(ref: AssetRef, key: str, if_revision: int | None) -> DeleteKey:
    return DeleteKey(ref, check_key(key), _condition(if_revision))


def advance_key(ref: AssetRef, key: str, value: Any, order: Order) -> AdvanceKey:
    return AdvanceKey(ref, check_key(key), encode_value(value), check_order(order))


def increment_key(ref: AssetRef, key: str, by: int | float, default: int | float) -> IncrementKey:
    for what, number in (("by", by), ("default", default)):
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise TypeError(f"{what} must be a number, not {type(number).__name__}")
    return IncrementKey(ref, check_key(key), encode_value(by), encode_value(default))


def merge_key(
    ref: AssetRef,
    key: str,
    patch: dict[str, Any],
    remove: Iterable[Path],
    how: How,
    order: Order,
) -> MergeKey:
    if not isinstance(patch, dict):
        raise TypeError(f"a patch is a dict, not {type(patch).__name__}")
    if how not in get_args(How):
        raise InvalidRequest(f'how is {how!r}; it must be "replace" or "max"')
    paths = _paths(remove)
    return MergeKey(ref, check_key(key), encode_value(patch), paths, how, check_order(order))


def check_key_at(ref: AssetRef, key: str, if_revision: int) -> CheckKey:
    return CheckKey(ref, check_key(key), check_revision(if_revision, "if_revision"))


def check_order(order: Order) -> Order:
    """Return the order, or raise InvalidRequest if there is no such order."""
    if order not in get_args(Order):
        raise InvalidRequest(f'order is {order!r}; it must be "value" or "time"')
    return order


def pairs_of(source: Pairs) -> list[tuple[str, Any]]:
    """Keys and values, of whatever dict() would take."""
    if isinstance(source, Mapping):
        return list(source.items())
    if hasattr(source, "keys"):
        # Like a mapping, as far as dict() asks for.
        like: Any = source
        return [(key, like[key]) for key in like.keys()]  # noqa: SIM118 - it may not be iterable
    return [(key, value) for key, value in source]


def _condition(if_revision: int | None) -> int | None:
    return None if if_revision is None else check_revision(if_revision, "if_revision")


def _paths(remove: Iterable[Path]) -> list[list[str]]:
    # Each letter of a str would be a field.
    if isinstance(remove, str):
        raise TypeError(f"remove is a list of fields; for one, say remove=[{remove!r:.80}]")
    return [_path(each) for each in remove]


def _path(field: Path) -> list[str]:
    path = [field] if isinstance(field, str) else field
    if not isinstance(path, list | tuple) or not all(isinstance(step, str) for step in path):
        raise TypeError(f"remove names fields by str, or by lists of str, not by {field!r:.80}")
    if not path:
        raise InvalidRequest("a path in remove is empty, and names no field")
    return list(path)

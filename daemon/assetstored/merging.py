"""Laying the fields of one object over those of another: the rule of ``merge``.

As RFC 7396 has it, but null is a value here, and so what is to be removed is named.

Rule: pure, over values as decode_value returns them, and in time proportional to their length.
Nothing that is passed in is changed; what comes out shares parts with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal

from assetstore.errors import InvalidRequest
from assetstore.messages import Order
from assetstore.ordering import Path, check_ordered, is_greater

_ABSENT: Final = object()


def merged(
    current: dict[str, Any],
    patch: dict[str, Any],
    *,
    remove: Sequence[Sequence[str]],
    how: Literal["replace", "max"],
    order: Order,
) -> tuple[dict[str, Any], bool]:
    """The object that stands after, and whether it differs from current: 1, 1.0 and True do.

    The paths in ``remove`` go first; one that leads nowhere is passed over. With how "max" a field
    is taken only where it is absent or greater. The order of fields makes no difference.

    Raises InvalidRequest for an empty path, and with how "max" for a field that has no order, or
    none with the one that is there.
    """
    if not all(remove):
        raise InvalidRequest("a path to remove is empty; it takes the names that lead to a field")
    rest = _without(current, remove, 0)
    result = _laid_over(rest, patch, order if how == "max" else None, [])
    if rest is current:
        return result, result is not current
    # What was removed may have come back.
    return result, not _is_same(result, current)


def _without(current: dict[str, Any], paths: Sequence[Sequence[str]], level: int) -> dict[str, Any]:
    """current without what the paths lead to from this level on; itself if that is nothing."""
    result = current
    deeper: dict[str, list[Sequence[str]]] = {}
    for path in paths:
        name = path[level]
        if name in current and len(path) == level + 1:
            result = dict(current) if result is current else result
            result.pop(name, None)
        elif type(current.get(name)) is dict:
            # All paths into one object together, so that it is copied once.
            deeper.setdefault(name, []).append(path)
    for name, longer in deeper.items():
        if name in result:
            inner = _without(current[name], longer, level + 1)
            if inner is not current[name]:
                result = dict(current) if result is current else result
                result[name] = inner
    return result


def _laid_over(
    current: dict[str, Any], patch: dict[str, Any], order: Order | None, path: Path
) -> dict[str, Any]:
    """current with the fields of patch, or given an order with the greater ones of both.

    It is current itself if nothing differs.
    """
    result = current
    for name, new in patch.items():
        old = current.get(name, _ABSENT)
        path.append(name)
        if type(old) is dict and type(new) is dict:
            taken = _laid_over(old, new, order, path)
        else:
            taken = _taken(old, new, order, path)
        path.pop()
        if taken is not old:
            result = dict(current) if result is current else result
            result[name] = taken
    return result


def _taken(old: Any, new: Any, order: Order | None, path: Path) -> Any:
    if order is None:
        return old if _is_same(old, new) else new
    if old is _ABSENT:
        _check_fields(new, order, path)
        return new
    greater = is_greater(new, old, order, path=path)
    # Behind the first difference too, or the next merge would refuse what this one took.
    check_ordered(new, order, path=path)
    return new if greater else old


def _check_fields(value: Any, order: Order, path: Path) -> None:
    if type(value) is not dict:
        check_ordered(value, order, path=path)
        return
    for name, inner in value.items():
        path.append(name)
        _check_fields(inner, order, path)
        path.pop()


def _is_same(left: Any, right: Any) -> bool:
    """Whether the two are equal and of the same types at every depth."""
    if left is right:
        return True
    kind = type(left)
    if kind is not type(right):
        return False
    if kind is list:
        return len(left) == len(right) and all(map(_is_same, left, right))
    if kind is dict:
        return left.keys() == right.keys() and all(
            map(_is_same, left.values(), map(right.__getitem__, left))
        )
    # 0.0 and -0.0 are equal, and not the same.
    return bool(left == right) and (kind is not float or repr(left) == repr(right))

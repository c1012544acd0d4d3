"""Where in the text of a JSON or TOML file something stands, so that an error can name the line.

These functions run only when a file is about to be refused. They look as far as the text
allows and answer None where it is too broken, or the format hides it: a message without a
line is better than one with a wrong line.

Rule: text in, numbers out. What is wrong with the text is for the caller to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TypeAlias

#: The way to a place inside a document: keys of objects and indexes of lists.
Steps: TypeAlias = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t\n\r]*")
_TOML_TABLE = re.compile(r"^[ \t]*\[\[[ \t]*(\w+)[ \t]*\]\]", re.MULTILINE)
# The standard library's reader can start anywhere in a text and says where a value ends.
_value = json.JSONDecoder(strict=False).raw_decode


def line_at(text: str, offset: int) -> int:
    """The number of the line, from 1, in which offset lies."""
    return text.count("\n", 0, offset) + 1


def column_at(text: str, offset: int) -> int:
    """The number of the character, from 1, within its line."""
    return offset - text.rfind("\n", 0, offset)


def json_line(text: str, steps: Steps) -> int | None:
    """The line in which the value at the end of steps begins, or None."""
    try:
        at = _skip(text, 0)
        for step in steps:
            found = _element(text, at, step) if isinstance(step, int) else _member(text, at, step)
            if found is None:
                return None
            at = found
    except (ValueError, IndexError, RecursionError):
        return None
    return line_at(text, at)


def json_repeated_key(text: str) -> tuple[str, int, int] | None:
    """A key that one object of the document has twice, with the lines of both; or None.

    Looks at the outermost object and at the objects in the lists directly inside it.
    """
    try:
        start = _skip(text, 0)
        objects = [start]
        for _, _, value_at in _members(text, start):
            if text[value_at] == "[":
                objects += (at for at in _elements(text, value_at) if text[at] == "{")
        for at in objects:
            seen: dict[str, int] = {}
            for key, key_at, _ in _members(text, at):
                if key in seen:
                    return key, line_at(text, seen[key]), line_at(text, key_at)
                seen[key] = key_at
    except (ValueError, IndexError, RecursionError):
        return None
    return None


def toml_line(text: str, steps: Steps, list_length: int | None) -> int | None:
    """The line of the ``[[name]]`` header of a list item, or None.

    A header inside a multi-line string would put the count out; so the answer is given only
    where there are as many headers as the list has items.
    """
    if list_length is None or len(steps) < 2 or not isinstance(steps[1], int):
        return None
    headers = [m.start() for m in _TOML_TABLE.finditer(text) if m[1] == steps[0]]
    return line_at(text, headers[steps[1]]) if len(headers) == list_length else None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def _members(text: str, at: int) -> Iterator[tuple[str, int, int]]:
    """Key, offset of the key and offset of the value, for each member of the object at ``at``."""
    at = _skip(text, at + 1)
    while text[at] == '"':
        key, end = _value(text, at)
        value_at = _skip(text, _skip(text, end) + 1)
        yield key, at, value_at
        at = _skip(text, _value(text, value_at)[1])
        if text[at] != ",":
            return
        at = _skip(text, at + 1)


def _elements(text: str, at: int) -> Iterator[int]:
    """The offset of each element of the list at ``at``."""
    at = _skip(text, at + 1)
    while text[at] != "]":
        yield at
        at = _skip(text, _value(text, at)[1])
        if text[at] != ",":
            return
        at = _skip(text, at + 1)


def _member(text: str, at: int, key: str) -> int | None:
    return next((value_at for k, _, value_at in _members(text, at) if k == key), None)


def _element(text: str, at: int, index: int) -> int | None:
    return next((found for i, found in enumerate(_elements(text, at)) if i == index), None)

"""Names, uris, keys and sizes: what passes, and what the refusal says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from assetstore.errors import InvalidRequest
from assetstore.limits import (
    MAX_KEY_CHARS,
    MAX_NAME_CHARS,
    check_key,
    check_name,
    check_prefix,
    check_uri,
    check_value_size,
)

CHECKS = [
    pytest.param(check_name, MAX_NAME_CHARS, "asset name", id="name"),
    pytest.param(check_uri, MAX_NAME_CHARS, "asset uri", id="uri"),
    pytest.param(check_key, MAX_KEY_CHARS, "key", id="key"),
]

#: Nothing but the number of characters counts.
ANY_CHARACTERS = [
    "x", " ", "\0", "\n", "../x", "/", "-x", "é", "e\u0301", "\u202e", "日本語", "😀", "\uffff",
]  # fmt: skip

Check = Callable[[Any], str]


def test_the_limits_are_those_of_the_documentation() -> None:
    assert (MAX_NAME_CHARS, MAX_KEY_CHARS) == (1_500, 512)


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_text_up_to_the_limit_in_characters_passes(
    check: Check, limit: int, what: str, character: str
) -> None:
    assert check(character) == character
    assert check(character * limit) == character * limit


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
@pytest.mark.parametrize("text", ANY_CHARACTERS)
def test_any_characters_pass_unchanged(check: Check, limit: int, what: str, text: str) -> None:
    assert check(text) == text


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
@pytest.mark.parametrize("character", ["x", "é", "😀"])
def test_one_character_more_is_refused_with_limit_and_actual(
    check: Check, limit: int, what: str, character: str
) -> None:
    with pytest.raises(
        InvalidRequest, match=f"{what} is {limit + 1:,} characters long; the limit is {limit:,}"
    ):
        check(character * (limit + 1))


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
def test_empty_text_is_refused(check: Check, limit: int, what: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{what} is empty"):
        check("")


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
@pytest.mark.parametrize("text", ["\ud800", "x\udfff"])
def test_a_lone_surrogate_is_refused(check: Check, limit: int, what: str, text: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{what} holds a lone surrogate at position"):
        check(text)


@pytest.mark.parametrize(("check", "limit", "what"), CHECKS)
@pytest.mark.parametrize("thing", [None, 1, b"x", ["x"], 1.5])
def test_anything_but_a_str_is_a_type_error(
    check: Check, limit: int, what: str, thing: object
) -> None:
    with pytest.raises(TypeError, match=f"{what} must be a str, not {type(thing).__name__}"):
        check(thing)


def test_a_subclass_of_str_is_taken_for_its_text() -> None:
    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return "LOUD"

    key = check_key(Loud("quiet"))

    assert key == "quiet"


def test_a_prefix_may_be_empty_and_is_else_like_a_key() -> None:
    assert check_prefix("") == ""
    assert check_prefix("a/") == "a/"
    with pytest.raises(InvalidRequest, match="prefix is 513 characters long"):
        check_prefix("x" * 513)
    with pytest.raises(TypeError, match="after must be a str"):
        check_prefix(None, "after")


def test_a_value_of_exactly_the_limit_passes_and_one_byte_more_is_refused() -> None:
    check_value_size(1_048_576, 1_048_576)

    with pytest.raises(InvalidRequest, match="1,048,577 bytes of JSON; the limit is 1,048,576"):
        check_value_size(1_048_577, 1_048_576)

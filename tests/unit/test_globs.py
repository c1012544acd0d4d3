"""Patterns for assets and keys: what fits, and what is no pattern."""

from __future__ import annotations

import random
import re

import pytest

from assetstore.errors import InvalidRequest
from assetstore.globs import Glob, KeyGlob


@pytest.mark.parametrize(
    ("pattern", "asset", "key"),
    [
        ("orders:watermark", "orders", "watermark"),
        ("orders/*:watermark", "orders/eu/de", "watermark"),
        ("orders*:watermark", "orders", "watermark"),
        ("?:?", "ä", "\n"),
        ("*:*", "a:b", "k"),
        ("s3://data/orders:watermark", "s3://data/orders", "watermark"),
        (r"orders:part\:1", "orders", "part:1"),
        (r"a\*b:k\?", "a*b", "k?"),
        (r"a\\:k", "a\\", "k"),
        (r"\a:\k", "a", "k"),
        ("[a]!]^-:[!k]", "[a]!]^-", "[!k]"),
        ("*[!x]*:k", "y[!x]z", "k"),
        ("*]*:k", "y]z", "k"),
    ],
)
def test_what_fits(pattern: str, asset: str, key: str) -> None:
    glob = KeyGlob.parse(pattern)

    assert glob.asset.fits(asset)
    assert glob.key.fits(key)


@pytest.mark.parametrize(
    ("pattern", "asset", "key"),
    [
        ("orders:watermark", "orders ", "watermark "),
        ("orders/*:*mark", "orders", "watermarks"),
        ("Orders:k", "orders", "K"),
        (r"a\*b:k\?", "axb", "kx"),
        ("?:?", "", "kk"),
        ("a?:k?", "a", "k"),
        ("[ab]:[!k]", "a", "x"),
        ("a:k", "a\n", "k\n"),
    ],
)
def test_what_does_not_fit(pattern: str, asset: str, key: str) -> None:
    glob = KeyGlob.parse(pattern)

    assert not glob.asset.fits(asset)
    assert not glob.key.fits(key)


@pytest.mark.parametrize(
    "pattern", ["", ":", "orders", "orders:", ":k", r"orders\:k", "a:k\\", "a\ud800:k", "\\"]
)
def test_what_is_no_pattern_is_refused_with_the_way_it_is_written(pattern: str) -> None:
    with pytest.raises(InvalidRequest, match=r"write|surrogate"):
        KeyGlob.parse(pattern)


def test_a_pattern_that_nothing_can_fit_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="nothing fits it beyond 512"):
        KeyGlob.parse("a:" + "k" * 1_025)


@pytest.mark.parametrize(
    ("text", "literal", "prefix"),
    [
        ("plain", "plain", "plain"),
        (r"a\*b", "a*b", "a*b"),
        ("a/*", None, "a/"),
        (r"a\?*", None, "a?"),
        ("*", None, ""),
    ],
)
def test_what_is_known_of_all_that_fits(text: str, literal: str | None, prefix: str) -> None:
    glob = Glob(text)

    assert (glob.literal, glob.prefix) == (literal, prefix)


def test_a_text_fits_as_a_plain_reading_of_the_pattern_says(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3_000):
        parts = chance.choices(["*", "?", "a", "[", "]", "!", "^", "-", r"\*", r"\\"], k=6)
        words = {"*": ".*", "?": "."}
        plain = "".join(words.get(part, re.escape(part[-1])) for part in parts)
        text = "".join(chance.choices("a[]!^-*\\", k=chance.randrange(9)))

        fits = Glob("".join(parts)).fits(text)

        assert fits == bool(re.fullmatch(plain, text, re.DOTALL)), (parts, text)


def test_many_wildcards_take_no_longer_than_the_text_is_long() -> None:
    glob = Glob("*a" * 500 + "*b")

    assert not glob.fits("a" * 1_500)

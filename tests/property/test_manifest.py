"""Any bytes at all are a manifest or are refused with ManifestInvalid, and with nothing else."""

from __future__ import annotations

import json
import random
import re

import pytest

from assetstore.manifest import ManifestInvalid, parse

GOOD = {
    "manifest.json": (
        '{"version": 1,\n "allow_empty": false, "assets": [\n'
        '  {"name": "orders", "uri": "s3://data/orders/", "group": "sales"},\n'
        '  "customers", {"name": "\\u00e9\\"\\\\", "group": null}, "😀"\n]}\n'
    ),
    "manifest.toml": (
        "version = 1\nallow_empty = false\n\n[[assets]]\n"
        'name = "orders" # main\nuri = \'s3://data/orders/\'\ngroup = "sales"\n\n'
        '[[assets]]\nname = """\ncustomers"""\n'
    ),
}

SCRAPS = [
    b"", b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\n", b"\x00", b"\xff", b"\xed\xa0\x80",
    b"null", b"1", b"-0", b"1e999", b"NaN", b"\\ud800", b"\\u0000", b'"name":', b'"assets":[',
    b'"name": "x",', b'"uri": "\\\\", ', b'"version": 1,', b'"group": null,',
    b"[[assets]]\n", b"assets = ", b"1979-05-27", b"'''", b"#", b"\xef\xbb\xbf", b"`", b" - at `$.",
]  # fmt: skip


def damage(text: bytes, rng: random.Random) -> bytes:
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        start = rng.randrange(len(text) + 1)
        end = min(start + rng.choice([0, 0, 1, 2, 10]), len(text))
        text = text[:start] + rng.choice(SCRAPS) + text[end:]
    return text


def without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    assert len(dict(pairs)) == len(pairs), f"accepted although a field is there twice: {pairs}"
    return dict(pairs)


@pytest.mark.parametrize("path", GOOD)
def test_a_damaged_manifest_is_read_or_refused_and_the_message_is_one_short_line(
    path: str, seed: int
) -> None:
    rng = random.Random(seed)
    good = GOOD[path].encode()
    parse(good, path=path)
    refused = 0

    for _ in range(3_000):
        text = damage(good, rng)
        try:
            assets = parse(text, path=path).assets
        except ManifestInvalid as exc:
            refused += 1
            message = str(exc)
            assert message.startswith(path), text
            assert len(message) < 1000, text
            assert message.isprintable(), text
            for line in re.findall(r"line (\d+)", message.partition(": ")[0]):
                assert 1 <= int(line) <= text.count(b"\n") + 1, text
        else:
            if path.endswith(".json"):
                json.loads(text, object_pairs_hook=without_repeats)
            assert len({a.name for a in assets}) == len({a.uri for a in assets}) == len(assets)

    assert refused > 1_000


@pytest.mark.parametrize("path", GOOD)
def test_random_bytes_are_refused(path: str, seed: int) -> None:
    rng = random.Random(seed)

    for _ in range(1_000):
        with pytest.raises(ManifestInvalid):
            parse(rng.randbytes(rng.randrange(200)), path=path)

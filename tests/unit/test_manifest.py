"""The manifest: what is accepted, how each mistake is refused, what a change amounts to."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

import pytest

from assetstore.errors import AssetStoreError
from assetstore.manifest import (
    MAX_MANIFEST_ASSETS,
    MAX_MANIFEST_BYTES,
    Difference,
    Manifest,
    ManifestAsset,
    ManifestInvalid,
    difference,
    parse,
    verdict,
)

JSON = "manifest.json"
TOML = "manifest.toml"


def assets_of(text: str, path: str = JSON) -> list[tuple[str, str, str | None]]:
    return [(a.name, a.uri, a.group) for a in parse(text.encode(), path=path).assets]


def refusal(text: str | bytes, path: str = JSON) -> str:
    with pytest.raises(ManifestInvalid) as caught:
        parse(text if isinstance(text, bytes) else text.encode(), path=path)
    return str(caught.value)


def listing(*assets: object, **fields: object) -> str:
    return json.dumps({"version": 1, "assets": assets, **fields})


# --- what is accepted


def test_an_asset_has_name_uri_and_group() -> None:
    text = '{"version": 1, "assets": [{"name": "orders", "uri": "s3://data/", "group": "sales"}]}'

    assert assets_of(text) == [("orders", "s3://data/", "sales")]


def test_a_bare_string_is_a_name_that_is_also_the_uri() -> None:
    assert assets_of('{"version": 1, "assets": ["customers"]}') == [
        ("customers", "customers", None)
    ]


def test_without_a_uri_the_name_is_the_uri() -> None:
    assert assets_of(listing({"name": "orders", "group": "sales"})) == [
        ("orders", "orders", "sales")
    ]


def test_a_group_of_null_is_no_group() -> None:
    assert assets_of(listing({"name": "orders", "group": None})) == [("orders", "orders", None)]


@pytest.mark.parametrize(
    "text",
    [
        'version = 1\nassets = [{name = "orders", uri = "s3://data/"}, "customers"]\n',
        'version = 1\n[[assets]]\nname = "orders"\nuri = "s3://data/"\n'
        '[[assets]]\nname = "customers"\n',
    ],
    ids=["inline", "tables"],
)
def test_toml_has_the_same_shape(text: str) -> None:
    assert assets_of(text, TOML) == [
        ("orders", "s3://data/", None),
        ("customers", "customers", None),
    ]


def test_the_suffix_alone_makes_it_toml_in_whatever_case() -> None:
    assert assets_of("version = 1\nassets = ['a']", "M.TOML") == [("a", "a", None)]
    assert "not JSON" in refusal("version = 1\nassets = ['a']", "manifest.conf")


@pytest.mark.parametrize(
    "name",
    ["a b", "a\nb", "a\x00b", "../x", "-x", "Ä", "\u202eevil", "😀", "x" * 1500, "😀" * 1500],
)
def test_a_name_may_hold_any_characters_up_to_1500(name: str) -> None:
    assert assets_of(listing(name)) == [(name, name, None)]


def test_names_that_look_alike_or_differ_in_case_are_different() -> None:
    assert len(assets_of(listing("orders", "Orders", "orders ", "\u00e9", "e\u0301"))) == 5


def test_an_empty_list_counts_with_allow_empty() -> None:
    assert assets_of(listing(allow_empty=True)) == []
    assert assets_of("version = 1\nassets = []\nallow_empty = true", TOML) == []


def test_allow_empty_changes_nothing_for_a_list_that_is_not_empty() -> None:
    assert assets_of(listing("a", allow_empty=True)) == [("a", "a", None)]


def test_escapes_and_quotes_in_names_are_not_taken_for_fields_that_are_there_twice() -> None:
    name = 'a"b\\"c\\\\"\u20ac'

    for ascii_only in (True, False):
        text = json.dumps({"version": 1, "assets": [{"name": name}]}, ensure_ascii=ascii_only)
        assert assets_of(text) == [(name, name, None)]


# --- what is refused: each case with what its message must say


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", ["manifest.json: is empty", '"version": 1']),
        (" \n\t ", ["manifest.json: is empty"]),
        ("null", ["must be an object, not null"]),
        ("[]", ["must be an object, not a list"]),
        ('["a"]', ["must be an object, not a list"]),
        ("true", ["must be an object, not true or false"]),
        ('"a"', ["must be an object, not a string"]),
        ("7", ["must be an object, not an integer"]),
        ("{}", ["the manifest lacks the field 'version'"]),
        ('{"version": 1}', ["the manifest lacks the field 'assets'"]),
        ('{"assets": []}', ["the manifest lacks the field 'version'"]),
    ],
)
def test_what_is_no_manifest_at_all_is_refused(text: str, says: list[str]) -> None:
    message = refusal(text)

    assert all(part in message for part in says), message


@pytest.mark.parametrize(
    ("item", "says"),
    [
        ("7", "assets[1] must be a string or an object, not an integer"),
        ("null", "assets[1] must be a string or an object, not null"),
        ('["a"]', "assets[1] must be a string or an object, not a list"),
        ("{}", "assets[1] lacks the field 'name'"),
        ('{"uri": "u"}', "assets[1] lacks the field 'name'"),
        ('{"name": 7}', "assets[1].name must be a string, not an integer"),
        ('{"name": null}', "assets[1].name must be a string, not null"),
        ('{"name": "b", "uri": null}', "assets[1].uri must be a string, not null"),
        ('{"name": "b", "uri": ["u"]}', "assets[1].uri must be a string, not a list"),
        ('{"name": "b", "group": 1.5}', "assets[1].group must be a string or null"),
        ('{"name": "b", "url": "u"}', "unknown field 'url' in assets[1]"),
        ('{"name": "b", "name": "b"}', "the field 'name' is there twice, in line 4 and in line 4"),
        ('""', "assets[1]: asset name is empty"),
        ('{"name": ""}', "assets[1].name: asset name is empty"),
        ('{"name": "b", "uri": ""}', "assets[1].uri: asset uri is empty"),
        ('{"name": "b", "group": ""}', "assets[1].group: asset group is empty"),
        (f'"{"x" * 1501}"', "assets[1]: asset name is 1,501 characters long; the limit is 1,500"),
        (f'{{"name": "b", "uri": "{"é" * 1501}"}}', "assets[1].uri: asset uri is 1,501 characters"),
        (r'"\ud800"', "half of a surrogate pair"),
        (r'"\udc00 and more"', "half of a surrogate pair"),
        (r'{"name": "b", "uri": "\ud83dx and more"}', "half of a surrogate pair"),
    ],
)
def test_a_mistake_in_one_asset_refuses_the_file_with_field_and_line(item: str, says: str) -> None:
    text = f'{{"version": 1,\n "assets": [\n  "a",\n  {item},\n  "c"\n ]}}\n'

    message = refusal(text)

    assert says in message
    # A lone surrogate at the end of a string is found, but not where.
    assert "line 4" in message or "ud800" in item, message


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"version": 2}, "version is 2; this assetstore reads version 1"),
        ({"version": 0}, "version is 0"),
        ({"version": -1}, "version is -1"),
        ({"version": 10**30}, "version is 1000"),
        ({"version": 10**5000 - 1}, "version"),
        ({"version": "1"}, "version must be an integer, not a string"),
        ({"version": 1.0}, "version must be an integer, not a number with a fraction"),
        ({"version": True}, "version must be an integer, not true or false"),
        ({"version": None}, "version must be an integer, not null"),
        ({"assets": None}, "assets must be a list, not null"),
        ({"assets": {"name": "a"}}, "assets must be a list, not an object"),
        ({"assets": "a"}, "assets must be a list, not a string"),
        ({"allow_empty": "yes"}, "allow_empty must be true or false, not a string"),
        ({"allow_empty": None}, "allow_empty must be true or false, not null"),
        ({"retention": 3}, "unknown field 'retention' in the manifest"),
        ({"line\nbreak": 3}, r"unknown field 'line\nbreak' in the manifest"),
    ],
)
def test_a_mistake_in_the_outer_object_refuses_the_file(
    fields: dict[str, object], says: str
) -> None:
    big = fields.get("version")
    text = listing("a", **{k: v for k, v in fields.items() if k != "version"})
    if "version" in fields:
        number = "9" * 5000 if isinstance(big, int) and big > 10**400 else json.dumps(big)
        text = text.replace('"version": 1', f'"version": {number}')

    message = refusal(text)

    assert says in message
    assert message.startswith("manifest.json, line 1: ")
    assert "\n" not in message
    assert len(message) < 500


def test_a_field_named_to_confuse_the_message_is_refused_all_the_same() -> None:
    assert "unknown field" in refusal(listing("a", **{"x` - at `$.y": 3}))


def test_a_file_of_another_version_is_refused_for_that_and_not_for_its_shape() -> None:
    assert "version is 2" in refusal('{"version": 2, "active": ["a"]}')
    assert "version is 2" in refusal("version = 2\nactive = ['a']", TOML)


def test_an_empty_list_alone_is_refused_and_the_message_says_how_to_mean_it() -> None:
    assert '"allow_empty": true' in refusal(listing())
    assert '"allow_empty": true' in refusal(listing(allow_empty=False))
    assert "allow_empty = true" in refusal("version = 1\nassets = []", TOML)


def test_a_name_that_is_there_twice_refuses_the_file_with_both_places() -> None:
    message = refusal(
        '{"version": 1, "assets": [\n"a",\n"b",\n{"name": "a", "uri": "s3://elsewhere"}]}'
    )

    assert "assets[0] (line 2) and assets[2] (line 4) have the same name 'a'" in message


def test_a_uri_that_is_there_twice_refuses_the_file_with_both_places() -> None:
    message = refusal('{"version": 1, "assets": [\n{"name": "a", "uri": "b"},\n"b"]}')

    assert "assets[0] (line 2) and assets[1] (line 3) have the same uri 'b'" in message


def test_the_same_asset_twice_refuses_the_file_too() -> None:
    assert "have the same name 'a'" in refusal(listing("a", "a"))


@pytest.mark.parametrize("spaces", ["", " \n"])
@pytest.mark.parametrize(
    ("field", "value"),
    [("version", "1"), ("assets", '["b"]'), ("assets", "[]"), ("allow_empty", "true")],
)
def test_a_field_that_is_there_twice_refuses_the_file(field: str, value: str, spaces: str) -> None:
    text = f'{{"version":1,"assets":["a"],"allow_empty":false,{spaces}"{field}"{spaces}:{value}}}'

    assert f"the field '{field}' is there twice" in refusal(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"version": 1,\n"assets": ["a" "b"]}', "line 2, column 16: not JSON: expected ','"),
        ('{"version": 1,\n"assets": ["a",]}', "line 2, column 16: not JSON: trailing comma"),
        ('{"version": 1,\n"assets": [a]}', "line 2, column 12: not JSON: invalid character"),
        ('{"version": 1,\n"assets": ["é", a]}', "line 2, column 17: not JSON"),
        ('{"version": 1, "assets": ["a"]}\n}', "line 2, column 2: not JSON: trailing characters"),
        ('{"version": 1, "assets": ["a\nb"]}', "line 1, column 29: not JSON: invalid character"),
        ("{'version': 1}", "line 1, column 2: not JSON"),
        ('{"version": 1, // first\n"assets": []}', "line 1, column 16: not JSON"),
        ("\x00" * 100, "line 1, column 1: not JSON"),
        ("version: 1\nassets: [a]\n", "line 1, column 1: not JSON"),
    ],
)
def test_broken_json_is_refused_with_line_and_column(text: str, says: str) -> None:
    assert says in refusal(text)


def test_every_half_written_json_manifest_is_refused() -> None:
    whole = listing("a", {"name": "b", "uri": "s3://b", "group": "g"}, "ç😀").encode()
    parse(whole, path=JSON)

    for length in range(len(whole)):
        assert whole[:length] == b"" or refusal(whole[:length])


def test_a_half_written_file_is_refused_with_advice_on_writing() -> None:
    message = refusal('{"version": 1,\n"assets": ["a",\n')

    assert "line 2: not JSON: ends in the middle" in message
    assert "rename" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("version = ", "not TOML: Invalid value"),
        ("version = 1\nassets = ['a'", "not TOML: Unclosed array"),
        ("version = 1\nversion = 1\nassets = ['a']", "not TOML: Cannot overwrite a value"),
        ("version = 1\nassets = [7]", "assets[0] must be a string or an object, not an integer"),
        ("version = 1\nassets = [1979-05-27]", "assets[0] must be a string or an object, not a"),
        ("version = inf\nassets = []", "version must be an integer"),
        (
            "version = 1\n[[assets]]\nname = 'a'\n[[assets]]\nname = 'a'",
            "(line 2) and assets[1] (l",
        ),
        ("version = 1\n[[assets]]\nname = 'a'\n[[assets]]\nnam = 'b'", "line 4: "),
        ("version = 1\nassets = ['a']\nx = 1", "unknown field 'x' in the manifest"),
        ("version = 1\nassets = ['a']\n[y]\nz = 1", "unknown field 'y' in the manifest"),
        ("x = " + "[" * 10_000, "not TOML: nested too deeply"),
        ("x = " + "1" * 10_000, "not TOML: "),
        ("x = '\\ud800'\ny = \"\\ud800\"", "not TOML: "),
        ("", "is empty"),
    ],
)
def test_broken_toml_is_refused(text: str, says: str) -> None:
    message = refusal(text, TOML)

    assert message.startswith(TOML)
    assert says in message


def test_toml_gives_no_line_where_it_might_be_the_wrong_one() -> None:
    text = "version = 1\nassets = [\n'a',\n7]\nnote = '''\n[[assets]]\n'''"

    assert refusal(text, TOML).startswith("manifest.toml: assets[1] must be")


@pytest.mark.parametrize("path", [JSON, TOML])
def test_text_in_another_encoding_is_refused_by_name(path: str) -> None:
    text = listing("a") if path == JSON else "version = 1\nassets = ['a']"

    assert "byte order mark" in refusal(text.encode("utf-8-sig"), path)
    assert "UTF-16" in refusal(text.encode("utf-16"), path)
    assert "line 2: not UTF-8" in refusal(b"\n\xe9" + text.encode(), path)


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"version":1,"assets":[[', '{"x":['])
def test_deep_nesting_is_refused(opening: str) -> None:
    assert refusal(opening * 100_000)


def test_a_file_of_100_mb_is_refused_by_its_size() -> None:
    message = refusal(b" " * 100_000_000)

    assert message == (
        "manifest.json: 100,000,000 bytes; a manifest has 67,108,864 at most. "
        "Is this the right file?"
    )


def test_a_file_just_within_the_size_limit_is_read() -> None:
    text = listing("a").encode()

    assert parse(text.ljust(MAX_MANIFEST_BYTES), path=JSON).assets == [ManifestAsset("a", "a")]


def test_more_assets_than_the_limit_are_refused_before_they_fill_the_memory() -> None:
    text = b'{"version":1,"assets":[' + b'"a",' * (7 * MAX_MANIFEST_ASSETS) + b'"a"]}'

    assert "lists more than 1,000,000 assets" in refusal(text)


def test_one_asset_more_than_the_limit_is_refused() -> None:
    text = b'{"version":1,"assets":[' + b'"a",' * MAX_MANIFEST_ASSETS + b'"a"]}'

    assert "lists 1,000,001 assets; the limit is 1,000,000" in refusal(text)


def test_a_refusal_is_an_error_of_this_library_with_its_state() -> None:
    assert issubclass(ManifestInvalid, AssetStoreError)
    assert ManifestInvalid.state == "invalid"


# --- the digest


def test_the_digest_is_the_same_for_the_same_assets_however_they_are_written() -> None:
    digests = {
        parse(text.encode(), path=path).digest
        for text, path in [
            (listing({"name": "a", "uri": "u", "group": None}, "b"), JSON),
            (listing("b", {"uri": "u", "name": "a"}, allow_empty=True), JSON),
            ("version = 1\nassets = ['b', {name = 'a', uri = 'u'}]", TOML),
        ]
    }

    assert len(digests) == 1
    assert len(digests.pop()) == 16


def test_any_difference_in_content_is_another_digest() -> None:
    texts = [
        listing("a", "b"),
        listing("a"),
        listing("ab"),
        listing({"name": "a", "uri": "b"}),
        listing({"name": "b", "uri": "a"}),
        listing({"name": "a", "group": "b"}),
        listing({"name": "a", "group": "a"}),
    ]

    assert len({parse(text.encode(), path=JSON).digest for text in texts}) == len(texts)


# --- difference and verdict


def asset(name: str, uri: str | None = None, group: str | None = None) -> ManifestAsset:
    return ManifestAsset(name, uri or name, group)


def names(assets: Iterable[ManifestAsset]) -> list[str]:
    return [a.name for a in assets]


def test_the_difference_names_what_arrives_and_what_leaves_in_order() -> None:
    found = difference([asset("a"), asset("b"), asset("c")], [asset("d"), asset("b"), asset("e")])

    assert names(found.deactivate) == ["a", "c"]
    assert names(found.activate) == ["d", "e"]
    assert found.regroup == []


def test_the_same_assets_in_another_order_are_no_difference() -> None:
    assert not difference([asset("a"), asset("b")], [asset("b"), asset("a")])


def test_the_same_name_with_another_uri_is_another_asset() -> None:
    found = difference([asset("a", "old")], [asset("a", "new")])

    assert found == Difference([asset("a", "old")], [asset("a", "new")], [])


def test_another_group_is_no_other_asset() -> None:
    found = difference([asset("a", group="x"), asset("b")], [asset("a"), asset("b", group="y")])

    assert found == Difference([], [], [asset("a"), asset("b", group="y")])


def leaving(count: int) -> Difference:
    return Difference([asset(f"a{i}") for i in range(count)], [], [])


@pytest.mark.parametrize(
    ("active", "leaves", "fraction", "expected"),
    [
        (10, 5, 0.5, "accept"),
        (10, 6, 0.5, "held"),
        (2, 2, 0.5, "accept"),
        (3, 3, 0.5, "held"),
        (4, 2, 0.5, "accept"),
        (4, 3, 0.5, "held"),
        (1000, 1000, 1.0, "accept"),
        (1000, 1000, 0.999, "held"),
        (1000, 2, 0.0, "accept"),
        (1000, 3, 0.0, "held"),
        (100, 29, 0.29, "accept"),
        (100, 30, 0.29, "held"),
        (100, 0, 0.5, "unchanged"),
        (0, 0, 0.5, "unchanged"),
    ],
)
def test_held_is_what_would_deactivate_more_than_the_fraction_and_at_least_three(
    active: int, leaves: int, fraction: float, expected: str
) -> None:
    assert verdict(active, leaving(leaves), fraction) == expected


def test_new_assets_and_new_groups_are_never_held() -> None:
    many = [asset(f"a{i}") for i in range(1000)]

    assert verdict(0, Difference([], many, []), 0.0) == "accept"
    assert verdict(1000, Difference([], [], many), 0.0) == "accept"


# --- size


def test_100_000_assets_are_parsed_and_compared_in_well_under_a_second() -> None:
    items = [
        {"name": f"asset-{i}", "uri": f"s3://data/asset/{i}/", "group": "sales"}
        for i in range(100_000)
    ]
    text = listing(*items).encode()
    # Processor time: what else runs on the machine has no part in it.
    start = time.process_time()

    manifest: Manifest = parse(text, path=JSON)
    changes = difference(manifest.assets[50_000:], manifest.assets)

    assert len(changes.activate) == 50_000
    assert time.process_time() - start < 1.0

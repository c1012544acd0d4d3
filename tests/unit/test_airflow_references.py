"""The text that Airflow's database keeps for a value, and values as Airflow passes them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assetstore import AssetRef, InvalidRequest
from assetstore.airflow.references import is_wrapped, parse_reference, reference_to
from assetstore.airflow.texts import text_of, value_of

ASSETS = [
    AssetRef(name="orders"),
    AssetRef(uri="s3://data/orders/"),
    AssetRef(name='a "quoted" näme\n🎲'),
    AssetRef(name="assetstore:"),
]


@pytest.mark.parametrize("asset", ASSETS)
@pytest.mark.parametrize("key", ["watermark", "a/b c", "é\u2028", "k" * 512])
def test_a_reference_leads_back_to_its_asset_and_key(asset: AssetRef, key: str) -> None:
    text = reference_to(asset, key)

    assert parse_reference(text) == (asset, key)
    assert reference_to(asset, key) == text


def test_references_differ_where_asset_or_key_do() -> None:
    texts = {reference_to(asset, key) for asset in ASSETS for key in ("a", "b", '","key":"')}

    assert len(texts) == len(ASSETS) * 3


def test_a_name_and_a_uri_of_the_same_text_are_two_references() -> None:
    assert reference_to(AssetRef(name="x"), "k") != reference_to(AssetRef(uri="x"), "k")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3://bucket/object",
        "assetstore:",
        "assetstore:{",
        "assetstore:7",
        'assetstore:{"key":"k"}',
        'assetstore:{"name":"n"}',
        'assetstore:{"name":"n","uri":"u","key":"k"}',
        'assetstore:{"name":null,"key":"k"}',
        'assetstore:{"name":"n","key":"k","more":1}',
        '{"name":"n","key":"k"}',
    ],
)
def test_a_reference_that_another_backend_wrote_is_refused_with_what_to_do(text: str) -> None:
    with pytest.raises(InvalidRequest, match="Configure that one again"):
        parse_reference(text)


def test_only_a_reference_of_ours_in_the_wrapper_is_taken_for_one() -> None:
    ours = reference_to(AssetRef(name="orders"), "k")

    assert is_wrapped({"__airflow_state_ref__": ours})
    assert not is_wrapped({"__airflow_state_ref__": "s3://bucket/object"})
    assert not is_wrapped({"__airflow_state_ref__": ours, "more": 1})
    assert not is_wrapped({"__airflow_state_ref__": 7})
    assert not is_wrapped(ours)


@pytest.mark.parametrize(
    "value",
    [0, "", False, [], {}, 1.5, "näme", {"a": [None, 10**30]}, pytest.param(10**5000, id="huge")],
)
def test_json_text_of_airflow_becomes_the_value_and_json_text_again(value: Any) -> None:
    text = text_of(value)

    assert text is not None
    assert value_of(text) == value


def test_text_is_what_airflow_reads_with_the_json_module() -> None:
    value = {"rows": 3, "ratio": 0.1, "names": ["é", "\u2028"], "none": None}

    assert json.loads(text_of(value) or "") == value
    assert value_of(json.dumps(value)) == value


@pytest.mark.parametrize("text", ["null", "", "{", "NaN", '{"a": NaN}', "[Infinity]", '"\ud800"'])
def test_text_that_is_no_value_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        value_of(text)


def test_what_is_not_there_has_no_text() -> None:
    assert text_of(None) is None

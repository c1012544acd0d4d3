"""What names an asset, and what does not."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from typing import Any

import pytest

from assetstore import Asset, AssetAlias, AssetRef
from assetstore.assets import describe, is_alias, reference
from assetstore.errors import InvalidRequest

ORDERS = Asset("orders", uri="s3://data/orders/")


# Airflow's classes, as far as they matter here: attributes and class names.


@dataclass
class BaseAsset:
    name: str
    uri: str
    group: str = "asset"


class Model(BaseAsset):
    pass


@dataclass
class AssetNameRef:
    name: str


@dataclass
class AssetUriRef:
    uri: str


@dataclass
class AirflowAlias:
    name: str
    group: str = "asset"


AirflowAlias.__name__ = "AssetAlias"


class NamedAlias(AirflowAlias):
    pass


# --- Asset


def test_the_uri_of_an_asset_is_its_name_unless_it_says_otherwise() -> None:
    assert (ORDERS.name, ORDERS.uri) == ("orders", "s3://data/orders/")
    assert Asset("customers").uri == "customers"


def test_assets_of_the_same_name_and_uri_are_equal() -> None:
    assert Asset("a", "b") == Asset("a", uri="b")
    assert hash(Asset("a", "b")) == hash(Asset("a", uri="b"))
    assert Asset("a") == Asset("a", "a")
    assert Asset("a", "b") != Asset("a", "c")
    assert Asset("a", "b") != Asset("b", "a")
    assert Asset("a") != "a"


def test_an_asset_is_immutable() -> None:
    with pytest.raises(AttributeError, match="immutable"):
        ORDERS.name = "x"
    with pytest.raises(AttributeError, match="immutable"):
        del ORDERS.uri
    with pytest.raises(AttributeError):
        ORDERS.group = "x"


def test_an_asset_survives_pickle_and_copy() -> None:
    for twin in (pickle.loads(pickle.dumps(ORDERS)), copy.copy(ORDERS), copy.deepcopy(ORDERS)):
        assert twin == ORDERS


def test_an_asset_shows_how_to_write_it() -> None:
    assert repr(ORDERS) == "Asset('orders', uri='s3://data/orders/')"
    assert repr(Asset("a")) == "Asset('a')"


@pytest.mark.parametrize("name", ["", "x" * 1_501, "\ud800"])
def test_a_name_or_uri_beyond_its_limits_is_refused_where_it_is_written(name: str) -> None:
    with pytest.raises(InvalidRequest, match="asset name"):
        Asset(name)
    with pytest.raises(InvalidRequest, match="asset uri"):
        Asset("a", name)
    with pytest.raises(InvalidRequest, match="asset name"):
        Asset.ref(name=name)
    with pytest.raises(InvalidRequest, match="asset uri"):
        Asset.ref(uri=name)


@pytest.mark.parametrize("name", [7, b"orders", ["orders"]])
def test_a_name_or_uri_that_is_no_str_is_a_type_error(name: Any) -> None:
    with pytest.raises(TypeError, match="asset name must be a str"):
        Asset(name)
    with pytest.raises(TypeError, match="asset uri must be a str"):
        Asset("a", name)


def test_a_reference_is_by_name_or_by_uri_and_not_by_both_or_none() -> None:
    assert Asset.ref(name="a") == AssetRef(name="a", uri=None)
    assert Asset.ref(uri="b") == AssetRef(name=None, uri="b")
    with pytest.raises(TypeError, match="either name or uri"):
        Asset.ref()
    with pytest.raises(TypeError, match="either name or uri"):
        Asset.ref(name="a", uri="b")


# --- what names an asset


@pytest.mark.parametrize(
    ("thing", "ref"),
    [
        (ORDERS, AssetRef("orders", "s3://data/orders/")),
        (Asset("a"), AssetRef("a", "a")),
        (Asset.ref(name="a"), AssetRef(name="a")),
        (Asset.ref(uri="b"), AssetRef(uri="b")),
        ("a", AssetRef(name="a")),
        (BaseAsset("a", "b"), AssetRef("a", "b")),
        (Model("a", "b"), AssetRef("a", "b")),
        (AssetNameRef("a"), AssetRef(name="a")),
        (AssetUriRef("b"), AssetRef(uri="b")),
    ],
)
def test_these_name_an_asset(thing: object, ref: AssetRef) -> None:
    assert reference(thing) == ref


@pytest.mark.parametrize("thing", [None, 7, 1.5, b"orders", [], {}, object(), ("a",), {"name": 1}])
def test_these_name_none_and_the_error_says_what_does(thing: object) -> None:
    with pytest.raises(TypeError, match=r"an asset is named by an Asset, by Asset\.ref"):
        reference(thing)


def test_a_class_names_none_even_if_it_has_a_name() -> None:
    with pytest.raises(TypeError, match="is a class"):
        reference(Asset)


def test_a_name_that_is_no_str_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"the name of .* is of type int"):
        reference(AssetNameRef(7))  # type: ignore[arg-type]


def test_the_limits_hold_for_other_peoples_objects_too() -> None:
    with pytest.raises(InvalidRequest, match="asset name is 1,501 characters"):
        reference(AssetNameRef("x" * 1_501))
    with pytest.raises(InvalidRequest, match="asset uri is empty"):
        reference(AssetUriRef(""))
    with pytest.raises(InvalidRequest, match="neither"):
        reference(AssetRef())


@pytest.mark.parametrize(
    "alias",
    [AssetAlias("a"), AirflowAlias("a"), NamedAlias("a")],
    ids=lambda a: type(a).__qualname__,
)
def test_an_alias_is_known_by_its_class_and_names_no_asset(alias: object) -> None:
    assert is_alias(alias)
    with pytest.raises(TypeError, match="alias"):
        reference(alias)


def test_what_has_a_name_is_no_alias_for_that() -> None:
    assert not any(map(is_alias, [ORDERS, Asset.ref(name="a"), "a", AssetNameRef("a"), None]))


def test_an_alias_checks_its_name() -> None:
    assert repr(AssetAlias("a", group="g")) == "AssetAlias('a')"
    with pytest.raises(InvalidRequest, match="alias name is empty"):
        AssetAlias("")


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        (AssetRef("orders", "s3://data/"), "'orders' (s3://data/)"),
        (AssetRef("a", "a"), "'a'"),
        (AssetRef(name="a"), "'a'"),
        (AssetRef(uri="b"), "uri 'b'"),
    ],
)
def test_a_reference_is_shown_as_short_as_it_is_clear(ref: AssetRef, text: str) -> None:
    assert describe(ref) == text

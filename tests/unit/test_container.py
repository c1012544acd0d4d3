"""Which assets a container holds: the same one once, however it is named."""

from __future__ import annotations

from typing import Any

import pytest

from assetstore import Asset, AssetAlias, AssetRef, Store, connect
from assetstore.journal import StoreJournal
from assetstore.members import Members

ORDERS = Asset("orders", uri="s3://data/orders/")
CUSTOMERS = Asset("customers")
ORDERS_NAME = Asset.ref(name="orders")
ORDERS_URI = Asset.ref(uri="s3://data/orders/")
EXACT = AssetRef("orders", "s3://data/orders/")

# Whoever asks the daemon in these tests has made a mistake: nobody listens there.
NOBODY = "/nonexistent/assetstore.sock"


def container(inlets: Any = (), outlets: Any = ()) -> Any:
    return connect(NOBODY, timeout=0.01).asset_store(inlets=inlets, outlets=outlets)


def given(members: Members) -> list[Any]:
    return [member.given for member in members.all()]


# --- what is decided without the daemon


@pytest.mark.parametrize(
    "twin", [ORDERS, Asset("orders", "s3://data/orders/"), EXACT, "orders", ORDERS_NAME, ORDERS_URI]
)
def test_an_asset_and_any_other_reference_to_it_are_one(twin: object) -> None:
    for members in (Members([ORDERS], [twin]), Members([twin], [ORDERS])):
        assert len(members.all()) == 1
        assert members.unclear() == []
        assert members.all()[0].ref == EXACT


def test_two_references_of_the_same_kind_are_one_if_they_are_equal() -> None:
    assert len(Members(["orders"], [ORDERS_NAME]).all()) == 1
    assert len(Members([ORDERS_URI], [Asset.ref(uri="s3://data/orders/")]).all()) == 1
    assert len(Members(["orders", "customers"], []).all()) == 2
    assert Members(["orders", "customers"], [ORDERS_NAME]).unclear() == []


def test_the_same_name_with_another_uri_is_another_asset() -> None:
    members = Members([ORDERS, Asset("orders", uri="s3://elsewhere/")], [])

    assert len(members.all()) == 2
    assert members.unclear() == []


def test_the_members_stand_in_the_order_in_which_they_were_first_named() -> None:
    members = Members(["customers", ORDERS_URI], [ORDERS, CUSTOMERS, "more"])

    assert given(members) == ["customers", ORDERS_URI, "more"]


def test_aliases_are_passed_over() -> None:
    assert given(Members([AssetAlias("orders"), ORDERS], [AssetAlias("x", group="g")])) == [ORDERS]


def test_something_that_names_no_asset_is_refused_when_the_container_is_made() -> None:
    with pytest.raises(TypeError, match="7 names no asset"):
        Members([ORDERS], [7])


@pytest.mark.parametrize("inlets", ["orders", b"orders", ORDERS, 7, None])
def test_inlets_that_are_no_list_are_refused(inlets: Any) -> None:
    with pytest.raises(TypeError, match="inlets must be a list of assets, not"):
        Members(inlets, [])


def test_any_iterable_will_do_for_inlets() -> None:
    assert len(Members((each for each in [ORDERS, CUSTOMERS]), {"more": 1}).all()) == 3


# --- what only the daemon can tell


def test_of_a_bare_name_and_a_bare_uri_only_the_daemon_can_tell() -> None:
    members = Members([ORDERS_NAME], [ORDERS_URI])
    assert members.unclear() == [ORDERS_NAME, ORDERS_URI]

    members.learn({ORDERS_NAME: EXACT, ORDERS_URI: EXACT})

    assert members.unclear() == []
    assert given(members) == [ORDERS_NAME]
    assert members.find(ORDERS_URI) == members.find(ORDERS_NAME) == members.all()[0]


def test_they_may_turn_out_to_be_two() -> None:
    members = Members([ORDERS_NAME], [ORDERS_URI])

    members.learn({ORDERS_NAME: AssetRef("orders", "orders"), ORDERS_URI: EXACT})

    assert given(members) == [ORDERS_NAME, ORDERS_URI]


def test_references_that_the_daemon_does_not_know_stay_two() -> None:
    members = Members([ORDERS_NAME], [ORDERS_URI])

    members.learn({ORDERS_NAME: None, ORDERS_URI: None})

    assert members.unclear() == []
    assert len(members.all()) == 2


def test_references_that_an_asset_explains_are_not_asked_about() -> None:
    other = Asset.ref(uri="s3://other/")

    assert Members([ORDERS, ORDERS_NAME], [other]).unclear() == []
    assert Members([ORDERS, ORDERS_URI], [Asset.ref(name="other")]).unclear() == []
    assert Members([ORDERS, ORDERS_URI, "other"], [other]).unclear() == [
        Asset.ref(name="other"),
        other,
    ]


def test_a_name_that_two_assets_bear_is_asked_about() -> None:
    second = Asset("orders", uri="s3://elsewhere/")
    members = Members([ORDERS, second, ORDERS_NAME], [])
    assert members.unclear() == [ORDERS_NAME]

    members.learn({ORDERS_NAME: AssetRef("orders", "s3://elsewhere/")})

    assert given(members) == [ORDERS, second]
    found = members.find(ORDERS_NAME)
    assert found is not None
    assert found.given == second


def test_a_lookup_is_unclear_only_where_it_might_be_a_bare_reference_of_the_other_kind() -> None:
    members = Members([ORDERS_NAME], [])

    assert members.unclear() == []
    assert members.unclear(ORDERS_NAME) == []
    assert members.unclear(EXACT) == []
    assert members.unclear(Asset.ref(name="other")) == []
    assert members.unclear(ORDERS_URI) == [ORDERS_NAME, ORDERS_URI]
    assert Members([ORDERS], []).unclear(Asset.ref(uri="s3://other/")) == []

    members.learn({ORDERS_NAME: EXACT, ORDERS_URI: EXACT})

    assert members.unclear(ORDERS_URI) == []
    assert members.find(ORDERS_URI) == members.all()[0]


def test_an_asset_finds_the_member_that_was_given_by_its_name_or_uri() -> None:
    for ref in (ORDERS_NAME, ORDERS_URI):
        found = Members([ref], []).find(EXACT)
        assert found is not None
        assert found.given == ref
    assert Members(["other"], []).find(EXACT) is None


def test_callers_that_cannot_wait_are_told_to_ask_first() -> None:
    with pytest.raises(RuntimeError, match=r"await asset_store\.resolve"):
        Members([ORDERS_NAME], [ORDERS_URI]).check_clear()


# --- the container around them


def test_a_container_of_assets_needs_no_daemon_for_its_size_its_members_and_its_stores() -> None:
    asset_store = container([ORDERS, "customers"], [ORDERS_URI, ORDERS_NAME])

    assert len(asset_store) == 2
    assert list(asset_store) == [ORDERS, "customers"]
    assert ORDERS in asset_store
    assert "orders" in asset_store
    assert ORDERS_URI in asset_store
    assert "other" not in asset_store
    assert CUSTOMERS in asset_store
    assert len(container()) == 0
    assert repr(asset_store) == "<AssetStore of 'orders' (s3://data/orders/), 'customers'>"


def test_one_asset_has_one_store_however_it_is_asked_for() -> None:
    asset_store = container([ORDERS], [ORDERS_NAME])

    store = asset_store[ORDERS]

    assert all(asset_store[ref] is store for ref in ("orders", ORDERS_NAME, ORDERS_URI, EXACT))
    assert store.asset == EXACT


def test_a_store_is_had_without_asking_even_where_the_size_is_unclear() -> None:
    asset_store = container([ORDERS_NAME], [ORDERS_URI])

    assert asset_store[ORDERS_NAME].asset == ORDERS_NAME
    assert asset_store[ORDERS_URI].asset == ORDERS_URI
    assert asset_store[ORDERS].asset == ORDERS_NAME


def test_an_asset_that_is_not_there_is_a_key_error_that_names_those_that_are() -> None:
    with pytest.raises(KeyError, match=r"'other' is not among the inlets and outlets: 'orders' \("):
        container([ORDERS])["other"]
    with pytest.raises(KeyError, match="inlets and outlets: none"):
        container()["other"]


@pytest.mark.parametrize("thing", [None, 7, object(), AssetAlias("orders")])
def test_something_that_names_no_asset_is_a_type_error(thing: object) -> None:
    asset_store = container([ORDERS])

    with pytest.raises(TypeError):
        asset_store[thing]
    with pytest.raises(TypeError):
        thing in asset_store  # noqa: B015 - the comparison is what is tested


SHORTHAND = [
    ("get", ("k",)),
    ("get_many", (["k"],)),
    ("set", ("k", 1)),
    ("create", ("k", 1)),
    ("set_many", ({"k": 1},)),
    ("delete", ("k",)),
    ("advance", ("k", 1)),
    ("increment", ("k",)),
    ("merge", ("k", {})),
    ("update", ("k", str)),
    ("clear", ()),
    ("entry", ("k",)),
    ("keys", ()),
    ("items", ()),
    ("entries", ()),
    ("count", ()),
    ("history", ("k",)),
    ("watch", ()),
    ("wait_for", ("k",)),
    ("log", ()),
]


@pytest.mark.parametrize(("call", "arguments"), SHORTHAND)
def test_shorthand_without_exactly_one_asset_is_a_value_error_with_their_number(
    call: str, arguments: tuple[object, ...]
) -> None:
    with pytest.raises(ValueError, match=rf"^{call}\(\) .*exactly one.*there are 0 \(none\)"):
        getattr(container([AssetAlias("orders")]), call)(*arguments)
    with pytest.raises(ValueError, match=r"there are 2 \('orders' \(s3://data/orders/\), 'more'\)"):
        getattr(container([ORDERS], [ORDERS_URI, "more"]), call)(*arguments)


def test_rewind_without_exactly_one_asset_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match=r"^rewind\(\) .*exactly one.*there are 0 \(none\)"):
        container().rewind(to=1)


def test_every_call_of_a_store_has_a_shorthand() -> None:
    calls = {name for cls in (Store, StoreJournal) for name in vars(cls) if name[0] != "_"}

    assert calls - {"asset"} == {call for call, _ in SHORTHAND} - {"update"} | {"rewind"}

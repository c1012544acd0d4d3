"""The catalog: which asset a reference names, and what is said where it names none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from assetstore.errors import Damaged, InactiveAsset, InvalidRequest, UnknownAsset
from assetstore.messages import AssetRef
from assetstored import engine
from assetstored.catalog import CatalogWriter, describe
from assetstored.overlay import Overlay
from assetstored.stores import StoreHandles
from assetstored.tables import (
    CATALOG,
    NAMES,
    TRASH,
    AssetState,
    CatalogRow,
    Tables,
    id_key,
    seal_row,
)

#: 2026-01-31T12:00:00Z
SINCE = 1_769_860_800_000_000


class Opened(NamedTuple):
    """A catalog, and what it is about to write."""

    catalog: CatalogWriter
    overlay: Overlay

    def add(
        self,
        asset_id: int,
        name: str,
        uri: str,
        state: AssetState = "active",
        trash_id: int = 0,
    ) -> CatalogRow:
        """An asset, to which its name and uri lead from now on."""
        row = CatalogRow(name, uri, None, state, SINCE, 0, trash_id)
        self.catalog.write(asset_id, row)
        self.catalog.index(asset_id, row, is_new=True)
        return row


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    env = engine.open_for_writing(str(tmp_path))
    with env.begin(write=True) as txn:
        tables = Tables(env, txn, create=True)
    with env.begin(write=True) as txn:
        overlay = Overlay(txn, tables, StoreHandles(env))
        yield Opened(CatalogWriter(overlay), overlay)
    env.close()


@pytest.fixture
def catalog(opened: Opened) -> CatalogWriter:
    """A catalog with orders and customers in it."""
    opened.add(1, "orders", "s3://data/orders/")
    opened.add(2, "customers", "customers")
    return opened.catalog


@pytest.mark.parametrize(
    "ref",
    [
        AssetRef(name="orders"),
        AssetRef(uri="s3://data/orders/"),
        AssetRef("orders", "s3://data/orders/"),
    ],
    ids=describe,
)
def test_an_asset_is_found_by_name_uri_and_both(catalog: CatalogWriter, ref: AssetRef) -> None:
    found = catalog.find(ref)

    assert found is not None
    assert (found[0], found[1].name) == (1, "orders")
    assert catalog.find_active(ref) == found


@pytest.mark.parametrize(
    "ref",
    [
        AssetRef(name="s3://data/orders/"),
        AssetRef(uri="orders"),
        AssetRef("orders", "customers"),
        AssetRef("customers", "s3://data/orders/"),
        AssetRef(name="Orders"),
        AssetRef(name="orders "),
        AssetRef(name="order"),
        AssetRef(name=""),
    ],
    ids=describe,
)
def test_nothing_else_names_it(catalog: CatalogWriter, ref: AssetRef) -> None:
    assert catalog.find(ref) is None
    with pytest.raises(UnknownAsset):
        catalog.find_active(ref)


def test_a_reference_that_names_nothing_is_refused(catalog: CatalogWriter) -> None:
    with pytest.raises(InvalidRequest, match="it has neither name nor uri"):
        catalog.find(AssetRef())


def test_name_and_uri_are_not_run_together(opened: Opened) -> None:
    opened.add(1, "a", "bc")
    opened.add(2, "ab", "c")

    for asset_id, ref in ((1, AssetRef("a", "bc")), (2, AssetRef("ab", "c"))):
        found = opened.catalog.find(ref)
        assert found is not None
        assert found[0] == asset_id


@pytest.mark.parametrize(
    "twins", [("é", "e\u0301"), ("a", "A"), ("x", "x "), ("a", "а"), ("\0", "\0\0")], ids=ascii
)
def test_names_that_look_alike_are_different_assets(opened: Opened, twins: tuple[str, str]) -> None:
    for asset_id, name in enumerate(twins, 1):
        opened.add(asset_id, name, name)

    for asset_id, name in enumerate(twins, 1):
        found = opened.catalog.find(AssetRef(name))
        assert found is not None
        assert (found[0], found[1].name) == (asset_id, name)


def test_names_that_begin_alike_are_told_apart(opened: Opened) -> None:
    names = [f"{'x' * 1_000}{number}{'y' * 400}" for number in range(100)]
    for asset_id, name in enumerate(names, 1):
        opened.add(asset_id, name, f"s3://{name}")

    for asset_id, name in enumerate(names, 1):
        for ref in (AssetRef(name), AssetRef(uri=f"s3://{name}"), AssetRef(name, f"s3://{name}")):
            found = opened.catalog.find(ref)
            assert found is not None
            assert found[0] == asset_id


def test_names_of_1_500_characters_are_found(opened: Opened) -> None:
    name, uri = "😀" * 1_500, "€" * 1_500
    opened.add(1, name, uri)

    assert opened.catalog.find(AssetRef(name, uri)) is not None
    assert opened.catalog.find(AssetRef(name[:-1])) is None


def test_a_name_leads_to_the_one_that_had_it_last(opened: Opened) -> None:
    opened.add(1, "orders", "old", "inactive")
    opened.add(2, "orders", "new")

    assert opened.catalog.find_active(AssetRef("orders"))[0] == 2
    older = opened.catalog.find(AssetRef("orders", "old"))
    assert older is not None
    assert older[0] == 1
    with pytest.raises(InactiveAsset):
        opened.catalog.find_active(AssetRef(uri="old"))


# --- what is said


def test_an_unknown_asset_is_told_from_where_to_look(catalog: CatalogWriter) -> None:
    with pytest.raises(UnknownAsset) as refused:
        catalog.find_active(AssetRef("ordres"))

    assert not isinstance(refused.value, InactiveAsset)
    assert str(refused.value) == (
        "asset 'ordres' is not in the manifest; add it there, or see `assetstore assets` for "
        "what is"
    )


@pytest.mark.parametrize(
    ("ref", "other"),
    [
        (AssetRef("orders", "s3://data/orders"), "'orders' there is name 'orders', uri"),
        (AssetRef("order", "s3://data/orders/"), "with uri 's3://data/orders/' there is name"),
    ],
    ids=["by name", "by uri"],
)
def test_where_half_of_a_reference_fits_the_message_shows_the_whole(
    catalog: CatalogWriter, ref: AssetRef, other: str
) -> None:
    with pytest.raises(UnknownAsset) as refused:
        catalog.find_active(ref)

    message = str(refused.value)
    assert message.startswith(f"asset {ref.name!r} with uri {ref.uri!r} is not in the manifest; ")
    assert other in message
    assert "name 'orders', uri 's3://data/orders/'" in message


def test_an_inactive_asset_is_not_offered_in_place_of_an_unknown_one(opened: Opened) -> None:
    opened.add(1, "orders", "old", "inactive")

    with pytest.raises(UnknownAsset, match="see `assetstore assets`"):
        opened.catalog.find_active(AssetRef("orders", "new"))


@pytest.mark.parametrize(
    ("state", "trash_id", "fate"),
    [
        ("inactive", 5, "its store waits in the trash"),
        ("inactive", 0, "it has no store"),
        ("dropped", 0, "its store has been dropped"),
    ],
)
def test_an_inactive_asset_says_since_when_and_what_became_of_its_store(
    opened: Opened, state: AssetState, trash_id: int, fate: str
) -> None:
    opened.add(1, "orders", "s3://o", state, trash_id)

    with pytest.raises(InactiveAsset) as refused:
        opened.catalog.find_active(AssetRef("orders"))

    assert str(refused.value) == (
        "asset 'orders' (uri 's3://o') is inactive since 2026-01-31T12:00:00+00:00: it left the "
        f"manifest; {fate}. Put it back into the manifest to use it"
    )


# --- damage


def test_an_index_that_leads_to_another_asset_is_damage(
    catalog: CatalogWriter, opened: Opened
) -> None:
    opened.overlay.flush()
    for key, asset_id in opened.overlay.rows(NAMES, b""):
        opened.overlay.put(NAMES, key, id_key(3 - int.from_bytes(asset_id, "big")))

    for ref in (
        AssetRef("orders"),
        AssetRef(uri="customers"),
        AssetRef("orders", "s3://data/orders/"),
    ):
        with pytest.raises(Damaged, match="leads to another asset; stop the daemon and restore"):
            catalog.find(ref)


def test_an_index_that_leads_nowhere_is_damage(catalog: CatalogWriter, opened: Opened) -> None:
    opened.overlay.remove(CATALOG, id_key(1))

    with pytest.raises(Damaged, match="the catalog has no asset 1, which an index names"):
        catalog.find(AssetRef("orders"))
    assert catalog.find(AssetRef("customers")) is not None


def test_a_row_that_was_written_under_another_id_is_damage(opened: Opened) -> None:
    opened.add(1, "orders", "orders")
    stored = opened.overlay.get(CATALOG, id_key(1))
    assert stored is not None
    opened.overlay.put(CATALOG, id_key(2), stored)

    with pytest.raises(Damaged, match="a row of table 'catalog' fails its checksum"):
        opened.catalog.row(2)


def test_a_row_of_another_table_is_damage(opened: Opened) -> None:
    row = opened.add(1, "orders", "orders")
    opened.overlay.put(CATALOG, id_key(1), seal_row(TRASH, id_key(1), row))

    with pytest.raises(Damaged):
        opened.catalog.find(AssetRef("orders"))

"""The command line on the trash: list, restore, purge, and sweep."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon

from assetstore import Client

MakeDaemon: TypeAlias = Callable[..., Daemon]


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


def fill_trash(client: Client, *assets: str) -> list[str]:
    """Clear a store of one entry for each; return the ids in the trash."""
    for asset in assets:
        client.store(asset)["a"] = asset
        client.store(asset).clear()
    return [str(store.id) for store in client.trash()]


def test_the_trash_is_listed_with_reason_and_times(cli: Cli, client: Client) -> None:
    (trash_id,) = fill_trash(client, "orders")

    titles, row = cli("trash", "list").out.splitlines()

    assert titles.split() == ["ID", "NAME", "URI", "WHY", "SINCE", "DROPS", "ENTRIES", "SIZE"]
    assert row.split()[:4] == [trash_id, "orders", "s3://data/orders/", "cleared"]
    (record,) = cli("trash", "list", "--json").records
    assert list(record) == [
        "id",
        "name",
        "uri",
        "reason",
        "since",
        "drops_at",
        "entries",
        "size_bytes",
    ]
    assert (record["id"], record["entries"]) == (int(trash_id), 1)


def test_an_empty_trash_is_no_output_at_all(cli: Cli) -> None:
    assert cli("trash", "list") == (0, "", "")
    assert cli("trash", "list", "--json") == (0, "", "")


def test_restore_gives_a_cleared_store_back(cli: Cli, client: Client) -> None:
    (trash_id,) = fill_trash(client, "orders")

    assert cli("trash", "restore", trash_id, "--yes") == (0, "1 entry is back in orders\n", "")

    assert client.store("orders")["a"] == "orders"
    assert list(client.trash()) == []


def test_restore_as_json(cli: Cli, client: Client) -> None:
    (trash_id,) = fill_trash(client, "orders")

    assert cli("--json", "trash", "restore", trash_id, "--yes").records == [
        {"name": "orders", "uri": "s3://data/orders/", "count": 1}
    ]


def test_what_is_not_in_the_trash_cannot_be_restored(cli: Cli) -> None:
    refused = cli("trash", "restore", "4711", "--yes")

    assert (refused.code, refused.out) == (1, "")
    assert "4711" in refused.err


def test_what_waits_for_its_asset_is_not_restored_but_said_to_come_back(
    cli: Cli, daemon: Daemon, client: Client
) -> None:
    client.store("orders")["a"] = 1
    daemon.activate("customers")
    (trashed,) = client.trash()

    refused = cli("trash", "restore", str(trashed.id), "--yes")

    assert (refused.code, refused.out) == (1, "")
    assert "put it back into the manifest" in refused.err
    assert cli("mv", "orders", "customers").out == "1 entry moved to 'customers'\n"


@pytest.mark.parametrize("given", ["x", "-1", "1.5", "99999999999999999999"])
def test_an_id_that_cannot_be_one_is_wrong_usage(cli: Cli, given: str) -> None:
    assert cli("trash", "restore", given, "--yes").code == 2


def test_purge_drops_the_stores_that_are_named(cli: Cli, client: Client) -> None:
    first, second = fill_trash(client, "orders", "customers")

    assert cli("trash", "purge", first, "--yes") == (0, "1 store dropped\n", "")

    assert [str(store.id) for store in client.trash()] == [second]


def test_purge_all_drops_everything_that_is_there(cli: Cli, client: Client) -> None:
    fill_trash(client, "orders", "customers")

    assert cli("trash", "purge", "--all", "--yes", "--json").records == [{"count": 2}]
    assert list(client.trash()) == []
    assert cli("trash", "purge", "--all", "--yes") == (0, "0 stores dropped\n", "")


def test_purge_drops_nothing_if_one_of_the_ids_is_wrong(cli: Cli, client: Client) -> None:
    (trash_id,) = fill_trash(client, "orders")

    refused = cli("trash", "purge", trash_id, "4711", "--yes")

    assert refused.code == 1
    assert "not in the trash: 4711; nothing was dropped" in refused.err
    assert len(list(client.trash())) == 1


def test_purge_wants_to_know_what(cli: Cli) -> None:
    assert cli("trash", "purge", "--yes").code == 2
    assert cli("trash", "purge", "1", "--all", "--yes").code == 2


def test_a_sweep_spares_what_is_within_its_grace(cli: Cli, client: Client) -> None:
    fill_trash(client, "orders")

    assert cli("sweep", "--dry-run") == (0, "", "")
    assert cli("sweep", "--yes") == (0, "", "")
    assert len(list(client.trash())) == 1


def test_a_sweep_drops_what_is_past_its_grace(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon(grace="0s", sweep_interval="1d").start()
    cli = Cli(daemon.socket)
    with daemon.client() as client:
        (trash_id,) = fill_trash(client, "orders")

        due = cli("sweep", "--dry-run", "--json").records
        assert len(list(client.trash())) == 1
        swept = cli("sweep", "--yes", "--json").records

        assert [record["id"] for record in due] == [int(trash_id)]
        assert swept == due
        assert list(client.trash()) == []


@pytest.mark.parametrize(
    "command", [["sweep"], ["trash", "restore", "1"], ["trash", "purge", "1"]], ids=" ".join
)
def test_without_a_terminal_what_cannot_be_undone_needs_yes(
    cli: Cli, client: Client, command: list[str]
) -> None:
    fill_trash(client, "orders")

    refused = cli(*command, stdin="y\n")

    assert (refused.code, refused.out) == (2, "")
    assert "give --yes" in refused.err
    assert len(list(client.trash())) == 1

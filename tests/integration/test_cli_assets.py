"""The command line on assets and the daemon as such: assets, status, mv."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon
from tests.support.users import ALICE, BOB, needs_root, open_to_all, run_as

from assetstore import Client


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


# --- assets


def test_active_assets_are_listed_by_name_with_uri_group_state_and_entries(
    cli: Cli, client: Client
) -> None:
    client.store("orders").update({"a": 1, "b": 2})

    titles, customers, orders = cli("assets").out.splitlines()

    assert titles.split() == ["NAME", "URI", "GROUP", "STATE", "ENTRIES", "SINCE"]
    assert orders.split()[:5] == ["orders", "s3://data/orders/", "sales", "active", "2"]
    assert customers.split()[:5] == ["customers", "customers", "-", "active", "0"]


def test_assets_as_json_have_stable_fields(cli: Cli) -> None:
    _, orders = cli("assets", "--json").records

    assert list(orders) == ["name", "uri", "group", "state", "entries", "since"]
    assert orders["since"].endswith("Z")
    assert (orders["name"], orders["group"], orders["entries"]) == ("orders", "sales", 0)


def test_a_pattern_fits_the_whole_name_or_uri(cli: Cli) -> None:
    def names(*args: str) -> list[str]:
        return [record["name"] for record in cli("assets", "--json", *args).records]

    assert names("orders") == ["orders"]
    assert names("order") == []
    assert names("*er*") == ["customers", "orders"]
    assert names("s3://*") == ["orders"]
    assert names("ORDERS") == []


def test_inactive_assets_are_listed_on_demand(cli: Cli, daemon: Daemon, client: Client) -> None:
    client.store("orders")["a"] = 1
    daemon.activate("customers")

    def states(*args: str) -> dict[str, str]:
        return {each["name"]: each["state"] for each in cli("assets", "--json", *args).records}

    assert states() == {"customers": "active"}
    assert states("--inactive") == {"orders": "inactive"}
    assert states("--all") == {"orders": "inactive", "customers": "active"}
    assert cli("assets", "--all", "--inactive").code == 2


# --- status


def test_status_shows_health_manifest_space_and_trash(cli: Cli, daemon: Daemon) -> None:
    shown = cli("status")

    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert lines[0] == "health: ok"
    page = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines[2:]}
    assert list(page) == [
        "daemon",
        "socket",
        "store",
        "space",
        "manifest",
        "assets",
        "trash",
        "journal",
        "load",
        "you",
    ]
    assert page["socket"] == str(daemon.socket)
    assert page["manifest"].startswith(f"{daemon.manifest}, accepted ")
    assert page["assets"].startswith("2 active")
    assert "grace 7 days" in page["trash"]
    assert re.fullmatch(r"\d+ events, .*iB, whole from the beginning on", page["journal"])
    assert "free on the disk" in page["space"]
    assert page["you"] == f"uid {os.geteuid()}, may do everything"


@needs_root
def test_status_tells_users_what_they_may_do(make_daemon: Callable[..., Daemon]) -> None:
    alice = {"read": ["c*"], "write": ["orders"]}
    daemon = make_daemon(access={"user": {str(ALICE): alice}, "everyone": {"read": ["x"]}})
    daemon.config["readonly_socket"] = str(daemon.socket.parent / "r")
    with daemon:
        open_to_all(daemon.socket)
        open_to_all(daemon.socket.parent / "r")

        def shown(uid: int, socket: str) -> str:
            page = run_as(uid, lambda: Cli(daemon.socket.parent / socket)("status").out)
            (line,) = [line for line in page.splitlines() if line.startswith("you ")]
            return line.removeprefix("you").strip()

        assert shown(ALICE, "s") == f"uid {ALICE}, may read c*; write orders; read x"
        assert shown(BOB, "r") == f"uid {BOB}, may read x, through the socket for reading only"
        sockets = f"{daemon.socket}; for reading {daemon.socket.parent}/r"
        assert sockets in Cli(daemon.socket)("status").out


def test_status_as_json_is_the_whole_report_with_times_as_times(cli: Cli, daemon: Daemon) -> None:
    (record,) = cli("status", "--json").records

    report = daemon.status()
    assert set(record) == set(report)
    assert set(record["manifest"]) == set(report["manifest"])
    assert record["manifest"]["accepted_at"].endswith("Z")
    assert record["pid"] == report["pid"]


def test_a_degraded_daemon_is_reachable_and_says_what_is_wrong(cli: Cli, daemon: Daemon) -> None:
    daemon.manifest.write_text("{")
    cli("manifest", "reload")

    shown = cli("status")

    assert shown.code == 0
    assert shown.out.startswith("health: degraded\n  ! ")
    assert "the manifest is invalid" in shown.out
    assert "Next: mend the file" in shown.out
    assert cli("status", "--json").records[0]["health"] == "degraded"


# --- mv


def test_mv_keeps_the_entries_of_an_asset_that_got_another_uri(
    cli: Cli, daemon: Daemon, client: Client
) -> None:
    revision = client.store("orders").set("watermark", "2026-01-31")
    daemon.activate({"name": "orders", "uri": "s3://new/orders/"}, "customers")

    moved = cli(
        "mv", "orders", "orders", "--source-uri", "s3://data/orders/",
        "--target-uri", "s3://new/orders/",
    )  # fmt: skip

    assert moved == (0, "1 entry moved to 'orders' (s3://new/orders/)\n", "")
    entry = client.store("orders").entry("watermark")
    assert entry is not None
    assert (entry.value, entry.revision) == ("2026-01-31", revision)


@pytest.mark.parametrize(
    "words",
    [
        ["orders", "customers"],
        ["--source-uri", "s3://data/orders/", "customers"],
        ["orders", "--target-uri", "customers"],
        ["--source-uri", "s3://data/orders/", "--target-uri", "customers"],
    ],
    ids=["names", "source by uri", "target by uri", "uris"],
)
def test_source_and_target_are_named_by_name_or_uri(
    cli: Cli, client: Client, words: list[str]
) -> None:
    client.store("orders")["a"] = 1

    assert cli("mv", *words, "--json").records == [{"count": 1}]
    assert dict(client.store("customers")) == {"a": 1}


@pytest.mark.parametrize("words", [[], ["orders"], ["a", "b", "c"], ["--source-uri", "u"]])
def test_mv_needs_a_source_and_a_target(cli: Cli, words: list[str]) -> None:
    refused = cli("mv", *words)

    assert refused.code == 2
    assert "a source and a target" in refused.err


def test_mv_spares_a_target_that_holds_entries_unless_told_to_replace(
    cli: Cli, client: Client
) -> None:
    client.store("orders")["a"] = "source"
    client.store("customers")["a"] = "target"

    assert cli("mv", "orders", "customers").code == 1
    assert cli("mv", "orders", "customers", "--replace").code == 2
    assert client.store("customers")["a"] == "target"

    assert cli("mv", "orders", "customers", "--replace", "--yes").code == 0

    assert client.store("customers")["a"] == "source"
    (trashed,) = client.trash()
    assert (trashed.name, trashed.reason) == ("customers", "replaced")

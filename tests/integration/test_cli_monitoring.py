"""The command line for monitoring systems: metrics, and check with its verdicts and exit codes."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.command import Cli
from tests.support.daemon import Daemon

from assetstore import Client
from assetstore_cli.freshness import judge

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


def test_metrics_are_printed_as_a_scraper_reads_them(cli: Cli, client: Client) -> None:
    client.store("orders").set("k", 1)

    ran = cli("metrics")

    names = [family.name for family in text_string_to_metric_families(ran.out)]
    assert "assetstore_request_duration_seconds" in names
    assert not ran.out.endswith("\n\n")
    assert list(text_string_to_metric_families(cli("metrics", "--json").records[0]["text"]))


@pytest.mark.parametrize(
    ("age_s", "state", "shown"),
    [(7_199.9, "fresh", 7_199.9), (7_200.0, "fresh", 7_200.0), (7_200.1, "old", 7_200.1),
     (-50.0, "fresh", 0.0)],
)  # fmt: skip
def test_a_key_is_old_beyond_the_limit_and_never_from_the_future(
    age_s: float, state: str, shown: float
) -> None:
    assert judge(NOW - timedelta(seconds=age_s), NOW, 7_200.0) == (state, shown)


def test_fresh_keys_are_ok(cli: Cli, client: Client) -> None:
    client.store("orders").set("watermark", 1)
    client.store("customers").set("watermark", 1)

    ran = cli("check", "--max-age", "1h", "*:watermark")

    assert (ran.code, ran.out, ran.err) == (0, "OK: 2 keys written within 1 h\n", "")


def test_an_old_key_a_missing_one_and_a_pattern_without_an_asset_are_told_with_exit_code_1(
    cli: Cli, client: Client
) -> None:
    client.store("orders").set_many({"watermark": 1, "state/1": 1})

    ran = cli("check", "--max-age", "0s", "*:watermark", "nobody:k", "customers:state/*")

    assert ran.code == 1
    *others, old = ran.out.splitlines()
    assert others == [
        "STALE: 4 of 4 not written within 0 s, or missing",
        "NO MATCH  nobody:k: no active asset fits",
        "MISSING  customers  watermark",
        "MISSING  customers: no key fits customers:state/*",
    ]
    assert re.fullmatch(r"OLD  orders  watermark  \d+ s old", old)


def test_as_json_there_is_a_line_for_each_key_with_stable_fields(cli: Cli, client: Client) -> None:
    client.store("orders").set("watermark", 1)

    ran = cli("check", "--json", "--max-age", "1h", "*:watermark", "nobody:k")

    assert ran.code == 1
    customers, orders, nobody = sorted(ran.records, key=lambda each: each["name"] or "x")
    assert list(orders) == ["pattern", "state", "name", "uri", "key", "updated_at", "age_s"]
    assert (orders["state"], orders["uri"]) == ("fresh", "s3://data/orders/")
    assert 0 <= orders["age_s"] < 60
    assert (customers["state"], customers["key"], customers["age_s"]) == (
        "missing",
        "watermark",
        None,
    )
    assert (nobody["state"], nobody["name"], nobody["key"]) == ("no match", None, None)


def test_with_uri_patterns_are_for_uris(cli: Cli, client: Client) -> None:
    client.store("orders").set("part:1", 1)

    assert cli("check", "--max-age", "1h", "--uri", r"s3://data/*:part\:1").code == 0
    assert cli("check", "--max-age", "1h", r"s3://data/*:part\:1").code == 1
    assert cli("check", "--max-age", "1h", "--uri", "orders:*").code == 1


def test_inactive_assets_are_not_looked_at(cli: Cli, client: Client, daemon: Daemon) -> None:
    client.store("orders").set("watermark", 1)
    client.store("customers").set("watermark", 1)
    daemon.activate("customers")

    assert cli("check", "--max-age", "90m", "*:watermark").out == (
        "OK: 1 key written within 90 min\n"
    )
    assert cli("check", "--max-age", "1h", "orders:watermark").code == 1


def test_more_than_one_answer_can_hold_is_asked_for_in_parts(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    for number in range(17):
        store.set(f"large-{number}", "x" * 1_000_000)
    store.set_many({f"k{number}": 1 for number in range(1_000)})
    store.set_many({f"k{number}": 1 for number in range(1_000, 1_200)})

    ran = cli("check", "--max-age", "1h", "orders:*")

    assert (ran.code, ran.out) == (0, "OK: 1,217 keys written within 1 h\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-age", "1h"],
        ["orders:k"],
        ["--max-age", "1h", "orders"],
        ["--max-age", "1", "orders:k"],
        ["--max-age", "2h ago", "orders:k"],
        ["--max-age", "1h", "orders:k\\"],
    ],
)
def test_a_wrong_pattern_or_age_is_wrong_usage(cli: Cli, arguments: list[str]) -> None:
    ran = cli("check", *arguments)

    assert ran.code == 2
    assert ran.out == ""


def test_without_a_daemon_nothing_is_fresh(tmp_path_factory: pytest.TempPathFactory) -> None:
    nobody = Cli(tmp_path_factory.mktemp("nobody") / "s")

    assert nobody("check", "--max-age", "1h", "--timeout", "0.2", "*:*").code == 4


def test_a_key_that_is_damaged_is_not_fresh_and_the_rest_is_looked_at(
    starter: None, tmp_path: Path
) -> None:
    own = Daemon(tmp_path)
    own.set_manifest("orders", "customers")
    with own:
        with own.client() as client:
            client.store("orders").set("k", "distinctive")
            client.store("customers").set("k", "fine")
        own.stop()
        file = own.data_dir / "data.mdb"
        file.write_bytes(file.read_bytes().replace(b'"distinctive"', b'"distinctivf"'))
        own.start()
        cli = Cli(own.socket)

        exactly = cli("check", "--max-age", "1h", "*:k")
        listed = cli("check", "--max-age", "1h", "*:*")

    assert (exactly.code, listed.code) == (1, 1)
    head = "STALE: 1 of 2 not written within 1 h, or missing"
    assert exactly.out.splitlines() == [head, "DAMAGED  orders  k"]
    assert listed.out.splitlines()[1].startswith("DAMAGED  orders")
    assert listed.out.splitlines()[0] == head

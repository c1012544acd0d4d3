"""The command line on the manifest: check, diff, reload, accept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


def write(path: Path, *assets: object, **fields: object) -> str:
    path.write_text(json.dumps({"version": 1, "assets": assets, **fields}))
    return str(path)


@pytest.fixture
def offline(tmp_path: Path) -> Cli:
    """The command where no daemon is."""
    return Cli(tmp_path / "nobody")


# --- check


def test_check_needs_no_daemon(offline: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", "a", {"name": "b", "uri": "s3://b/"})

    assert offline("manifest", "check", path) == (0, f"{path}: valid, 2 assets\n", "")


def test_check_as_json(offline: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", "a")

    (record,) = offline("manifest", "check", path, "--json").records

    assert list(record) == ["file", "assets", "digest"]
    assert (record["file"], record["assets"]) == (path, 1)


def test_check_takes_toml_by_its_suffix(offline: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('version = 1\nassets = ["a", "b"]\n')

    assert offline("manifest", "check", str(path)).out == f"{path}: valid, 2 assets\n"


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ('{"version": 1,\n "assets": ["a", "a"]}', "assets[1] (line 2)", "same name 'a'"),
        ('{"version": 1,\n "assets": [\n {"name": "a", "url": "x"}]}', "line 3", "url"),
        ('{"version": 1,\n "assets": [7]}', "line 2", "assets[0]"),
        ('{"version": 1,\n "assets": [', "line 2", ""),
        ("", "", "empty"),
        ('{"version": 1, "assets": []}', "", '"allow_empty": true'),
    ],
)
def test_check_names_file_line_and_field(
    offline: Cli, tmp_path: Path, text: str, place: str, why: str
) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)

    refused = offline("manifest", "check", str(path))

    assert (refused.code, refused.out) == (1, "")
    assert str(path) in refused.err
    assert place in refused.err
    assert why in refused.err


def test_check_of_a_file_that_is_not_there(offline: Cli, tmp_path: Path) -> None:
    path = tmp_path / "nope.json"

    assert offline("manifest", "check", str(path)) == (
        1,
        "",
        f"Error: {path}: No such file or directory\n",
    )


def test_check_without_a_file_takes_that_of_the_daemon(cli: Cli, daemon: Daemon) -> None:
    assert cli("manifest", "check").out == f"{daemon.manifest}: valid, 2 assets\n"


def test_check_without_a_file_and_without_a_daemon_says_what_to_do(offline: Cli) -> None:
    refused = offline("--timeout", "0.1", "manifest", "check")

    assert refused.code == 4
    assert "with FILE no daemon is needed" in refused.err


# --- diff


def test_diff_shows_what_would_change(cli: Cli, tmp_path: Path) -> None:
    path = write(
        tmp_path / "m.json",
        {"name": "orders", "uri": "s3://data/orders/", "group": "finance"},
        {"name": "returns", "uri": "s3://data/returns/"},
    )

    shown = cli("manifest", "diff", path)

    assert shown == (
        0,
        "- customers\n"
        "+ returns  s3://data/returns/\n"
        "~ orders  s3://data/orders/ now in group finance\n"
        "1 to activate, 1 of 2 active to deactivate, 1 to regroup.\n"
        "It would be applied.\n",
        "",
    )


def test_diff_of_what_is_active_already(cli: Cli) -> None:
    assert cli("manifest", "diff") == (0, "No change: 2 assets active.\n", "")


def test_diff_as_json(cli: Cli, tmp_path: Path) -> None:
    path = write(tmp_path / "m.json", "customers")

    assert cli("manifest", "diff", path, "--json").records == [
        {"change": "deactivate", "name": "orders", "uri": "s3://data/orders/", "group": "sales"},
        {"verdict": "accept", "activates": 0, "deactivates": 1, "regroups": 0, "active": 2},
    ]


def test_diff_says_what_would_be_held(cli: Cli, daemon: Daemon, tmp_path: Path) -> None:
    daemon.activate("a", "b", "c", "d")
    path = write(tmp_path / "m.json", "a")

    shown = cli("manifest", "diff", path)

    assert shown.code == 1
    assert "3 of 4 active to deactivate" in shown.out
    assert "It would be held: it deactivates more than 50% of the active assets." in shown.out


# --- reload


def test_reload_waits_until_the_manifest_is_applied(cli: Cli, daemon: Daemon) -> None:
    daemon.set_manifest("orders", "customers", "returns")

    reloaded = cli("manifest", "reload")

    assert reloaded.code == 0
    assert reloaded.out.startswith("accepted: 3 assets active, digest ")
    assert cli("set", "returns", "a", "1").code == 0


def test_reload_of_an_invalid_manifest_changes_nothing(cli: Cli, daemon: Daemon) -> None:
    daemon.manifest.write_text('{"version": 1, "assets": ["a", "a"]}')

    refused = cli("manifest", "reload")

    assert (refused.code, refused.out) == (1, "")
    assert "the manifest is invalid, and the last accepted one stays" in refused.err
    assert "same name 'a'" in refused.err
    assert "Next: " in refused.err
    assert cli("set", "orders", "a", "1").code == 0


def test_reload_of_a_manifest_that_is_gone_changes_nothing(cli: Cli, daemon: Daemon) -> None:
    daemon.manifest.unlink()

    refused = cli("manifest", "reload")

    assert refused.code == 1
    assert "the manifest is missing, and the last accepted one stays" in refused.err
    assert len(cli("assets", "--json").records) == 2


def test_reload_as_json(cli: Cli, daemon: Daemon) -> None:
    (record,) = cli("manifest", "reload", "--json").records
    daemon.manifest.write_text("{")
    invalid = cli("manifest", "reload", "--json")

    assert list(record) == [
        "path",
        "state",
        "reason",
        "accepted_at",
        "digest",
        "held",
        "assets_active",
    ]
    assert (record["state"], record["assets_active"]) == ("accepted", 2)
    assert invalid.code == 1
    assert invalid.records[0]["state"] == "invalid"
    assert invalid.records[0]["digest"] == record["digest"]


# --- accept


@pytest.fixture
def held(daemon: Daemon) -> Daemon:
    """A daemon that holds a manifest back, which would leave one asset of four."""
    daemon.activate("a", "b", "c", "d")
    assert daemon.activate("a")["manifest"]["state"] == "held"
    return daemon


def test_a_held_manifest_is_reported_with_the_next_command(cli: Cli, held: Daemon) -> None:
    refused = cli("manifest", "reload")

    assert refused.code == 1
    assert "held" in refused.err
    assert "assetstore manifest accept" in refused.err
    assert "assetstore manifest accept" in cli("status").out
    assert len(cli("assets", "--json").records) == 4


def test_accept_applies_what_is_held(cli: Cli, held: Daemon) -> None:
    accepted = cli("manifest", "accept", "--yes")

    assert accepted.code == 0
    assert accepted.out.startswith("accepted: 1 asset active, digest ")
    assert [record["name"] for record in cli("assets", "--json").records] == ["a"]


def test_accept_without_a_terminal_needs_yes(cli: Cli, held: Daemon) -> None:
    assert cli("manifest", "accept", stdin="y\n").code == 2
    assert len(cli("assets", "--json").records) == 4


def test_accept_with_nothing_held_is_refused(cli: Cli) -> None:
    refused = cli("manifest", "accept", "--yes")

    assert refused == (1, "", "Error: no manifest is held; it is accepted\n")

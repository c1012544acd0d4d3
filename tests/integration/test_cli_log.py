"""The command line on the journal as a whole: log, and log --follow."""

from __future__ import annotations

import json
import re
import threading
from typing import Any

import pytest
from tests.support.command import COMMAND, Cli, Terminal
from tests.support.daemon import Daemon

from assetstore import Client, Writer


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


@pytest.fixture
def since(daemon: Daemon) -> str:
    """Where the log of this test begins."""
    return str(daemon.status()["revision"] + 1)


# --- what was


def test_the_log_says_who_changed_what_oldest_first(
    cli: Cli, daemon: Daemon, client: Client, since: str
) -> None:
    with daemon.client(writer=Writer("task", "sales", "r1", "load", -1)) as task:
        task.store("orders").set("watermark", "2026-01-31")
    client.store("customers").increment("rows")
    del client.store("orders")["watermark"]

    titles, *rows = cli("log", "--since", since).out.splitlines()

    assert titles.split() == ["REVISION", "KIND", "UPDATED", "ASSET", "KEY", "BY", "VALUE"]
    assert [row.split()[:2] for row in rows] == [
        [since, "set"],
        [str(int(since) + 1), "increment"],
        [str(int(since) + 2), "delete"],
    ]
    assert re.search(
        r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ  orders +watermark +"
        r'task sales\.load r1 uid \d+ pid \d+ +"2026-01-31"$',
        rows[0],
    )
    assert re.search(r" customers +rows +worker uid \d+ pid \d+ +1$", rows[1])
    assert rows[2].endswith("  -")


def test_what_happened_to_assets_stands_in_the_log(
    cli: Cli, daemon: Daemon, client: Client, since: str
) -> None:
    client.store("orders")["a"] = 1
    client.store("orders").clear()
    (cleared,) = client.trash()
    client.restore(cleared.id)
    client.move("orders", "customers")
    daemon.activate("customers")
    client.store("customers").clear()
    client.purge([store.id for store in client.trash()])

    events = cli("log", "--since", since, "--json").records

    assert list(events[0]) == [
        "revision", "kind", "name", "uri", "key", "value", "detail", "updated_at", "updated_by",
        "previous", "origin_updated_at", "origin_updated_by",
    ]  # fmt: skip
    told = [(event["kind"], event["name"], event["detail"]) for event in events]
    assert told[:2] == [("set", "orders", None), ("clear", "orders", {"entries": 1})]
    assert {(kind, name) for kind, name, _ in told[2:]} == {
        ("restored", "orders"),
        ("moved", "orders"),
        ("moved", "customers"),
        ("deactivated", "orders"),
        ("manifest", None),
        ("clear", "customers"),
        ("dropped", "customers"),
    }
    assert [event["revision"] for event in events] == sorted(e["revision"] for e in events)
    assert events[-1]["updated_by"]["kind"] == "worker"
    (manifest,) = (event for event in events if event["kind"] == "manifest")
    assert (manifest["uri"], manifest["key"]) == (None, None)
    assert manifest["updated_by"]["kind"] == "daemon"


def test_the_last_20_are_shown_unless_more_or_fewer_are_asked_for(
    cli: Cli, client: Client, since: str
) -> None:
    client.store("orders").set_many({f"k{number}": number for number in range(25)})

    def values(*args: str) -> list[int]:
        return [each["value"] for each in cli("log", "orders", "--json", *args).records]

    assert values() == list(range(5, 25))
    assert values("-n", "3") == [22, 23, 24]
    assert values("--limit", "22") == list(range(3, 25))
    assert values("-n", "0") == []
    assert values("--since", since) == list(range(25))
    assert values("--since", since, "-n", "2") == [23, 24]
    assert len(cli("log", "orders").out.splitlines()) == 1 + 20


def test_a_person_is_told_of_older_ones(cli: Cli, client: Client, since: str) -> None:
    client.store("orders").set_many({"a": 1, "b": 2})

    with cli.terminal("log", "orders", "-n", "1") as terminal:
        assert terminal.end().out.endswith(
            "(there are older ones: -n N or --since WHEN shows more)\n"
        )
    with cli.terminal("log", "orders", "--since", since) as terminal:
        assert "older" not in terminal.end().out
    assert "older" not in cli("log", "orders", "-n", "1").err


def test_one_key_is_not_its_prefix(cli: Cli, client: Client, since: str) -> None:
    client.store("orders").set_many({"p": 1, "p/1": 2, "q": 3})
    client.store("customers").set_many({"p": 4, "x": 5})
    client.store("orders").clear()

    def values(*args: str) -> list[int]:
        return [each["value"] for each in cli("log", "--json", "--since", since, *args).records]

    assert values("orders", "--key", "p") == [1]
    assert values("orders", "--prefix", "p") == [1, 2]
    assert values("orders", "--key", "p/") == []
    assert values("--key", "p") == [1, 4]
    assert values("--prefix", "p", "-n", "2") == [2, 4]
    assert values("--uri", "s3://data/orders/", "--prefix", "q") == [3]


def test_since_is_a_time_or_an_age_too(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    store["a"] = 1
    store["b"] = 2
    entry = store.entry("b")
    assert entry is not None

    (only,) = cli("log", "orders", "--since", entry.updated_at.isoformat(), "--json").records

    assert only["key"] == "b"
    assert cli("log", "orders", "--since", "0s") == (0, "", "")
    assert len(cli("log", "orders", "--since", "1h", "--json").records) >= 2


def test_the_log_of_an_asset_that_has_left_the_manifest_is_still_there(
    cli: Cli, daemon: Daemon, client: Client, since: str
) -> None:
    client.store("orders")["a"] = 1
    client.store("customers")["a"] = 2
    daemon.activate("customers")

    events = cli("log", "orders", "--since", since, "--json").records

    assert [event["kind"] for event in events] == ["set", "deactivated"]
    assert len(cli("log", "--uri", "s3://data/orders/", "-n", "1", "--json").records) == 1


def test_without_any_a_person_is_told_and_a_program_sees_nothing(cli: Cli, since: str) -> None:
    assert cli("log", "--since", since) == (0, "", "")
    with cli.terminal("log", "--since", since) as terminal:
        assert terminal.end() == (0, "(no changes)\n", "")


@pytest.mark.parametrize(
    ("args", "code", "why"),
    [
        (["nosuch"], 1, "'nosuch'"),
        (["orders", "extra"], 2, "'extra' is one argument too many"),
        (["--key", "a", "--prefix", "b"], 2, "exclude each other"),
        (["--key", ""], 1, "key is empty"),
        (["-n", "-1"], 2, "'-n'"),
        (["-n", "x"], 2, "'-n'"),
        (["--since", "tomorrow"], 2, "names no moment"),
        (["--since", "9999-01-01T00:00:00Z"], 2, "still to come"),
    ],
)
def test_what_cannot_be_logged_is_refused(cli: Cli, args: list[str], code: int, why: str) -> None:
    refused = cli("log", *args)

    assert (refused.code, refused.out) == (code, "")
    assert why in refused.err


# --- what comes


def follow(cli: Cli, *args: str, head: str = "cat") -> Terminal:
    """Follow as JSON into a pipe, from the last event on; at its end, how it ended is shown."""
    command = " ".join([*COMMAND, "log", "--follow", "--json", *args])
    script = f"{command} | {head}; echo code ${{PIPESTATUS[0]}}"
    return Terminal(["bash", "-c", script], 80, cli.env)


def events_in(shown: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in shown.splitlines() if line.startswith("{")]


def test_follow_goes_on_with_what_comes_until_ctrl_c(cli: Cli, client: Client) -> None:
    client.store("orders")["before"] = 1

    with cli.terminal("log", "orders", "-n", "1", "--follow", columns=120) as terminal:
        terminal.read_until("before")
        client.store("customers")["elsewhere"] = 2
        client.store("orders")["after"] = "x" * 500
        terminal.read_until("after")
        client.store("orders").clear()
        terminal.read_until("clear")
        terminal.press("\x03")
        shown = terminal.end()

    assert shown.code == 130
    lines = re.sub(r"\x1b\[[0-9;]*m", "", shown.out).replace("^C", "").strip().splitlines()
    assert [line.split()[1] for line in lines] == ["KIND", "set", "set", "clear"]
    assert "elsewhere" not in shown.out
    assert max(map(len, lines)) <= 120
    assert lines[2].endswith("xx…")
    # A line stays on the screen, so its time does not depend on when it is read.
    assert all(re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", line) for line in lines[1:])


def test_follow_misses_nothing_across_a_restart(cli: Cli, daemon: Daemon, client: Client) -> None:
    first = client.store("orders").set("n", 0)

    with follow(cli, "-n", "1") as terminal:
        terminal.read_until('"n"')
        client.store("orders").set("n", 1)
        daemon.restart()
        client.store("customers").set("n", 2)
        shown = terminal.read_line('"value":2')

    events = events_in(shown)
    assert [event["revision"] for event in events] == list(range(first, first + len(events)))
    assert [event["value"] for event in events if event["key"]] == [0, 1, 2]


def test_between_what_was_and_what_comes_nothing_is_missed(cli: Cli, daemon: Daemon) -> None:
    with daemon.client() as writer:
        store = writer.store("orders")
        first = store.set("n", 0)
        done = threading.Event()

        def write() -> None:
            while not done.is_set():
                store.increment("n")
            store.set("last", 1)

        thread = threading.Thread(target=write)
        thread.start()
        try:
            with follow(cli, "--since", str(first)) as terminal:
                terminal.read_until('"value":1,')
                shown_early = terminal.shown
                done.set()
                shown = terminal.read_line('"last"')
        finally:
            done.set()
            thread.join()

    assert shown.startswith(shown_early)
    revisions = [event["revision"] for event in events_in(shown)]
    assert revisions == list(range(first, first + len(revisions)))


def test_a_reader_that_goes_away_ends_it_quietly(cli: Cli, client: Client) -> None:
    client.store("orders")["n"] = 0

    with follow(cli, "-n", "1", head="{ head -n 2; exec <&-; echo gone; }") as terminal:
        terminal.read_until('"n"')
        client.store("orders")["n"] = 1
        # Once nobody has the pipe open any more; else what comes might be lost in it.
        terminal.read_until("gone")
        client.store("orders")["n"] = 2
        shown = terminal.end()

    *events, gone, end = shown.out.splitlines()
    assert len(events) == 2
    assert (gone, end) == ("gone", "code 141")


def test_an_asset_that_leaves_the_manifest_is_followed_there_and_back(
    cli: Cli, daemon: Daemon, client: Client
) -> None:
    client.store("orders")["n"] = 0

    with follow(cli, "orders", "-n", "1") as terminal:
        terminal.read_until('"n"')
        daemon.activate("customers")
        terminal.read_until("deactivated")
        client.store("customers")["n"] = 1
        daemon.activate("customers", {"name": "orders", "uri": "s3://data/orders/"})
        client.store("orders")["m"] = 2
        shown = terminal.read_line('"m"')

    assert [event["kind"] for event in events_in(shown)] == [
        "set", "deactivated", "activated", "set",
    ]  # fmt: skip


def test_a_daemon_that_stays_away_ends_it_and_it_says_where_to_go_on(
    cli: Cli, daemon: Daemon, client: Client
) -> None:
    revision = client.store("orders").set("n", 0)

    with follow(cli, "-n", "1", "--timeout", "0.5") as terminal:
        terminal.read_until('"n"')
        daemon.stop()
        shown = terminal.end()
        daemon.start()

    assert f"(nothing is missed if it is begun again with --since {revision + 1})" in shown.out
    assert "no connection to the daemon" in shown.out
    assert shown.out.endswith("code 4\n")

"""The command line on what was, and the way back: get --at, history, rewind."""

from __future__ import annotations

import re

import pytest
from tests.support.command import DEADLINE_S, Cli, Ran
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import Client, Writer

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


# --- get --at


def test_a_value_of_the_past_is_named_by_revision_time_or_age(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    revision = store.set("past", {"n": 1})
    entry = store.entry("past")
    assert entry is not None
    store.set("past", "two")
    at = entry.updated_at.isoformat()

    for when in (str(revision), at, at.replace("+00:00", "Z").replace("T", " ")):
        assert cli("get", "orders", "past", "--at", when) == (0, '{"n":1}\n', "")
    for when in ("0s", "0.0h ago", str(revision + 1)):
        assert cli("get", "orders", "past", "--at", when, "--raw").out == "two\n"


def test_what_was_not_there_then_is_exit_code_3(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    created = store.set("gone", 1)
    store.delete("gone")

    before = cli("get", "orders", "gone", "--at", str(created - 1))
    assert (before.code, before.out) == (3, "")
    assert f"has no key 'gone' at revision {created - 1}" in before.err
    assert cli("get", "orders", "gone", "--at", str(created)).out == "1\n"
    assert cli("get", "orders", "gone", "--at", str(created + 1)).code == 3
    then = ["--at", str(created - 1), "--default", "7"]
    assert cli("get", "orders", "gone", *then) == (0, "7\n", "")


def test_what_the_journal_does_not_know_any_more_is_refused(cli: Cli, client: Client) -> None:
    revision = client.store("orders").set("a", 1)
    client.store("orders").clear()
    client.purge([store.id for store in client.trash()])

    def ask_for_what_was_dropped() -> Ran | None:
        ran = cli("get", "orders", "b", "--at", str(revision))
        return ran if ran.code == 1 else None

    refused = wait_until(ask_for_what_was_dropped, DEADLINE_S, "the store to be gone")
    assert refused is not None
    for each in (refused, cli("rewind", "orders", "--dry-run", "--to", str(revision))):
        assert (each.code, each.out) == (1, "")
        assert f"known from revision {revision + 1} on" in each.err


@pytest.mark.parametrize(
    ("when", "code", "why"),
    [
        ("999999999", 1, "is to come"),
        ("yesterday", 2, "names no moment; it is a revision, as 42"),
        ("2026-01-31", 2, "write 2026-01-31T00:00:00Z"),
        ("9999-01-01T00:00:00Z", 2, "still to come"),
        ("-2h", 2, "names no moment"),
        ("", 2, "names no moment"),
        ("99999999999999999999", 2, "no revision"),
        ("\x1b[2J", 2, "names no moment"),
    ],
)
def test_a_moment_that_cannot_be_is_refused(cli: Cli, when: str, code: int, why: str) -> None:
    for command in (["get", "orders", "a", "--at"], ["rewind", "orders", "--dry-run", "--to"]):
        refused = cli(*command, when)

        assert (refused.code, refused.out) == (code, "")
        assert why in refused.err
        assert "\x1b" not in refused.err


def test_the_entry_of_then_has_its_revision_and_writer(cli: Cli, client: Client) -> None:
    orders = client.store("orders")
    first = orders.set("entry of then", 1)
    orders.set("entry of then", 2)

    shown = cli("get", "orders", "entry of then", "--at", str(first), "--entry")
    (record,) = cli("get", "orders", "entry of then", "--at", str(first), "--json").records

    assert str(first) in shown.out
    assert (record["value"], record["revision"], record["updated_by"]["kind"]) == (
        1,
        first,
        "worker",
    )


# --- history


def test_history_lists_the_changes_of_a_key_newest_first(
    cli: Cli, daemon: Daemon, client: Client
) -> None:
    store = client.store("orders")
    with daemon.client(writer=Writer("task", "sales", "r1", "load", -1)) as task:
        first = task.store("orders").set("h", {"n": 1})
    store.advance("other", 1)
    store.delete("h")
    store.increment("h")
    store.clear()

    titles, *rows = cli("history", "orders", "h", "--limit", "4").out.splitlines()

    assert titles.split() == ["REVISION", "KIND", "UPDATED", "BY", "VALUE"]
    assert [row.split()[1] for row in rows] == ["clear", "increment", "delete", "set"]
    assert re.fullmatch(
        rf" *{first}  set +\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ  task sales\.load r1 uid \d+ pid \d+"
        r'  {"n":1}',
        rows[-1],
    )
    assert [row.split()[-1] for row in rows[:-1]] == ['{"entries":2}', "1", "-"]
    assert len(cli("history", "orders", "h", "--limit", "2").out.splitlines()) == 1 + 2


def test_history_as_json(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    store.set("hj", 1)
    store.delete("hj")
    store.set("hj", 2)
    store.clear()

    cleared, again, deleted, first = cli(
        "history", "orders", "hj", "--limit", "4", "--json"
    ).records

    assert list(first) == [
        "revision", "kind", "name", "uri", "key", "value", "detail", "updated_at", "updated_by",
        "previous", "origin_updated_at", "origin_updated_by",
    ]  # fmt: skip
    assert (first["kind"], first["value"], first["previous"]) == ("set", 1, 0)
    assert (deleted["kind"], deleted["value"]) == ("delete", None)
    assert deleted["previous"] == first["revision"]
    assert (again["name"], again["uri"], again["key"]) == ("orders", "s3://data/orders/", "hj")
    assert again["updated_at"].endswith("Z")
    assert again["updated_by"]["kind"] == "worker"
    assert (cleared["kind"], cleared["key"], cleared["value"]) == ("clear", None, None)
    assert cleared["detail"] == {"entries": 1}


def test_that_a_key_has_no_history_is_no_error(cli: Cli) -> None:
    assert cli("history", "customers", "never") == (0, "", "")
    with cli.terminal("history", "customers", "never") as terminal:
        assert terminal.end() == (0, "(the journal has no change of it)\n", "")


def test_every_change_of_a_long_history_is_listed(cli: Cli, client: Client) -> None:
    for _ in range(11):
        with client.transaction() as tx:
            for _ in range(100):
                tx.store("orders").increment("long")

    events = cli("history", "orders", "long", "--json").records

    values = [event["value"] for event in events if event["key"] == "long"]
    assert values == list(range(1_100, 0, -1))


# --- rewind


def test_a_dry_run_shows_what_differs_and_changes_nothing(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    store.update({"changed": 1, "deleted": [1], "same": 1})
    then = client.status()["revision"]
    store["changed"] = "now"
    store["added"] = {"a": 1}
    del store["deleted"]
    store["same"] = 2
    store["same"] = 1
    before = dict(store)

    shown = cli("rewind", "orders", "--to", str(then), "--dry-run")

    assert shown == (
        0,
        "KEY      NOW           THEN\n"
        'added    {"a":1}   ->  (absent)\n'
        'changed  "now"     ->  1\n'
        "deleted  (absent)  ->  [1]\n",
        "",
    )
    assert dict(store) == before
    *records, end = cli("rewind", "orders", "--to", str(then), "--dry-run", "--json").records
    assert [each["key"] for each in records] == ["added", "changed", "deleted"]
    assert list(records[0]) == ["key", "now", "now_revision", "then", "then_revision"]
    assert (records[0]["now"], records[0]["then"]) == ({"a": 1}, None)
    assert (records[2]["now_revision"], records[2]["then"]) == (None, [1])
    assert end == {"count": 3, "revision": None}


def test_rewind_asks_and_then_writes_what_it_showed(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    then = store.set("watermark", "2026-01-31")
    store["watermark"] = "2026-02-01"
    store["new"] = 1

    with cli.terminal("rewind", "orders", "--to", str(then)) as terminal:
        asked = ESCAPES.sub("", terminal.read_until("[y/N] "))
        assert store["watermark"] == "2026-02-01"
        terminal.press("y\n")
        shown = terminal.end()

    assert f"In 'orders' these are to be again as they were at revision {then}:" in asked
    assert 'watermark  "2026-02-01"  ->  "2026-01-31"' in asked
    assert "new        1             ->  (absent)" in asked
    assert shown.code == 0
    assert shown.out.endswith(f"2 keys rewound, revision {client.status()['revision']}\n")
    assert dict(store) == {"watermark": "2026-01-31"}


@pytest.mark.parametrize("answer", ["n\n", "\n", "\x04"], ids=repr)
def test_anything_but_yes_rewinds_nothing(cli: Cli, client: Client, answer: str) -> None:
    store = client.store("orders")
    then = store.set("a", 1)
    store["a"] = 2

    with cli.terminal("rewind", "orders", "a", "--to", str(then)) as terminal:
        terminal.read_until("[y/N] ")
        terminal.press(answer)
        shown = terminal.end()

    assert shown.code == 1
    assert "not confirmed; nothing was changed" in shown.out
    assert store["a"] == 2


def test_what_was_changed_after_it_was_shown_is_not_rewound(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    then = store.set("a", 1)
    store["a"] = 2

    with cli.terminal("rewind", "orders", "--to", str(then)) as terminal:
        terminal.read_until("[y/N] ")
        store["b"] = 3
        terminal.press("y\n")
        shown = terminal.end()

    assert shown.code == 1
    assert "was changed after revision" in shown.out
    assert dict(store) == {"a": 2, "b": 3}


def test_a_rewind_of_one_key_leaves_the_others_and_can_be_rewound(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    then = store.set("a", 1)
    store.update({"a": 2, "b": 2})
    before = client.status()["revision"]

    back = cli("rewind", "orders", "a", "--to", str(then), "--yes")

    after = client.status()["revision"]
    assert back.out.splitlines()[1:] == ["a    2    ->  1", f"1 key rewound, revision {after}"]
    assert dict(store) == {"a": 1, "b": 2}
    undone = cli("rewind", "orders", "a", "--to", str(before), "-y", "--json").records
    assert [undone[0]["now"], undone[0]["then"]] == [1, 2]
    assert undone[1] == {"count": 1, "revision": after + 1}
    assert dict(store) == {"a": 2, "b": 2}
    kinds = [event.kind for event in store.history("a", 4)]
    assert kinds == ["rewind", "rewind", "set", "set"]


def test_without_a_difference_there_is_nothing_to_ask(cli: Cli, client: Client) -> None:
    revision = client.store("orders").set("a", 1)

    for command in (["--yes"], ["--dry-run"]):
        same = cli("rewind", "orders", "--to", str(revision), *command)
        assert same == (
            0,
            f"Nothing differs from what stood there at revision {revision}.\n",
            "",
        )
    with cli.terminal("rewind", "orders", "--to", "0s") as terminal:
        shown = terminal.end()
    assert shown.code == 0
    assert re.fullmatch(r"Nothing differs from .* at \d{4}-\d\d-\d\dT[\d:.]+Z\.\n", shown.out)
    assert cli("rewind", "orders", "--to", str(revision), "-y", "--json").records == [
        {"count": 0, "revision": None}
    ]


def test_of_many_keys_a_question_shows_some_and_says_how_many(cli: Cli, client: Client) -> None:
    then = client.status()["revision"]
    client.store("orders").set_many({f"k{number:02}": "v" * 200 for number in range(25)})

    with cli.terminal("rewind", "orders", "--to", str(then)) as terminal:
        asked = ESCAPES.sub("", terminal.read_until("[y/N] "))
        terminal.press("n\n")
        terminal.end()

    lines = asked.splitlines()
    assert lines[-2] == "... and 5 more keys; --dry-run lists all"
    assert lines[2].startswith("k00")
    assert "vv…  ->  (absent)" in lines[2]
    assert max(map(len, lines[1:-2])) <= 80
    everything = cli("rewind", "orders", "--to", str(then), "--dry-run").out.splitlines()
    assert len(everything) == 1 + 25
    assert "v" * 200 in everything[1]


def test_rewind_without_a_terminal_needs_yes_and_always_a_moment(cli: Cli, client: Client) -> None:
    then = client.store("orders").set("a", 1)
    client.store("orders")["a"] = 2

    refused = cli("rewind", "orders", "--to", str(then), stdin="y\n")
    assert (refused.code, refused.out) == (2, "")
    assert "give --yes" in refused.err
    assert "--to" in cli("rewind", "orders", "--yes").err
    assert cli("rewind", "orders", "a", "b", "--to", "1", "--yes").code == 2
    assert cli("rewind", "nosuch", "--to", "1", "--yes").code == 1
    assert client.store("orders")["a"] == 2


def test_a_value_nested_as_deep_as_may_be_can_be_shown(cli: Cli, client: Client) -> None:
    value: object = 1
    for _ in range(255):
        value = [value]
    revision = client.store("orders").set("deep", value)
    client.store("orders")["deep"] = 1

    assert cli("rewind", "orders", "--to", str(revision), "--dry-run", "--json").code == 0
    assert cli("rewind", "orders", "--to", str(revision), "--dry-run").code == 0
    assert cli("history", "orders", "deep", "--json").code == 0
    assert cli("log", "orders", "--json").code == 0

"""The command line where several write: conditions, advance, increment, merge, wait."""

from __future__ import annotations

import pytest
from tests.support.command import DEADLINE_S, Cli
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

from assetstore import Client, Writer


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


# --- conditions


def test_create_writes_only_where_there_is_nothing(cli: Cli, client: Client) -> None:
    assert cli("set", "orders", "a", "1", "--create").code == 0

    refused = cli("set", "orders", "a", "2", "--create")

    assert (refused.code, refused.out) == (1, "")
    assert "nothing changed" in refused.err
    assert client.store("orders")["a"] == 1


def test_if_revision_writes_only_over_that_revision(cli: Cli, client: Client) -> None:
    first = cli("set", "orders", "a", "1").out.strip()

    assert cli("set", "orders", "a", "2", "--if-revision", first).code == 0
    assert cli("set", "orders", "a", "3", "--if-revision", first).code == 1
    assert cli("set", "orders", "b", "3", "--if-revision", first).code == 1
    assert cli("set", "orders", "b", "4", "--if-revision", "0").code == 0

    assert dict(client.store("orders")) == {"a": 2, "b": 4}


def test_a_conflict_shows_what_is_there_now(cli: Cli, daemon: Daemon) -> None:
    with daemon.client(writer=Writer("task", "sales", "r1", "load", -1)) as task:
        revision = task.store("orders").set("a", {"by": "somebody else"})

    for command in (
        ["set", "orders", "a", "1", "--if-revision", "1"],
        ["set", "orders", "a", "1", "--create", "--json"],
        ["delete", "orders", "a", "--if-revision", "1"],
    ):
        refused = cli(*command)

        assert (refused.code, refused.out) == (1, "")
        lines = refused.err.splitlines()
        assert lines[0].startswith("Error: ")
        shown = {line.split()[0]: line.split(maxsplit=1)[1] for line in lines[2:]}
        assert shown.pop("updated").endswith("Z")
        assert shown.pop("by").startswith("task sales.load r1 uid ")
        assert shown == {
            "key": "a",
            "revision": str(revision),
            "value": '{"by":"somebody else"}',
        }


def test_a_long_value_in_a_conflict_is_cut_on_a_terminal(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = "x" * 1000

    with cli.terminal("set", "orders", "a", "1", "--create") as terminal:
        shown = terminal.end()

    assert shown.code == 1
    assert shown.out.splitlines()[-1].endswith("xx…")
    assert max(map(len, shown.out.splitlines()[2:])) <= 80 + len("\x1b[1m\x1b[0m")


def test_delete_if_revision_takes_that_revision_only(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    revision = store.set("a", 1)

    assert cli("delete", "orders", "a", "--if-revision", str(revision - 1)).code == 1
    assert store["a"] == 1
    assert cli("delete", "orders", "a", "--if-revision", str(revision)) == (0, "deleted  a\n", "")
    gone = cli("delete", "orders", "a", "--if-revision", str(revision))
    assert gone.code == 1
    assert "is absent" in gone.err
    assert cli("delete", "orders", "a", "--if-revision", "0").code == 3


def test_conditions_that_cannot_be_meant_are_wrong_usage(cli: Cli, client: Client) -> None:
    for command, what in (
        (["set", "orders", "a", "1", "--create", "--if-revision", "1"], "exclude each other"),
        (["set", "orders", "a", "1", "--if-revision", "-1"], "'-1' is no revision"),
        (["set", "orders", "a", "1", "--if-revision", "x"], "'x' is no revision"),
        (["set", "orders", "a", "1", "--if-revision", str(2**63)], "less than 2**63"),
        (["delete", "orders", "a", "b", "--if-revision", "1"], "name one"),
    ):
        refused = cli(*command)

        assert (refused.code, refused.out) == (2, "")
        assert what in refused.err
    assert len(client.store("orders")) == 0


# --- advance


def test_advance_says_whether_it_advanced_and_what_stands(cli: Cli, client: Client) -> None:
    first = cli("advance", "orders", "watermark", "--string", "2026-01-31")
    entry = client.store("orders").entry("watermark")
    less = cli("advance", "orders", "watermark", "--string", "2026-01-30")
    same = cli("advance", "orders", "watermark", "--string", "2026-01-31")

    assert entry is not None
    assert (first.code, less.code, same.code) == (0, 0, 0)
    assert first.out.splitlines()[0] == "advanced"
    for kept in (less, same):
        lines = kept.out.splitlines()
        assert lines[0] == "not advanced"
        assert lines[2].split() == ["revision", str(entry.revision)]
        assert lines[-1].split() == ["value", '"2026-01-31"']
    assert client.store("orders").entry("watermark") == entry


def test_advance_as_json_has_the_entry_and_whether_it_is_new(cli: Cli) -> None:
    (new,) = cli("advance", "orders", "n", "-5", "--json").records
    (kept,) = cli("advance", "orders", "n", "-6", "--json").records

    assert list(new) == ["applied", "key", "value", "revision", "updated_at", "updated_by"]
    assert (new["applied"], new["key"], new["value"]) == (True, "n", -5)
    assert kept == {**new, "applied": False}


def test_advance_by_time_knows_offsets(cli: Cli, client: Client) -> None:
    def advance(value: str, *order: str) -> str:
        ran = cli("advance", "orders", "at", "--string", value, *order)
        assert ran.code == 0
        return ran.out.splitlines()[0]

    assert advance("2026-01-31T08:00:00Z") == "advanced"
    assert advance("2026-01-31T08:30:00+01:00", "--order", "time") == "not advanced"
    assert advance("2026-01-31T08:30:00+01:00", "--order", "value") == "advanced"


@pytest.mark.parametrize(
    ("command", "code", "why"),
    [
        (["advance", "orders", "n", '"text"'], 1, "cannot be compared"),
        (["advance", "orders", "n", "true"], 1, "a bool"),
        (["advance", "orders", "n", "8", "--order", "time"], 1, "RFC 3339"),
        (["advance", "orders", "n", "null"], 1, "null is no value"),
        (["advance", "orders", "n", "2026-01-31"], 2, "assetstore advance --string orders n"),
        (["advance", "orders", "n", "8", "--order", "size"], 2, "'size' is not one of"),
        (["advance", "orders", "n"], 2, "VALUE is missing"),
        (["increment", "orders", "text"], 1, "a str"),
        (["increment", "orders", "n", "--by", "x"], 2, "'x' is no number in JSON"),
        (["increment", "orders", "n", "--by", "true"], 2, "'true' is no number in JSON"),
        (["increment", "orders", "n", "--by", "NaN"], 2, "'NaN' is no number in JSON"),
        (["increment", "orders", "n", "--default", "[0]"], 2, "'[0]' is no number in JSON"),
        (["increment", "orders", "n", "1"], 2, "'1' is one argument too many"),
        (["merge", "orders", "n", '{"a": 1}'], 1, "merge takes objects"),
        (["merge", "orders", "m", "[1]"], 2, "no JSON object"),
        (["merge", "orders", "m", "null"], 2, "no JSON object"),
        (["merge", "orders", "m", "{a: 1}"], 2, "PATCH is not JSON"),
        (["merge", "orders", "m", '{"a": "\\ud800"}'], 1, "PATCH: "),
        (["merge", "orders", "m", "{}", "--order", "time"], 2, "only --how max"),
        (["merge", "orders", "m", "{}", "--how", "min"], 2, "'min' is not one of"),
        (["merge", "orders", "m", "{}", "--remove", "[a"], 2, "no JSON array of names"),
        (["merge", "orders", "m", "{}", "--remove", "[]"], 2, "no JSON array of names"),
        (["merge", "orders", "m", "{}", "--remove", "[1]"], 2, "no JSON array of names"),
        (["merge", "orders", "m", '{"a": null}', "--how", "max"], 1, "None"),
        (["merge", "orders", "m"], 2, "PATCH is missing"),
        (["advance", "nosuch", "n", "1"], 1, "'nosuch'"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_changes(
    cli: Cli, client: Client, command: list[str], code: int, why: str
) -> None:
    client.store("orders").update({"n": 7, "text": "7"})

    refused = cli(*command)

    assert (refused.code, refused.out) == (code, "")
    assert why in refused.err
    assert dict(client.store("orders")) == {"n": 7, "text": "7"}


# --- increment


def test_increment_prints_the_new_number(cli: Cli, client: Client) -> None:
    assert cli("increment", "orders", "n") == (0, "1\n", "")
    assert cli("increment", "orders", "n", "--by", "-5").out == "-4\n"
    assert cli("increment", "orders", "n", "--by", "0.5").out == "-3.5\n"
    assert cli("increment", "orders", "m", "--default", "100", "--json").records == [
        {"key": "m", "value": 101}
    ]
    assert cli("increment", "orders", "m", "--by", "1" + "0" * 30).out == f"{10**30 + 101}\n"
    assert dict(client.store("orders")) == {"m": 10**30 + 101, "n": -3.5}


# --- merge


def test_merge_lays_fields_over_those_that_are_there(cli: Cli, client: Client) -> None:
    first = cli("merge", "orders", "m", '{"a": 1, "in": {"x": 1, "y": [1, 2]}}')
    merged = cli("merge", "orders", "m", "-", "--json", stdin='{"a": null, "in": {"y": 3}}\n')

    assert first == (0, '{"a":1,"in":{"x":1,"y":[1,2]}}\n', "")
    assert merged.records == [{"key": "m", "value": {"a": None, "in": {"x": 1, "y": 3}}}]
    assert client.store("orders")["m"] == {"a": None, "in": {"x": 1, "y": 3}}


def test_merge_takes_fields_out_by_name_or_by_the_way_to_them(cli: Cli, client: Client) -> None:
    client.store("orders")["m"] = {"a": 1, "a.b": 2, "[x": 3, "in": {"a": 4, "b": 5}, "": 6, "-": 7}

    taken = cli(
        "merge", "orders", "m", "{}", "--remove", "a.b", "--remove", '["in", "a"]',
        "--remove", '["[x"]', "--remove", "", "--remove", "-", "--remove", "nosuch",
    )  # fmt: skip

    assert taken == (0, '{"a":1,"in":{"b":5}}\n', "")


def test_merge_by_the_greater_keeps_the_cursors_of_several_in_one_key(
    cli: Cli, client: Client
) -> None:
    cli("merge", "orders", "m", '{"s1": 5, "s2": 5}', "--how", "max")

    merged = cli("merge", "orders", "m", '{"s1": 4, "s2": 6, "s3": 1}', "--how", "max")

    assert merged.out == '{"s1":5,"s2":6,"s3":1}\n'
    cli("merge", "orders", "t", '{"s1": "2026-01-31T08:00:00Z"}', "--how", "max")
    by_time = ["--how", "max", "--order", "time"]
    merged = cli("merge", "orders", "t", '{"s1": "2026-01-31T08:30:00+01:00"}', *by_time)
    assert merged.out == '{"s1":"2026-01-31T08:00:00Z"}\n'


def test_these_name_the_asset_as_the_others_do(cli: Cli, client: Client) -> None:
    by_uri = ["--uri", "s3://data/orders/"]
    assert cli("advance", *by_uri, "a", "1").code == 0
    assert cli("increment", "orders", "a", *by_uri).out == "2\n"
    assert cli("merge", "--name", "orders", "m", "{}").out == "{}\n"
    assert cli("wait", *by_uri, "a", "--at-least", "2").out == "2\n"


# --- wait


def test_wait_ends_at_once_where_it_is_so_already(cli: Cli, client: Client) -> None:
    store = client.store("orders")
    revision = store.set("a", "2026-02-01")

    text = ["--string", "--at-least", "2026-01-31"]
    assert cli("wait", "orders", "a", *text) == (0, '"2026-02-01"\n', "")
    assert cli("wait", "orders", "a", *text, "--raw").out == "2026-02-01\n"
    assert cli("wait", "orders", "a", "--at-least", '"2026-02-01"').code == 0
    assert cli("wait", "orders", "a", "--after", str(revision - 1)).code == 0
    (record,) = cli("wait", "orders", "a", "--after", "0", "--json").records
    assert list(record) == ["key", "value", "revision", "updated_at", "updated_by"]
    assert (record["value"], record["revision"]) == ("2026-02-01", revision)


def test_what_does_not_come_in_time_is_exit_code_5(cli: Cli, client: Client) -> None:
    revision = client.store("orders").set("a", 1)

    for wanted in (
        ["a", "--at-least", "2"],
        ["a", "--after", str(revision)],
        ["b", "--after", "0"],
    ):
        # So long the daemon may take to answer at all, too.
        late = cli("wait", "orders", *wanted, "--timeout", "0.5")

        assert (late.code, late.out) == (5, "")
        assert "was awaited for 0.5 s" in late.err


def test_wait_ends_when_it_comes_and_a_restart_does_not_disturb_it(
    daemon: Daemon, cli: Cli
) -> None:
    def waiting() -> bool:
        return bool(daemon.status()["waiting_for_events"])

    with cli.terminal("wait", "orders", "n", "--at-least", "-2") as terminal:
        wait_until(waiting, DEADLINE_S, "it to wait")
        daemon.restart()
        wait_until(waiting, DEADLINE_S, "it to wait again")
        with daemon.client() as client:
            client.store("orders").set("n", -3)
            client.store("orders").set("n", -1)

        assert terminal.end() == (0, "-1\n", "")


def test_ctrl_c_ends_a_wait(daemon: Daemon, cli: Cli) -> None:
    with cli.terminal("wait", "orders", "n", "--after", "0") as terminal:
        wait_until(lambda: daemon.status()["waiting_for_events"], DEADLINE_S, "it to wait")
        terminal.press("\x03")
        shown = terminal.end()

    assert shown.code == 130
    assert shown.out.replace("^C", "").strip() == ""


@pytest.mark.parametrize(
    ("wanted", "code", "why"),
    [
        ([], 2, "either --at-least or --after"),
        (["--at-least", "1", "--after", "1"], 2, "either --at-least or --after"),
        (["--after", "1", "--string"], 2, "about --at-least"),
        (["--after", "1", "--order", "time"], 2, "about --at-least"),
        (["--after", "x"], 2, "'x' is no revision"),
        (["--at-least", "2026-01-31"], 2, "For text add --string"),
        (["--at-least", "null"], 2, "as JSON"),
        (["--at-least", "1", "--timeout", "0"], 2, "no number of seconds"),
        (["--at-least", '"1"'], 1, "cannot be compared"),
        (["--at-least", "{}"], 1, "a dict"),
        (["--at-least", "1", "--order", "time"], 1, "RFC 3339"),
    ],
)
def test_what_cannot_be_waited_for_is_refused_at_once(
    cli: Cli, client: Client, wanted: list[str], code: int, why: str
) -> None:
    client.store("orders")["n"] = 7

    refused = cli("wait", "orders", "n", *wanted)

    assert (refused.code, refused.out) == (code, "")
    assert why in refused.err


def test_waiting_for_an_asset_that_is_not_active_is_refused(cli: Cli, daemon: Daemon) -> None:
    daemon.activate("customers")

    assert cli("wait", "orders", "n", "--after", "0").code == 1
    assert cli("wait", "nosuch", "n", "--after", "0").code == 1


def test_waiting_without_a_daemon_is_exit_code_4() -> None:
    absent = Cli("/nowhere")("wait", "orders", "n", "--after", "0", "--timeout", "0.1")

    assert (absent.code, absent.out) == (4, "")

"""The command line on entries: ls, get, set, delete, clear, and how an asset is named."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon

from assetstore import Client, Writer
from assetstore.values import encode_value


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


# --- set and get


def test_set_prints_the_revision_and_get_the_value(cli: Cli, client: Client) -> None:
    written = cli("set", "orders", "watermark", '{"at": "2026-01-31", "page": 3}')
    found = cli("get", "orders", "watermark")

    entry = client.store("orders").entry("watermark")
    assert entry is not None
    assert written == (0, f"{entry.revision}\n", "")
    assert found == (0, '{"at":"2026-01-31","page":3}\n', "")


@pytest.mark.parametrize(
    "value",
    [
        "",
        "text with 'quotes' and \"more\"",
        "line\nbreak",
        "\x1b[2J\x07",
        "naïve 東京 🦊 \u202e",
        -5,
        0.1,
        -0.0,
        1e300,
        10**400,
        -(10**5000),
        True,
        [],
        {},
        [1, [2.0, None, {"a": {"": "b"}}], False],
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_get_prints_is_valid_input_for_set(cli: Cli, client: Client, value: object) -> None:
    client.store("orders").set("a", value)

    printed = cli("get", "orders", "a").out.rstrip("\n")
    by_argument = cli("set", "orders", "b", printed)
    by_pipe = cli("set", "orders", "c", "-", stdin=printed + "\n")

    assert (by_argument.code, by_pipe.code) == (0, 0)
    store = client.store("orders")
    for key in "bc":
        # The text tells 1 from 1.0 and 0.0 from -0.0.
        assert encode_value(store[key]) == encode_value(value)


def test_a_negative_number_is_a_value_and_no_option(cli: Cli, client: Client) -> None:
    assert cli("set", "orders", "-5", "-17").code == 0

    assert client.store("orders").get("-5") == -17
    assert cli("get", "orders", "-5").out == "-17\n"


def test_string_takes_the_value_as_it_stands(cli: Cli, client: Client) -> None:
    cli("set", "orders", "a", "--string", "2026-01-31")
    cli("set", "--string", "orders", "b", "-", stdin="from a pipe\n\n")

    store = client.store("orders")
    assert (store["a"], store["b"]) == ("2026-01-31", "from a pipe\n")


def test_raw_prints_a_string_bare_and_set_string_takes_it_back(cli: Cli, client: Client) -> None:
    text = 'two\nlines, "quotes"\n\x1b[31m and é\n'
    client.store("orders").set("a", text)

    printed = cli("get", "--raw", "orders", "a").out
    cli("set", "--string", "orders", "b", "-", stdin=printed)

    assert printed == text + "\n"
    assert client.store("orders")["b"] == text


def test_raw_prints_what_is_no_string_as_json(cli: Cli, client: Client) -> None:
    client.store("orders").set("a", [1, "x"])

    assert cli("get", "orders", "a", "--raw").out == '[1,"x"]\n'


def test_a_value_that_is_no_json_is_refused_with_the_remedy(cli: Cli, client: Client) -> None:
    refused = cli("set", "orders", "watermark", "2026-01-31")

    assert refused.code == 2
    assert "VALUE is not JSON" in refused.err
    assert "assetstore set --string orders watermark 2026-01-31" in refused.err
    assert client.store("orders").get("watermark") is None


@pytest.mark.parametrize(
    ("given", "code", "why"),
    [
        ("NaN", 2, "NaN is no JSON"),
        ("[Infinity]", 2, "Infinity is no JSON"),
        ("1e999", 2, "out of range"),
        ("{", 2, "not JSON"),
        ("", 2, "not JSON"),
        ("null", 1, "null is no value; 'assetstore delete' takes the key away"),
        ('"\\ud800"', 1, "surrogate"),
        ("[" * 256 + "]" * 256, 1, "more than 255 levels"),
        ("[" * 100_000, 1, "more than 255 levels"),
    ],
)
def test_what_cannot_be_a_value_is_refused_and_nothing_changes(
    cli: Cli, client: Client, given: str, code: int, why: str
) -> None:
    client.store("orders").set("a", "as it was")

    refused = cli("set", "orders", "a", "-", stdin=given)

    assert (refused.code, refused.out) == (code, "")
    assert why in refused.err
    assert client.store("orders")["a"] == "as it was"


def test_a_value_that_is_too_large_is_refused_with_the_limit(cli: Cli) -> None:
    refused = cli("set", "orders", "a", "--string", "-", stdin="x" * 1_100_000)

    assert refused.code == 1
    assert "1,048,576" in refused.err


def test_standard_input_that_is_no_text_is_refused(cli: Cli) -> None:
    refused = cli("set", "orders", "a", "--string", "-", stdin=b"ab\xff")

    assert refused.code == 2
    assert "not UTF-8, at byte 2" in refused.err


def test_an_absent_key_is_exit_code_3_with_nothing_on_standard_output(cli: Cli) -> None:
    assert cli("get", "orders", "nope") == (3, "", "Error: 'orders' has no key 'nope'\n")


def test_a_default_is_printed_only_for_an_absent_key(cli: Cli, client: Client) -> None:
    client.store("orders").set("there", 1)

    assert cli("get", "orders", "there", "--default", "7").out == "1\n"
    assert cli("get", "orders", "nope", "--default", '"x"') == (0, '"x"\n', "")
    assert cli("get", "orders", "nope", "--default", '"x"', "--raw").out == "x\n"
    assert cli("get", "unknown", "nope", "--default", "7").code == 1
    assert cli("get", "orders", "nope", "--default", "{").code == 2


def test_an_entry_is_shown_with_its_revision_time_and_writer(cli: Cli, daemon: Daemon) -> None:
    writer = Writer(kind="task", dag_id="sales", run_id="r1", task_id="load", map_index=-1)
    with daemon.client(writer=writer) as task:
        revision = task.store("orders").set("watermark", "2026-01-31")
        entry = task.store("orders").entry("watermark")

    shown = cli("get", "orders", "watermark", "--entry").out.splitlines()

    assert entry is not None
    assert shown[0].split() == ["key", "watermark"]
    assert shown[1].split() == ["revision", str(revision)]
    assert shown[2].split() == ["updated", entry.updated_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")]
    assert "task sales.load r1 uid " in shown[3]
    assert shown[4].split() == ["value", '"2026-01-31"']


def test_get_as_json_has_all_of_the_entry(cli: Cli, client: Client) -> None:
    revision = client.store("orders").set("a", {"b": [1, None]})

    (record,) = cli("get", "orders", "a", "--json").records

    assert list(record) == ["key", "value", "revision", "updated_at", "updated_by"]
    assert (record["key"], record["value"], record["revision"]) == ("a", {"b": [1, None]}, revision)
    assert record["updated_at"].endswith("Z")
    assert record["updated_by"]["kind"] == "worker"
    (absent,) = cli("--json", "get", "orders", "nope", "--default", "7").records
    assert absent == {
        "key": "nope",
        "value": 7,
        "revision": None,
        "updated_at": None,
        "updated_by": None,
    }


def test_the_command_line_declares_itself_as_the_writer(cli: Cli, client: Client) -> None:
    cli("set", "orders", "a", "1")

    entry = client.store("orders").entry("a")
    assert entry is not None
    assert entry.updated_by.kind == "cli"


# --- how an asset is named


def test_an_asset_is_named_by_its_uri_too(cli: Cli) -> None:
    assert cli("set", "--uri", "s3://data/orders/", "a", "1").code == 0

    assert cli("get", "orders", "a").out == "1\n"
    assert cli("get", "--uri=s3://data/orders/", "a").out == "1\n"
    assert cli("ls", "--uri", "s3://data/orders/").out == "a\n"


def test_by_name_and_uri_both_must_fit(cli: Cli) -> None:
    cli("set", "orders", "a", "1")

    assert cli("get", "--name", "orders", "--uri", "s3://data/orders/", "a").out == "1\n"
    assert cli("get", "orders", "a", "--uri", "s3://data/orders/").out == "1\n"
    refused = cli("get", "--name", "orders", "--uri", "s3://elsewhere/", "a")
    assert refused.code == 1
    assert "s3://elsewhere/" in refused.err


def test_a_name_that_begins_with_a_minus_goes_after_two_of_them(cli: Cli, daemon: Daemon) -> None:
    daemon.activate("-orders", "customers")

    refused = cli("set", "-orders", "-key", "1")

    assert refused.code == 2
    assert "there is no option '-orders'" in refused.err
    assert "goes after '--'" in refused.err
    assert "goes after '--'" not in cli("status", "--long").err  # which takes none
    assert "assetstore set -- -orders" in refused.err
    assert cli("set", "--", "-orders", "-key", "1").code == 0
    assert cli("get", "--name=-orders", "--", "-key").out == "1\n"


def test_empty_names_and_keys_are_refused_clearly(cli: Cli) -> None:
    for command, what in (
        (["get", "", "a"], "asset name is empty"),
        (["get", "--uri", "", "a"], "asset uri is empty"),
        (["get", "orders", ""], "key is empty"),
        (["set", "orders", "", "1"], "key is empty"),
        (["delete", "orders", ""], "key is empty"),
    ):
        refused = cli(*command)

        assert (refused.code, refused.out) == (1, "")
        assert what in refused.err


def test_missing_and_surplus_arguments_are_wrong_usage(cli: Cli) -> None:
    for command, what in (
        (["get"], "which asset?"),
        (["get", "orders"], "KEY is missing"),
        (["get", "--uri", "s3://data/orders/"], "KEY is missing"),
        (["set", "orders", "a"], "VALUE is missing"),
        (["set", "orders", "a", "two", "words"], "'words' is one argument too many"),
        (["delete", "orders"], "KEY is missing"),
        (["ls", "orders", "a", "b"], "'b' is one argument too many"),
    ):
        refused = cli(*command)

        assert (refused.code, refused.out) == (2, "")
        assert what in refused.err


def test_an_unknown_asset_is_refused(cli: Cli) -> None:
    refused = cli("get", "nosuch", "a")

    assert refused.code == 1
    assert "'nosuch'" in refused.err


def test_an_inactive_asset_is_refused_and_said_to_be_so(cli: Cli, daemon: Daemon) -> None:
    daemon.activate("customers")

    refused = cli("get", "orders", "a", "--default", "1")

    assert (refused.code, refused.out) == (1, "")
    assert "inactive" in refused.err


# --- ls


def test_keys_are_listed_in_byte_order_and_by_prefix(cli: Cli, client: Client) -> None:
    client.store("orders").update({"b": 1, "a/2": 2, "a/10": 3, "é": 4})

    assert cli("ls", "orders").out.split() == ["a/10", "a/2", "b", "é"]
    assert cli("ls", "orders", "a/").out.split() == ["a/10", "a/2"]
    assert cli("ls", "orders", "*") == (0, "", "")
    assert cli("ls", "customers") == (0, "", "")


def test_a_listing_can_be_taken_in_parts(cli: Cli, client: Client) -> None:
    client.store("orders").update({f"k{i}": i for i in range(5)})

    assert cli("ls", "orders", "--limit", "2").out.split() == ["k0", "k1"]
    assert cli("ls", "orders", "--limit", "2", "--after", "k1").out.split() == ["k2", "k3"]
    assert cli("ls", "orders", "--limit", "0").code == 2


def test_a_long_listing_has_all_of_each_entry(cli: Cli, client: Client) -> None:
    revision = client.store("orders").set("watermark", ["2026-01-31"])

    titles, row = cli("ls", "orders", "--long").out.splitlines()

    assert titles.split() == ["KEY", "REVISION", "UPDATED", "BY", "VALUE"]
    assert row.startswith("watermark")
    assert f" {revision} " in row
    assert row.endswith('["2026-01-31"]')


def test_listings_as_json(cli: Cli, client: Client) -> None:
    client.store("orders").update({"a": 1, "b": 10**30})

    assert cli("ls", "orders", "--json").out == '{"key":"a"}\n{"key":"b"}\n'
    long = cli("--json", "ls", "-l", "orders").records
    assert [(record["key"], record["value"]) for record in long] == [("a", 1), ("b", 10**30)]
    assert list(long[0]) == ["key", "value", "revision", "updated_at", "updated_by"]


def test_a_listing_of_several_pages_is_complete(cli: Cli, client: Client) -> None:
    keys = [f"key{i:04}" for i in range(1_050)]
    store = client.store("orders")
    # Several at a time share a commit.
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: store.set(key, 1), keys))

    assert cli("ls", "orders").out.split() == keys
    assert len(cli("ls", "-l", "orders").out.splitlines()) == 1 + len(keys)


def test_a_hostile_key_cannot_drive_the_terminal(cli: Cli, client: Client) -> None:
    client.store("orders").set("\x1b]0;owned\x07\n\u202e", "\x1b[2J")

    for command in (["ls", "orders"], ["ls", "-l", "orders"], ["delete", "orders", "\x1b[2J"]):
        shown = cli(*command)

        assert all(line.isprintable() for line in (shown.out + shown.err).splitlines())
    assert cli("ls", "orders").out == "\\x1b]0;owned\\x07\\n\\u202e\n"


# --- delete and clear


def test_delete_says_of_each_key_whether_it_was_there(cli: Cli, client: Client) -> None:
    client.store("orders").update({"a": 1, "b": 2, "c": 3})

    assert cli("delete", "orders", "a") == (0, "deleted  a\n", "")
    some = cli("delete", "orders", "nope", "b")

    assert some == (3, "absent   nope\ndeleted  b\n", "")
    assert list(client.store("orders")) == ["c"]
    assert cli("delete", "orders", "c", "d", "--json").records == [
        {"key": "c", "existed": True},
        {"key": "d", "existed": False},
    ]


def test_clear_without_a_terminal_needs_yes(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = 1

    refused = cli("clear", "orders", stdin="y\n")

    assert (refused.code, refused.out) == (2, "")
    assert "give --yes" in refused.err
    assert len(client.store("orders")) == 1


def test_clear_says_how_everything_comes_back(cli: Cli, client: Client) -> None:
    client.store("orders").update({"a": 1, "b": 2})

    cleared = cli("clear", "orders", "--yes")

    (trashed,) = client.trash()
    assert cleared.code == 0
    assert cleared.out.startswith("2 entries cleared\n")
    assert f"assetstore trash restore {trashed.id} " in cleared.out
    assert len(client.store("orders")) == 0
    assert cli("trash", "restore", str(trashed.id), "--yes").code == 0
    assert len(client.store("orders")) == 2


def test_clear_as_json_names_the_store_in_the_trash(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = 1

    (full,) = cli("clear", "orders", "--yes", "--json").records
    (empty,) = cli("clear", "orders", "--yes", "--json").records

    (trashed,) = client.trash()
    assert (full["count"], full["trash_id"]) == (1, trashed.id)
    assert full["drops_at"].endswith("Z")
    assert empty == {"count": 0, "trash_id": None, "drops_at": None}

"""The command line as people and shells meet it: on a terminal, in a pipe, interrupted.

Real processes, on real pseudo-terminals.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.support.command import COMMAND, DEADLINE_S, Cli, Terminal
from tests.support.daemon import Daemon
from tests.support.peer import Peer, Talk

import assetstore
from assetstore import Client
from assetstore import messages as m

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


# --- what is shown


def test_on_a_terminal_times_are_relative_and_there_is_colour(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = 1

    with cli.terminal("ls", "-l", "orders") as terminal:
        shown = terminal.end()

    assert shown.code == 0
    assert "\x1b[1mKEY\x1b[0m" in shown.out
    assert re.search(r"just now|\d+ s ago", shown.out)


def test_colour_can_be_turned_off(cli: Cli) -> None:
    for terminal in (
        cli.terminal("status", "--no-color"),
        cli.terminal("status", NO_COLOR="1"),
        cli.terminal("status", TERM="dumb"),
    ):
        with terminal:
            shown = terminal.end()

        assert "health: ok" in shown.out
        assert "\x1b" not in shown.out


def test_in_a_pipe_there_is_no_colour_and_times_are_absolute(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = 1

    shown = cli.process("ls", "-l", "orders")

    assert "\x1b" not in shown.out
    assert re.search(r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", shown.out)


@pytest.mark.parametrize("columns", [120, 20])
def test_a_table_fits_the_width_of_the_terminal(cli: Cli, client: Client, columns: int) -> None:
    client.store("orders")["k" * 100] = "v" * 1000

    for command in (["ls", "-l", "orders"], ["assets"], ["trash", "list"], ["log", "orders"]):
        with cli.terminal(*command, columns=columns) as terminal:
            shown = terminal.end()

        assert all(len(ESCAPES.sub("", line)) <= columns for line in shown.out.splitlines())


def test_a_hostile_key_reaches_no_terminal(cli: Cli, client: Client) -> None:
    before = client.status()["revision"]
    client.store("orders")["\x1b]0;owned\x07\x9b"] = "\x1b[2J\u202e\x9b"

    for command in (
        ["ls", "orders"],
        ["ls", "-l", "orders"],
        ["ls", "-l", "orders", "--json"],
        ["get", "orders", "\x1b]0;owned\x07\x9b"],
        ["get", "--raw", "orders", "\x1b]0;owned\x07\x9b"],
        ["get", "--entry", "orders", "\x1b]0;owned\x07\x9b"],
        ["set", "--create", "orders", "\x1b]0;owned\x07\x9b", "1"],
        ["advance", "orders", "\x1b]0;owned\x07\x9b", '"\\u001b"'],
        ["history", "orders", "\x1b]0;owned\x07\x9b"],
        ["log", "orders"],
        ["rewind", "orders", "--to", str(before), "--dry-run"],
        ["get", "orders", "\x1b]0;nope\x07"],
        ["get", "\x1b]0;nope\x07", "a"],
    ):
        with cli.terminal(*command) as terminal:
            shown = ESCAPES.sub("", terminal.end().out)

        assert shown.strip()
        assert all(line.isprintable() for line in shown.splitlines())


def test_an_empty_listing_is_said_to_a_person_and_not_to_a_program(cli: Cli) -> None:
    with cli.terminal("ls", "orders") as terminal:
        assert terminal.end().out == "(no keys)\n"

    assert cli.process("ls", "orders") == (0, "", "")


def test_a_person_is_told_how_a_cut_listing_goes_on(cli: Cli, client: Client) -> None:
    client.store("orders").update({"a 1": 1, "a 2": 2})

    with cli.terminal("ls", "orders", "--limit", "1") as terminal:
        assert terminal.end().out == "a 1\n(there are more: go on with --after 'a 1')\n"


# --- questions


def test_clear_shows_what_it_will_do_and_asks(cli: Cli, client: Client) -> None:
    client.store("orders").update({"a": 1, "b": 2})

    with cli.terminal("clear", "orders") as terminal:
        asked = terminal.read_until("[y/N] ")
        assert len(client.store("orders")) == 2
        terminal.press("y\n")
        shown = terminal.end()

    assert "2 entries of 'orders' go to the trash" in asked
    assert "brought back for 7 days" in asked
    assert (shown.code, len(client.store("orders"))) == (0, 0)


@pytest.mark.parametrize("answer", ["n\n", "\n", "yesterday\n", "\x04"], ids=repr)
def test_anything_but_yes_changes_nothing(cli: Cli, client: Client, answer: str) -> None:
    client.store("orders")["a"] = 1

    with cli.terminal("clear", "orders") as terminal:
        terminal.read_until("[y/N] ")
        terminal.press(answer)
        shown = terminal.end()

    assert shown.code == 1
    assert "not confirmed; nothing was changed" in shown.out
    assert len(client.store("orders")) == 1


def test_every_verb_that_takes_away_asks_first(cli: Cli, daemon: Daemon, client: Client) -> None:
    daemon.activate("a", "b", "c", "d")
    revision = client.store("a").set("a", 1)
    client.store("a").clear()
    client.store("a")["a"] = 2
    client.store("b")["b"] = 3
    daemon.activate("a")
    (trashed,) = client.trash()

    for command, what in (
        (["clear", "a"], "1 entry of 'a'"),
        (["rewind", "a", "--to", str(revision)], "a    2    ->  1"),
        (["trash", "restore", str(trashed.id)], "What it holds now (1 entry) goes to the trash"),
        (["trash", "purge", str(trashed.id)], "To be dropped now, for good:"),
        (["trash", "purge", "--all"], "To be dropped now, for good:"),
        (["mv", "b", "a", "--replace"], "1 entry of 'a' go"),
        (["manifest", "accept"], "  - b\r\n  - c\r\n  - d\r\n"),
    ):
        with cli.terminal(*command) as terminal:
            asked = terminal.read_until("[y/N] ")
            terminal.press("n\n")

            assert what in asked, command
            assert terminal.end().code == 1
    assert client.store("a")["a"] == 2
    assert [store.id for store in client.trash()] == [trashed.id]
    assert len(cli("assets").out.splitlines()) == 1 + 4


def test_a_sweep_asks_about_what_is_past_its_grace(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "daemon", grace="0s", sweep_interval="1d")
    daemon.set_manifest("orders")
    with daemon, daemon.client() as client:
        cli = Cli(daemon.socket)
        with cli.terminal("sweep") as terminal:
            assert terminal.end() == (0, "(nothing is past its grace)\n", "")

        client.store("orders")["a"] = 1
        client.store("orders").clear()
        with cli.terminal("sweep") as terminal:
            asked = terminal.read_until("[y/N] ")
            terminal.press("yes\n")

            assert "Past their grace, to be dropped for good:" in asked
            assert terminal.end().code == 0
        assert list(client.trash()) == []


def test_a_question_goes_to_the_terminal_and_the_answer_to_the_pipe(
    cli: Cli, client: Client, tmp_path: Path
) -> None:
    client.store("orders")["a"] = 1
    answer = tmp_path / "out"
    script = f"{' '.join(COMMAND)} clear orders --json > {answer}"

    with Terminal(["sh", "-c", script], 80, cli.env) as terminal:
        terminal.read_until("[y/N] ")
        terminal.press("y\n")
        assert terminal.end().code == 0

    assert answer.read_text().startswith('{"count":1,')


# --- ends


def test_ctrl_c_is_quiet_and_exit_code_130() -> None:
    asked = threading.Event()

    def never_answer(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        asked.set()
        talk.hear_bytes()

    with Peer(never_answer) as peer, Cli(peer.path).terminal("status") as terminal:
        assert asked.wait(DEADLINE_S)
        terminal.press("\x03")
        shown = terminal.end()

    assert shown.code == 130
    assert shown.out.replace("^C", "").strip() == ""


def test_ctrl_c_at_a_question_changes_nothing(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = 1

    with cli.terminal("clear", "orders") as terminal:
        terminal.read_until("[y/N] ")
        terminal.press("\x03")
        shown = terminal.end()

    assert shown.code == 130
    assert "Traceback" not in shown.out
    assert len(client.store("orders")) == 1


@pytest.mark.parametrize(
    "command", [["ls", "orders"], ["ls", "-l", "orders"], ["get", "orders", "a"], ["--help"]]
)
def test_a_closed_pipe_ends_it_quietly(cli: Cli, client: Client, command: list[str]) -> None:
    client.store("orders")["a"] = "x" * 100_000
    reader, writer = os.pipe()
    os.close(reader)

    try:
        done = subprocess.run(
            [*COMMAND, *command],
            stdout=writer,
            stderr=subprocess.PIPE,
            env={**os.environ, **cli.env},
            timeout=DEADLINE_S,
        )
    finally:
        os.close(writer)

    assert (done.returncode, done.stderr) == (141, b"")


def test_output_that_cannot_be_written_is_said(cli: Cli) -> None:
    for redirect, why in (("> /dev/full", "No space left on device"), (">&-", "is closed")):
        done = subprocess.run(
            ["sh", "-c", f"{' '.join(COMMAND)} set orders a 1 {redirect}"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **cli.env},
            timeout=DEADLINE_S,
        )

        assert done.returncode == 70
        assert why in done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_without_a_daemon_it_says_so_with_exit_code_4(tmp_path: Path) -> None:
    cli = Cli(tmp_path / "nobody")

    refused = cli("--timeout", "0.1", "set", "orders", "a", "1")

    assert (refused.code, refused.out) == (4, "")
    assert str(tmp_path / "nobody") in refused.err
    assert "Nothing happened" in refused.err


def test_a_change_that_was_sent_and_not_answered_may_have_happened() -> None:
    def hang_up(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        talk.close()

    with Peer(hang_up) as peer:
        lost = Cli(peer.path)("--timeout", "0.5", "delete", "orders", "a")

    assert (lost.code, lost.out) == (4, "")
    assert "it may have happened or not" in lost.err
    assert "look before you repeat it" in lost.err


def test_a_stranger_on_the_socket_is_no_traceback() -> None:
    def talk_http(talk: Talk) -> None:
        talk.say_bytes(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        talk.hear_bytes()

    with Peer(talk_http) as peer:
        refused = Cli(peer.path)("--timeout", "1", "status")

    assert (refused.code, refused.out) == (4, "")
    assert "is it assetstored that listens there" in refused.err
    assert "Traceback" not in refused.err


def test_a_status_that_lacks_fields_is_reported_as_a_bug_in_one_line() -> None:
    def say_nothing(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            talk.say(m.StatusReport(request.id, {}))

    with Peer(say_nothing) as peer:
        cli = Cli(peer.path)
        short = cli("status")
        long = cli("status", "--debug")

    assert short.code == 70
    assert short.err.startswith("Error: this is a bug in assetstore: KeyError: 'health'\n")
    assert "--debug" in short.err
    assert "Traceback" not in short.err
    assert (long.code, "Traceback" in long.err) == (70, True)


def test_a_fault_of_the_daemon_points_to_its_log() -> None:
    def fail(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            talk.say(m.Failed(request.id, "server_fault", "a fault \x1b[31m in there", None))

    with Peer(fail) as peer:
        refused = Cli(peer.path)("status")

    assert refused.code == 1
    assert "a fault \\x1b[31m in there" in refused.err
    assert "journalctl" in refused.err


# --- where it runs


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "xx_NOSUCH.UTF-8"},
    ],
    ids=str,
)
def test_no_locale_makes_it_crash_or_lose_anything(
    cli: Cli, client: Client, env: dict[str, str]
) -> None:
    encoding = env.get("PYTHONIOENCODING", "utf-8")
    key, value = "Größe/東京", "naïve 🦊"
    client.store("orders")[key] = value

    def run(*command: str) -> str:
        done = subprocess.run(
            [*COMMAND, *command],
            capture_output=True,
            env={**os.environ, **cli.env, **env},
            timeout=DEADLINE_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.decode(encoding)

    assert run("ls", "-l", "orders")
    assert json.loads(run("get", "orders", key)) == value
    assert json.loads(run("ls", "-l", "orders", "--json"))["key"] == key
    assert run("set", "orders", "copy", json.dumps(value, ensure_ascii=False)).strip().isdecimal()
    assert client.store("orders")["copy"] == value


def test_raw_is_utf_8_whatever_the_locale(cli: Cli, client: Client) -> None:
    client.store("orders")["a"] = "naïve 🦊"

    assert cli.process("get", "--raw", "orders", "a", PYTHONIOENCODING="ascii").out == "naïve 🦊\n"


def test_arguments_that_are_no_utf_8_are_refused(cli: Cli) -> None:
    done = subprocess.run(
        [*(word.encode() for word in COMMAND), b"get", b"orders", b"a\xff"],
        capture_output=True,
        env={**os.environ, **cli.env},
        timeout=DEADLINE_S,
    )

    assert done.returncode == 2
    assert b"not valid UTF-8" in done.stderr


def test_both_ways_to_call_it_are_the_same() -> None:
    script = Path(sys.executable).with_name("assetstore")
    by_script = subprocess.run([script, "--version"], capture_output=True, text=True)
    by_module = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True)

    assert by_script.stdout == by_module.stdout == f"assetstore {assetstore.__version__}\n"


def run_without(module: str) -> subprocess.CompletedProcess[str]:
    """Run the command where this module is not installed."""
    run = f"import sys; sys.modules[{module!r}] = None\n"
    run += "from assetstore_cli.__main__ import main; main()"
    return subprocess.run([sys.executable, "-c", run], capture_output=True, text=True)


def test_without_click_it_says_what_to_install() -> None:
    done = run_without("click")

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "missing click: pip install 'assetstore[cli]'\n"


def test_another_module_that_is_missing_is_not_blamed_on_click() -> None:
    done = run_without("msgspec")

    assert "click" not in done.stderr.splitlines()[-1]
    assert "msgspec" in done.stderr


def test_a_verb_loads_only_what_it_needs(cli: Cli) -> None:
    watch = (
        "import sys; from assetstore_cli.program import program\n"
        "try: program.main(sys.argv[1:])\n"
        "finally: print(*sorted(sys.modules), file=sys.stderr)"
    )

    done = subprocess.run(
        [sys.executable, "-c", watch, "ls", "orders"],
        capture_output=True,
        text=True,
        env={**os.environ, **cli.env},
    )

    loaded = set(done.stderr.split())
    assert "assetstore_cli.listing" in loaded
    unwanted = {"asyncio", "lmdb", "watchfiles", "assetstored", "tomllib", "subprocess"}
    assert loaded & (unwanted | {"assetstore_cli.manifests", "assetstore.manifest"}) == set()


def test_options_of_the_command_may_stand_before_the_verb_and_after_it(daemon: Daemon) -> None:
    elsewhere = Cli("/nowhere")
    here = ["--socket", str(daemon.socket), "--timeout", "20"]

    for command in (
        [*here, "--json", "assets"],
        ["assets", *here, "--json"],
        [*here, "assets", "--json"],
        ["--socket", "/elsewhere", "assets", *here, "--json"],
        ["trash", *here, "--json", "list"],
        ["trash", "list", *here, "--json"],
    ):
        assert elsewhere(*command).code == 0, command


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "1e9", "x"])
def test_a_timeout_that_cannot_be_is_wrong_usage(cli: Cli, timeout: str) -> None:
    assert cli("--timeout", timeout, "status").code == 2


def test_a_socket_that_cannot_be_is_wrong_usage(cli: Cli) -> None:
    assert cli("--socket", "", "status").code == 2
    refused = cli("--socket", "/x" * 100, "status")
    assert refused.code == 2
    assert "107" in refused.err


def test_a_misspelt_option_or_verb_gets_a_hint(cli: Cli) -> None:
    assert "Did you mean --json?" in cli("status", "--jsno").err
    assert cli("statsu").code == 2


def test_without_a_verb_it_shows_the_help_and_fails(cli: Cli) -> None:
    shown = cli()

    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("Usage: assetstore ")
    assert "Exit codes:" in shown.err

"""Completion: what the command offers, and what bash, zsh and fish make of it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.support.command import DEADLINE_S, Cli, Ran, Terminal, shared_daemon
from tests.support.daemon import Daemon
from tests.support.peer import Peer, Talk

from assetstore_cli.program import program

ASSETS = ("orders", "my orders", "a,b", "-minus", "Größe", "evil\x1b[31m", "$(touch pwned)")
KEYS = ("watermark", "water level", "part:2026", "part:2027", "a,b", "*", "evil\n")


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with names and keys that shells find hard."""
    with shared_daemon(tmp_path_factory.mktemp("daemon")) as daemon:
        status = daemon.activate(
            *ASSETS, "customers", {"name": "sales", "uri": "s3://data/sales/"}, "gone"
        )
        assert status["manifest"]["state"] == "accepted"
        with daemon.client() as client:
            client.store("orders").update(dict.fromkeys(KEYS, 1))
            client.store("my orders")["mine"] = 1
            client.store("gone")["a"] = 1
            client.store("sales")["cleared"] = 1
            client.store("sales").clear()
            client.store("sales")["total"] = 1
        daemon.activate(*ASSETS, "customers", {"name": "sales", "uri": "s3://data/sales/"})
        yield daemon


def question(shell: str, words: str, word: int | str) -> dict[str, str]:
    """What click's scripts ask: the words, and which of them is to be completed."""
    return {
        "_ASSETSTORE_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(word),
    }


def ask(cli: Cli, shell: str, words: str, word: int | str) -> Ran:
    """Ask as click's scripts do."""
    return cli.process(**question(shell, words, word))


def offered(cli: Cli, words: str) -> list[str]:
    """What is offered for the last word; asked in this process, which is quick."""
    asked = question("bash", words, len(words.split(" ")) - 1)
    result = CliRunner().invoke(program, env={**cli.env, **asked}, catch_exceptions=False)
    assert (result.exit_code, result.stderr) == (0, "")
    return [line.removeprefix("plain,") for line in result.stdout.splitlines() if line]


# --- what is offered


def test_verbs_and_options_are_offered(cli: Cli) -> None:
    assert offered(cli, "assetstore s") == ["set", "status", "sweep"]
    assert offered(cli, "assetstore merge orders a {} --how ") == ["replace", "max"]
    assert offered(cli, "assetstore trash ") == ["list", "restore", "purge"]
    assert "--long" in offered(cli, "assetstore ls --l")


def test_names_of_active_assets_are_offered(cli: Cli) -> None:
    assert offered(cli, "assetstore get o") == ["orders"]
    assert offered(cli, "assetstore clear ") == [
        "$(touch pwned)",
        "Größe",
        "a,b",
        "customers",
        "my orders",
        "orders",
        "sales",
    ]
    assert offered(cli, "assetstore assets c") == ["customers"]
    assert offered(cli, "assetstore log o") == ["orders"]
    assert offered(cli, "assetstore history c") == ["customers"]


def test_keys_of_the_asset_are_offered(cli: Cli) -> None:
    assert offered(cli, "assetstore get orders wat") == ["water level", "watermark"]
    assert offered(cli, "assetstore ls orders part:") == ["part:2026", "part:2027"]
    assert offered(cli, "assetstore delete orders watermark wat") == ["water level"]
    assert offered(cli, "assetstore set orders watermark ") == []
    assert offered(cli, "assetstore get orders --json wat") == ["water level", "watermark"]
    assert offered(cli, "assetstore ls orders --after p") == ["part:2026", "part:2027"]
    assert offered(cli, "assetstore advance orders wat") == ["water level", "watermark"]
    assert offered(cli, "assetstore merge orders watermark ") == []
    assert offered(cli, "assetstore wait orders --at-least 5 watermark ") == []
    assert offered(cli, "assetstore rewind orders --to 2h part:") == ["part:2026", "part:2027"]
    assert offered(cli, "assetstore log orders --key wat") == ["water level", "watermark"]
    assert offered(cli, "assetstore log orders ") == []


def test_uris_are_offered_and_stand_for_the_asset(cli: Cli) -> None:
    assert offered(cli, "assetstore get --uri s3") == ["s3://data/sales/"]
    assert offered(cli, "assetstore get --uri s3://data/sales/ t") == ["total"]
    assert offered(cli, "assetstore get --name orders wat") == ["water level", "watermark"]


def test_mv_offers_inactive_assets_as_source_only(cli: Cli) -> None:
    assert offered(cli, "assetstore mv g") == ["gone"]
    assert offered(cli, "assetstore mv gone g") == []
    assert offered(cli, "assetstore mv gone s") == ["sales"]


def test_ids_in_the_trash_are_offered_with_what_they_were(cli: Cli, daemon: Daemon) -> None:
    with daemon.client() as client:
        ids = {str(store.id): store for store in client.trash()}

    assert offered(cli, "assetstore trash restore ") == sorted(ids)
    lines = ask(cli, "zsh", "assetstore trash purge ", 3).out.splitlines()
    described = dict(zip(lines[1::3], lines[2::3], strict=True))
    assert described == {each: f"{store.name} ({store.reason})" for each, store in ids.items()}


def test_what_a_shell_must_not_show_is_not_offered(cli: Cli) -> None:
    every = offered(cli, "assetstore get ") + offered(cli, "assetstore get orders ")

    assert all(word.isprintable() for word in every)
    assert "-minus" not in every


def test_options_before_the_verb_count(daemon: Daemon) -> None:
    nowhere = Cli("/nowhere")

    assert offered(nowhere, f"assetstore --socket {daemon.socket} get o") == ["orders"]
    assert offered(nowhere, f"assetstore get --socket {daemon.socket} o") == ["orders"]


def test_a_file_is_left_to_the_shell(cli: Cli) -> None:
    assert ask(cli, "bash", "assetstore manifest check ./m", 3).out == "file,./m\n"


def test_fish_and_zsh_are_answered_in_their_own_way(cli: Cli) -> None:
    assert ask(cli, "fish", "assetstore get orders wat", "wat").out.splitlines() == [
        "plain,water level",
        "plain,watermark",
    ]
    assert ask(cli, "zsh", "assetstore get orders wat", 3).out.splitlines() == [
        *("plain", "water level", "_"),
        *("plain", "watermark", "_"),
    ]
    assert ask(cli, "zsh", "assetstore get --uri=s3", 2).out.splitlines()[1] == (
        "--uri=s3://data/sales/"
    )


# --- when it cannot


def test_without_a_daemon_nothing_is_offered_and_nothing_said(tmp_path: Path) -> None:
    nowhere = Cli(tmp_path / "nobody")

    assert ask(nowhere, "bash", "assetstore get o", 2) == (0, "\n", "")


def test_a_daemon_that_hangs_does_not_hang_the_shell() -> None:
    def never_answer(talk: Talk) -> None:
        talk.welcome()
        talk.hear()
        talk.hear_bytes()

    with Peer(never_answer) as peer:
        # DEADLINE_S is far longer than completion waits; a hang would not come back.
        answered = ask(Cli(peer.path), "bash", "assetstore get o", 2)

    assert answered == (0, "\n", "")


@pytest.mark.parametrize(
    "env",
    [
        {"COMP_WORDS": "assetstore get 'unclosed", "COMP_CWORD": "2"},
        {"COMP_WORDS": "assetstore nosuchverb x", "COMP_CWORD": "2"},
        {"COMP_WORDS": "assetstore get --socket", "COMP_CWORD": "3"},
        {"COMP_WORDS": "assetstore get --timeout x o", "COMP_CWORD": "4"},
        {"COMP_WORDS": f"assetstore get {'x' * 2000} k", "COMP_CWORD": "3"},
        {"COMP_WORDS": "assetstore", "COMP_CWORD": "x"},
        {"COMP_WORDS": ""},
        {"COMP_LINE": "assetstore get ", "COMP_POINT": "9999"},
        {"COMP_LINE": "assetstore get ", "COMP_POINT": "x", "COMP_WORDS": "", "COMP_CWORD": "0"},
    ],
    ids=lambda env: " ".join(env.values())[:40],
)
def test_whatever_is_asked_nothing_is_written_into_the_prompt(
    cli: Cli, env: dict[str, str]
) -> None:
    answered = cli.process(**{"_ASSETSTORE_COMPLETE": "bash_complete", **env})

    assert answered.err == ""
    assert "Traceback" not in answered.out


# --- the scripts, in real shells


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_says_how_it_is_installed(cli: Cli, shell: str) -> None:
    script = cli("completion", shell)

    assert (script.code, script.err) == (0, "")
    assert "_ASSETSTORE_COMPLETE" in script.out
    assert f"assetstore completion {shell}" in script.out
    assert cli("completion", "tcsh").code == 2


def test_the_script_of_zsh_begins_as_zsh_wants_it(cli: Cli) -> None:
    assert cli("completion", "zsh").out.startswith("#compdef assetstore\n")


def need(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


def environment(cli: Cli, home: Path) -> dict[str, str]:
    """Where a shell finds our command, and nobody's own configuration."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**cli.env, "PATH": path, "HOME": str(home), "ZDOTDIR": str(home), "LC_ALL": "C.UTF-8"}


# After completion is set up, the command's place is taken by one that shows its arguments.
SHOW = """
shown=0
assetstore() {
    shown=$((shown + 1))
    printf '\\nARGS%s' $shown
    printf '<%s>' "$@"
    printf 'END%s\\n' $shown
}
PS1='$ '
"""

BASH = f"""
bind 'set enable-bracketed-paste off'
eval "$(assetstore completion bash)"
{SHOW}
"""

ZSH = f"""
autoload -Uz compinit && compinit -u -D
eval "$(assetstore completion zsh)"
{SHOW}
"""

LINES = [
    ("stat", ["status"]),
    ("get orde", ["get", "orders"]),
    ("get my", ["get", "my orders"]),
    ("get a", ["get", "a,b"]),
    ("get Gr", ["get", "Größe"]),
    ("get \\$", ["get", "$(touch pwned)"]),
    ("get my\\ orders m", ["get", "my orders", "mine"]),
    ("get orders waterm", ["get", "orders", "watermark"]),
    ("get orders water\\ ", ["get", "orders", "water level"]),
    ("get orders a", ["get", "orders", "a,b"]),
    ("get orders \\*", ["get", "orders", "*"]),
    ("get orders part:2026", ["get", "orders", "part:2026"]),
    ("get orders pa", ["get", "orders", "part:202"]),
    ("ls --uri s3:", ["ls", "--uri", "s3://data/sales/"]),
    ("ls --uri=s3:", ["ls", "--uri=s3://data/sales/"]),
]

QUOTED = [
    ("get 'my", ["get", "my orders"]),
    ('get "my', ["get", "my orders"]),
    ("get '$", ["get", "$(touch pwned)"]),
    ('get "my orders" m', ["get", "my orders", "mine"]),
    ("get orders 'water ", ["get", "orders", "water level"]),
]


def check_lines(terminal: Terminal, lines: list[tuple[str, list[str]]]) -> None:
    """Type each line and press Tab and Enter: the command gets these arguments."""
    for number, (typed, arguments) in enumerate(lines, 1):
        terminal.press(f"assetstore {typed}\t\n")
        shown = terminal.read_until(f"END{number}\r\n")

        got = shown.rpartition(f"ARGS{number}")[2].partition(f"END{number}")[0]
        assert got == "".join(f"<{each}>" for each in arguments), typed


def test_bash_completes_the_line(cli: Cli, tmp_path: Path) -> None:
    need("bash")
    (tmp_path / "rc").write_text(BASH)
    command = ["bash", "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"]

    with Terminal(command, 200, environment(cli, tmp_path)) as terminal:
        check_lines(terminal, LINES + QUOTED)
    assert not Path("pwned").exists()


def test_zsh_completes_the_line(cli: Cli, tmp_path: Path) -> None:
    need("zsh")
    (tmp_path / ".zshrc").write_text(ZSH)

    with Terminal(["zsh", "-d", "-i"], 200, environment(cli, tmp_path)) as terminal:
        check_lines(terminal, LINES + QUOTED)
    assert not Path("pwned").exists()


def test_fish_offers_the_words(cli: Cli, tmp_path: Path) -> None:
    need("fish")

    def completions(line: str) -> list[str]:
        script = f"assetstore completion fish | source; complete -C {shlex.quote(line)}"
        done = subprocess.run(
            ["fish", "--no-config", "-c", script],
            capture_output=True,
            text=True,
            env={**os.environ, **environment(cli, tmp_path)},
            timeout=DEADLINE_S,
        )
        assert done.stderr == ""
        return [offer.partition("\t")[0] for offer in done.stdout.splitlines()]

    assert completions("assetstore stat") == ["status"]
    assert completions("assetstore get a") == ["a,b"]
    assert completions("assetstore get my") == ["my orders"]
    assert completions("assetstore get orders part:") == ["part:2026", "part:2027"]
    assert completions("assetstore ls --uri s3:") == ["s3://data/sales/"]

"""The command line on export and import: files, pipes, questions, exit codes.

Rule: that an export is of one moment and lossless is shown in test_export.py.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.support.command import COMMAND, Cli
from tests.support.daemon import Daemon

from assetstore import Client, Entry


@pytest.fixture
def daemon(renewed_daemon: Daemon) -> Daemon:
    return renewed_daemon


@pytest.fixture
def file(cli: Cli, client: Client, tmp_path: Path) -> str:
    """An export of two entries of orders and one of customers, of which nothing is there now."""
    client.store("orders").update({"a": 1, "é": [1.5, {"b": None}]})
    client.store("customers").set("c", "x")
    path = str(tmp_path / "all.jsonl")
    assert cli("export", "--output", path).code == 0
    for name in ("orders", "customers"):
        client.store(name).clear()
    client.purge([store.id for store in client.trash()])
    return path


def held(client: Client) -> dict[str, Entry]:
    return {
        f"{name}/{entry.key}": entry
        for name in ("orders", "customers")
        for entry in client.store(name).entries()
    }


# --- export


def test_an_export_to_a_file_is_told_in_one_line(cli: Cli, client: Client, tmp_path: Path) -> None:
    revision = client.store("orders").set("a", 1)
    path = tmp_path / "x"

    assert cli("export", "-o", str(path)) == (
        0, f"1 entry of 2 assets in {path}, as of revision {revision}\n", ""
    )  # fmt: skip
    (record,) = cli("export", "orders", "-o", str(path), "--json").records
    assert record == {
        "file": str(path),
        "store_id": client.status()["store_id"],
        "revision": revision,
        "assets": 1,
        "entries": 1,
    }
    assert os.listdir(tmp_path) == ["x"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_export_to_a_pipe_is_the_lines_and_nothing_else(cli: Cli, client: Client) -> None:
    client.store("orders").set("é", [1, "\n"])

    for ran in (
        cli("export", "--uri", "s3://data/orders/"),
        cli("export", "orders", "-o", "-"),
        cli.process("export", "orders"),
    ):
        assert (ran.code, ran.err) == (0, "")
        header, asset, entry = ran.records
        assert (header["format"], header["assets"], header["entries"]) == (
            "assetstore-export",
            1,
            1,
        )
        assert asset["asset"] == {"name": "orders", "uri": "s3://data/orders/", "group": "sales"}
        assert (entry["key"], entry["value"]) == ("é", [1, "\n"])


def test_an_export_is_not_shown_on_a_terminal(cli: Cli) -> None:
    with cli.terminal("export") as terminal:
        ended = terminal.end()

    assert ended.code == 2
    assert "not for a terminal: give --output FILE" in ended.out


@pytest.mark.parametrize(
    ("name", "code", "why"), [("nothing", 1, "no asset 'nothing' is known"), ("", 1, "is empty")]
)
def test_an_export_that_fails_leaves_the_file_as_it_was(
    cli: Cli, tmp_path: Path, name: str, code: int, why: str
) -> None:
    path = tmp_path / "x"
    path.write_text("as it was")

    ran = cli("export", name, "-o", str(path))

    assert (ran.code, ran.out) == (code, "")
    assert why in ran.err
    assert (os.listdir(tmp_path), path.read_text()) == (["x"], "as it was")


def test_a_file_that_cannot_be_written_is_exit_code_70(cli: Cli, tmp_path: Path) -> None:
    ran = cli("export", "-o", str(tmp_path / "nowhere" / "x"))

    assert (ran.code, ran.out) == (70, "")
    assert "cannot write" in ran.err
    assert cli.process("export", "--timeout", "0.2", ASSETSTORE_SOCKET="/nowhere/s").code == 4


def test_a_link_stays_and_what_is_no_file_is_left_alone(cli: Cli, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "link").symlink_to(tmp_path / "there")

    refused = cli("export", "-o", str(tmp_path / "fifo"))
    assert refused.code == 1
    assert "is no regular file; leave out --output" in refused.err
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)

    assert cli("export", "-o", str(tmp_path / "link")).code == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there").read_bytes().startswith(b'{"crc":')
    assert sorted(os.listdir(tmp_path)) == ["fifo", "link", "there"]


def test_a_file_that_is_standard_output_is_not_replaced(cli: Cli, tmp_path: Path) -> None:
    kept = tmp_path / "log"
    kept.write_text("what others have written\n")

    for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
        with open(kept, "a") as file:
            done = subprocess.run(
                [*COMMAND, "export", "-o", name],
                stdout=file,
                stderr=subprocess.PIPE,
                env={**os.environ, **cli.env},
            )
        assert done.returncode == 1
        assert b"leave out --output" in done.stderr
    assert kept.read_text() == "what others have written\n"


# --- import


def test_an_import_brings_back_what_was_exported(cli: Cli, client: Client, file: str) -> None:
    ran = cli("import", file)

    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        "ASSET      STATE   ADDED  CHANGED  REMOVED  UNCHANGED",
        "customers  active      1        0        0          0",
        "orders     active      2        0        0          0",
        "3 entries of 2 assets changed",
    ]
    assert {name: entry.value for name, entry in held(client).items()} == {
        "orders/a": 1, "orders/é": [1.5, {"b": None}], "customers/c": "x"
    }  # fmt: skip
    assert cli("import", file) == (0, "Nothing differs from what is there.\n", "")


def test_an_import_comes_from_standard_input_too(cli: Cli, client: Client, file: str) -> None:
    data = Path(file).read_bytes()

    for words in (["import"], ["import", "-"], ["import", "--dry-run"]):
        assert cli(*words, stdin=data).code == 0
    assert len(held(client)) == 3


def test_an_import_as_json(cli: Cli, client: Client, file: str) -> None:
    customers, orders, whole = cli("import", file, "--json").records

    assert orders == {
        "name": "orders", "uri": "s3://data/orders/", "state": "active",
        "added": 2, "changed": 0, "removed": 0, "unchanged": 0,
    }  # fmt: skip
    assert customers["added"] == 1
    header = json.loads(Path(file).read_text().splitlines()[0])
    assert whole == {
        "store_id": header["store_id"], "revision": header["revision"], "assets": 2, "entries": 3
    }  # fmt: skip


def test_the_log_says_who_imported_and_who_wrote(cli: Cli, client: Client, file: str) -> None:
    cli("import", file)

    (event,) = cli("history", "customers", "c", "--limit", "1", "--json").records
    assert (event["kind"], event["updated_by"]["kind"]) == ("import", "cli")
    assert event["origin_updated_by"]["kind"] == "worker"
    assert event["origin_updated_at"] < event["updated_at"]
    assert " from worker uid " in cli("log", "customers", "-n", "1").out
    assert held(client)["customers/c"].updated_by.kind == "worker"


def test_a_dry_run_changes_nothing(cli: Cli, client: Client, file: str) -> None:
    client.store("orders").update({"a": 2, "mine": 3})
    before = client.status()["revision"]

    assert "3 entries of 2 assets would change\n" in cli("import", file, "--dry-run").out
    replaced = cli("import", file, "--dry-run", "--replace").out

    assert "orders     active      1        1        1          0\n" in replaced
    assert client.status()["revision"] == before


def test_replacing_asks_and_says_what_will_be_done(cli: Cli, client: Client, file: str) -> None:
    client.store("orders").set("mine", 3)
    with cli.terminal("import", file, "--replace") as terminal:
        asked = terminal.read_until("[y/N] ")
        terminal.press("n\n")
        ended = terminal.end()
    assert "orders: 2 added, 0 changed, 1 removed, 0 unchanged" in asked
    assert (ended.code, set(held(client))) == (1, {"orders/mine"})

    with cli.terminal("import", file, "--replace") as terminal:
        terminal.read_until("[y/N] ")
        terminal.press("y\n")
        assert terminal.end().code == 0
    assert set(held(client)) == {"orders/a", "orders/é", "customers/c"}
    assert [(store.name, store.entries) for store in client.trash()] == [("orders", 1)]


def test_replacing_needs_yes_where_there_is_nobody_to_ask(
    cli: Cli, client: Client, file: str
) -> None:
    client.store("orders").set("mine", 3)

    refused = cli("import", file, "--replace")
    assert refused.code == 2
    assert "give --yes" in refused.err
    assert set(held(client)) == {"orders/mine"}
    assert cli("import", file, "--replace", "--yes").code == 0
    assert set(held(client)) == {"orders/a", "orders/é", "customers/c"}


@pytest.mark.parametrize("line", [1, 2, 4])
def test_a_file_that_was_changed_is_refused_with_its_line(
    cli: Cli, client: Client, file: str, line: int
) -> None:
    lines = Path(file).read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"a", b"b", 1)
    Path(file).write_bytes(b"".join(lines))

    ran = cli("import", file)

    assert (ran.code, ran.out) == (1, "")
    assert f"{file}, line {line}: " in ran.err
    assert "Nothing was imported" in ran.err
    assert held(client) == {}
    cut = cli("import", stdin=b"".join(lines)[:300])
    assert cut.code == 1
    assert "standard input, line " in cut.err


def test_what_is_no_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    ran = cli("import", str(tmp_path / "nothing"))
    assert (ran.code, ran.out) == (1, "")
    assert "No such file" in ran.err
    assert "Is a directory" in cli("import", str(tmp_path)).err
    assert "is a directory; name a file" in cli("export", "-o", str(tmp_path)).err
    with cli.terminal("import") as terminal:
        ended = terminal.end()
    assert ended.code == 2
    assert "Give FILE, or let it come from standard input" in ended.out


def test_assets_that_are_not_active_are_refused_or_left_out(
    cli: Cli, daemon: Daemon, client: Client, file: str
) -> None:
    daemon.activate({"name": "orders", "uri": "s3://data/orders/", "group": "sales"})

    refused = cli("import", file)
    assert (refused.code, refused.out) == (1, "")
    assert "1 of the 2 assets of this export are not active here: 'customers'" in refused.err

    done = cli("import", file, "--skip-missing")
    assert done.code == 0
    assert "customers  inactive      -        -        -          -\n" in done.out
    assert len(client.store("orders")) == 2


def test_on_a_terminal_long_work_shows_how_far_it_is(
    cli: Cli, client: Client, tmp_path: Path
) -> None:
    path = str(tmp_path / "x")
    for start in range(0, 3_000, 1_000):
        client.store("orders").set_many({f"k{n}": n for n in range(start, start + 1_000)})

    with cli.terminal("export", "-o", path) as terminal:
        exporting = terminal.end()
    client.store("orders").clear()
    with cli.terminal("import", path) as terminal:
        importing = terminal.end()

    assert (exporting.code, importing.code) == (0, 0)
    assert "\rexporting [" in exporting.out
    assert "% " in exporting.out
    assert " of 3,000" in exporting.out
    assert "\rimporting [" in importing.out
    # What was drawn is wiped out before the answer is shown.
    *_, wiped, answer = exporting.out.rstrip("\n").split("\n")[-1].split("\r")
    assert wiped.strip() == ""
    assert answer.startswith("3,000 entries of 2 assets in ")
    assert cli.process("export", "-o", path).err == ""

"""docs/operations.md, held against the code and against a running daemon.

Rule: what is compared is taken from the source or from the daemon, never listed here again.
"""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from tests.support.checkout import ROOT
from tests.support.daemon import Daemon

from assetstored.config import Config, ConfigInvalid, load
from assetstored.findings import REMEDIES
from assetstored.manifest_keeper import State

DOCUMENT = ROOT / "docs/operations.md"
TEXT = DOCUMENT.read_text()
SOURCES = sorted((ROOT / "daemon/assetstored").glob("*.py"))

#: Errors whose text is the last line of the log, where the start is refused.
REFUSALS = ("StartRefused", "ListenRefused")

#: What stands for a part of a message that is known only when it is written.
BLANK = "\0"


def section(heading: str) -> str:
    """The text under a heading, up to the next one of the same level."""
    match = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert match is not None, f"no heading {heading!r}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """The cells of each row of each table, without the heads."""
    found = []
    for line in text.splitlines():
        if line.startswith("|"):
            # A bar in a code span would be a new cell for a reader too, so there is none.
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return [row for row in found if not set("".join(row)) <= set("-: ")]


def codes(text: str) -> list[str]:
    """All that stands between backquotes."""
    return re.findall(r"`([^`]+)`", text)


def fits(message: str, shown: str) -> bool:
    """Whether what is shown is the message: words in capitals for its blanks, ... for its end."""
    pattern = re.escape(shown.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(re.sub(r"\b[A-Z]+\b", ".+?", pattern), message) is not None


class LogCall(NamedTuple):
    where: str
    level: str
    message: str


def text_of(node: ast.AST) -> str | None:
    """A string in the source, with BLANK for what is filled in; None if it is not a string."""
    match node:
        case ast.Constant(value=str() as text):
            return re.sub(r"%[a-z]", BLANK, text)
        case ast.JoinedStr(values=values):
            return "".join(
                str(part.value) if isinstance(part, ast.Constant) else BLANK for part in values
            )
    return None


def calls(name: str) -> Iterator[tuple[str, ast.Call]]:
    """Every call in the daemon of a function, class or method of this name, and where it is."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                called = node.func
                if name == getattr(called, "attr", getattr(called, "id", "")):
                    yield f"{path.name}:{node.lineno}", node


def log_calls() -> list[LogCall]:
    """Every line that the daemon logs with a text of its own."""
    found = []
    for method in ("debug", "info", "warning", "error", "exception", "critical"):
        for where, call in calls(method):
            if getattr(getattr(call.func, "value", None), "id", "") == "_log":
                message = text_of(call.args[0])
                assert message is not None, f"{where}: the format is no literal"
                if message != BLANK:
                    found.append(
                        LogCall(where, "error" if method == "exception" else method, message)
                    )
    assert found
    return found


@pytest.fixture
def report(daemon: Daemon) -> dict[str, Any]:
    """The status report of a daemon that holds a manifest, so that all of it is there."""
    daemon.activate("a", "b", "c", "d")
    return daemon.activate("a")


# --- configuration


def configuration_table() -> dict[str, str]:
    return {codes(row[0])[0]: codes(row[1])[0] for row in rows(section("Configuration"))[1:]}


def test_every_key_of_the_configuration_is_explained_with_its_default() -> None:
    defaults = {
        key: tomllib.loads(f"{key} = {default}")[key]
        for key, default in configuration_table().items()
    }

    assert defaults == without_tables(Config())


def without_tables(config: Config) -> dict[str, Any]:
    """Its keys, but not those that are tables: none by default, which TOML has no word for."""
    keys: dict[str, Any] = msgspec.to_builtins(config)
    assert keys.pop("access") is None
    return keys


def test_the_default_configuration_names_every_key_with_its_default() -> None:
    text = (ROOT / "systemd/assetstored.toml").read_text()
    keys = "\n".join(line[1:] for line in text.splitlines() if re.match(r"#\w+ =", line))

    assert tomllib.loads(keys) == without_tables(Config())
    assert tomllib.loads(text) == {}, "every key is commented out"


@pytest.mark.parametrize("row", rows(section("Configuration"))[1:], ids=lambda row: row[0])
def test_the_range_of_a_key_is_the_one_that_is_checked(tmp_path: Path, row: list[str]) -> None:
    match = re.fullmatch(r"(\d+) to (\d+)", row[2])
    if match is None:
        return
    key, low, high = codes(row[0])[0], int(match[1]), int(match[2])
    # Two keys depend on each other, and are not to get into each other's way here.
    other = {"max_value_bytes": {"max_inflight_bytes": 1 << 30}}.get(key, {"max_value_bytes": 1})

    def load_with(value: int) -> None:
        file = tmp_path / "assetstored.toml"
        file.write_text("".join(f"{k} = {v}\n" for k, v in {**other, key: value}.items()))
        load(file, {})

    load_with(low)
    load_with(high)
    for outside in (low - 1, high + 1):
        with pytest.raises(ConfigInvalid, match=rf"{key} = .* is out of range"):
            load_with(outside)


# --- status


def test_every_field_of_a_status_report_is_explained(report: dict[str, Any]) -> None:
    table = rows(section("Status"))
    explained = {code for row in table for code in codes(row[0])}
    (about_manifest,) = (row[1] for row in table if row[0] == "`manifest`")

    assert set(report) - explained == set()
    assert report["manifest"]["held"] is not None
    assert set(report["manifest"]) | set(report["manifest"]["held"]) == set(codes(about_manifest))


def test_no_field_is_explained_that_there_is_not(report: dict[str, Any]) -> None:
    fields, _, _ = section("Status").partition("| problem |")

    assert {code for row in rows(fields)[1:] for code in codes(row[0])} == set(report)


def test_every_state_of_the_manifest_is_explained() -> None:
    explained = {codes(row[0])[0] for row in rows(section("The manifest"))[1:]}

    # "unchanged" is a verdict: the state is "accepted" then.
    assert explained == set(get_args(State)) - {"unchanged"}


def test_every_problem_is_explained() -> None:
    shown = [code for row in rows(section("Status")) for code in codes(row[0])]

    tree = ast.parse((ROOT / "daemon/assetstored/status.py").read_text())
    beginnings = {
        text.partition(BLANK)[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "append"
        for part in ast.walk(node.args[0])
        if isinstance(part, ast.JoinedStr) and (text := text_of(part))
        if len(text.partition(BLANK)[0]) > 3
    }
    assert len(beginnings) >= 2
    for beginning in beginnings:
        assert any(code.startswith(beginning) for code in shown), beginning


# --- log


def test_every_line_of_the_log_is_explained_with_its_level() -> None:
    table = [(row[0], code) for row in rows(section("Log")) for code in codes(row[1])[:1]]

    missing = [
        call
        for call in log_calls()
        if not any(call.level == level and fits(call.message, shown) for level, shown in table)
    ]

    assert missing == []


def test_no_line_of_the_log_is_explained_that_there_is_not() -> None:
    table = [
        (row[0], codes(row[1])[0])
        for row in rows(section("Log"))
        if row[0] in ("info", "warning", "error", "critical") and codes(row[1])
    ]
    messages = [(call.level, call.message) for call in log_calls()]
    # Logged as it is told to the client.
    messages += [("error", text) for _, call in calls("Damaged") if (text := text_of(call.args[0]))]

    for level, shown in table:
        assert any(level == real and fits(message, shown) for real, message in messages), (
            f"{level}: {shown}"
        )


def test_every_reason_to_give_up_is_explained() -> None:
    shown = [code for row in rows(section("Log")) for code in codes(row[0])]
    reasons = [
        (where, text)
        for name in ("_fail", "_lose", "FatalFailure")
        for where, call in calls(name)
        if call.args and (text := text_of(call.args[0])) and text != BLANK
    ]
    assert len(reasons) >= 5

    for where, reason in reasons:
        assert any(fits(reason, code) for code in shown), f"{where}: {reason}"


def test_every_refusal_to_start_is_explained() -> None:
    shown = codes(section("The store is refused"))
    refusals = [
        (where, text)
        for name in REFUSALS
        for where, call in calls(name)
        if call.args and (text := text_of(call.args[0])) and text != BLANK
    ]
    assert len(refusals) >= 20

    missing = [
        f"{where}: {text}"
        for where, text in refusals
        if not any(fits(text, code) for code in shown)
    ]

    assert missing == []


def test_every_reason_to_cut_off_a_client_is_explained() -> None:
    explained = codes(section("Log"))
    sources = [ROOT / "daemon/assetstored" / name for name in ("server.py", "connection.py")]
    reasons = [
        reason for path in sources for reason in re.findall(r'"it ([^"]+)"', path.read_text())
    ]
    assert len(reasons) >= 3

    for reason in reasons:
        assert any(reason.startswith(code) for code in explained), reason


def test_where_a_message_points_to_there_is_a_heading() -> None:
    pointers = [
        heading
        for folder in ("daemon", "lib", "cli")
        for path in (ROOT / folder).rglob("*.py")
        for heading in re.findall(r"docs/operations\.md, '([^']+)'", path.read_text())
    ]

    assert pointers
    for heading in pointers:
        section(heading)


def test_every_exit_status_of_the_daemon_is_explained() -> None:
    explained = {row[0] for row in rows(section("Processes, signals, exit statuses"))}
    source = "".join(
        (ROOT / "daemon/assetstored" / name).read_text() for name in ("app.py", "__main__.py")
    )
    # The status of the writer process is seen by nobody but the serving process.
    used = set(re.findall(r"os\.(EX_\w+)", source)) - {"EX_SOFTWARE"}

    assert {str(getattr(os, name)) for name in used} <= explained


# --- what is typed


def test_the_files_that_are_installed_are_those_in_the_table(tmp_path: Path) -> None:
    subprocess.run(
        [ROOT / "systemd/install.sh"],
        env={**os.environ, "DESTDIR": str(tmp_path), "PREFIX": "/usr/local"},
        capture_output=True,
        check=True,
    )
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    made = {f"/{path.relative_to(tmp_path).as_posix()}" for path in files}
    listed = {codes(row[0])[0] for row in rows(section("Install"))[1:]}
    listed = {name.replace("PREFIX", "/usr/local") for name in listed}

    folders = {name for name in listed if name.endswith("/")}
    assert {name for name in made if not name.startswith(tuple(folders))} == listed - folders
    assert all(any(name.startswith(folder) for name in made) for folder in folders)


def test_every_kind_of_finding_stands_there() -> None:
    listed = {kind for row in rows(section("Check a store")) for kind in codes(row[0])}

    assert listed == set(REMEDIES)


def test_the_manifest_shown_is_the_example_that_is_installed() -> None:
    (shown,) = re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

    assert json.loads(shown) == json.loads((ROOT / "systemd/manifest.json").read_text())

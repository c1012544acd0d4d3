"""The rules of docs/style.md that ruff and mypy cannot see.

Rule: reads what is committed and runs nothing of it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from tests.support.checkout import ROOT, name_of, project_files, syntax_of

MAX_LINES = 400

#: Where the tests wait for a fact, with a deadline.
WAITING = "tests/support/waiting.py"

#: Names that say nothing about what a file is for.
NAMELESS = {"utils", "util", "helpers", "common", "base", "core", "misc", "manager", "types"}

# Cut in two, so that these rules do not find themselves.
MACHINE_PATH = re.compile(r"(?<![\w.$}/-])/(?:work|root|tmp/w)/\w")
PACKAGE_INDEX = re.compile(r"index-ur" + r"l|find-link" + r"s|pypi\.or" + r"g|pythonhoste" + r"d")


def python_files(*folders: str) -> list[Path]:
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


def lines_that_match(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for path in project_files():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{name_of(path)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(lines, 1)
            if pattern.search(line)
        ]
    return found


def test_no_test_sleeps_but_in_the_one_place_that_waits_for_a_fact() -> None:
    sleeping = []
    for path in python_files("tests"):
        if name_of(path) == WAITING or "sleep" not in path.read_text():
            continue
        for node in ast.walk(syntax_of(path)):
            if isinstance(node, ast.Call):
                called = node.func
                if getattr(called, "attr", getattr(called, "id", "")) == "sleep":
                    sleeping.append(f"{name_of(path)}:{node.lineno}")

    assert sleeping == []


def test_every_module_says_what_lives_there() -> None:
    silent = [
        name_of(path)
        for path in python_files("lib", "daemon", "cli", "examples", "tests")
        if path.stat().st_size and not ast.get_docstring(syntax_of(path))
    ]

    assert silent == []


def test_no_module_outgrows_one_idea() -> None:
    long = [
        name_of(path)
        for path in python_files("lib", "daemon", "cli", "examples")
        if len(path.read_text().splitlines()) > MAX_LINES
    ]

    # messages.py is one table: the whole wire protocol, in the order of docs/protocol.md.
    assert [name for name in long if name != "lib/assetstore/messages.py"] == []


def test_no_module_has_a_name_that_says_nothing() -> None:
    nameless = [
        name_of(path)
        for path in python_files("lib", "daemon", "cli", "examples", "tests")
        if path.stem.strip("_") in NAMELESS
    ]

    assert nameless == []


def test_nothing_committed_names_a_path_of_the_machine_it_was_written_on() -> None:
    assert lines_that_match(MACHINE_PATH) == []


def test_nothing_committed_names_a_package_index() -> None:
    assert lines_that_match(PACKAGE_INDEX) == []


def test_nothing_is_left_to_do_without_an_issue() -> None:
    pattern = re.compile(r"\b(TOD" + r"O|FIXM" + r"E|XX" + r"X)\b(?! ?\(?#\d+)")

    assert lines_that_match(pattern) == []

"""Writes into docs/cli.md what each verb of ``assetstore`` says with --help.

    python scripts/cli_manual.py            write the page
    python scripts/cli_manual.py --check    exit 1 if it is out of date

A block that begins with ``$ assetstore ... --help`` is replaced; all else is written by hand.

Rule: no text of its own.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click
from click.testing import CliRunner

from assetstore_cli.program import program

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

_BLOCK = re.compile(r"^```text\n\$ assetstore ?(?P<words>[a-z ]*?) ?--help\n.*?^```$", re.M | re.S)


def verbs() -> list[tuple[str, ...]]:
    """Every verb, by its words: () is the command itself."""

    def walk(command: click.Command, words: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = [words]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                inner = command.get_command(context, name)
                assert inner is not None
                found += walk(inner, (*words, name))
        return found

    return walk(program, ())


def help_of(words: tuple[str, ...]) -> str:
    """What it says with --help, on a screen of 80 columns."""
    shown = CliRunner().invoke(program, [*words, "--help"], env={"COLUMNS": "80"})
    return shown.stdout.rstrip()


def written(page: str) -> str:
    """The page with its blocks as they must be."""

    def block(match: re.Match[str]) -> str:
        words = tuple(match["words"].split())
        command = " ".join(("assetstore", *words, "--help"))
        return f"```text\n$ {command}\n{help_of(words)}\n```"

    return _BLOCK.sub(block, page)


def described(page: str) -> list[tuple[str, ...]]:
    """The verbs that have a block on the page, in its order."""
    return [tuple(match["words"].split()) for match in _BLOCK.finditer(page)]


def main() -> int:
    page = PAGE.read_text()
    missing = [words for words in verbs() if words not in described(page)]
    if missing:
        print(f"{PAGE}: no block for {missing}", file=sys.stderr)
        return 1
    if written(page) == page:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{PAGE} is out of date: python scripts/cli_manual.py", file=sys.stderr)
        return 1
    PAGE.write_text(written(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The snippets of docs/recipes.md, run as they stand there.

Rule: takes them from the document; what they must do is for the tests.
"""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT
from tests.support.daemon import DEADLINE_S

DOCUMENT = ROOT / "docs/recipes.md"

_SECTION = re.compile(r"^(?:# |## )(.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: What each process runs: it waits for the others, so that all of them are at it together.
_PROCESS = """\
{beginning}
print("ready", flush=True)
input()
for turn in range({times}):
{work}
client.close()
"""


def headings() -> list[str]:
    """Of all recipes, in the order of the document."""
    return [heading for heading, _ in _SECTION.findall(DOCUMENT.read_text())][1:]


def snippets(heading: str, language: str = "python") -> list[str]:
    """The code in the section with this heading; "Recipes" is what comes before the first."""
    text = dict(_SECTION.findall(DOCUMENT.read_text()))[heading]
    return [code for name, code in _BLOCK.findall(text) if name == language]


def inline(heading: str, code: str) -> str:
    """The one piece of code inside the text of a section that begins so."""
    text = dict(_SECTION.findall(DOCUMENT.read_text()))[heading]
    [found] = re.findall(rf"`({re.escape(code)}[^`]*)`", _BLOCK.sub("", text))
    assert isinstance(found, str)
    return found


def begin() -> dict[str, Any]:
    """The names that each snippet begins with. The client is to be closed."""
    [beginning] = snippets("Recipes")
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(beginning, str(DOCUMENT), "exec"), names)
    return names


def run(snippet: str, names: dict[str, Any] | None = None, /, **work: Any) -> dict[str, Any]:
    """Run a snippet, after the beginning unless names were begun already; returns all names.

    ``work`` is what the snippet leaves to its reader.
    """
    own = begin() if names is None else names
    own.update(work)
    # A traceback then shows the lines of the document.
    above = DOCUMENT.read_text().partition(snippet)[0].count("\n")
    try:
        exec(compile("\n" * above + snippet, str(DOCUMENT), "exec"), own)
    finally:
        if names is None:
            own["client"].close()
    return own


def run_in_processes(snippet: str, directory: Path, *work: str, times: int = 1) -> list[str]:
    """Run a snippet so many times in a process for each work, all at once; returns what they print.

    ``work`` is code that defines what the snippet leaves to its reader; ``turn`` counts the times.
    """
    [beginning] = snippets("Recipes")
    processes = []
    for number, code in enumerate(work):
        script = directory / f"process_{number}.py"
        indented = textwrap.indent(f"{code}\n{snippet}", "    ")
        script.write_text(_PROCESS.format(beginning=beginning, times=times, work=indented))
        processes.append(
            subprocess.Popen(
                [sys.executable, "-W", "error", script],
                cwd=directory,
                text=True,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        printed = []
        for process in processes:
            out, _ = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 0
            printed += out.splitlines()
        return printed
    finally:
        for process in processes:
            process.kill()
            process.communicate()

"""Writes the blocking client from the asynchronous one: the same calls, without waiting for them.

    python scripts/unasync.py            write the modules
    python scripts/unasync.py --check    say which are out of date; exit 1 if any is

Words are replaced by the table below. Where the two differ, the source says so in comments:

    x = 1  # async only         this line is left out
    # sync: x = 2               this one is put in

Rule: standard library only, and no knowledge of what the modules are about.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LIBRARY = Path(__file__).resolve().parent.parent / "lib" / "assetstore"
SOURCE = LIBRARY / "asynchronous"
MODULES = (
    *("calls.py", "client.py", "container.py", "exporting.py", "importing.py", "journal.py"),
    *("store.py", "transaction.py", "watching.py"),
)

_WORDS = [
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\bassetstore\.asynchronous\.", "assetstore."),
    (r"\bAsync(AssetStore|Client|Iterator|Store|Transaction|Watch)\b", r"\1"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\bimport asyncio\b", "import time"),
    (r"\basyncio\.sleep\b", "time.sleep"),
]

_SYNC_ONLY = re.compile(r"^(\s*)# sync:(?: (.*))?$")
_IMPORT = re.compile(r"^from (\S+) import (?:\(([^)]*)\)|(.*))$", re.MULTILINE)
_LINE_LENGTH = 100


def unasync(source: str, name: str) -> str:
    """The blocking twin of an asynchronous module."""
    lines = [f"# Made from asynchronous/{name} by scripts/unasync.py: change that one."]
    was_left_out = False
    for line in source.splitlines():
        # With the last line of a block goes the empty one behind it.
        if line.endswith("# async only") or (was_left_out and line == lines[-1] == ""):
            was_left_out = True
            continue
        was_left_out = False
        if mark := _SYNC_ONLY.match(line):
            indent, code = mark.groups()
            lines.append((indent + (code or "")).rstrip())
            continue
        for pattern, replacement in _WORDS:
            line = re.sub(pattern, replacement, line)
        lines.append(line)
    return _with_sorted_imports("\n".join(lines) + "\n")


def _with_sorted_imports(text: str) -> str:
    """Imports from one module merged, and our own put in order, as ruff wants them."""
    names: dict[str, set[str]] = {}
    found = [each for each in _IMPORT.finditer(text) if each[1] != "__future__"]
    for each in found:
        module, many, few = each.groups()
        # "a as b" has a line of its own.
        key = f"{module} {few}" if few and " as " in few else module
        names.setdefault(key, set()).update(re.findall(r"\w+(?: as \w+)?", many or few))
    theirs = [key for key in names if not key.startswith("assetstore")]
    ours = sorted(key for key in names if key.startswith("assetstore"))
    block = "\n".join(
        [_import(key.split()[0], names[key]) for key in theirs]
        + [""]
        + [_import(key.split()[0], names[key]) for key in ours]
    )
    return text[: found[0].start()] + block + text[found[-1].end() :]


def _import(module: str, names: set[str]) -> str:
    ordered = sorted(names, key=lambda name: (not name.isupper(), name[0].islower(), name.lower()))
    line = f"from {module} import {', '.join(ordered)}"
    if len(line) <= _LINE_LENGTH:
        return line
    return f"from {module} import (\n" + "".join(f"    {name},\n" for name in ordered) + ")"


def main(arguments: list[str]) -> int:
    stale = []
    for name in MODULES:
        target = LIBRARY / name
        made = unasync((SOURCE / name).read_text(), name)
        if not target.exists() or target.read_text() != made:
            stale.append(target)
            if "--check" not in arguments:
                target.write_text(made)
    for target in stale:
        print(f"{'out of date' if '--check' in arguments else 'written'}: {target}")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

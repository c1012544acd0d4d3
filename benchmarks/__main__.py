"""``python -m benchmarks``: assetstore and its peers, side by side, in one run."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.field import Field
from benchmarks.interrupts import install
from benchmarks.lives import LIVES
from benchmarks.load import LoadFailed
from benchmarks.machine import Mount, NotOnDisk, check_on_disk, describe_machine
from benchmarks.record import Report, write
from benchmarks.systems.registry import SYSTEMS
from benchmarks.tables import report_lines
from benchmarks.turns import Work, take_turns
from benchmarks.works import WORKS

_ALL: list[Work] = [*WORKS, *LIVES]

#: What --quick leaves of it.
_QUICK_SYSTEMS = ["assetstore", "redis", "redis-single", "echo", "disk"]
_QUICK_WORKS = ["get", "set", "mix", "async", "life", "import"]
_QUICK_ROUNDS, _ROUNDS = 3, 5
_QUICK_SECONDS, _SECONDS = 0.4, 1.0


def main() -> int:
    """Run what the command line says; returns the exit code."""
    arguments = _parser().parse_args()
    try:
        works = chosen_works(_names(arguments.only, _QUICK_WORKS if arguments.quick else []))
        names = chosen_systems(_names(arguments.systems, _QUICK_SYSTEMS if arguments.quick else []))
        mount = check_on_disk(arguments.dir)
    except (ValueError, NotOnDisk) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return os.EX_USAGE
    install()
    try:
        report = _run(arguments, works, names, mount)
    except KeyboardInterrupt:
        _say("")
        print("benchmarks: stopped, and nothing is left behind", file=sys.stderr)
        return 130
    except LoadFailed as exc:
        _say("")
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 1
    if arguments.json:
        write(report, arguments.json)
    print("\n".join(report_lines(report)))
    return 0


def chosen_works(names: Sequence[str]) -> list[Work]:
    """The works of these names, or whose names begin with them; all for none.

    Raises ValueError for a name that is none.
    """
    for name in names:
        if not any(_is_meant(name, work.name) for work in _ALL):
            known = ", ".join(work.name for work in _ALL)
            raise ValueError(f"--only: there is no work {name!r}; there are {known}")
    return [work for work in _ALL if not names or any(_is_meant(n, work.name) for n in names)]


def chosen_systems(names: Sequence[str]) -> list[str]:
    """The systems of these names; all for none. Raises ValueError for a name that is none."""
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"--systems: there is no {name!r}; there are {', '.join(SYSTEMS)}")
    return [name for name in SYSTEMS if not names or name in names]


def _run(
    arguments: argparse.Namespace, works: Sequence[Work], names: Sequence[str], mount: Mount
) -> Report:
    rounds = arguments.rounds or (_QUICK_ROUNDS if arguments.quick else _ROUNDS)
    seconds = arguments.seconds or (_QUICK_SECONDS if arguments.quick else _SECONDS)
    with Field(arguments.dir) as field:
        field.start(names, works, arguments.airflow, _say)
        for name, reason in field.missing.items():
            print(f"benchmarks: goes on without {name}: {reason}", file=sys.stderr)
        results = take_turns(works, field.systems, rounds, seconds, _say)
        return {
            "format": 1,
            "made": time.strftime("%Y-%m-%d", time.gmtime()),
            "rounds": rounds,
            "seconds": seconds,
            "machine": describe_machine(mount),
            "versions": field.versions(),
            "missing": field.missing,
            "results": results,
        }


def _say(text: str) -> None:
    """Show how far it is, in one line of a terminal; elsewhere nothing."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def _names(given: str | None, default: Sequence[str]) -> list[str]:
    return list(default) if given is None else [name.strip() for name in given.split(",")]


def _is_meant(name: str, work: str) -> bool:
    return work == name or work.startswith(f"{name}-")


def _rounds(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 60:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0, up to 60")
    return value


def _directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=(
            "Measures assetstore and its peers side by side, and prints the figures as tables. "
            "docs/performance.md says how to read them."
        ),
        epilog=f"Works: {', '.join(work.name for work in _ALL)}. Systems: {', '.join(SYSTEMS)}.",
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="less of everything: under two minutes")
    add("--rounds", type=_rounds, help=f"how many turns each takes (default {_ROUNDS})")
    add("--seconds", type=_seconds, help=f"how long a turn is, up to 60 (default {_SECONDS:g})")
    add("--only", metavar="WORK,...", help="these works; get stands for get-1 and get-16")
    add("--systems", metavar="SYSTEM,...", help="these systems")
    add("--json", type=Path, metavar="PATH", help="also write what was measured there")
    add(
        "--dir",
        type=_directory,
        default=os.environ.get("TMPDIR", "/var/tmp"),
        help="a directory on the disk to be measured (default: $TMPDIR or /var/tmp)",
    )
    add(
        "--airflow",
        metavar="PYTHON",
        default=sys.executable,
        help="an interpreter that has Airflow 3.3 (default: this one)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

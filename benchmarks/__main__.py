"""``python -m benchmarks``: assetstore and its peers, side by side, in one run."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.load import LoadFailed
from benchmarks.machine import NotOnDisk, check_on_disk, describe_machine
from benchmarks.run import Field, say_on_terminal, take_turns
from benchmarks.systems.registry import SYSTEMS
from benchmarks.tables import Report, report_lines
from benchmarks.works import WORKS, Work


def main() -> int:
    """Run what the command line says; returns the exit code."""
    arguments = _parser().parse_args()
    try:
        works = chosen_works(arguments.only.split(",") if arguments.only else [])
        names = chosen_systems(arguments.systems.split(",") if arguments.systems else [], works)
        mount = check_on_disk(arguments.dir)
    except (ValueError, NotOnDisk) as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    rounds, seconds = arguments.rounds, arguments.seconds
    # Whoever stops it by a signal gets the same order as with Ctrl-C: all that was started ends.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with Field(arguments.dir) as field:
            say_on_terminal("starting the systems")
            field.start(names)
            results = take_turns(works, field.systems, rounds, seconds, say_on_terminal)
            report: Report = {
                "format": 1,
                "made": time.strftime("%Y-%m-%d", time.gmtime()),
                "rounds": rounds,
                "seconds": seconds,
                "machine": describe_machine(mount),
                "versions": field.versions(),
                "systems": {
                    each.name: {"title": each.title, "survives": each.survives}
                    for each in field.systems
                },
                "missing": field.missing,
                "works": {work.name: work.title for work in works},
                "results": results,
            }
    except KeyboardInterrupt:
        print("\nbenchmarks: stopped", file=sys.stderr)
        return 130
    except LoadFailed as exc:
        print(f"\nbenchmarks: {exc}", file=sys.stderr)
        return 1
    print("\n".join(report_lines(report)))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def chosen_works(names: Sequence[str]) -> list[Work]:
    """The works of these names, or whose names begin with them; all for none.

    Raises ValueError for a name that is none.
    """
    for name in names:
        if not any(_is_meant(name, work.name) for work in WORKS):
            known = ", ".join(work.name for work in WORKS)
            raise ValueError(f"--only: there is no work {name!r}; there are {known}")
    return [work for work in WORKS if not names or any(_is_meant(n, work.name) for n in names)]


def chosen_systems(names: Sequence[str], works: Sequence[Work]) -> list[str]:
    """The systems of these names; all for none. Raises ValueError for a name that is none."""
    for name in names:
        if name not in SYSTEMS:
            raise ValueError(f"--systems: there is no {name!r}; there are {', '.join(SYSTEMS)}")
    return [name for name in SYSTEMS if not names or name in names]


def _is_meant(name: str, work: str) -> bool:
    return work == name or work.startswith(f"{name}-")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each takes its turn")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a turn takes")
    parser.add_argument("--only", metavar="WORK,...", help="these works only: get, set-16, ...")
    parser.add_argument("--systems", metavar="SYSTEM,...", help=f"of {', '.join(SYSTEMS)}")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the figures there too")
    parser.add_argument(
        "--dir",
        type=Path,
        default=Path(os.environ.get("TMPDIR", "/var/tmp")),
        help="a directory on the disk to measure (default: $TMPDIR or /var/tmp)",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())

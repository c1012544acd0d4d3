"""``python -m benchmarks.scale``: what many assets and much data cost the daemon.

    python -m benchmarks.scale [--assets 100000] [--data 1GiB] [--rounds 3]
                               [--seconds 20] [--only start,reload,drop,trim,backup,memory]
                               [--dir DIR] [--json PATH]

Start-up, the waits of others beside a reload, a drop, a trim and a backup, and memory; each against
its goal. The figures are medians of the rounds, with the lowest and the highest. The table goes to
standard output, what is being done to standard error.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.interrupts import install
from benchmarks.machine import NotOnDisk, check_on_disk, describe_machine
from benchmarks.scale_goals import Beside, Figure, as_json, as_lines
from benchmarks.scale_works import Scale, backup, drop, memory, reload, start, trim

#: In the order in which they run.
WORKS: dict[str, Callable[[Scale], list[Figure | Beside]]] = {
    "memory": memory,
    "start": start,
    "reload": reload,
    "drop": drop,
    "trim": trim,
    "backup": backup,
}

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def main() -> int:
    """Measure what the command line says; returns the exit code."""
    arguments = _parser().parse_args()
    chosen = arguments.only.split(",") if arguments.only else list(WORKS)
    try:
        if unknown := set(chosen) - WORKS.keys():
            raise ValueError(f"--only takes {', '.join(WORKS)}; not {', '.join(sorted(unknown))}")
        mount = check_on_disk(arguments.dir)
    except (ValueError, NotOnDisk) as exc:
        print(f"benchmarks.scale: {exc}", file=sys.stderr)
        return os.EX_USAGE
    install()
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.0f} s  {text}", file=sys.stderr, flush=True)

    found: list[Figure | Beside] = []
    machine = {**describe_machine(mount), "load_at_start": os.getloadavg()[0]}
    try:
        with tempfile.TemporaryDirectory(
            prefix="assetstore-scale-", dir=arguments.dir, ignore_cleanup_errors=True
        ) as directory:
            scale = Scale(
                Path(directory),
                arguments.assets,
                arguments.data,
                arguments.rounds,
                arguments.seconds,
                say,
            )
            for name, work in WORKS.items():
                if name in chosen:
                    say(f"--- {name}")
                    found += work(scale)
    except KeyboardInterrupt:
        print("benchmarks.scale: stopped, and nothing is left behind", file=sys.stderr)
        return 130
    machine["load_at_end"] = os.getloadavg()[0]
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(as_json(found, machine), indent=1) + "\n")
    print(
        f"{arguments.assets:,} assets, {arguments.data / 2**30:.3g} GiB of data, "
        f"{arguments.rounds} rounds; " + ", ".join(f"{k} {v}" for k, v in machine.items())
    )
    print()
    print("\n".join(as_lines(found)))
    return 0


def _size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(|KiB|MiB|GiB)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size like 100MiB or 1GiB")
    return int(match[1]) * _UNITS[match[2]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Measures what many assets and much data cost the daemon.",
    )
    add = parser.add_argument
    add("--assets", type=int, default=100_000, help="how many assets (100000)")
    add("--data", type=_size, default=1 << 30, help="how much data, and journal (1GiB)")
    add("--rounds", type=int, default=3, help="how often each figure is taken (3)")
    add("--seconds", type=float, default=20.0, help="clients are watched for so long at most (20)")
    add("--only", metavar="NAMES", help=f"of {','.join(WORKS)}, with commas in between")
    directory = os.environ.get("TMPDIR", "/var/tmp")
    add("--dir", type=Path, default=Path(directory), help="a directory on the disk to measure on")
    add("--json", type=Path, metavar="PATH", help="where all figures go")
    return parser


if __name__ == "__main__":
    sys.exit(main())

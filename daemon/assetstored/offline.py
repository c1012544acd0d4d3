"""What is done with a store by a process of its own, beside the daemon or while none runs:

    python -m assetstored.offline verify DATA_DIR      the steps of a check, a JSON object a line
    python -m assetstored.offline structure DATA_DIR   the problems of the file, as a JSON array
    python -m assetstored.offline look [--config FILE] [--data-dir DIR] ...
                                                       facts of the host, a JSON object

Each line of ``verify`` is a step (findings.py), with its name as "type". The exit status is 0 where
there is a verdict, whatever it is; else it is 1, and the last line is
{"type": "refused", "message": ...}. A signal means that LMDB could not bear the file.

Rule: arguments in, lines out; what is done is in the modules that it calls. The command line runs
it, as it may not import the daemon.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from assetstored.findings import CannotVerify
from assetstored.looking import look
from assetstored.verifying import verify
from assetstored.verifying_files import print_problems

#: A daemon that serves beside it goes first.
_NICENESS: Final = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is asked; returns the exit status."""
    arguments = _parser().parse_args(argv)
    os.nice(_NICENESS)
    if arguments.what == "structure":
        print_problems(arguments.data_dir)
        return os.EX_OK
    if arguments.what == "look":
        paths = {key: getattr(arguments, key) for key in ("data_dir", "socket", "manifest")}
        _tell({"type": "facts", **look(arguments.config, **paths)})
        return os.EX_OK
    try:
        for step in verify(arguments.data_dir, whatever_happens=True):
            _tell(step)
    except CannotVerify as exc:
        _tell({"type": "refused", "message": str(exc)})
        return 1
    except BrokenPipeError:
        return 1  # nobody waits for it any more
    return os.EX_OK


def _tell(step: object) -> None:
    # At once: whoever reads may see nothing more after the next one.
    sys.stdout.buffer.write(msgspec.json.encode(step) + b"\n")
    sys.stdout.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m assetstored.offline")
    commands = parser.add_subparsers(dest="what", required=True)
    for name in ("verify", "structure"):
        command = commands.add_parser(name)
        command.add_argument("data_dir", type=Path, metavar="DATA_DIR")
    command = commands.add_parser("look")
    command.add_argument("--config", type=Path)
    for name in ("--data-dir", "--socket", "--manifest"):
        command.add_argument(name, default="")
    return parser


if __name__ == "__main__":
    sys.exit(main())

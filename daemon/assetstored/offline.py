"""What is done with a store by a process of its own, beside the daemon or while none runs:

    python -m assetstored.offline verify DATA_DIR      the steps of a check, a JSON object a line
    python -m assetstored.offline structure DATA_DIR   the problems of the file, as a JSON array
    python -m assetstored.offline look [--config FILE] [--data-dir DIR] ...
                                                       facts of the host, a JSON object
    python -m assetstored.offline backup ... DEST      how far it is, and then what was made
    python -m assetstored.offline restore ... SOURCE   likewise; with --look only what would be done

Each line is an object with its name as "type" (findings.py, backup.py, restore.py). The exit status
is 0 where what was asked for was done; a check that found damage was. Else it is 1, and the last
line is {"type": "refused", "message": ...}. A signal means that LMDB could not bear the file.

Rule: arguments in, lines out; what is done is in the modules that it calls. The command line runs
it, as it may not import the daemon.
"""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

import msgspec

from assetstore.errors import Refused
from assetstored import backup, config, restore
from assetstored.copying import CopyFailed
from assetstored.datadir import StartRefused
from assetstored.findings import CannotVerify, Part, Progress
from assetstored.looking import look
from assetstored.soundness import Tell
from assetstored.verifying import verify
from assetstored.verifying_files import print_problems

#: A daemon that serves beside it goes first.
_NICENESS: Final = 10

_REFUSALS: Final = (
    *(CannotVerify, backup.BackupRefused, restore.RestoreRefused, CopyFailed),
    *(StartRefused, config.ConfigInvalid, Refused),
)

_ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: As the unit gives it to the daemon.
_CONFIG: Final = Path("/etc/assetstore/assetstored.toml")

#: How often a copy tells how far it is.
_PROGRESS_S: Final = 0.1


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is asked; returns the exit status."""
    arguments = _parser().parse_args(argv)
    # What is half made is removed on the way out; of a kill -9 the next run does it.
    for number in _ENDING:
        signal.signal(number, _end)
    try:
        _do(arguments)
    except _REFUSALS as exc:
        _tell({"type": "refused", "message": str(exc)})
        return 1
    except BrokenPipeError:
        return 1  # nobody waits for it any more
    except OSError as exc:
        _tell({"type": "refused", "message": _explained(exc)})
        return 1
    return os.EX_OK


def _do(arguments: argparse.Namespace) -> None:
    match arguments.what:
        case "structure":
            os.nice(_NICENESS)
            print_problems(arguments.data_dir)
        case "verify":
            os.nice(_NICENESS)
            for step in verify(arguments.data_dir, whatever_happens=True):
                _tell(step)
        case "look":
            os.nice(_NICENESS)
            paths = {key: getattr(arguments, key) for key in ("data_dir", "socket", "manifest")}
            _tell({"type": "facts", **look(arguments.config, **paths)})
        case "backup":
            made = backup.back_up(
                arguments.data_dir.absolute(),
                arguments.dest.absolute(),
                keep=arguments.keep,
                served_up_to=arguments.served_up_to,
                allow_damage=arguments.allow_damage,
                tell=_teller(),
            )
            _tell(made)
        case "restore":
            data_dir = (arguments.data_dir or _configured(arguments.config)).absolute()
            source = arguments.source.absolute()
            if arguments.look:
                _tell(restore.look(source, data_dir))
            else:
                _tell(restore.restore(data_dir, source, _teller()))


def _teller() -> Tell:
    """Tells how far it is, but not all the time."""
    shown: Part | None = None
    due = 0.0

    def tell(part: Part, done: int, total: int) -> None:
        nonlocal shown, due
        now = time.monotonic()
        if part != shown or now >= due or done == total:
            shown, due = part, now + _PROGRESS_S
            _tell(Progress(part, done, total))

    return tell


def _tell(step: object) -> None:
    # At once: whoever reads may see nothing more after the next one.
    sys.stdout.buffer.write(msgspec.json.encode(step) + b"\n")
    sys.stdout.buffer.flush()


def _configured(path: Path | None) -> Path:
    if path is None and _CONFIG.exists():
        path = _CONFIG
    return Path(config.load(path, {}).data_dir)


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
    command = commands.add_parser("backup")
    command.add_argument("--data-dir", type=Path, metavar="DIR", required=True)
    command.add_argument("--keep", type=int, metavar="N")
    command.add_argument(
        "--served-up-to",
        type=int,
        metavar="REVISION",
        help="a daemon runs, and its data file has all up to this revision",
    )
    command.add_argument("--allow-damage", action="store_true")
    command.add_argument("dest", type=Path, metavar="DEST")
    command = commands.add_parser("restore")
    command.add_argument("--data-dir", type=Path, metavar="DIR")
    command.add_argument("--config", type=Path, metavar="FILE")
    command.add_argument("--look", action="store_true", help="only say what would be done")
    command.add_argument("source", type=Path, metavar="SOURCE")
    return parser


def _explained(exc: OSError) -> str:
    where = f"{exc.filename}: " if exc.filename else ""
    wrong_user = f"; run this as root, or as the daemon's user (it is uid {os.geteuid()})"
    remedy = {
        errno.ENOSPC: "; make room on its disk, or name a place on another one",
        errno.EDQUOT: "; raise the quota, or name a place on another disk",
        errno.EACCES: wrong_user,
        errno.EPERM: wrong_user,
    }.get(exc.errno or 0, "")
    return f"{where}{exc.strerror or exc}{remedy}"


def _end(number: int, frame: FrameType | None) -> NoReturn:
    # Once: a Ctrl-C is followed by what the command sends, and must not end the cleaning up.
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())

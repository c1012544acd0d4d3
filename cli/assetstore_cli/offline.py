"""The program that works on the files of a store, ``python -m assetstored.offline``: run, and read.

It is another process, since LMDB may end it with a signal where a file is damaged, and as the
command does not import the daemon.

Rule: lines of JSON come out; what they mean to a verb is the verb's.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import click

from assetstore_cli.failures import FAULT, Refusal
from assetstore_cli.render import printable
from assetstore_cli.screens import is_terminal

#: Seconds that a program may take to end once its output has.
_END_S = 30.0


class EndedBySignal(Exception):
    """The file is such that LMDB could not go on."""

    def __init__(self, number: int) -> None:
        self.name = signal.Signals(number).name
        super().__init__(self.name)


class ProgramFailed(click.ClickException):
    """A fault of the program's own."""

    exit_code = FAULT


def run(*arguments: str) -> Iterator[dict[str, Any]]:
    """The steps that the program tells, one by one; progress is shown on the terminal meanwhile.

    Raises Refusal where it says that it refuses, EndedBySignal, and ProgramFailed.
    """
    if find_spec("lmdb") is None:
        raise Refusal(
            "this works on the files of the daemon, whose parts are missing here: "
            "pip install 'assetstore[daemon]'"
        )
    with tempfile.TemporaryFile() as said, _started(arguments, said) as program, _Bar() as bar:
        assert program.stdout is not None
        for line in program.stdout:
            step = json.loads(line)
            if step["type"] == "refused":
                raise Refusal(step["message"])
            if step["type"] == "progress":
                bar.show(step["part"], step["done"], step["total"])
            else:
                yield step
        status = program.wait(_END_S)
        if status < 0:
            raise EndedBySignal(-status)
        if status:
            said.seek(0)
            last = (said.read().decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise ProgramFailed(f"the program that does this failed (exit status {status}): {last}")


@contextmanager
def _started(arguments: tuple[str, ...], said: Any) -> Iterator[subprocess.Popen[bytes]]:
    program = subprocess.Popen(
        # -P: what lies in the working directory is somebody else's, and this may be root.
        [sys.executable, "-P", "-m", "assetstored.offline", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=said,
    )
    try:
        yield program
    finally:
        assert program.stdout is not None
        program.stdout.close()
        # It removes what it has half made, and then ends.
        program.terminate()
        try:
            program.wait(_END_S)
        except subprocess.TimeoutExpired:
            program.kill()
            program.wait()


class _Bar:
    """A bar for each part of the work, on standard error where that is a terminal."""

    def __init__(self) -> None:
        self._is_shown = is_terminal(sys.stderr)
        self._part = ""
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._end()

    def show(self, part: str, done: int, total: int) -> None:
        """So much of a part is done."""
        if not self._is_shown:
            return
        if part != self._part:
            self._end()
            self._part = part
            self._bar = click.progressbar(
                length=max(total, 1), label=printable(part).ljust(9), file=sys.stderr
            )
            self._bar.__enter__()
        self._bar.update(max(done, 0 if total else 1) - self._bar.pos)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.__exit__(None, None, None)
            self._bar = None

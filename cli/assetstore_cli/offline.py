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
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import IO, Any

import click

from assetstore_cli.failures import FAULT, Refusal
from assetstore_cli.options import Settings, settings_of
from assetstore_cli.progress import Tell, progress_bar

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
    settings = settings_of(click.get_current_context())
    with _aside() as said, _started(arguments, said) as program, _Parts(settings) as parts:
        assert program.stdout is not None
        for line in program.stdout:
            step = json.loads(line)
            if step["type"] == "refused":
                raise Refusal(step["message"])
            if step["type"] == "progress":
                parts.show(step["part"], step["done"], step["total"])
            else:
                yield step
        status = program.wait(_END_S)
        if status < 0:
            raise EndedBySignal(-status)
        if status:
            said.seek(0)
            last = (said.read().decode(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise ProgramFailed(f"the program that does this failed (exit status {status}): {last}")


def _aside() -> IO[bytes]:
    """A file without a name, for what the program complains of."""
    try:
        return tempfile.TemporaryFile()
    except OSError as exc:
        raise Refusal(
            f"no temporary file can be made: {exc.strerror}; TMPDIR names another place"
        ) from exc


@contextmanager
def _started(arguments: tuple[str, ...], said: Any) -> Iterator[subprocess.Popen[bytes]]:
    try:
        program = subprocess.Popen(
            # -P: what lies in the working directory is somebody else's, and this may be root.
            [sys.executable, "-P", "-m", "assetstored.offline", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
        )
    except OSError as exc:
        raise Refusal(
            f"the program that does this cannot be started: {sys.executable}: {exc.strerror}"
        ) from exc
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


class _Parts(ExitStack):
    """A bar for the part of the work that is being done."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._part = ""
        self._tell: Tell | None = None

    def show(self, part: str, done: int, total: int) -> None:
        """So much of a part is done."""
        if part != self._part:
            self.close()
            self._part = part
            self._tell = self.enter_context(progress_bar(part, self._settings))
        if self._tell is not None:
            self._tell(done, total)

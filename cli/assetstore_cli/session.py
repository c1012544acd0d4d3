"""What a verb works with: the daemon, standard output, and the person who may be asked.

Rule: standard output carries the answer and nothing else; questions go to standard error.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, BinaryIO, Concatenate, ParamSpec, TextIO, TypeVar

import click

from assetstore import Client, InvalidRequest, Writer, connect
from assetstore_cli.failures import OutputFailed, Refusal, StdoutClosed
from assetstore_cli.options import Settings, settings_of
from assetstore_cli.render import json_line, json_text, printable
from assetstore_cli.screens import is_terminal, screen_of
from assetstore_cli.tables import Column, table

#: For each answer, unless --timeout says otherwise.
TIMEOUT_S = 5.0

#: The same for what the daemon does in many steps: judging a long manifest, dropping many stores.
PATIENT_TIMEOUT_S = 60.0

P = ParamSpec("P")
T = TypeVar("T")


class Output:
    """Standard output, as it is: a terminal, or a pipe or file."""

    def __init__(self, settings: Settings) -> None:
        self._stream: TextIO | None = sys.stdout
        self.screen = screen_of(self._stream, settings)

    @property
    def is_terminal(self) -> bool:
        return self.screen.width is not None

    def line(self, text: str = "") -> None:
        """Write one line. The text is safe to show already."""
        if not text.isascii():
            # "é" may come as an escape where the locale is C, and never as a crash.
            encoding = self.screen.encoding
            text = text.encode(encoding, "backslashreplace").decode(encoding)
        self._write(text + "\n")

    def lines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.line(text)

    def table(
        self, columns: Sequence[Column], rows: Iterable[Sequence[str]], *, if_none: str
    ) -> None:
        """Write the rows as a table. Without any, a person is told, and a program sees nothing."""
        lines = table(columns, rows, self.screen)
        first = next(lines, None)
        if first is not None:
            self.line(first)
            self.lines(lines)
        elif self.is_terminal:
            note(if_none)

    def record(self, **fields: Any) -> None:
        """Write one line of JSON, with the fields in this order."""
        self.line(json_line(fields, self.screen))

    def bare(self, text: str) -> None:
        """Write the text exactly, as UTF-8; to a terminal, without what could drive it."""
        if self.is_terminal:
            self.lines(_showable(line, self.screen.encoding) for line in text.split("\n"))
            return
        self.flush()
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            self._write(text + "\n")
        else:
            _or_output_error(lambda: buffer.write(text.encode() + b"\n"))

    def binary(self, file: BinaryIO) -> None:
        """Write what is in the file, byte for byte."""
        self.flush()
        buffer = getattr(self._stream, "buffer", None)
        if buffer is None:
            raise OutputFailed("standard output is closed")
        _or_output_error(lambda: shutil.copyfileobj(file, buffer))

    def flush(self) -> None:
        """Everything written is out, or this raises."""
        stream = self._stream
        if stream is not None:
            _or_output_error(stream.flush)

    def _write(self, text: str) -> None:
        stream = self._stream
        if stream is None:
            raise OutputFailed("standard output is closed")
        _or_output_error(lambda: stream.write(text))


class Session:
    """One run of a verb."""

    def __init__(self, ctx: click.Context) -> None:
        self.settings = settings_of(ctx)
        self.out = Output(self.settings)
        self._ctx = ctx

    @property
    def json(self) -> bool:
        return self.settings.json

    def client(self) -> Client:
        """The daemon; to be used in a ``with``. Connects at the first request."""
        return self._connect(self.settings.timeout_s or TIMEOUT_S)

    @contextmanager
    def patient_client(self) -> Iterator[Client]:
        """The daemon, for what may take it a while; that it is there is known at once."""
        with self.client() as client:
            client.status()
        with self._connect(self.settings.timeout_s or PATIENT_TIMEOUT_S) as client:
            yield client

    @contextmanager
    def waiting_client(self) -> Iterator[Client]:
        """As ``patient_client``, for a verb whose --timeout is not that of each answer."""
        longest_s = self.settings.timeout_s or math.inf
        with self._connect(min(longest_s, TIMEOUT_S)) as client:
            client.status()
        with self._connect(min(longest_s, PATIENT_TIMEOUT_S)) as client:
            yield client

    def _connect(self, timeout_s: float) -> Client:
        try:
            return connect(self.settings.socket, timeout=timeout_s, writer=Writer(kind="cli"))
        except InvalidRequest as exc:
            # A path or a timeout that cannot be. No daemon was asked yet.
            raise click.UsageError(f"{exc}.", self._ctx) from None

    def check_can_ask(self, yes: bool) -> None:
        """Before anything is done: a verb that asks needs somebody to ask, or ``--yes``."""
        if not yes and not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
            raise click.UsageError(
                f"'{self._ctx.command_path}' asks before it does anything, and without a "
                "terminal there is nobody to ask: give --yes",
                self._ctx,
            )

    def ask(self, explain: Iterable[str]) -> None:
        """Show what is about to happen, and go on only if told so; else raise Refusal."""
        self.out.flush()
        for line in explain:
            note(line)
        sys.stderr.write("Go on? [y/N] ")
        sys.stderr.flush()
        answer = sys.stdin.readline()
        if not answer.endswith("\n"):
            note("")
        if answer.strip().lower() not in ("y", "yes"):
            raise Refusal("not confirmed; nothing was changed")


def write_value(session: Session, value: Any, *, raw: bool = False) -> None:
    """Write the value as JSON text; with ``raw`` a string without its quotes."""
    if raw and isinstance(value, str):
        session.out.bare(value)
    else:
        session.out.line(json_text(value, session.out.screen))


def note(text: str) -> None:
    """Tell the person something beside the answer. The text is safe to show already."""
    if sys.stderr is not None:
        encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
        shown = text.encode(encoding, "backslashreplace").decode(encoding)
        print(shown, file=sys.stderr, flush=True)


def with_session(verb: Callable[Concatenate[Session, P], T]) -> Callable[P, T]:
    """Call the verb with a Session for this run, and see that its output gets out."""

    @wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        session = Session(click.get_current_context())
        result = verb(session, *args, **kwargs)
        session.out.flush()
        return result

    return run


def _showable(line: str, encoding: str) -> str:
    # Tabs and backslashes of a bare text are its own; all else that is invisible is shown.
    return "".join(char if char in "\t\\" else printable(char, encoding) for char in line)


def _or_output_error(action: Callable[[], object]) -> None:
    try:
        action()
    except BrokenPipeError:
        raise StdoutClosed from None
    except OSError as exc:
        raise OutputFailed(f"cannot write the output: {exc.strerror}") from exc
    except ValueError as exc:
        raise OutputFailed("standard output is closed") from exc

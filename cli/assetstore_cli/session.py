"""What a verb works with: the daemon, standard output, and the person who may be asked.

Rule: standard output carries the answer and nothing else; questions go to standard error.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TextIO, TypeVar

import click

from assetstore import Client, InvalidRequest, Writer, connect
from assetstore_cli.failures import OutputFailed, Refusal, StdoutClosed
from assetstore_cli.options import Settings, settings_of
from assetstore_cli.render import Screen, json_line, printable
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
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self.screen = Screen(encoding=encoding)
        if self._stream is not None and self._stream.isatty():
            self.screen = Screen(
                width=_columns(self._stream),
                colour=not settings.no_color and os.environ.get("TERM") != "dumb",
                now=datetime.now(UTC),
                encoding=encoding,
            )

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

    def client(self, default_timeout_s: float = TIMEOUT_S) -> Client:
        """The daemon; to be used in a ``with``. Connects at the first request."""
        timeout_s = self.settings.timeout_s or default_timeout_s
        try:
            return connect(self.settings.socket, timeout=timeout_s, writer=Writer(kind="cli"))
        except InvalidRequest as exc:
            # A path or a timeout that cannot be. No daemon was asked yet.
            raise click.UsageError(f"{exc}.", self._ctx) from None

    @contextmanager
    def patient_client(self) -> Iterator[Client]:
        """The daemon, for what may take it a while; that it is there is known at once."""
        with self.client() as client:
            client.status()
        with self.client(PATIENT_TIMEOUT_S) as client:
            yield client

    def check_can_ask(self, yes: bool) -> None:
        """Before anything is done: a verb that asks needs somebody to ask, or ``--yes``."""
        if not yes and not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
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


def _columns(stream: TextIO) -> int:
    given = os.environ.get("COLUMNS", "")
    if given.isdecimal() and int(given) > 0:
        return int(given)
    try:
        # A terminal that does not know its width says 0.
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and stream.isatty()


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

"""How a verb ends when it does not end well: exit codes, and what is said to whom.

Verbs raise; ``complain`` is the one place that writes to standard error.

Rule: an exit code is promised to scripts, and stands in ``--help`` and docs/cli.md.
"""

from __future__ import annotations

import sys
import traceback
from contextlib import suppress

import click

from assetstore import (
    AssetStoreError,
    Busy,
    Conflict,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    ServerFault,
    StoreFull,
    WaitTimeout,
)
from assetstore_cli.details import brief
from assetstore_cli.options import NoVerb, Settings
from assetstore_cli.render import printable, styled
from assetstore_cli.screens import screen_of

DONE = 0
REFUSED = 1
FOUND = 1  # what a verb was to look for, it has found
USAGE = 2
ABSENT = 3
UNREACHABLE = 4
WAITED = 5
DAMAGED = 6
FAULT = 70  # sysexits.h: EX_SOFTWARE
INTERRUPTED = 130  # as a shell reports SIGINT
STDOUT_CLOSED = 141  # as a shell reports SIGPIPE

#: What to do about it, where the message of the library or the daemon does not say.
_ADVICE: dict[type[AssetStoreError], str] = {
    StoreFull: "assetstore status shows the space, assetstore trash list what waits to be dropped",
    Busy: "try again, or wait longer with --timeout",
    ServerFault: "journalctl -u assetstored",
    OutcomeUnknown: "if this was to change something, look before you repeat it",
    ProtocolError: "is it assetstored that listens there, and of a version that fits?",
}


class Refusal(click.ClickException):
    """The verb did not do what was asked, and nothing changed."""

    exit_code = REFUSED


class KeyAbsent(click.ClickException):
    """The asset is active and has no such key."""

    exit_code = ABSENT


class Damage(click.ClickException):
    """What was looked at is not what was written."""

    exit_code = DAMAGED


class Unreachable(click.ClickException):
    """Only the daemon could tell, and it did not."""

    exit_code = UNREACHABLE


class StdoutClosed(Exception):
    """Nobody reads on: assetstore ls orders | head -1."""


class OutputFailed(click.ClickException):
    """What was to be written could not be, say because the disk is full."""

    exit_code = FAULT


def code_of(exc: AssetStoreError) -> int:
    """The exit code for an error of the library."""
    if isinstance(exc, (NotConnected, OutcomeUnknown, ProtocolError)):
        return UNREACHABLE
    return WAITED if isinstance(exc, WaitTimeout) else REFUSED


def complain(exc: Exception, settings: Settings) -> int:
    """Say on standard error what went wrong and what to do; return the exit code."""
    if sys.stderr is not None:
        # Nobody may be there to be told; the exit code still says it.
        with suppress(OSError, ValueError):
            _explain(exc, settings)
    if isinstance(exc, click.ClickException):
        return exc.exit_code
    return code_of(exc) if isinstance(exc, AssetStoreError) else FAULT


def _explain(exc: Exception, settings: Settings) -> None:
    screen = screen_of(sys.stderr, settings)
    head = styled("Error:", "red", screen)
    if settings.debug:
        _say(_safe("".join(traceback.format_exception(exc))).rstrip())
    if isinstance(exc, NoVerb):
        _say(str(exc))
    elif isinstance(exc, click.UsageError):
        if exc.ctx is not None:
            _say(exc.ctx.get_usage())
        _say(f"{head} {_safe(exc.format_message())}")
        if exc.ctx is not None:
            _say(f"Try '{exc.ctx.command_path} --help' for help.")
    elif isinstance(exc, click.ClickException):
        _say(f"{head} {_safe(exc.format_message())}")
    elif isinstance(exc, AssetStoreError):
        _say(f"{head} {_safe(str(exc) or type(exc).__name__)}")
        advice = next((_ADVICE[cls] for cls in type(exc).__mro__ if cls in _ADVICE), None)
        if advice:
            _say(f"({advice})")
        if isinstance(exc, Conflict) and exc.entry is not None:
            _say("What is there now:")
            for line in brief(exc.entry, screen):
                _say(line)
    elif isinstance(exc, OSError):
        # All files and sockets have errors of their own above; this is click, writing its help.
        _say(f"{head} cannot write the output: {_safe(exc.strerror or str(exc))}")
    else:
        _say(f"{head} this is a bug in assetstore: {_safe(f'{type(exc).__name__}: {exc}')}")
        if not settings.debug:
            _say("(--debug or ASSETSTORE_DEBUG=1 shows where)")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _safe(message: str) -> str:
    """The message without what could drive a terminal. Its lines stay lines."""
    # Messages quote with repr, which has doubled backslashes already.
    return "".join(char if char in "\n\\" else printable(char) for char in message)

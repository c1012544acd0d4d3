"""The command ``assetstore``: its verbs, its own options, and how every run ends.

A verb's module is imported when the verb is named, so that each run pays for its own only.

Rule: no verb lives here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from assetstore import __version__
from assetstore_cli.failures import (
    DONE,
    INTERRUPTED,
    STDOUT_CLOSED,
    StdoutClosed,
    complain,
)
from assetstore_cli.options import Settings, Verbs, own_options

_COMPLETE_VAR = "_ASSETSTORE_COMPLETE"

#: Heading -> verb -> module and name.
_VERBS: dict[str, dict[str, str]] = {
    "Entries": {
        "ls": "listing:ls",
        "get": "entries:get",
        "set": "entries:set_",
        "advance": "changes:advance",
        "increment": "changes:increment",
        "merge": "changes:merge",
        "delete": "entries:delete",
        "clear": "entries:clear",
        "wait": "waiting:wait",
    },
    "The past": {
        "history": "journal:history",
        "log": "journal:log",
        "rewind": "rewinding:rewind",
    },
    "Assets": {
        "status": "status:status",
        "assets": "catalog:assets",
        "mv": "catalog:mv",
        "manifest": "manifests:manifest",
    },
    "Monitoring": {
        "metrics": "monitoring:metrics",
        "check": "monitoring:check",
        "doctor": "doctor:doctor",
    },
    "Moving": {
        "export": "transfers:export",
        "import": "transfers:import_",
    },
    "Airflow": {
        "airflow": "airflow:airflow",
    },
    "Trash": {
        "trash": "trash:trash",
        "sweep": "trash:sweep",
    },
    "The store's files": {
        "verify": "verifying:verify",
        "backup": "backups:backup",
        "restore": "backups:restore",
    },
    "This command": {
        "completion": "completion:completion",
    },
}

# \b keeps click from filling the lines of a paragraph.
_EPILOG = """\
\b
Exit codes:
  0    done
  1    refused, or not confirmed: nothing changed;
       'check' or 'doctor' has found something
  2    wrong usage: nothing was asked of the daemon
  3    a key is absent
  4    the daemon is not reachable, or did not answer;
       the message says whether something may have happened
  5    what 'wait' was to wait for did not come in time
  6    what 'verify' looked at is damaged
  70   a fault of assetstore itself, or output that cannot be written
  130  interrupted
  141  standard output was closed early

--socket, --timeout, --json, --no-color and --debug may stand after the verb too. An argument
that begins with '-' goes after '--'.
"""


class Program(Verbs):
    """The root of all verbs."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for section in _VERBS.values() for verb in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for section in _VERBS.values():
            if cmd_name in section:
                module, _, name = section[cmd_name].partition(":")
                command = getattr(import_module(f"assetstore_cli.{module}"), name)
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(len(verb) for section in _VERBS.values() for verb in section)
        limit = formatter.width - 6 - width
        for heading, section in _VERBS.items():
            rows = []
            for verb in section:
                command = self.get_command(ctx, verb)
                assert command is not None
                rows.append((verb.ljust(width), command.get_short_help_str(limit)))
            with formatter.section(heading):
                formatter.write_dl(rows)

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> NoReturn:
        """Run, and exit with the code that says how it went. No traceback ever, unless asked."""
        given: dict[str, Any] = {}
        extra["obj"] = given
        if os.environ.get(_COMPLETE_VAR):
            self._complete(extra)
        try:
            code = super().main(args, "assetstore", _COMPLETE_VAR, standalone_mode=False, **extra)
        except (KeyboardInterrupt, click.Abort):
            code = INTERRUPTED
        # SystemExit: so click ends where its help meets a closed pipe, and nowhere else.
        except (StdoutClosed, SystemExit):
            code = STDOUT_CLOSED
        except Exception as exc:
            code = complain(exc, Settings.of(given))
        _let_go_of_stdout()
        sys.exit(code or DONE)

    def _complete(self, extra: dict[str, Any]) -> NoReturn:
        """Answer the shell's question; whatever goes wrong, never write into its prompt."""
        try:
            # Importing it tells click of our shells.
            import_module("assetstore_cli.shells")
            super().main([], "assetstore", _COMPLETE_VAR, **extra)
        except (Exception, KeyboardInterrupt):
            sys.exit(1)
        sys.exit(DONE)


@click.command(
    cls=Program,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=own_options(hidden=False),
)
@click.version_option(__version__, prog_name="assetstore", message="%(prog)s %(version)s")
def program() -> None:
    """Look into the asset store of this host, and tend it.

    An asset is named by its name, or with --uri by its uri. Values are JSON.
    """


def _let_go_of_stdout() -> None:
    """What cannot be written any more must not make the interpreter complain as it exits."""
    stream = sys.stdout
    if stream is None:
        return
    try:
        stream.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())

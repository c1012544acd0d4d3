"""What every verb understands: the options of ``assetstore`` itself, wherever they stand,
and arguments that begin with a minus sign.

Rule: nothing here talks to the daemon; completion reads these settings too.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from click.shell_completion import CompletionItem

from assetstore_cli.render import printable

# "-5" is a value, or the name of a key, and never an option: we have none with a digit.
_NEGATIVE = re.compile(r"-[0-9]")

# No argument of a process can hold a NUL, so it is free to mark what is no option.
_NO_OPTION = "\0"


if TYPE_CHECKING:
    _TextType = click.ParamType[str]
    _FloatType = click.ParamType[float]
else:  # generic since click 8.4
    _TextType = _FloatType = click.ParamType


class Settings(NamedTuple):
    """The options of ``assetstore`` itself; where one is given twice, the last counts."""

    socket: str | None
    timeout_s: float | None
    json: bool
    no_color: bool
    debug: bool

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Settings:
        return cls(
            socket=given.get("socket"),
            timeout_s=given.get("timeout"),
            json=given.get("json", False),
            no_color=given.get("no_color", False) or bool(os.environ.get("NO_COLOR")),
            debug=given.get("debug", False) or bool(os.environ.get("ASSETSTORE_DEBUG")),
        )


def settings_of(ctx: click.Context) -> Settings:
    """What has been given on the command line so far, before the verb or after it."""
    return Settings.of(ctx.find_root().ensure_object(dict))


class Word(_TextType):
    """An argument as it was typed: a name, a key, a value. May begin with a minus sign."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).removeprefix(_NO_OPTION)
        if not any("\ud800" <= char <= "\udfff" for char in text):
            return text
        try:
            # Where the locale is C, UTF-8 arrives as surrogates, one for each byte.
            return os.fsencode(text).decode()
        except UnicodeError:
            self.fail(f"{printable(text)} is not valid UTF-8", param, ctx)


class Place(Word):
    """A path as it was typed; never "", which would be the working directory of whoever runs it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        path = super().convert(value, param, ctx)
        if not path:
            self.fail("the path is empty", param, ctx)
        return path

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        return [CompletionItem(incomplete, type="file")]


class Seconds(_FloatType):
    """A length of time that is finite and not zero."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if not 0 < seconds < math.inf:
            self.fail(f"{value!r} is no number of seconds greater than 0", param, ctx)
        return seconds


def own_options(*, hidden: bool) -> list[click.Option]:
    """The options that may stand before the verb and after it."""
    return [
        click.Option(
            ["--socket"],
            metavar="PATH",
            type=Word(),
            help="The daemon's socket.  [default: $ASSETSTORE_SOCKET, or where the daemon has it]",
            callback=remember,
            expose_value=False,
            hidden=hidden,
        ),
        click.Option(
            ["--timeout"],
            metavar="SECONDS",
            type=Seconds(),
            help="How long to wait for each answer.  [default: 5; 60 where it takes time]",
            callback=remember,
            expose_value=False,
            hidden=hidden,
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            help="JSON lines, for programs.",
            callback=remember,
            expose_value=False,
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            help="No colour; NO_COLOR in the environment does the same.",
            callback=remember,
            expose_value=False,
            hidden=hidden,
        ),
        click.Option(
            ["--debug"],
            is_flag=True,
            help="Show where an error came from; ASSETSTORE_DEBUG does the same.",
            callback=remember,
            expose_value=False,
            hidden=hidden,
        ),
    ]


class Verb(click.Command):
    """A command that takes the options of ``assetstore`` itself too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A verb may say itself what one of them means to it.
        known = {param.name for param in self.params}
        self.params += [each for each in own_options(hidden=True) if each.name not in known]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, self._shield(args, resilient=ctx.resilient_parsing))
        except click.NoSuchOption as exc:
            # click speaks of "-o" where "-orders" was meant.
            meant = next((arg for arg in args if arg.startswith(exc.option_name)), exc.option_name)
            advice = ""
            if exc.possibilities:
                advice = f" Did you mean {' or '.join(exc.possibilities)}?"
            elif self._of(click.Argument):
                advice = (
                    " A name, key or value that begins with '-' goes after '--': "
                    f"{ctx.command_path} -- {shlex.quote(meant)} ..."
                )
            raise click.UsageError(f"there is no option {meant!r}.{advice}", ctx) from None

    def _shield(self, args: list[str], *, resilient: bool) -> list[str]:
        """Mark what looks like a negative number as no option, where words are expected."""
        takes_words = any(isinstance(param.type, Word) for param in self._of(click.Argument))
        with_value = {
            name
            for param in self._of(click.Option)
            if not getattr(param, "is_flag", False)
            for name in param.opts
        }
        if resilient and args and args[-1] in with_value:
            # Its value is just being completed, and click would give up on all the words.
            args = args[:-1]
        shielded: list[str] = []
        for place, arg in enumerate(args):
            if arg == "--":
                return shielded + args[place:]
            is_value = place > 0 and args[place - 1] in with_value
            if takes_words and not is_value and _NEGATIVE.match(arg):
                arg = _NO_OPTION + arg
            shielded.append(arg)
        return shielded

    def _of(self, kind: type[click.Parameter]) -> list[click.Parameter]:
        return [param for param in self.params if isinstance(param, kind)]


class NoVerb(click.UsageError):
    """Nothing was said but the name of the command. The message is the whole help."""


class Verbs(click.Group):
    """A group of verbs, which shows its help if none is named."""

    command_class = Verb

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            raise NoVerb(ctx.get_help())
        return super().parse_args(ctx, args)


class Noun(Verbs):
    """What the verbs are about: ``manifest``, ``trash``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += own_options(hidden=True)

    def list_commands(self, ctx: click.Context) -> list[str]:
        # In the order in which they are needed, not by the alphabet.
        return list(self.commands)


def remember(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The callback of the options of ``assetstore`` itself: ``settings_of`` has them then."""
    if value == "" and param.name == "socket":
        raise click.BadParameter("the path is empty", ctx, param)
    if value is not None and value is not False:
        assert param.name is not None
        ctx.find_root().ensure_object(dict)[param.name] = value
    return value

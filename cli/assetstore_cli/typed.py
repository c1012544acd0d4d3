"""Values as a person types them: JSON, text with --string, or what standard input holds.

Rule: nothing here asks the daemon.
"""

from __future__ import annotations

import shlex
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from assetstore import InvalidRequest, ProtocolError
from assetstore.values import check_json, decode_value
from assetstore_cli.failures import Refusal
from assetstore_cli.naming import Named
from assetstore_cli.render import printable

if TYPE_CHECKING:
    _NumberType = click.ParamType[int | float]
else:  # generic since click 8.4
    _NumberType = click.ParamType


class Number(_NumberType):
    """A number as JSON has it: -1, 2.5, 1e3; an integer of any size."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | float:
        number = value
        if isinstance(value, str):
            try:
                number = _value_of(value, "it")
            except (NotJson, InvalidRequest):
                number = None
        if type(number) is not int and type(number) is not float:
            self.fail(f"{printable(str(value)[:40])!r} is no number in JSON", param, ctx)
        return number


def value_to_write(asset: Named, key: str, given: str, *, string: bool) -> Any:
    """The argument VALUE of a verb that writes it; "-" stands for standard input."""
    text = _standard_input() if given == "-" else given
    if string:
        return text.removesuffix("\n") if given == "-" else text
    try:
        return _value_of(text, "VALUE")
    except NotJson as exc:
        context = click.get_current_context()
        words = [*asset.as_arguments(), key, given[:60]]
        same = f"{context.command_path} --string {shlex.join(words)}"
        raise click.UsageError(f"{exc} Did you mean it as text? Then: {same}", context) from None
    except InvalidRequest as exc:
        if text.strip() == "null":
            raise Refusal("null is no value; 'assetstore delete' takes the key away") from None
        raise Refusal(f"VALUE: {exc}") from None


def patch_to_merge(given: str) -> dict[str, Any]:
    """The argument PATCH: a JSON object; "-" stands for standard input."""
    text = _standard_input() if given == "-" else given
    context = click.get_current_context()
    try:
        patch = None if text.strip() == "null" else _value_of(text, "PATCH")
    except NotJson as exc:
        raise click.UsageError(str(exc), context) from None
    except InvalidRequest as exc:
        raise Refusal(f"PATCH: {exc}") from None
    if not isinstance(patch, dict):
        raise click.UsageError(
            """PATCH is no JSON object; one is '{"done": 12}': fields, and what they will hold.""",
            context,
        )
    return patch


def field_path(given: str) -> str | list[str]:
    """The option FIELD: a name; or where it begins with "[", a JSON array of names."""
    if not given.startswith("["):
        return given
    context = click.get_current_context()
    remedy = (
        """write '["outer", "inner"]' for a field inside another, '["[x"]' for one named '[x'."""
    )
    try:
        path = _value_of(given, "FIELD")
    except (NotJson, InvalidRequest):
        path = None
    if not isinstance(path, list) or not path or not all(type(step) is str for step in path):
        raise click.UsageError(
            f"FIELD begins with '[' and is no JSON array of names; {remedy}", context
        )
    return path


def option_value(text: str, option: str, *, string: bool = False) -> Any:
    """The value of an option."""
    if string:
        return text
    context = click.get_current_context()
    try:
        return _value_of(text, option)
    except (NotJson, InvalidRequest) as exc:
        takes_text = any("--string" in param.opts for param in context.command.params)
        remedy = " For text add --string." if takes_text else ""
        raise click.UsageError(
            f"{exc} {option} takes what a key can hold, as JSON.{remedy}", context
        ) from None


class NotJson(Exception):
    """The text is not JSON at all."""


def _value_of(text: str, what: str) -> Any:
    """The value of JSON text as a person typed it."""
    raw = text.encode()
    try:
        check_json(raw)
    except InvalidRequest:
        # Null, a lone surrogate or too deep: JSON, but no value. It is refused like any other.
        with suppress(RecursionError):
            _check_syntax(raw, what)
        raise
    return decode_value(raw)


def _check_syntax(raw: bytes, what: str) -> None:
    try:
        decode_value(raw)
    except ProtocolError as exc:
        raise NotJson(f"{what} is not JSON: {exc.__cause__ or exc}.") from None


def _standard_input() -> str:
    if sys.stdin is None:
        raise click.UsageError("it is to be read from standard input, which is closed.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"standard input is not UTF-8, at byte {exc.start}.") from None

"""The argument ASSET of a verb, the options --name and --uri, and what completes them.

Rule: what they mean is decided in naming.py.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from assetstore_cli import completion
from assetstore_cli.naming import pick, shape_of
from assetstore_cli.options import Word


def asset_argument(
    usage: str, *, most_keys: int | None, optional: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a verb ASSET and what follows it, or --uri (and --name) in place of ASSET.

    The verb is called with ``asset`` and ``words``. The first ``most_keys`` of the words are
    completed as keys; None: all. ``optional``: without any of them ``asset`` is None.
    """
    shape = shape_of(usage)
    asset_word = "[ASSET]" if optional else "ASSET"

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(verb)
        def run(words: tuple[str, ...], name: str | None, uri: str | None, **kwargs: Any) -> Any:
            if optional and not words and name is None and uri is None:
                return verb(asset=None, words=(), **kwargs)
            asset, rest = pick(click.get_current_context(), shape, words, name, uri)
            return verb(asset=asset, words=rest, **kwargs)

        argument = click.argument(
            "words",
            nargs=-1,
            type=Word(),
            metavar=f"{asset_word} {usage}".strip(),
            shell_complete=completion.asset_and_keys(most_keys),
        )
        by_name = click.option(
            "--name",
            type=Word(),
            metavar="NAME",
            help="The asset's name, in place of ASSET.",
            shell_complete=completion.active_name,
        )
        by_uri = click.option(
            "--uri",
            type=Word(),
            metavar="URI",
            help="The asset's uri, in place of ASSET; with --name too, both must fit.",
            shell_complete=completion.active_uri,
        )
        return argument(by_name(by_uri(run)))

    return decorate

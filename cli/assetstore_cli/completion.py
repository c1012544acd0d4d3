"""What completion offers, asked of the daemon: names of assets, uris, keys, ids in the trash.

Rule: a shell waits for this at every Tab. It answers within half a second or not at all,
and never says why not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

import click
from click.shell_completion import CompletionItem

from assetstore import AssetStoreError, Client, Writer, connect
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, settings_of
from assetstore_cli.session import Session, with_session
from assetstore_cli.shells import SHELLS

#: Longer, and people think their shell hangs.
TIMEOUT_S = 0.5

#: More than this nobody reads, and a shell takes its time to lay them out.
MOST_OFFERED = 200

#: What click calls with the context, the parameter and the word so far.
Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], "list[CompletionItem[Any]]"]


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(list(SHELLS)), metavar="bash|zsh|fish")
@with_session
def completion(session: Session, shell: str) -> None:
    """Print the completion script of a shell.

    It completes verbs and options, and asks the daemon for names of assets and for keys. How to
    install it stands at its end.
    """
    kind, how = SHELLS[shell]
    program = click.get_current_context().find_root().command
    script = kind(program, {}, "assetstore", "_ASSETSTORE_COMPLETE").source().rstrip()
    # At its end, because zsh wants to see its #compdef in the first line.
    session.out.lines([*script.split("\n"), "", *how.split("\n")])


def asset_and_keys(most_keys: int | None) -> Completer:
    """For the words of a verb: the name of an active asset, then keys of it."""

    def complete(
        ctx: click.Context, _: click.Parameter, incomplete: str
    ) -> list[CompletionItem[Any]]:
        asset, given = _asset_so_far(ctx)
        if asset is None:
            return _offer(ctx, incomplete, lambda client: _names(client, ["active"]))
        if most_keys is not None and len(given) >= most_keys:
            return []
        return _offer(ctx, incomplete, lambda client: _keys(client, asset, incomplete), given)

    return complete


def key(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """A key of the asset that was named before."""
    asset, _words = _asset_so_far(ctx)
    if asset is None:
        return []
    return _offer(ctx, incomplete, lambda client: _keys(client, asset, incomplete))


def active_name(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """The name of an active asset."""
    return _offer(ctx, incomplete, lambda client: _names(client, ["active"]))


def active_uri(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """The uri of an active asset."""
    return _offer(
        ctx, incomplete, lambda client: (a.uri for a in client.assets() if a.state == "active")
    )


def source_and_target(
    ctx: click.Context, _: click.Parameter, incomplete: str
) -> list[CompletionItem[Any]]:
    """The name of any asset whose store is there, then that of an active one."""
    is_source = not ctx.params.get("words") and not ctx.params.get("source_uri")
    states = ["active", "inactive"] if is_source else ["active"]
    return _offer(ctx, incomplete, lambda client: _names(client, states))


def trash_id(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    """The id of a store in the trash, with what it was."""
    about: dict[str, str] = {}

    def ids(client: Client) -> Iterator[str]:
        for store in client.trash():
            about[str(store.id)] = f"{store.name} ({store.reason})"
            yield str(store.id)

    offered = _offer(ctx, incomplete, ids, ctx.params.get("trash_ids") or ())
    return [
        CompletionItem(item.value, help=about[item.value])
        if about[item.value].isprintable()
        else item
        for item in offered
    ]


def _asset_so_far(ctx: click.Context) -> tuple[Named | None, tuple[str, ...]]:
    """The asset that the words so far name, and the words after it."""
    words: tuple[str, ...] = ctx.params.get("words") or ()
    name, uri = ctx.params.get("name"), ctx.params.get("uri")
    if name or uri:
        return Named(name or None, uri or None), words
    return (Named(words[0], None), words[1:]) if words else (None, ())


def _names(client: Client, states: Collection[str]) -> Iterator[str]:
    return (asset.name for asset in client.assets() if asset.state in states)


def _keys(client: Client, asset: Named, prefix: str) -> Iterator[str]:
    return iter(client.store(asset.ref).keys(prefix, limit=MOST_OFFERED))


def _offer(
    ctx: click.Context,
    incomplete: str,
    candidates: Callable[[Client], Iterable[str]],
    without: Collection[str] = (),
) -> list[CompletionItem[Any]]:
    """The candidates that fit the word so far. None if the daemon does not answer in time."""
    settings = settings_of(ctx)
    deadline = time.monotonic() + TIMEOUT_S
    found: set[str] = set()
    # ValueError: what was typed so far names no asset, say because it is too long.
    with (
        suppress(AssetStoreError, OSError, ValueError),
        connect(settings.socket, timeout=TIMEOUT_S, writer=Writer(kind="cli")) as client,
    ):
        in_time = (each for each in candidates(client) if time.monotonic() < deadline)
        fitting = (
            each
            for each in in_time
            if each.startswith(incomplete) and each not in without and _is_offerable(each)
        )
        found.update(islice(fitting, MOST_OFFERED))
    return [CompletionItem(each) for each in sorted(found)]


def _is_offerable(word: str) -> bool:
    """Whether a shell may show the word as it is, and ``assetstore`` would take it as a word."""
    return word.isprintable() and not word.startswith("-")

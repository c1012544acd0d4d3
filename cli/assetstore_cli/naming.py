"""Which asset is meant: ASSET, --name and --uri, and the arguments that come with them.

Rule: nothing here asks the daemon.
"""

from __future__ import annotations

from typing import NamedTuple

import click

from assetstore import Asset, AssetRef


class Named(NamedTuple):
    """An asset as the command line names it."""

    name: str | None
    uri: str | None

    @property
    def ref(self) -> Asset | AssetRef:
        """What the client library takes. Raises InvalidRequest for an empty or too long name."""
        if self.name is None:
            return Asset.ref(uri=self.uri)
        return Asset.ref(name=self.name) if self.uri is None else Asset(self.name, self.uri)

    def as_arguments(self) -> list[str]:
        """The arguments that name it, for a command that is shown."""
        by_uri = [] if self.uri is None else ["--uri", self.uri]
        if self.name is None:
            return by_uri
        return [*by_uri, "--name", self.name] if by_uri else [self.name]

    def __str__(self) -> str:
        if self.name is None:
            return f"uri {self.uri!r}"
        return repr(self.name) if self.uri is None else f"{self.name!r} ({self.uri})"


class Shape(NamedTuple):
    """The arguments after ASSET: how many there must and may be. ``most`` None: any number."""

    usage: str
    least: int
    most: int | None


def shape_of(usage: str) -> Shape:
    """The shape of "KEY VALUE", "[PREFIX]", "KEY..." or ""."""
    words = usage.split()
    least = sum(not word.startswith("[") for word in words)
    return Shape(usage, least, None if usage.endswith("...") else len(words))


def pick(
    ctx: click.Context, shape: Shape, words: tuple[str, ...], name: str | None, uri: str | None
) -> tuple[Named, tuple[str, ...]]:
    """The asset that is meant, and the words that follow it."""
    if name is None and uri is None:
        if not words:
            raise click.UsageError("which asset? Give its name, or --uri.", ctx)
        name, words = words[0], words[1:]
    elif name is None and len(words) - 1 == shape.most:
        # One word too many for --uri alone: the asset is named in both ways.
        name, words = words[0], words[1:]
    if len(words) < shape.least:
        wanted = shape.usage.split()[len(words)].rstrip(".")
        raise click.UsageError(f"{wanted} is missing.", ctx)
    if shape.most is not None and len(words) > shape.most:
        raise click.UsageError(
            f"{words[shape.most]!r} is one argument too many; an argument with spaces in it "
            "needs quotes.",
            ctx,
        )
    return Named(name, uri), words


def pick_two(
    ctx: click.Context, words: tuple[str, ...], source_uri: str | None, target_uri: str | None
) -> tuple[Named, Named]:
    """Source and target, from their names, their uris, or both."""
    if len(words) == 2:
        return Named(words[0], source_uri), Named(words[1], target_uri)
    if not words and source_uri is not None and target_uri is not None:
        return Named(None, source_uri), Named(None, target_uri)
    if len(words) == 1 and source_uri is not None and target_uri is None:
        return Named(None, source_uri), Named(words[0], None)
    if len(words) == 1 and source_uri is None and target_uri is not None:
        return Named(words[0], None), Named(None, target_uri)
    raise click.UsageError(
        "it takes a source and a target: each by its name, by its uri (--source-uri, "
        "--target-uri), or by both.",
        ctx,
    )

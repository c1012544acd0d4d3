"""The manifest: which assets are active. Parsed, checked, compared with what is active now.

A manifest is ``{"version": 1, "assets": [...]}``, in JSON or in TOML of the same shape. An asset
is ``{"name": ..., "uri": ..., "group": ...}``, or a bare string, which is a name that is also
the uri; without a uri, too, the name is the uri. Names are unique, and so are uris.

A file is taken whole or refused whole: an asset that drops out of the list loses its store
after a time, so a list that may not be what its author meant must change nothing.

Rule: pure. No file is opened here and nothing is stored; daemon and CLI both decide with this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Literal

import msgspec
from msgspec import UnsetType

from assetstore.errors import InvalidRequest
from assetstore.limits import MAX_NAME_CHARS, check_name, check_uri
from assetstore.manifest_text import (
    MAX_MANIFEST_ASSETS,
    VERSION,
    Item,
    ManifestInvalid,
    Source,
    field_name,
    read_source,
    shown,
)
from assetstore.position import Steps

__all__ = [
    "MAX_MANIFEST_ASSETS",
    "MAX_MANIFEST_BYTES",
    "Difference",
    "Manifest",
    "ManifestAsset",
    "ManifestInvalid",
    "check_size",
    "difference",
    "parse",
    "verdict",
]

#: 100,000 assets are 4 to 10 MB. Whatever is longer than this is some other file.
MAX_MANIFEST_BYTES = 64 * 1024 * 1024

#: A manifest that deactivates fewer assets than this is never held: a change so small
#: is more likely meant than not, and waits in the trash for its grace anyway.
MIN_HELD_DEACTIVATES = 3


class ManifestAsset(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One active asset. Name and uri together are its identity; the group is only a label."""

    name: str
    uri: str
    group: str | None = None


class Manifest(msgspec.Struct, frozen=True):
    """``digest`` names the content: it is the same however the file is laid out or ordered."""

    assets: list[ManifestAsset]
    digest: str


class Difference(msgspec.Struct, frozen=True):
    """What it takes to get from the active assets to the proposed ones.

    An asset with the name of one that leaves and another uri is another asset: it is activated
    and the old one deactivated. ``regroup`` holds assets that stay, with their new group.
    """

    deactivate: list[ManifestAsset]
    activate: list[ManifestAsset]
    regroup: list[ManifestAsset]

    def __bool__(self) -> bool:
        return bool(self.deactivate or self.activate or self.regroup)


def parse(text: bytes, *, path: str) -> Manifest:
    """The manifest in text; path says whether it is TOML (by its suffix), and is named in errors.

    Raises ManifestInvalid.
    """
    check_size(len(text), path=path)
    source = read_source(text, path)
    document = source.decode()
    if document.version != VERSION:
        raise source.wrong_version(document.version)
    source.check_keys(document)
    if len(document.assets) > MAX_MANIFEST_ASSETS:
        raise source.invalid(
            f"lists {len(document.assets):,} assets; the limit is {MAX_MANIFEST_ASSETS:,}"
        )
    if not document.assets and document.allow_empty is not True:
        raise source.invalid(
            "lists no assets. If every asset is to be deactivated, say so with "
            + source.empty_on_purpose
        )
    assets = [_checked(source, index, item) for index, item in enumerate(document.assets)]
    _check_unique(source, assets, "name", attrgetter("name"))
    _check_unique(source, assets, "uri", attrgetter("uri"))
    return Manifest(assets, _digest(assets))


def check_size(size_bytes: int, *, path: str) -> None:
    """Raise ManifestInvalid if a file of size_bytes is too long to be a manifest."""
    if size_bytes > MAX_MANIFEST_BYTES:
        raise ManifestInvalid(
            f"{path}: {size_bytes:,} bytes; a manifest has {MAX_MANIFEST_BYTES:,} at most. "
            "Is this the right file?"
        )


def difference(active: Iterable[ManifestAsset], proposed: Iterable[ManifestAsset]) -> Difference:
    """What changes if proposed becomes active. The order of each list is that of its source."""
    arriving = {(asset.name, asset.uri): asset for asset in proposed}
    deactivate = []
    regroup = []
    for asset in active:
        same = arriving.pop((asset.name, asset.uri), None)
        if same is None:
            deactivate.append(asset)
        elif same.group != asset.group:
            regroup.append(same)
    return Difference(deactivate, list(arriving.values()), regroup)


def verdict(
    active_count: int, change: Difference, max_deactivate_fraction: float
) -> Literal["accept", "unchanged", "held"]:
    """Whether a valid manifest takes effect at once.

    It is held where it would deactivate more than max_deactivate_fraction of the active
    assets, and at least MIN_HELD_DEACTIVATES. A fraction of 1.0 holds nothing.
    """
    if not change:
        return "unchanged"
    leaving = len(change.deactivate)
    # A quotient, not a product: 29 / 100 is the float 0.29, but 0.29 * 100 is not 29.
    if leaving >= MIN_HELD_DEACTIVATES and leaving / active_count > max_deactivate_fraction:
        return "held"
    return "accept"


def _checked(source: Source, index: int, item: str | Item) -> ManifestAsset:
    """The asset, its names within their limits."""
    if isinstance(item, str):
        if not _is_plain(item):
            _check(source, index, "", check_name, item)
        return ManifestAsset(item, item)
    name = item.name
    if not _is_plain(name):
        _check(source, index, "name", check_name, name)
    uri = item.uri
    if isinstance(uri, UnsetType):
        uri = name
    elif not _is_plain(uri):
        _check(source, index, "uri", check_uri, uri)
    group = item.group
    if isinstance(group, UnsetType):
        group = None
    elif group is not None and not _is_plain(group):
        _check(source, index, "group", lambda text: check_name(text, "asset group"), group)
    return ManifestAsset(name, uri, group)


def _is_plain(text: str) -> bool:
    """Whether a name is fine at first sight, as nearly all are: the checks cost ten times this."""
    return text.isascii() and 0 < len(text) <= MAX_NAME_CHARS


def _check(
    source: Source, index: int, field: str, check: Callable[[str], object], text: str
) -> None:
    try:
        check(text)
    except InvalidRequest as exc:
        steps: Steps = ("assets", index, field) if field else ("assets", index)
        raise source.invalid(f"{field_name(steps)}: {exc}", steps) from None


def _check_unique(
    source: Source,
    assets: list[ManifestAsset],
    field: Literal["name", "uri"],
    get: Callable[[ManifestAsset], str],
) -> None:
    if len(set(map(get, assets))) == len(assets):
        return
    seen: dict[str, int] = {}
    for index, asset in enumerate(assets):
        first = seen.setdefault(get(asset), index)
        if first != index:
            places = []
            for i in (first, index):
                line = source.line(("assets", i))
                places.append(f"assets[{i}]" + (f" (line {line})" if line else ""))
            raise source.invalid(
                f"{' and '.join(places)} have the same {field} {shown(get(asset))}. "
                f"Each {field} may be there once: remove one, or give it another {field}"
            )


def _digest(assets: list[ManifestAsset]) -> str:
    content = msgspec.msgpack.encode(sorted(assets, key=attrgetter("name")))
    # Told apart are the manifests of one host, and whoever writes them can change the
    # file itself: 8 bytes do, and a person can compare them.
    return hashlib.blake2b(content, digest_size=8).hexdigest()

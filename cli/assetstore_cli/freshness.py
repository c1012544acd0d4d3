"""Which of the keys that patterns fit are old, and which are not there: what ``check`` reports.

Rule: asks the daemon through a client, judges, and prints nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from assetstore import (
    AssetInfo,
    AssetRef,
    Client,
    Damaged,
    Entry,
    InactiveAsset,
    InvalidRequest,
    UnknownAsset,
)
from assetstore.globs import KeyGlob
from assetstore.limits import MAX_KEY_CHARS, MAX_PAGE_ITEMS

State = Literal["fresh", "old", "missing", "damaged", "no match"]


class Judged(NamedTuple):
    """What became of a pattern at one key. ``missing``: an active asset without such a key, whose
    ``key`` is None where the pattern has a wildcard there; ``damaged`` without a key: its keys
    cannot be listed; ``no match``: no active asset fits."""

    pattern: str
    state: State
    asset: AssetInfo | None = None
    key: str | None = None
    updated_at: datetime | None = None
    age_s: float | None = None


def judge(updated_at: datetime, now: datetime, max_age_s: float) -> tuple[State, float]:
    """Whether a key is too old, and how old. What is of later than now, as after a clock was set
    back, is fresh."""
    age_s = max(0.0, (now - updated_at).total_seconds())
    return ("old" if age_s > max_age_s else "fresh"), age_s


def look(
    client: Client, globs: Sequence[KeyGlob], *, by_uri: bool, max_age_s: float, now: datetime
) -> Iterator[Judged]:
    """A verdict for each key that the patterns fit, and for whatever they should have found.

    ``by_uri``: the patterns for assets fit uris.
    """
    active = [asset for asset in client.assets() if asset.state == "active"]
    for glob in globs:
        fitting = [
            asset for asset in active if glob.asset.fits(asset.uri if by_uri else asset.name)
        ]
        if not fitting:
            yield Judged(glob.text, "no match")
        wanted: list[tuple[AssetInfo, str]] = []
        for asset in fitting:
            try:
                keys = _keys(client, asset, glob)
            except Damaged:
                yield Judged(glob.text, "damaged", asset)
                continue
            if not keys:
                yield Judged(glob.text, "missing", asset, glob.key.literal)
            wanted += [(asset, key) for key in keys]
            if len(wanted) >= MAX_PAGE_ITEMS:
                yield from _judged(client, glob, wanted, max_age_s, now)
                wanted = []
        yield from _judged(client, glob, wanted, max_age_s, now)


def _keys(client: Client, asset: AssetInfo, glob: KeyGlob) -> list[str]:
    if glob.key.literal is not None:
        return [glob.key.literal] if len(glob.key.literal) <= MAX_KEY_CHARS else []
    try:
        names: Iterable[str] = client.store(_exactly(asset)).keys(glob.key.prefix)
        return [key for key in names if glob.key.fits(key)]
    except (InactiveAsset, UnknownAsset):
        return []


def _judged(
    client: Client,
    glob: KeyGlob,
    wanted: list[tuple[AssetInfo, str]],
    max_age_s: float,
    now: datetime,
) -> Iterator[Judged]:
    for start in range(0, len(wanted), MAX_PAGE_ITEMS):
        part = wanted[start : start + MAX_PAGE_ITEMS]
        for (asset, key), entry in zip(part, _entries(client, part), strict=True):
            if entry is None:
                yield Judged(glob.text, "missing", asset, key)
            elif isinstance(entry, Damaged):
                yield Judged(glob.text, "damaged", asset, key)
            else:
                state, age_s = judge(entry.updated_at, now, max_age_s)
                yield Judged(glob.text, state, asset, key, entry.updated_at, age_s)


def _entries(client: Client, wanted: list[tuple[AssetInfo, str]]) -> list[Entry | Damaged | None]:
    """The entries of at most a page; None also of an asset that has just left."""
    try:
        return [*client.get_many((_exactly(asset), key) for asset, key in wanted)]
    except (InvalidRequest, Damaged, InactiveAsset, UnknownAsset):
        # Too much for one answer, or one of them is in the way of all: by halves, then alone.
        if len(wanted) > 1:
            middle = len(wanted) // 2
            return _entries(client, wanted[:middle]) + _entries(client, wanted[middle:])
    [(asset, key)] = wanted
    try:
        return [client.store(_exactly(asset)).entry(key)]
    except Damaged as exc:
        return [exc]
    except (InactiveAsset, UnknownAsset):
        return [None]


def _exactly(asset: AssetInfo) -> AssetRef:
    return AssetRef(asset.name, asset.uri)

"""Which assets a container holds, when the same one may be named in several ways.

Two references are the same asset where a name or uri says so: an Asset and a reference to its
name, or to its uri. Of a bare name and a bare uri only the daemon can tell.

Rule: pure. Whoever asks the daemon gives its answers to ``learn``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from assetstore.assets import describe, is_alias, reference
from assetstore.messages import AssetRef


class Member(NamedTuple):
    """One asset of a container: as its user first gave it, and by its best reference."""

    given: Any
    ref: AssetRef


class Members:
    """The assets of a container, each once, in the order in which they were first named."""

    def __init__(self, inlets: Iterable[Any], outlets: Iterable[Any]) -> None:
        self._given = [
            Member(asset, reference(asset))
            for asset in (*_checked(inlets, "inlets"), *_checked(outlets, "outlets"))
            if not is_alias(asset)
        ]
        # What the daemon said a reference stands for; None: it knows no such asset.
        self._answers: dict[AssetRef, AssetRef | None] = {}
        self._group()

    def unclear(self, *more: AssetRef) -> list[AssetRef]:
        """The references to ask the daemon about, before anything can be said about these members.

        With ``more``: before these can be looked up among them. Usually none.
        """
        if not more:
            return self._unclear
        unknown = [ref for ref in more if not self._is_clear(ref) and ref not in self._groups]
        return self._doubtful(unknown) if unknown else []

    def check_clear(self, *more: AssetRef) -> None:
        """Raise RuntimeError if the daemon must be asked first, for callers that cannot wait."""
        if refs := self.unclear(*more):
            raise RuntimeError(
                "only the daemon can tell which of these are the same asset: "
                f"{', '.join(map(describe, refs))}; await asset_store.resolve(...) first"
            )

    def learn(self, answers: Mapping[AssetRef, AssetRef | None]) -> None:
        """Take the daemon's word for what these references stand for."""
        self._answers.update(answers)
        self._group()

    def find(self, ref: AssetRef) -> Member | None:
        """The member that this reference names, as far as is known."""
        return self._groups.get(self._key(ref)) or next(
            # An Asset also finds the member that was given by its name, or by its uri.
            (
                self._groups[part]
                for part in (AssetRef(name=ref.name), AssetRef(uri=ref.uri))
                if _is_exact(ref) and part in self._groups
            ),
            None,
        )

    def all(self) -> list[Member]:
        return list(self._groups.values())

    def __str__(self) -> str:
        return ", ".join(describe(member.ref) for member in self.all()) or "none"

    def _group(self) -> None:
        self._by_name: dict[str | None, set[AssetRef]] = defaultdict(set)
        self._by_uri: dict[str | None, set[AssetRef]] = defaultdict(set)
        for member in self._given:
            if _is_exact(member.ref):
                self._by_name[member.ref.name].add(member.ref)
                self._by_uri[member.ref.uri].add(member.ref)
        self._groups: dict[AssetRef, Member] = {}
        for given, ref in self._given:
            key = self._key(ref)
            # The exact reference is the best: it cannot come to mean another asset.
            best = key if self._matches(ref) else ref
            self._groups.setdefault(key, Member(given, best))
        self._unclear = self._doubtful([])

    def _doubtful(self, more: list[AssetRef]) -> list[AssetRef]:
        """Those of the members and of more that may be the same asset as another of them."""
        refs = dict.fromkeys([*(member.ref for member in self._given), *more])
        unclear = [ref for ref in refs if not self._is_clear(ref)]
        names = [ref for ref in unclear if ref.name is not None and not self._matches(ref)]
        uris = [ref for ref in unclear if ref.uri is not None and not self._matches(ref)]
        if names and uris:
            return unclear
        return [ref for ref in unclear if self._matches(ref)]

    def _is_clear(self, ref: AssetRef) -> bool:
        return len(self._matches(ref)) == 1 or ref in self._answers

    def _key(self, ref: AssetRef) -> AssetRef:
        """Equal for references to the same asset, as far as is known."""
        matches = self._matches(ref)
        if len(matches) == 1:
            return next(iter(matches))
        return self._answers.get(ref) or ref

    def _matches(self, ref: AssetRef) -> set[AssetRef]:
        """The exact references among the members that this one may stand for."""
        if _is_exact(ref):
            return {ref}
        if ref.name is not None:
            return self._by_name.get(ref.name, set())
        return self._by_uri.get(ref.uri, set())


def _is_exact(ref: AssetRef) -> bool:
    return ref.name is not None and ref.uri is not None


def _checked(assets: Iterable[Any], what: str) -> list[Any]:
    # A str is iterable, and each of its letters would be an asset.
    if isinstance(assets, str | bytes) or not isinstance(assets, Iterable):
        raise TypeError(f"{what} must be a list of assets, not {type(assets).__name__}")
    return list(assets)

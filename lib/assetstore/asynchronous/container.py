"""The stores of a task's inlets and outlets: ``context["asset_store"]``.

Rule: which references are one asset is decided in members.py, and a store does the work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

from assetstore.assets import describe, reference
from assetstore.asynchronous.calls import Calls
from assetstore.asynchronous.store import AsyncStore
from assetstore.asynchronous.views import StoreItems, StoreKeys
from assetstore.asynchronous.watching import AsyncWatch
from assetstore.entries import Advance, Entry
from assetstore.events import Event, Rewound
from assetstore.members import Member, Members
from assetstore.messages import AssetRef, Order
from assetstore.operations import How, Number, Pairs, Path


class AsyncAssetStore:
    """The stores of some assets, each asset once. Made by ``client.asset_store(inlets, outlets)``.

    ``asset_store[asset]`` is the store of one of them. Where there is exactly one, the calls of
    its store are here too: ``asset_store.get("watermark")``.

    Whether a bare name and a bare uri mean the same asset only the daemon can tell. It is asked
    once, when it matters. Of the asynchronous client, ``len``, iteration, ``in``, ``[...]`` and
    listings cannot wait for the answer: they raise RuntimeError until ``await
    asset_store.resolve()`` has it.
    """

    def __init__(self, calls: Calls, inlets: Iterable[Any], outlets: Iterable[Any]) -> None:
        self._calls = calls
        self._members = Members(inlets, outlets)
        self._stores: dict[AssetRef, AsyncStore] = {}

    def __getitem__(self, asset: Any) -> AsyncStore:
        """The store of asset, which may be named in any way.

        KeyError if it is not among the inlets and outlets; TypeError for something that names no
        asset.
        """
        ref = reference(asset)
        self._need(ref)
        member = self._members.find(ref)
        if member is None:
            raise KeyError(
                f"asset {describe(ref)} is not among the inlets and outlets: {self._members}"
            )
        return self._store_of(member)

    def __contains__(self, asset: Any) -> bool:
        ref = reference(asset)
        self._need(ref)
        return self._members.find(ref) is not None

    def __len__(self) -> int:
        self._need()
        return len(self._members.all())

    def __iter__(self) -> Iterator[Any]:
        """The assets, as they were given; of one that was given twice, the first."""
        self._need()
        return iter([member.given for member in self._members.all()])

    async def resolve(self, *assets: Any) -> None:
        """Ask the daemon, if need be, which of the references name the same asset.

        With assets, also which of them the container's are. The blocking client does so by itself.
        """
        await self._settle()
        if assets:
            await self._settle(*map(reference, assets))

    async def get(self, key: str, default: Any = None, *, at: int | datetime | None = None) -> Any:
        """As ``get`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("get").get(key, default, at=at)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """As ``get_many`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("get_many").get_many(keys)

    async def set(self, key: str, value: Any, *, if_revision: int | None = None) -> int:
        """As ``set`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("set").set(key, value, if_revision=if_revision)

    async def create(self, key: str, value: Any) -> int:
        """As ``create`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("create").create(key, value)

    async def set_many(self, values: Pairs) -> int | None:
        """As ``set_many`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("set_many").set_many(values)

    async def delete(self, key: str, *, if_revision: int | None = None) -> bool:
        """As ``delete`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("delete").delete(key, if_revision=if_revision)

    async def advance(self, key: str, value: Any, *, order: Order = "value") -> Advance:
        """As ``advance`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("advance").advance(key, value, order=order)

    async def increment(self, key: str, by: Number = 1, default: Number = 0) -> Number:
        """As ``increment`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("increment").increment(key, by, default)

    async def merge(
        self,
        key: str,
        patch: dict[str, Any],
        *,
        remove: Iterable[Path] = (),
        how: How = "replace",
        order: Order = "value",
    ) -> dict[str, Any]:
        """As ``merge`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        store = self._only("merge")
        return await store.merge(key, patch, remove=remove, how=how, order=order)

    async def update(self, key: str, function: Callable[[Any], Any], default: Any = None) -> Any:
        """As ``update`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("update").update(key, function, default)

    async def clear(self) -> int:
        """As ``clear`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("clear").clear()

    async def entry(self, key: str, *, at: int | datetime | None = None) -> Entry | None:
        """As ``entry`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("entry").entry(key, at=at)

    def keys(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreKeys:
        """As ``keys`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("keys").keys(prefix, after, limit)

    def items(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> StoreItems:
        """As ``items`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("items").items(prefix, after, limit)

    def entries(
        self, prefix: str = "", after: str | None = None, limit: int | None = None
    ) -> AsyncIterator[Entry]:
        """As ``entries`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("entries").entries(prefix, after, limit)

    async def count(self, prefix: str = "") -> int:
        """As ``count`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        return await self._only("count").count(prefix)

    def history(self, key: str, limit: int | None = None) -> AsyncIterator[Event]:
        """As ``history`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("history").history(key, limit)

    async def rewind(
        self,
        key: str | None = None,
        *,
        to: int | datetime,
        dry_run: bool = False,
        expected: int | None = None,
    ) -> Rewound:
        """As ``rewind`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        store = self._only("rewind")
        return await store.rewind(key, to=to, dry_run=dry_run, expected=expected)

    # sync: def watch(self, prefix: str = "", since: int | None = None) -> Watch:
    def watch(self, prefix: str = "", since: int | None = None) -> AsyncWatch:  # async only
        """As ``watch`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("watch").watch(prefix, since)

    async def wait_for(
        self,
        key: str,
        *,
        at_least: Any = None,
        after: int | None = None,
        order: Order = "value",
        # sync: timeout: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # async only
    ) -> Entry:
        """As ``wait_for`` of the one store; ValueError unless there is exactly one asset."""
        await self._settle()
        what = {"at_least": at_least, "after": after, "order": order, "timeout": timeout}
        return await self._only("wait_for").wait_for(key, **what)

    def log(
        self,
        prefix: str = "",
        *,
        since: int | datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """As ``log`` of the one store; ValueError unless there is exactly one asset."""
        self._need()
        return self._only("log").log(prefix, since=since, limit=limit)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._members}>"

    def _only(self, call: str) -> AsyncStore:
        """The store that the shorthand means."""
        members = self._members.all()
        if len(members) != 1:
            raise ValueError(
                f"{call}() without an asset needs exactly one concrete asset among inlets and "
                f"outlets; there are {len(members)} ({self._members}): "
                f"say asset_store[asset].{call}()"
            )
        return self._store_of(members[0])

    def _store_of(self, member: Member) -> AsyncStore:
        # Made anew when the daemon's answer has given the member another reference.
        if member.ref not in self._stores:
            self._stores[member.ref] = AsyncStore(self._calls, member.ref)
        return self._stores[member.ref]

    def _need(self, *refs: AssetRef) -> None:
        """See that the members are clear, or that these references are clear among them."""
        # sync: self._settle(*refs)
        self._members.check_clear(*refs)  # async only

    async def _settle(self, *refs: AssetRef) -> None:
        if unclear := self._members.unclear(*refs):
            answers = await self._calls.resolve(unclear)
            self._members.learn(dict(zip(unclear, answers, strict=True)))

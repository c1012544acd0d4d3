"""The asynchronous client behind the calls of the blocking one, so that a test can run with both.

Each call is awaited at once, in a loop that stands still in between.

Rule: knows no call by its name; what comes back says how it is to be walked, entered or awaited.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any, Self

from assetstore import AsyncClient
from assetstore.asynchronous.container import AsyncAssetStore
from assetstore.asynchronous.store import AsyncStore
from assetstore.asynchronous.watching import AsyncWatch

_WRAPPED = (AsyncAssetStore, AsyncStore, AsyncWatch)


class Blocking:
    """An object of the asynchronous client, whose calls wait for what they return."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **kwargs: Any) -> Any:
            result = found(*args, **kwargs)
            if inspect.isawaitable(result):
                result = self._loop.run_until_complete(_awaited(result))
            if isinstance(result, _WRAPPED):
                return Blocking(self._loop, result)
            if hasattr(result, "__aenter__"):
                return _Block(self._loop, result)
            if hasattr(result, "__aiter__"):
                return iter(Blocking(self._loop, result))
            return result

        return call

    def __iter__(self) -> Iterator[Any]:
        walk = aiter(self._inner)
        while True:
            try:
                yield self._loop.run_until_complete(_awaited(anext(walk)))
            except StopAsyncIteration:
                return

    def __next__(self) -> Any:
        return self._loop.run_until_complete(_awaited(anext(self._inner)))

    def __getitem__(self, asset: Any) -> Any:
        return Blocking(self._loop, self._inner[asset])


class AsBlocking(Blocking):
    """An ``AsyncClient`` as a ``Client``, with a loop of its own. To be closed, by ``with``."""

    def __init__(self, path: str, **options: Any) -> None:
        super().__init__(asyncio.new_event_loop(), AsyncClient(path, **options))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.run_until_complete(self._inner.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


class _Block:
    """An ``async with`` as a ``with``."""

    def __init__(self, loop: asyncio.AbstractEventLoop, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __enter__(self) -> Any:
        return self._loop.run_until_complete(self._inner.__aenter__())

    def __exit__(self, *exc_info: object) -> None:
        self._loop.run_until_complete(self._inner.__aexit__(*exc_info))


async def _awaited(each: Any) -> Any:
    return await each

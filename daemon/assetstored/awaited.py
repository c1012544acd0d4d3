"""Those who wait until something has happened, and are then told all together.

Rule: futures of one loop; what they wait for is not known here.
"""

from __future__ import annotations

import asyncio

from assetstore.errors import Refused


class Awaited:
    """Whoever waits for the same thing; true while somebody does."""

    def __init__(self) -> None:
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self) -> None:
        """Return when it has happened. Raises what they are refused with."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    def settle(self, refusal: Refused | None = None) -> None:
        """It has happened; or, with a refusal, it is not going to."""
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if future.done():
                continue
            if refusal is None:
                future.set_result(None)
            else:
                future.set_exception(refusal)

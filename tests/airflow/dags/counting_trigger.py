"""A trigger that watches a file and keeps in the asset's store how far it has come.

Loaded by Airflow's triggerer from its plugins folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent
from watchfiles import awatch


class CountingTrigger(BaseEventTrigger):
    """An event for each time that the file has more lines than were seen before."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return ("counting_trigger.CountingTrigger", {"path": self.path})

    async def run(self) -> AsyncIterator[TriggerEvent]:
        store = self.asset_state_store
        folder = Path(self.path).parent
        async for _ in awatch(folder, yield_on_timeout=True, rust_timeout=200):
            lines = await asyncio.to_thread(self._count)
            if lines > await store.aget("seen", default=0):
                await store.aset("seen", lines)
                yield TriggerEvent({"lines": lines})

    def _count(self) -> int:
        file = Path(self.path)
        return len(file.read_text().splitlines()) if file.exists() else 0

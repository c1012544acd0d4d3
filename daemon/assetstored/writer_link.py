"""The serving process's end of the socket to the writer: work goes out, reports come back in order.

Rule: what is sent when is commits.py's to decide.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from assetstore.errors import AssetStoreError
from assetstore.framing import FrameReader, frame
from assetstored import jobs
from assetstored.writer import MAX_BATCH_FRAME_BYTES


class WriterLost(AssetStoreError):
    """The writer process is gone, or could not tell what is on disk: the daemon must end."""


class WriterLink(asyncio.Protocol):
    """``on_lost(reason)`` is called once, when the writer is gone or does not know what is on disk;
    no report comes after it."""

    def __init__(self, on_lost: Callable[[str], None]) -> None:
        self._on_lost = on_lost
        self._frames = FrameReader(MAX_BATCH_FRAME_BYTES)
        self._reports: deque[Callable[[Any], None]] = deque()
        self._is_lost = False

    async def start(self, link: socket.socket) -> str:
        """Wait until the writer has opened the store; returns the store's id.

        Raises WriterLost with the writer's reason where it must not be opened.
        """
        loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[str] = loop.create_future()
        self._transport, _ = await loop.create_unix_connection(lambda: self, sock=link)
        return await self._ready

    def send(self, work: jobs.Batch | jobs.Checkpoint, report: Callable[[Any], None]) -> None:
        """Have this done, after all that was sent before; ``report`` gets the writer's report."""
        self._reports.append(report)
        self._transport.write(frame(jobs.encode(work)))

    def close(self) -> None:
        """Let the writer end. What it has not reported is not reported any more."""
        self._is_lost = True
        self._transport.close()

    # --- asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        for payload in self._frames:
            self._take(jobs.decode_report(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose("the writer process ended unexpectedly")

    def _take(self, report: jobs.AnyReport) -> None:
        match report:
            case jobs.Ready():
                self._ready.set_result(report.store_id)
            case jobs.Refusing() | jobs.Broken():
                self._lose(report.message)
            case _ if not self._is_lost:
                self._reports.popleft()(report)

    def _lose(self, reason: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        if not self._ready.done():
            self._ready.set_exception(WriterLost(reason))
        else:
            self._on_lost(reason)

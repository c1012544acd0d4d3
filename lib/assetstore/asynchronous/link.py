"""The asynchronous client's way to the daemon: one connection, shared by all coroutines.

Rule: decides when to connect, and nothing about trying again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from time import monotonic
from typing import Any

from assetstore.asynchronous.connection import Connection
from assetstore.entries import Writer
from assetstore.errors import NotConnected
from assetstore.forking import after_fork
from assetstore.messages import AnyAnswer, Request
from assetstore.retry import ClientClosed


class Link:
    """One connection at a time, made when it is needed; belongs to the event loop that made it.

    When another loop uses it, say that of a second asyncio.run(), it connects anew.
    """

    def __init__(self, path: str, writer: Writer) -> None:
        self._path = path
        self._writer = writer
        self._is_closed = False
        self._reset()
        after_fork(self)

    def _reset(self) -> None:
        self._connection: Connection | None = None
        # One coroutine connects, the others wait for it. A lock belongs to one loop.
        self._connecting = asyncio.Lock()

    async def exchange(
        self, kind: type[Request], fields: Sequence[Any], deadline: float
    ) -> AnyAnswer:
        """As Connection.exchange, on the connection of this link."""
        connection = self._connection
        if connection is not None and self._is_usable(connection):
            try:
                return await connection.exchange(kind, fields, deadline)
            except NotConnected:
                if connection.is_open:
                    raise
                # The daemon has restarted since. No request was sent, and no time is lost.
        connection = await self._connect(deadline)
        return await connection.exchange(kind, fields, deadline)

    async def close(self) -> None:
        """Close the connection. Calls under way end with OutcomeUnknown; new ones are refused."""
        self._is_closed = True
        connection, self._connection = self._connection, None
        if connection is not None:
            if connection.loop is asyncio.get_running_loop():
                await connection.close()
            else:
                connection.forget()

    def forget_inherited(self) -> None:
        """In the child of a fork: the connection is the parent's."""
        inherited = self._connection
        self._reset()
        if inherited is not None:
            inherited.forget()

    def _is_usable(self, connection: Connection) -> bool:
        return connection.is_open and connection.loop is asyncio.get_running_loop()

    async def _connect(self, deadline: float) -> Connection:
        """The connection, made anew unless another coroutine has done so meanwhile."""
        self._leave_other_loop()
        try:
            async with asyncio.timeout(max(deadline - monotonic(), 0)):
                await self._connecting.acquire()
        except TimeoutError:
            raise NotConnected("the daemon did not answer the hello") from None
        try:
            self._check_open()
            connection = self._connection
            if connection is None or not self._is_usable(connection):
                connection = Connection()
                await connection.open(self._path, self._writer, deadline)
                if self._is_closed:
                    await connection.close()
                self._check_open()
                self._connection = connection
            return connection
        finally:
            self._connecting.release()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed("this client is closed; make a new AsyncClient")

    def _leave_other_loop(self) -> None:
        connection = self._connection
        if connection is not None and connection.loop is not asyncio.get_running_loop():
            self._reset()
            connection.forget()

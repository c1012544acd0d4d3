"""The asynchronous client's way to the daemon: one connection, shared by all coroutines.

Rule: decides when to connect, and nothing about trying again.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from assetstore.asynchronous.connection import Connection
from assetstore.entries import Writer
from assetstore.errors import NotConnected
from assetstore.forking import after_fork
from assetstore.messages import AnyAnswer, Request
from assetstore.retry import ClientClosed

#: Requests that wait on one connection. The daemon takes 128 at a time from each, and one beyond
#: would wait for those before it to end.
MAX_WAITING: Final = 64


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


class WaitingLink:
    """For long polls: as many connections as they need, with MAX_WAITING of them on each."""

    def __init__(self, path: str, writer: Writer) -> None:
        self._make = partial(Link, path, writer)
        self._is_closed = False
        self._links: list[Link] = []
        self._waiting: Counter[Link] = Counter()

    async def exchange(
        self, kind: type[Request], fields: Sequence[Any], deadline: float
    ) -> AnyAnswer:
        """As Connection.exchange, on a connection that has room for one that waits."""
        link = next((each for each in self._links if self._waiting[each] < MAX_WAITING), None)
        if link is None:
            link = self._make()
            if self._is_closed:
                await link.close()
            self._links.append(link)
        self._waiting[link] += 1
        try:
            return await link.exchange(kind, fields, deadline)
        finally:
            self._waiting[link] -= 1

    async def close(self) -> None:
        """Close the connections, as Link.close."""
        self._is_closed = True
        for link in self._links:
            await link.close()

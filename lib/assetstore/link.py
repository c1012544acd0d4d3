"""The blocking client's way to the daemon: a few connections, shared by all threads.

Rule: decides who gets which connection, and nothing about trying again.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Sequence
from time import monotonic
from typing import Any, Final

from assetstore.connection import Connection
from assetstore.entries import Writer
from assetstore.errors import NotConnected
from assetstore.forking import after_fork
from assetstore.messages import AnyAnswer, Request
from assetstore.retry import ClientClosed

#: More than this gains nothing: the writes of all of them become one commit anyway. Threads beyond
#: wait their turn.
MAX_CONNECTIONS: Final = 8


class Link:
    """Up to MAX_CONNECTIONS connections; the last one used is used first.

    Safe to share between threads, and usable in the child of a fork, which connects anew.
    """

    _max_connections = MAX_CONNECTIONS

    def __init__(self, path: str, writer: Writer) -> None:
        self._path = path
        self._writer = writer
        self._is_closed = False
        self._reset()
        after_fork(self)

    def _reset(self) -> None:
        # Guards all below but _idle, whose append and pop are atomic in themselves. Reentrant,
        # because a signal handler or a finalizer may make a call in the middle of one; so
        # nothing that is held here may rely on what was true a line before.
        self._lock = threading.RLock()
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        # Places taken: connections, and those about to be made.
        self._taken = 0
        self._waiters: deque[_Waiter] = deque()

    def exchange(self, kind: type[Request], fields: Sequence[Any], deadline: float) -> AnyAnswer:
        """As Connection.exchange, on a connection of this link; waits for one if all are in use."""
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self._connect(deadline)
        else:
            try:
                return connection.exchange(kind, fields, deadline)
            except NotConnected:
                if connection.is_open:
                    raise
                # The daemon has restarted since this connection was last used, so the other idle
                # ones are as dead. No request was sent, and no time is lost.
                self._close_idle()
            finally:
                self._give_back(connection)
            connection = self._connect(deadline)
        try:
            return connection.exchange(kind, fields, deadline)
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close the connections, those in use when their call ends. New calls are refused."""
        with self._lock:
            self._is_closed = True
            waiters = list(self._waiters)
            self._waiters.clear()
        for waiter in waiters:
            waiter.call(None)
        self._close_idle()

    def forget_inherited(self) -> None:
        """In the child of a fork: all connections are the parent's, and so may be the lock."""
        inherited = self._connections
        self._reset()
        for connection in list(inherited):
            connection.close()

    def _connect(self, deadline: float) -> Connection:
        """A connection: an idle one, or a new one, or one that another thread gives back."""
        with self._lock:
            self._check_open()
            if self._taken < self._max_connections:
                self._taken += 1
                waiter = None
            else:
                waiter = _Waiter()
                self._waiters.append(waiter)
        if waiter is not None:
            # Seen by whoever gives back after this line; what was given back before, this takes.
            self._hand_over()
            connection = self._wait(waiter, deadline)
            if connection is not None:
                return connection
        return self._open(deadline)

    def _open(self, deadline: float) -> Connection:
        """A new connection, for a place that is taken."""
        connection = None
        try:
            connection = Connection(self._path)
            with self._lock:
                self._connections.add(connection)
            connection.greet(self._writer, deadline)
        except BaseException:
            self._give_place_back(connection)
            raise
        return connection

    def _wait(self, waiter: _Waiter, deadline: float) -> Connection | None:
        """The connection that a thread gives back, or None for a place to make one."""
        try:
            was_called = waiter.wait(deadline - monotonic())
        except BaseException:
            # KeyboardInterrupt: what was given meanwhile is passed on.
            if not self._leave(waiter):
                if waiter.connection is not None:
                    self._give_back(waiter.connection)
                else:
                    self._give_place_back(None)
            raise
        if not was_called and self._leave(waiter):
            raise NotConnected(
                f"all {self._max_connections} connections of this client were in use "
                "by other threads"
            )
        if self._is_closed:
            if waiter.connection is not None:
                self._give_back(waiter.connection)
            self._check_open()
        return waiter.connection

    def _leave(self, waiter: _Waiter) -> bool:
        """Wait no more. False if a connection or a place was given to the waiter meanwhile."""
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                return True
        return False

    def _give_back(self, connection: Connection) -> None:
        if not connection.is_open:
            self._give_place_back(connection)
            return
        self._idle.append(connection)
        # A thread that waits comes before this one's next call, or it might wait for ever.
        if self._waiters:
            self._hand_over()
        if self._is_closed:
            self._close_idle()

    def _hand_over(self) -> None:
        with self._lock:
            while self._waiters and self._idle:
                waiter = _first(self._waiters)
                connection = _last(self._idle)
                if waiter and connection:
                    waiter.call(connection)
                elif waiter:
                    self._waiters.appendleft(waiter)
                elif connection:
                    self._idle.append(connection)

    def _give_place_back(self, connection: Connection | None) -> None:
        with self._lock:
            if connection is not None:
                if connection not in self._connections:
                    return  # inherited: this process has forgotten it
                self._connections.discard(connection)
            if waiter := _first(self._waiters):
                waiter.call(None)
            else:
                self._taken -= 1

    def _close_idle(self) -> None:
        while connection := _last(self._idle):
            connection.close()
            self._give_place_back(connection)

    def _check_open(self) -> None:
        if self._is_closed:
            raise ClientClosed("this client is closed; make a new one with assetstore.connect()")


class WaitingLink(Link):
    """For long polls: as many connections as there are threads that wait at once."""

    _max_connections = sys.maxsize


def _first(waiters: deque[_Waiter]) -> _Waiter | None:
    try:
        return waiters.popleft()
    except IndexError:
        return None


def _last(connections: list[Connection]) -> Connection | None:
    try:
        return connections.pop()
    except IndexError:
        return None


class _Waiter:
    """A thread that waits for a connection or for a place to make one."""

    __slots__ = ("_called", "connection")

    def __init__(self) -> None:
        self._called = threading.Lock()
        self._called.acquire()
        self.connection: Connection | None = None

    def call(self, connection: Connection | None) -> None:
        self.connection = connection
        self._called.release()

    def wait(self, timeout_s: float) -> bool:
        return self._called.acquire(timeout=max(timeout_s, 0))

"""All connections, and what they share: limits, memory, and the end.

Rule: one connection is connection.py's, and no request is understood here.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from typing import NamedTuple, cast

from assetstore import messages as m
from assetstore.limits import FRAME_OVERHEAD_BYTES, MAX_IMPORT_BYTES
from assetstore.version import VERSION
from assetstored.channel import READ_BYTES
from assetstored.connection import Connection
from assetstored.loop import Loop
from assetstored.service import Service

#: How long what came in bulk is worked on before the loop takes what else has come.
_BULK_S = 0.001

#: Where more connections than this wait for a turn, little is read from each; most requests are
#: shorter than that.
_MANY = 256
_LITTLE_BYTES = 4 * 1024


class ServerLimits(NamedTuple):
    """From the configuration; sizes in bytes."""

    max_value_bytes: int
    max_connections: int
    max_inflight_bytes: int

    @property
    def max_frame_bytes(self) -> int:
        return self.max_value_bytes + FRAME_OVERHEAD_BYTES

    @property
    def max_admin_frame_bytes(self) -> int:
        """An operator may import the whole of an asset in one frame."""
        return max(self.max_value_bytes, MAX_IMPORT_BYTES) + FRAME_OVERHEAD_BYTES


class Server:
    """All connections, and what they share."""

    def __init__(self, service: Service, limits: ServerLimits, store_id: str) -> None:
        self._loop = cast(Loop, asyncio.get_running_loop())
        self.service = service
        self.limits = limits
        self.connections: set[Connection] = set()
        self.stopping = False
        #: Who has sent something last, and how often that was another than before.
        self.latest: Connection | None = None
        self.crowd = 0
        self.all_gone = asyncio.Event()
        self._store_id = store_id
        # Connections with more in them than a request by itself: those whose first turn it is, and
        # those that had one.
        self._fresh: deque[Connection] = deque()
        self._backlog: deque[Connection] = deque()
        #: How much is read from a connection at a time: little where many wait for their turn, for
        #: until then they hold what was read.
        self.read_bytes = READ_BYTES
        self._works_off = False
        self._input_bytes = 0
        self._waiting: deque[tuple[Connection, int]] = deque()

    def welcome(self, max_frame_bytes: int) -> m.Welcome:
        """The answer to a hello, for a connection with this limit."""
        return m.Welcome(
            m.PROTOCOL_VERSION,
            self._store_id,
            m.Limits(self.limits.max_value_bytes, max_frame_bytes),
            f"assetstored/{VERSION}",
        )

    def connect(self, sock: socket.socket) -> None:
        """Serve this client, or tell it why not."""
        Connection(self, self._loop, sock)

    def connect_for_reading(self, sock: socket.socket) -> None:
        """As connect, for a client that came by the socket that is for reading."""
        Connection(self, self._loop, sock, reads_only=True)

    def work_off_soon(self, connection: Connection) -> None:
        """Let the connection take what has come, when it is its turn."""
        self._fresh.append(connection)
        if len(self._fresh) > _MANY:
            self.read_bytes = _LITTLE_BYTES
        self._call_work_off()

    def _call_work_off(self) -> None:
        if not self._works_off:
            self._works_off = True
            self._loop.call_soon(self._work_off)

    def _work_off(self) -> None:
        """Take some of what has come in bulk, and leave the loop to everybody else between two.

        Who has much to ask waits behind who has little, and goes on by a turn at least.
        """
        self._works_off = False
        ends = time.monotonic() + _BULK_S
        fresh, backlog = self._fresh, self._backlog
        left: list[Connection] = []
        while fresh and time.monotonic() < ends:
            connection = fresh.popleft()
            if connection.work_off():
                left.append(connection)
        while backlog:
            connection = backlog.popleft()
            if connection.work_off():
                left.append(connection)
            if time.monotonic() > ends:
                break
        backlog += left
        self.read_bytes = READ_BYTES if len(fresh) + len(backlog) <= _MANY else _LITTLE_BYTES
        if fresh or backlog:
            self._call_work_off()

    def check_deadlines(self) -> None:
        """Cut off peers that are too slow; called every second."""
        now = time.monotonic()
        for connection in list(self.connections):
            connection.check_deadline(now)

    def stop(self) -> None:
        """Take no more requests; what is in hand is still answered."""
        self.stopping = True
        if not self.connections:
            self.all_gone.set()
        for connection in list(self.connections):
            connection.stop()

    def abort(self) -> None:
        """Cut all connections without another answer: nobody knows what happened."""
        self.stopping = True
        for connection in list(self.connections):
            connection.cut(None)

    def limit_output(self) -> None:
        """Cut off peers that leave their answers lying, the slowest first, until all fit."""
        slow = {c: c.unsent_bytes for c in self.connections if c.slow_since is not None}
        total = sum(slow.values())
        for connection in sorted(slow, key=lambda c: c.slow_since or 0.0):
            if total <= self.limits.max_inflight_bytes:
                return
            total -= slow[connection]
            connection.cut("it does not read its answers, and memory for those of all is short")

    def reserve(self, connection: Connection, size: int) -> bool:
        """Room for a large frame; if there is none, the connection is woken when there is."""
        if self._input_bytes and self._input_bytes + size > self.limits.max_inflight_bytes:
            self._waiting.append((connection, size))
            return False
        self._input_bytes += size
        return True

    def release(self, size: int) -> None:
        """Give back what reserve gave, to those that wait for it, first come, first served."""
        self._input_bytes -= size
        while self._waiting:
            connection, wanted = self._waiting[0]
            if self._input_bytes and self._input_bytes + wanted > self.limits.max_inflight_bytes:
                return
            self._waiting.popleft()
            if connection.grant(wanted):
                self._input_bytes += wanted

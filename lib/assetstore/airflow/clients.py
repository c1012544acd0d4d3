"""Clients for the runs that a process writes for: a connection carries the name of one writer.

Rule: nothing of Airflow but a configuration that is handed in.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from assetstore.airflow.provider import DEFAULT_TIMEOUT_S, SECTION
from assetstore.client import Client
from assetstore.entries import Writer
from assetstore.forking import after_fork

#: Idle ones that are kept. A task sets a few keys in a row; an API server has many tasks.
_MOST_IDLE: Final = 16


class Settings:
    """Where the daemon is and how long a call may take, from Airflow's own configuration.

    ``conf`` is the configuration of Airflow's core, or of its task SDK.
    """

    def __init__(self, conf: Any) -> None:
        self.socket: str | None = conf.get(SECTION, "socket", fallback="") or None
        self.timeout_s: float = conf.getfloat(SECTION, "timeout", fallback=DEFAULT_TIMEOUT_S)

    def client(self, writer: Writer) -> Client:
        """A client of its own, for the caller to close."""
        return Client(self.socket, timeout=self.timeout_s, writer=writer)


class Clients:
    """Clients, each with its writer, lent to one thread at a time and kept for the next one.

    Safe to share between threads, and usable in the child of a fork.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reset()
        after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        # The one that was used last is last.
        self._idle: list[tuple[Writer, Client]] = []

    def forget_inherited(self) -> None:
        """In the child of a fork: another thread of the parent may have held the lock."""
        self._reset()

    def close(self) -> None:
        """Close those that nobody has; what is lent is kept when it comes back."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, client in idle:
            client.close()

    @contextmanager
    def lend(self, writer: Writer) -> Iterator[Client]:
        """A client whose changes are recorded as this writer's."""
        client = self._take(writer)
        try:
            yield client
        finally:
            self._take_back(writer, client)

    def _take(self, writer: Writer) -> Client:
        with self._lock:
            for place in reversed(range(len(self._idle))):
                if self._idle[place][0] == writer:
                    return self._idle.pop(place)[1]
        return self._settings.client(writer)

    def _take_back(self, writer: Writer, client: Client) -> None:
        with self._lock:
            self._idle.append((writer, client))
            spare = self._idle.pop(0)[1] if len(self._idle) > _MOST_IDLE else None
        if spare is not None:
            spare.close()

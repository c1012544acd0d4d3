"""What each system under comparison is to the benchmark.

Rule: no system lives here. What is on the clock of a session is what its user would write.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from benchmarks.figures import Sample
from benchmarks.load import Prepare, run_load

#: The key that every system reads and writes.
KEY = "watermark"

Value = dict[str, Any]


def asset_name(number: int) -> str:
    """The name of an asset of the benchmark."""
    return f"asset-{number}"


def value_of(number: int) -> Value:
    """What a worker stores; another for each number up to 90,000, and all of one length."""
    return {"watermark": "2026-11-22T10:00:00+00:00", "rows": 10_000 + number % 90_000}


class Session(Protocol):
    """One client of a system, in one process, over a list of assets."""

    def get(self, index: int) -> Any:
        """The value of the key of the asset with this index."""

    def set(self, index: int, value: Value) -> Any:
        """The value is stored, as durably as the system does."""

    def close(self) -> None:
        """The end."""


class AsyncSession(Protocol):
    """One client of a system, shared by all coroutines of one event loop."""

    async def get(self) -> Any:
        """The value of the key of the one asset."""

    async def set(self, value: Value) -> Any:
        """The value is stored, as durably as the system does."""

    async def close(self) -> None:
        """The end."""


class SystemFailed(Exception):
    """A system does not start; the message says what it said."""


class System(ABC):
    """A system, which is started once and measured many times."""

    #: As --systems has it.
    name: ClassVar[str]
    #: As the table has it.
    title: ClassVar[str]
    #: What a set that returned survives: "power loss", or less.
    survives: ClassVar[str] = "power loss"
    #: Kinds of work: "get", "set", "mix", "async", "assets".
    does: ClassVar[frozenset[str]] = frozenset({"get", "set", "mix"})
    max_clients: ClassVar[int] = 64
    #: Where its clients connect, of a system that has a server.
    socket: str = ""
    #: How many assets it knows when it has started.
    assets: ClassVar[int] = 100

    @abstractmethod
    def start(self, disk: Path, sockets: Path) -> None:
        """It can be used: data below ``disk``, sockets in ``sockets``, which is its own.

        Raises SystemFailed.
        """

    def stop(self) -> None:  # noqa: B027
        """Its processes are gone; also if it never came to start, or only half-way."""

    @abstractmethod
    def session(self, assets: Sequence[str]) -> Session:
        """A client, connected; called in the client's process."""

    async def async_session(self, asset: str) -> AsyncSession:
        """A client for coroutines, connected."""
        raise NotImplementedError

    def processes(self) -> dict[str, int]:
        """Process ids by their part in the system."""
        return {}

    def take_turn(self, work: str, prepare: Prepare, clients: int, seconds: float) -> Sample:
        """What its clients achieve at the work of that name. Raises LoadFailed."""
        return run_load(prepare, clients, seconds, self.processes())

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Of each program and package that takes part."""

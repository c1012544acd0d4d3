"""The works under comparison, and who takes a turn at each.

Rule: no loop over rounds here, and nothing is printed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from benchmarks.clients import AssetsOf, awaiting, getting, mixing, setting
from benchmarks.figures import Sample
from benchmarks.load import Prepare, run_load
from benchmarks.systems.ours import asset_name
from benchmarks.systems.system import System

_COROUTINES = 64


class Work(NamedTuple):
    """One thing to do, by one kind of clients."""

    name: str
    title: str
    #: What a system must do to take part.
    kind: str
    clients: int
    prepare: Callable[[System], Prepare]

    def is_for(self, system: System) -> bool:
        """Whether this system takes part."""
        return self.kind in system.does and self.clients <= system.max_clients

    def measure(self, system: System, seconds: float) -> Sample:
        """One turn of this system. Raises LoadFailed."""
        return run_load(self.prepare(system), self.clients, seconds, system.processes())


def _own_asset(number: int) -> list[str]:
    return [asset_name(number)]


def _all_assets(system: System) -> AssetsOf:
    names = [asset_name(number) for number in range(system.assets)]
    return lambda number: names


def _get(clients: int) -> Work:
    title = f"get, {_clients(clients)}"
    return Work(f"get-{clients}", title, "get", clients, lambda it: getting(it, _own_asset))


def _set(clients: int) -> Work:
    title = f"durable set, {_clients(clients)}"
    return Work(f"set-{clients}", title, "set", clients, lambda it: setting(it, _own_asset))


def _async(kind: str) -> Work:
    return Work(
        f"async-{kind}",
        f"{kind}, {_COROUTINES} coroutines of one process",
        "async",
        1,
        lambda it: awaiting(it, asset_name(0), kind, _COROUTINES),
    )


def _clients(count: int) -> str:
    return "1 client process" if count == 1 else f"{count} client processes"


WORKS = [
    _get(1),
    _get(16),
    *(_set(clients) for clients in (1, 4, 16, 64)),
    Work(
        "mix-16",
        f"90 % get and 10 % durable set, {_clients(16)}",
        "mix",
        16,
        lambda it: mixing(it, _own_asset),
    ),
    _async("get"),
    _async("set"),
    Work(
        "assets-get",
        f"get of a random one of all active assets, {_clients(1)}",
        "assets",
        1,
        lambda it: getting(it, _all_assets(it)),
    ),
    Work(
        "assets-set",
        f"durable set of a random one of all active assets, {_clients(1)}",
        "assets",
        1,
        lambda it: setting(it, _all_assets(it)),
    ),
]

"""The works of client processes, and which systems take part in each.

Rule: imports no system, as Airflow's interpreter reads this file too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.clients import AssetsOf, awaiting, getting, mixing, setting
from benchmarks.figures import Sample
from benchmarks.load import Prepare
from benchmarks.systems.system import System, asset_name
from benchmarks.turns import Turn

_COROUTINES = 64

_TITLES = {"get": "get", "set": "durable set"}


class LoadWork(NamedTuple):
    """One thing to do, by one kind of clients."""

    name: str
    title: str
    #: What a system must do to take part.
    kind: str
    clients: int
    prepare: Callable[[System], Prepare]

    def is_for(self, system: System) -> bool:
        """Whether this system does this."""
        return self.kind in system.does and self.clients <= system.max_clients

    def turns(self, systems: Sequence[System]) -> list[Turn]:
        """A turn for each system that does this."""
        return [
            Turn(each.name, each.title, each.survives, partial(self.measure, each))
            for each in systems
            if self.is_for(each)
        ]

    def measure(self, system: System, seconds: float) -> Sample:
        """One turn of this system. Raises LoadFailed."""
        return system.take_turn(self.name, self.prepare(system), self.clients, seconds)


def _own_asset(number: int) -> list[str]:
    return [asset_name(number)]


def _share_of_assets(system: System, clients: int) -> AssetsOf:
    """Every client has its share of all assets, so that together they go over all of them."""
    names = [asset_name(number) for number in range(system.assets)]
    return lambda number: names[number::clients]


def _get(clients: int) -> LoadWork:
    title = f"{_TITLES['get']}, {_clients(clients)}"
    return LoadWork(f"get-{clients}", title, "get", clients, lambda it: getting(it, _own_asset))


def _set(clients: int) -> LoadWork:
    title = f"{_TITLES['set']}, {_clients(clients)}"
    return LoadWork(f"set-{clients}", title, "set", clients, lambda it: setting(it, _own_asset))


def _async(kind: str) -> LoadWork:
    return LoadWork(
        f"async-{kind}",
        f"{_TITLES[kind]}, {_COROUTINES} coroutines of one process",
        "async",
        1,
        lambda it: awaiting(it, asset_name(0), kind, _COROUTINES),
    )


def _assets(kind: str, clients: int) -> LoadWork:
    client = getting if kind == "get" else setting
    return LoadWork(
        f"assets-{kind}-{clients}",
        f"{_TITLES[kind]} of a random asset of all, {_clients(clients)}",
        "assets",
        clients,
        lambda it: client(it, _share_of_assets(it, clients)),
    )


def _clients(count: int) -> str:
    return "1 client process" if count == 1 else f"{count} client processes"


WORKS = [
    _get(1),
    _get(16),
    *(_set(clients) for clients in (1, 4, 16, 64)),
    LoadWork(
        "mix-16",
        f"90 % get and 10 % durable set, {_clients(16)}",
        "mix",
        16,
        lambda it: mixing(it, _own_asset),
    ),
    _async("get"),
    _async("set"),
    *(_assets(kind, clients) for kind in ("get", "set") for clients in (1, 16)),
]

"""What is measured at scale: each work sets up a daemon, does something, and returns figures.

Rule: how long clients wait is scale_beside.py's to measure, how a daemon is driven
scale_daemon.py's.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.scale_beside import Beside as Clients
from benchmarks.scale_daemon import ScaleDaemon, copy_store, forget_cache
from benchmarks.scale_goals import Beside, Figure

from assetstore import Client

#: The clients beside have an asset of their own each.
_WORK = [f"work-{number}" for number in range(16)]

_CONNECTIONS = 1_000

#: The daemon keeps the ids of a few less than these, to know a repeat.
_REMEMBERED = 140_000

#: Of a reload: so many assets leave, and so many others arrive.
_LEAVE = _ARRIVE = 500

#: An entry of a large store, and a change of a large journal: a watermark with some state.
_VALUE_BYTES = 8_000
_CHANGE_BYTES = 1_000
_KEYS = 1_000

_NEVER = "24h"
_UNBOUNDED = 1 << 40


class Scale(NamedTuple):
    """How much of everything, and where."""

    directory: Path
    assets: int
    data_bytes: int
    rounds: int
    #: How long clients are watched at most.
    seconds: float
    say: Callable[[str], None]

    def names(self) -> list[str]:
        """As an orchestrator names them."""
        return [f"team-{number % 50}/table_{number:06}" for number in range(self.assets)]


def start(scale: Scale) -> list[Figure | Beside]:
    """From the start of the process to the answer to a client's status."""
    with _daemon(scale, "start", grace="7d") as daemon:
        names = scale.names()
        daemon.set_manifest(_WORK + names)
        first = daemon.start()
        scale.say(f"first start {first:.2f} s; filling")
        daemon.fill(names, 1, max(1, scale.data_bytes // scale.assets))
        restarts = [daemon.restart() for _ in range(scale.rounds)]
        scale.say(f"restarts {restarts}")
        cold = []
        for _ in range(scale.rounds):
            daemon.stop()
            forget_cache(daemon.data_dir)
            cold.append(daemon.start())
        changed = []
        for number in range(scale.rounds):
            daemon.stop()
            daemon.set_manifest(_changed(names, number + 1))
            changed.append(daemon.start())
        daemon.stop()
    what = f"start with {scale.assets:,} assets and {scale.data_bytes / 2**30:.3g} GiB"
    return [
        Figure(what, 1.0, restarts, "s"),
        Figure("the same, and nothing of it in the page cache", None, cold, "s"),
        Figure("the same, and the manifest has 1,000 changes", None, changed, "s"),
        Figure(f"first start with {scale.assets:,} assets", None, [first], "s"),
    ]


def reload(scale: Scale) -> list[Figure | Beside]:
    """A manifest of all assets with 1,000 changes."""
    waits = _Waits(scale.seconds)
    with _daemon(scale, "reload", max_deactivate_fraction=1.0) as daemon:
        names = scale.names()
        daemon.set_manifest(_WORK + names)
        daemon.start()
        took = []
        for number in range(scale.rounds):

            def reload_it(number: int = number) -> None:
                daemon.set_manifest(_changed(names, number + 1))
                with daemon.client() as client:
                    client.reload_manifest()

            took.append(waits.watch(daemon, reload_it))
            scale.say(f"reload {took[-1]:.2f} s beside 16 clients")
        daemon.stop()
    name = f"reload of {scale.assets:,} assets with 1,000 changes"
    return [*waits.figures(name), Figure(f"{name}, beside 16 clients", None, took, "s")]


def drop(scale: Scale) -> list[Figure | Beside]:
    """A store of this size, from its purge until it is gone."""
    waits = _Waits(scale.seconds)
    took = []
    config = {"journal_max_bytes": _UNBOUNDED, "sweep_interval": _NEVER}
    with _daemon(scale, "large", **config) as source:
        source.set_manifest([*_WORK, "large"])
        source.start()
        scale.say("filling the store to be dropped")
        source.fill(["large"], max(1, scale.data_bytes // _VALUE_BYTES), _VALUE_BYTES)
        source.stop()
        for _ in range(scale.rounds):
            with _copy(scale, source, **config) as daemon:
                daemon.start()

                def drop_it(daemon: ScaleDaemon = daemon) -> None:
                    with daemon.client() as client:
                        client.store("large").clear()
                        client.purge(item.id for item in client.trash())
                        while client.status()["trash_stores"]:
                            time.sleep(0.01)

                took.append(waits.watch(daemon, drop_it))
                scale.say(f"drop {took[-1]:.2f} s beside 16 clients")
                daemon.stop()
    name = f"drop of a store of {scale.data_bytes / 2**30:.3g} GiB"
    return [*waits.figures(name), Figure(f"{name}, beside 16 clients", None, took, "s")]


def trim(scale: Scale) -> list[Figure | Beside]:
    """A journal of this size that has to shrink to nearly nothing, by size and by age."""
    found: list[Figure | Beside] = []
    bounds: dict[str, dict[str, object]] = {
        "size": {"journal_max_bytes": 1 << 20},
        "age": {"journal_max_bytes": _UNBOUNDED, "journal_max_age": "0s"},
    }
    with _daemon(scale, "journal", journal_max_bytes=_UNBOUNDED) as source:
        names = [f"many-{number}" for number in range(100)]
        source.set_manifest(_WORK + names)
        source.start()
        scale.say("filling the journal to be trimmed")
        times = max(11, scale.data_bytes // (_KEYS * _CHANGE_BYTES))
        source.fill(names, _KEYS // len(names), _CHANGE_BYTES, times=times)
        source.stop()
        for kind, config in bounds.items():
            waits = _Waits(scale.seconds)
            rates = []
            for _ in range(scale.rounds):
                with _copy(scale, source, journal_max_bytes=_UNBOUNDED) as daemon:
                    daemon.start()
                    waits.watch_without(daemon)
                    daemon.stop()
                    daemon.config = config
                    daemon.start()
                    before = daemon.status()["journal_bytes"]

                    def is_trimmed(daemon: ScaleDaemon = daemon) -> None:
                        daemon.says("bytes of the journal, which now has", scale.seconds)

                    took = waits.watch_beside(daemon, is_trimmed)
                    rates.append((before - daemon.status()["journal_bytes"]) / 2**20 / took)
                    scale.say(f"trim by {kind}: {rates[-1]:.1f} MiB/s beside 16 clients")
                    daemon.stop()
            name = f"trim of a journal of {scale.data_bytes / 2**30:.3g} GiB by {kind}"
            found += waits.figures(name)
            found.append(Figure(f"{name}, beside 16 clients", None, rates, "MiB/s"))
    return found


def backup(scale: Scale) -> list[Figure | Beside]:
    """A backup of a store of this size, copied and checked, from the command to its end."""
    waits = _Waits(scale.seconds)
    took, grown = [], []
    with _daemon(scale, "served", journal_max_bytes=_UNBOUNDED, sweep_interval=_NEVER) as daemon:
        daemon.set_manifest([*_WORK, "large"])
        daemon.start()
        scale.say("filling the store to be backed up")
        daemon.fill(["large"], max(1, scale.data_bytes // _VALUE_BYTES), _VALUE_BYTES)
        for number in range(scale.rounds):
            dest = scale.directory / f"backup-{number}"
            before = daemon.status()["used_bytes"]
            took.append(waits.watch(daemon, lambda dest=dest: daemon.back_up(dest)))
            grown.append((daemon.status()["used_bytes"] - before) / 2**20)
            scale.say(f"backup {took[-1]:.2f} s beside 16 clients")
            shutil.rmtree(dest)
        daemon.stop()
    name = f"backup of a store of {scale.data_bytes / 2**30:.3g} GiB"
    return [
        *waits.figures(name),
        Figure(f"{name}, beside 16 clients", None, took, "s"),
        Figure(f"{name}: what the data file grew by meanwhile", None, grown, "MiB"),
    ]


def memory(scale: Scale) -> list[Figure | Beside]:
    """Of all processes of the daemon together."""
    idle, private, connected, many, first, reloaded, remembering = ([] for _ in range(7))
    for number in range(scale.rounds):
        with _daemon(scale, f"memory-{number}", max_deactivate_fraction=1.0) as daemon:
            daemon.set_manifest(_WORK)
            daemon.start()
            before = daemon.memory()
            idle.append(before.own)
            private.append(before.private)
            with _connections(daemon, _CONNECTIONS):
                connected.append(daemon.memory().own - before.own)
            daemon.change(_WORK[0], _REMEMBERED)
            remembering.append(daemon.memory().own - before.own)
            daemon.restart()
            names = scale.names()
            daemon.set_manifest(_WORK)
            daemon.stop()
        with _daemon(scale, f"memory-assets-{number}", max_deactivate_fraction=1.0) as daemon:
            daemon.set_manifest(_WORK + names)
            daemon.start()
            first.append(daemon.memory().own - before.own)
            daemon.set_manifest(_changed(names, 1))
            with daemon.client() as client:
                client.reload_manifest()
            reloaded.append(daemon.memory().own - before.own)
            daemon.restart()
            many.append(daemon.memory().own - before.own)
            daemon.stop()
        scale.say(f"idle {before.own:.1f} MiB")
    assets = f"{scale.assets:,} assets"
    return [
        Figure("memory, idle", 40.0, idle, "MiB"),
        Figure("idle, private pages only", None, private, "MiB"),
        Figure(f"more with {_CONNECTIONS:,} connections", 10.0, connected, "MiB"),
        Figure(f"more with {assets}, after the first start", 60.0, first, "MiB"),
        Figure(f"more with {assets}, after a reload", 60.0, reloaded, "MiB"),
        Figure(f"more with {assets}, after a restart", 60.0, many, "MiB"),
        Figure(f"more after {_REMEMBERED:,} changes", None, remembering, "MiB"),
    ]


class _Waits:
    """How long clients waited beside an operation, and without it, in each round."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._beside: dict[str, list[list[float]]] = {"get": [], "set": []}
        self._without: dict[str, list[list[float]]] = {"get": [], "set": []}

    def watch(self, daemon: ScaleDaemon, operate: Callable[[], None]) -> float:
        """Watch clients without the operation, then beside it; returns how long it took."""
        with Clients(daemon.socket, _WORK) as clients:
            begin = time.monotonic()
            time.sleep(self._seconds / 5)
            middle = time.monotonic()
            operate()
            end = time.monotonic()
        for kind in self._beside:
            self._without[kind].append(clients.between(kind, (begin, middle)))
            self._beside[kind].append(clients.between(kind, (middle, end)))
        return end - middle

    def watch_without(self, daemon: ScaleDaemon) -> None:
        """Watch clients while nothing goes on."""
        with Clients(daemon.socket, _WORK) as clients:
            begin = time.monotonic()
            time.sleep(self._seconds / 2)
            end = time.monotonic()
        for kind, rounds in self._without.items():
            rounds.append(clients.between(kind, (begin, end)))

    def watch_beside(self, daemon: ScaleDaemon, finish: Callable[[], None]) -> float:
        """Watch clients beside what goes on already, until it is finished; returns how long."""
        with Clients(daemon.socket, _WORK) as clients:
            begin = time.monotonic()
            finish()
            end = time.monotonic()
        for kind, rounds in self._beside.items():
            rounds.append(clients.between(kind, (begin, end)))
        return end - begin

    def figures(self, name: str) -> list[Figure | Beside]:
        """What was found, against the goal."""
        return [
            Beside(f"{name}: {kind}", self._beside[kind], self._without[kind])
            for kind in self._beside
        ]


def _changed(names: list[str], times: int) -> list[str]:
    """The manifest after so many times 1,000 changes: some leave, and others arrive."""
    arrived = [f"new-{time}-{number}" for time in range(times) for number in range(_ARRIVE)]
    return _WORK + names[_LEAVE * times :] + arrived


@contextmanager
def _daemon(scale: Scale, name: str, **config: object) -> Iterator[ScaleDaemon]:
    with ScaleDaemon(scale.directory / name, **config) as daemon:
        yield daemon


@contextmanager
def _copy(scale: Scale, source: ScaleDaemon, **config: object) -> Iterator[ScaleDaemon]:
    """A daemon on a copy of a stopped one's store, with its manifest."""
    with _daemon(scale, "copy", **config) as daemon:
        copy_store(source.data_dir, daemon.data_dir)
        daemon.manifest.write_bytes(source.manifest.read_bytes())
        daemon.log.unlink(missing_ok=True)
        yield daemon


@contextmanager
def _connections(daemon: ScaleDaemon, count: int) -> Iterator[None]:
    """So many clients, connected, each of which has set and got something."""
    clients: list[Client] = []
    try:
        for number in range(count):
            clients.append(daemon.client())
            store = clients[-1].store(_WORK[number % len(_WORK)])
            store.set(f"of-{number}", "2026-01-01T00:00:00Z")
            store.get(f"of-{number}")
        yield
    finally:
        for client in clients:
            client.close()

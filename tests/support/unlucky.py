"""Clients of a daemon whose disk fails, and what they may find afterwards.

One is patient: its timeout is longer than any restart, so it gets through, each change once. The
other is not: it may not know what became of a change, and then there may be that, or nothing.

Rule: a StoreFull is all that the patient one may ever hear, and it reads on meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.support.daemon import Daemon
from tests.support.inspect_store import Inspection

import assetstore
from assetstore import NotConnected, OutcomeUnknown, Refused, StoreFull

ASSETS = ("orders", "customers", "invoices")

ROUNDS = 3
IMPATIENT_CHANGES = 12

#: Then somebody makes room.
_OFTEN_FULL = 3


@dataclass
class Story:
    """What the two were told."""

    #: What the store of an asset holds, as the patient one knows.
    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Keys that the impatient one knows to be there, or not to be.
    kept: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    unknown: set[str] = field(default_factory=set)
    times_full: int = 0
    #: Exit statuses of the daemon.
    ended: list[int] = field(default_factory=list)

    def problem_of(self, found: Inspection) -> str | None:
        """What is wrong with the store, or None."""
        if found.problems:
            return found.problems[0]
        for name in ("orders", "customers"):
            contents = {key: value for key, (value, _) in found.active[name].items()}
            if contents != self.held[name]:
                return f"{name} holds {contents}, not {self.held[name]}"
        keys = found.active["invoices"].keys()
        if lost := self.kept - keys:
            return f"lost: {sorted(lost)}"
        if untrue := self.refused & keys:
            return f"it was said not to have happened: {sorted(untrue)}"
        if invented := keys - self.kept - self.unknown:
            return f"nobody wrote {sorted(invented)}"
        return None


def live_through(daemon: Daemon, make_room: Callable[[], None]) -> Story:
    """Both clients do all that they want, while the daemon is started anew whenever it ends.

    ``make_room`` is called when the disk has been full for long enough.
    """
    story = Story()
    with ThreadPoolExecutor(2) as pool:
        clients: set[Future[None]] = {
            pool.submit(_Patient(daemon, story, make_room).run),
            pool.submit(_impatient, daemon, story),
        }
        while wait(clients, timeout=0.02).not_done:
            assert daemon.process is not None
            if daemon.process.poll() is not None:
                story.ended.append(daemon.wait())
                daemon.start()
    for client in clients:
        client.result()
    return story


class _Patient:
    def __init__(self, daemon: Daemon, story: Story, make_room: Callable[[], None]) -> None:
        self._daemon = daemon
        self._story = story
        self._make_room = make_room
        self._orders: dict[str, Any] = {"counter": 0}
        self._customers: dict[str, Any] = {}
        story.held = {"orders": self._orders, "customers": self._customers}

    def run(self) -> None:
        orders, customers = self._orders, self._customers
        with self._daemon.client(timeout=60.0) as client:
            for number in range(1, ROUNDS + 1):
                first = self._get_done(client, partial(client.store("orders").increment, "counter"))
                assert first == number, "an increment was done twice, or not at all"
                orders["counter"] = number

                self._get_done(client, partial(_together, client, number))
                orders["together"] = customers["together"] = number
                customers["times"] = customers.get("times", 0) + 1

                cleared = self._get_done(client, client.store("customers").clear)
                assert cleared == len(customers)
                customers.clear()
                self._get_done(client, partial(client.store("customers").set, "last", number))
                customers["last"] = number

    def _get_done(self, client: assetstore.Client, change: Callable[[], Any]) -> Any:
        for _ in range(1_000):
            try:
                return change()
            except StoreFull:
                self._story.times_full += 1
                held = client.store("orders").get("counter", 0)
                assert held == self._orders["counter"], "it is read as it was"
                if self._story.times_full == _OFTEN_FULL:
                    self._make_room()
        raise AssertionError("the store stays full")


def _together(client: assetstore.Client, number: int) -> None:
    with client.transaction() as together:
        together.store("orders").set("together", number)
        together.store("customers").set("together", number)
        together.store("customers").increment("times")


def _impatient(daemon: Daemon, story: Story) -> None:
    with daemon.client(timeout=0.3) as client:
        for number in range(IMPATIENT_CHANGES):
            key = f"key-{number}"
            try:
                client.store("invoices").set(key, number)
            except OutcomeUnknown:
                story.unknown.add(key)
            except (NotConnected, Refused):
                story.refused.add(key)
            else:
                story.kept.add(key)

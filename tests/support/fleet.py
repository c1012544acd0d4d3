"""A fleet of writers in processes of their own, and what they were promised.

Rule: starts, ends and listens to members; what their stories mean is the ledger's.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Self

from tests.support.crew import Crew
from tests.support.fleet_member import SHARED
from tests.support.ledger import Ledger


class Fleet:
    """Writers at full load on the daemon at a socket.

    ``assets(n)`` must be active. Each process is a client with several threads; when one is
    killed, another takes its place, with keys of its own.
    """

    def __init__(
        self, socket: Path, directory: Path, seed: int, *, processes: int = 4, threads: int = 2
    ) -> None:
        self.ledger = Ledger()
        self._crew = Crew(socket, directory, seed)
        self._threads = threads
        self._members = 0
        for _ in range(processes):
            self._launch()

    @staticmethod
    def assets(members: int) -> list[str]:
        """The assets that so many members write to, those that came after a kill included."""
        return [*SHARED, *(f"own-{number:03}" for number in range(members))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._crew.__exit__(*exc_info)

    def wait_for_acknowledgements(self, count: int) -> None:
        """Return as soon as so many more changes have been acknowledged than before the call."""
        self._crew.wait_for_acknowledgements(count)

    def kill_one(self, rng: random.Random) -> None:
        """Kill a process in the middle of whatever it does, and start another."""
        names = self._crew.kill_one(rng)
        self.catch_up()
        for name in names:
            self.ledger.bury(name)
        self._launch()

    def stop(self) -> None:
        """Let all members finish what they have in hand; the daemon must be there to answer."""
        self._crew.stop()

    def catch_up(self) -> Ledger:
        """The ledger with all that members have noted by now."""
        for name, event in self._crew.notes():
            self.ledger.tell(name, event)
        return self.ledger

    def _launch(self) -> None:
        names = [f"{self._members + n:03}" for n in range(self._threads)]
        self._members += self._threads
        self._crew.launch("fleet_member", *names)

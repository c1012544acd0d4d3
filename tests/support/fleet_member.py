"""The program of a fleet: writers that write as fast as they can and note each step.

Each member has keys of its own: asset ``own-MEMBER``, which it also clears, and its prefix in
assets that all share. It notes what it is about to do and what came of it (see ledger.py) before
it goes on, until it is told to stop.

Rule: a client like any other; knows nothing of who is killed, or when.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.support.crew_member import Member, run

from assetstore import OutcomeUnknown, Refused

SHARED = ("shared-0", "shared-1", "shared-2")


class Writing:
    """One writer and its story."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._note = member.note
        self._parts = [
            (f"own-{member.name}", ""),
            *((asset, f"{member.name}/") for asset in SHARED),
        ]
        # The last is longer than a key of LMDB.
        self._keys = [*(f"key-{n}" for n in range(8)), "é" * 300]
        self._step = 0

    def work(self) -> None:
        """One step after another, until told to stop."""
        rng = self._member.random
        while not self._member.is_told_to_stop:
            self._step += 1
            part = rng.choice(self._parts)
            chance = rng.random()
            key = part[1] + rng.choice(self._keys)
            if chance < 0.05:
                self._look(part)
            elif chance < 0.20:
                self._do(part, "delete", key)
            elif chance < 0.30 and not part[1]:
                self._do(part, "clear", "")
            else:
                # Now and then one that needs pages of its own.
                padding = "x" * (rng.randrange(20_000) if chance > 0.97 else 20)
                self._do(part, "set", key, [self._step, padding])

    def _do(self, part: tuple[str, str], verb: str, key: str, value: Any = None) -> None:
        self._note("do", part, verb, key, value)
        store = self._member.client.store(part[0])
        try:
            match verb:
                case "set":
                    result: object = store.set(key, value)
                case "delete":
                    result = store.delete(key)
                case _:
                    result = store.clear()
        except OutcomeUnknown as exc:
            self._note("unknown", str(exc))
            self._look(part)
        except Refused as exc:
            self._note("no", str(exc))
        else:
            self._note("ok", result)
            self._member.acknowledged()

    def _look(self, part: tuple[str, str]) -> None:
        entries = self._member.client.store(part[0]).entries(part[1])
        self._note("saw", part, {entry.key: [entry.value, entry.revision] for entry in entries})


if __name__ == "__main__":
    run(lambda member: Writing(member).work(), sys.argv[1:])

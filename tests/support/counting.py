"""The program of the exactly-once tests: each member counts up a few keys, in all ways there are.

In each round it does one update, one increment and one conditional set, each on one of KEYS keys,
and notes [way, key, result]: the new value, or of a set the revision. Whatever is raised, but the
conflict of a conditional set, is its end.

Options: "rounds" of each member.

Rule: knows nothing of what the sums should be.
"""

from __future__ import annotations

import sys
from typing import Any

from tests.support.crew_member import Member, run

from assetstore import Conflict, Entry, Store

ASSET = "orders"
KEYS = 4
WAYS = ("updated", "incremented", "set")


def work(member: Member) -> None:
    """All rounds."""
    store = member.client.store(ASSET)
    for number in range(member.options["rounds"]):
        for way in WAYS:
            key = f"{way}-{member.random.randrange(KEYS)}"
            result: Any
            if way == "updated":
                result = store.update(key, lambda count: int(count) + 1, 0)
            elif way == "incremented":
                result = store.increment(key)
            else:
                result = set_next(store, key, [member.name, number])
            member.note(way, key, result)
            member.acknowledged()


def set_next(store: Store, key: str, mark: list[Any]) -> int:
    """Set the key to one more than it was, with a mark that nobody else has; its revision."""
    entry: Entry | None = store.entry(key)
    while True:
        count, revision = (0, 0) if entry is None else (entry.value["count"], entry.revision)
        try:
            return store.set(key, {"count": count + 1, "mark": mark}, if_revision=revision)
        except Conflict as exc:
            entry = exc.entry


if __name__ == "__main__":
    run(work, sys.argv[1:])

"""The program of the tests of transactions: writers and readers of three assets that go together.

A "writer" makes transactions that leave the same value in all three assets: under "mark", whatever
stood there, and under "state", only if nobody else did it meanwhile, and then once more. It notes
[key, value, last revision] of each. Now and then it makes one whose last part cannot hold, and that
nobody may ever see: its mark is NEVER.
A "reader" notes what it sees of them in one snapshot, [value, revision] of each asset's mark and of
each asset's state, whenever that is another; until it is told to stop.

Options: "role", and the "rounds" of a writer.

Rule: knows nothing of what a reader may see.
"""

from __future__ import annotations

import sys

from tests.support.crew_member import Member, run

from assetstore import Conflict, Entry

ASSETS = ("orders", "customers", "invoices")
NEVER = "never"


def work(member: Member) -> None:
    """Write, or read."""
    if member.options["role"] == "reader":
        read(member)
        return
    for number in range(member.options["rounds"]):
        chance = member.random.random()
        if chance < 0.6:
            mark = f"{member.name}-{number}"
            member.note("mark", mark, set_marks(member, mark))
        elif chance < 0.9:
            member.note("state", *set_state(member))
        else:
            fail(member)
        member.acknowledged()


def set_marks(member: Member, mark: str) -> int | None:
    """Set all marks; returns the last revision."""
    with member.client.transaction() as tx:
        for asset in ASSETS:
            tx.store(asset).set("mark", mark)
    return tx.revision


def set_state(member: Member) -> tuple[int, int | None]:
    """Count the state of all three up from where it was seen; returns it, and the revision."""
    while True:
        seen = seen_of(member, "state")
        state = 1 if seen[0] is None else seen[0].value + 1
        try:
            with member.client.transaction() as tx:
                for asset, entry in zip(ASSETS, seen, strict=True):
                    revision = 0 if entry is None else entry.revision
                    tx.store(asset).set("state", state, if_revision=revision)
            return state, tx.revision
        except Conflict:
            continue


def fail(member: Member) -> None:
    """Make a transaction that is refused at its end."""
    try:
        with member.client.transaction() as tx:
            for asset in ASSETS:
                tx.store(asset).set("mark", NEVER)
            tx.store(ASSETS[0]).check("absent", if_revision=1)
    except Conflict:
        return
    raise AssertionError("a condition that cannot hold did")


def read(member: Member) -> None:
    """Look until told to stop."""
    before = None
    while not member.is_told_to_stop:
        found = member.client.get_many(
            (asset, key) for key in ("mark", "state") for asset in ASSETS
        )
        now = [None if entry is None else [entry.value, entry.revision] for entry in found]
        if now != before:
            member.note(now)
        before = now


def seen_of(member: Member, key: str) -> list[Entry | None]:
    """The entries of the key in one snapshot."""
    return member.client.get_many((asset, key) for asset in ASSETS)


if __name__ == "__main__":
    run(work, sys.argv[1:])

"""The program of the tests of advance: each member advances a few keys by values that it was dealt.

Every value is dealt to one member, in an order that goes up and down. It notes
[key, value, applied, entry's value, entry's revision] of each.

Options: "members" that are dealt to, and "values" that each gets of each key.

Rule: knows nothing of what the others do.
"""

from __future__ import annotations

import random
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Final, Literal

from tests.support.crew_member import Member, run

ASSET = "orders"

#: Key -> the order by which it advances.
KEYS: Final[dict[str, Literal["value", "time"]]] = {
    "number": "value",
    "pair": "value",
    "instant": "time",
}


def work(member: Member) -> None:
    """Advance all keys, value by value."""
    store = member.client.store(ASSET)
    members, count = member.options["members"], member.options["values"]
    # Shuffled within reach: else the first few that are high would be all that is ever applied.
    deal = random.Random(f"{member.seed} deal")
    numbers = sorted(
        range(members * count), key=lambda number: number + deal.uniform(0, 8 * members)
    )
    mine = numbers[int(member.name) :: members]
    for number in mine:
        for key, order in KEYS.items():
            value = value_of(key, number)
            advance = store.advance(key, value, order=order)
            member.note(key, value, advance.applied, advance.entry.value, advance.entry.revision)
            member.acknowledged()


def value_of(key: str, number: int) -> int | float | str | list[int]:
    """The value of a key that a number stands for: in the order of numbers."""
    match key:
        case "number":
            return number if number % 2 else number + 0.25
        case "pair":
            return [number // 7, number % 7]
        case _:
            # In minutes, and each in a zone of its own: by code point they are in another order.
            zone = timezone(timedelta(minutes=number * 17 % 1_000))
            instant = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=number)
            return instant.astimezone(zone).isoformat()


if __name__ == "__main__":
    run(work, sys.argv[1:])

"""The program whose system calls a power-loss test records: a daemon's processes, with a log.

    python -m tests.support.recorded_log DATA_DIR SEED ROUNDS

In each round several changes are asked for at once. When all are acknowledged it says on standard
output, in one write, what they were: a JSON array of changes, each an array of [asset, key, tag],
where no tag is a deletion and no key a clear. The value of a tag is that of value_of.

Rule: changes go through the daemon's own queue, log and writer; nothing is left out but clients.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from tests.support import small_log
from tests.support.serving import Serving, serve
from tests.support.store import change

from assetstored import jobs
from assetstored.changes import Slice

ASSETS = ("orders", "customers", "invoices")


def value_of(tag: str) -> str:
    """The value that a tag stands for: its number of characters is in it."""
    _, size = tag.split()
    return tag + "x" * int(size)


class Program:
    """Asks for random changes."""

    def __init__(self, serving: Serving, rng: random.Random) -> None:
        self.serving = serving
        self.random = rng
        self.trash_id = 0
        self.held: dict[str, set[str]] = {name: set() for name in ASSETS}

    async def run(self, rounds: int) -> None:
        slice_ = Slice([], [(name, name, None) for name in ASSETS], [])
        await self.serving.queue.do(jobs.ApplySlice(slice_))
        _acknowledge([])
        for number in range(rounds):
            await self.round(number)
            if self.random.random() < 0.1:
                await self.serving.queue.drain()
            if self.trash_id and self.random.random() < 0.1:
                await self.serving.queue.do(jobs.Condemn([self.trash_id]))
                await self.serving.queue.do(jobs.DropSlice(self.trash_id))
                _acknowledge([])

    async def round(self, number: int) -> None:
        changes = [self.some_change(number) for _ in range(self.random.choice([1, 1, 2, 4, 12]))]
        waiting = [
            asyncio.ensure_future(self.serving.change(change(*map(_operation, each))))
            for each in changes
        ]
        results = await asyncio.gather(*waiting)
        assert [result.code for result in results if result.code is not None] == []
        _acknowledge(changes)

    def some_change(self, number: int) -> list[Any]:
        return [self.some_operation(number) for _ in range(self.random.choice([1, 1, 3]))]

    def some_operation(self, number: int) -> Any:
        rng = self.random
        name = rng.choice(ASSETS)
        key = f"key-{rng.randrange(12)}"
        chance = rng.random()
        if chance < 0.02:
            self.trash_id += bool(self.held[name])
            self.held[name].clear()
            return name, None, None
        if chance < 0.2:
            self.held[name].discard(key)
            return name, key, None
        self.held[name].add(key)
        return name, key, f"{number}/{rng.random()} {rng.choice([10, 300, 1_500, 6_000])}"


def _operation(operation: Any) -> jobs.AnyOperation:
    name, key, tag = operation
    asset_id = ASSETS.index(name) + 1
    if key is None:
        return jobs.ClearStore(asset_id)
    if tag is None:
        return jobs.DeleteKey(asset_id, key, None)
    return jobs.SetKey(asset_id, key, json.dumps(value_of(tag)).encode(), None)


def _acknowledge(changes: list[Any]) -> None:
    os.write(1, json.dumps(changes).encode() + b"\n")


def main(argv: list[str]) -> None:
    data_dir, seed, rounds = argv
    small_log.shrink()

    async def scenario(serving: Serving) -> None:
        await Program(serving, random.Random(int(seed))).run(int(rounds))

    status = serve(Path(data_dir), scenario, logs=True, deadline_s=300.0)
    assert status == 0


if __name__ == "__main__":
    main(sys.argv[1:])

"""The program whose system calls a power-loss test records: a store made, filled, cleared, dropped.

    python -m tests.support.recorded_writer DATA_DIR SEED BATCHES

After each batch that is on disk it says on standard output, in one write, what the store now
holds: that is the acknowledgement.

Rule: changes go through the daemon's own StoreOfWriter; the model beside it is a dict.
"""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

from tests.support import small_log
from tests.support.store import change

from assetstored import jobs
from assetstored.changes import Slice
from assetstored.writer import StoreOfWriter

ASSETS = ("orders", "customers", "invoices")


def main(argv: list[str]) -> None:
    data_dir, seed, batches = argv
    small_log.shrink()
    rng = random.Random(int(seed))
    store = StoreOfWriter(Path(data_dir))
    held: dict[str, dict[str, str]] = {name: {} for name in ASSETS}
    _run(store, jobs.ApplySlice(Slice([], [(name, name, None) for name in ASSETS], [])))
    _acknowledge(held)
    trash_id = 0
    for number in range(int(batches)):
        batch: list[jobs.AnyJob] = []
        for _ in range(rng.randrange(1, 4)):
            # Of several operations all are there, or none.
            operations: list[jobs.AnyOperation] = []
            for _ in range(rng.choice([1, 1, 3])):
                asset_id = rng.randrange(len(ASSETS))
                entries = held[ASSETS[asset_id]]
                key = f"key-{rng.randrange(12)}"
                chance = rng.random()
                if chance < 0.1:
                    trash_id += bool(entries)
                    operations.append(jobs.ClearStore(asset_id + 1))
                    entries.clear()
                elif chance < 0.3:
                    operations.append(jobs.DeleteKey(asset_id + 1, key, None))
                    entries.pop(key, None)
                else:
                    value = f"{number} " + "x" * rng.choice([10, 300, 6_000])
                    text = json.dumps(value).encode()
                    operations.append(jobs.SetKey(asset_id + 1, key, text, None))
                    entries[key] = value
            batch.append(change(*operations))
        _run(store, *batch)
        _acknowledge(held)
        if trash_id and rng.random() < 0.2:
            _run(store, jobs.Condemn([trash_id]))
            _acknowledge(held)
            _run(store, jobs.DropSlice(trash_id))
            _acknowledge(held)
    store.close()


def _run(store: StoreOfWriter, *batch: jobs.AnyJob) -> None:
    refused = [result for result in store.run(list(batch)).results if result.code is not None]
    assert refused == []


def _acknowledge(held: dict[str, dict[str, str]]) -> None:
    os.write(1, json.dumps(held).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])

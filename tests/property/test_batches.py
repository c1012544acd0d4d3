"""Jobs that share a transaction: each gets the answer that it would get alone, in their order."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
from tests.support.store import WRITER, Store

from assetstore.messages import AssetRef, WireEntry
from assetstored import engine, jobs
from assetstored.changes import Slice

NAMES = [f"asset-{number}" for number in range(12)]
KEYS = ["a", "b", "c" * 511, "d" * 512]


def test_a_batch_answers_and_leaves_what_its_jobs_would_one_by_one(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    waiting: dict[str, dict[str, bytes]] = {}
    revision = 0
    with Store(tmp_path) as store:
        store.activate(*NAMES)
        model: dict[str, dict[str, bytes] | None] = {name: {} for name in NAMES}
        ids = {name: store.asset_id(name) for name in NAMES}
        for _ in range(150):
            batch: list[jobs.AnyJob] = []
            expected: list[object] = []
            for _ in range(rng.randrange(1, 40)):
                name, key = rng.choice(NAMES), rng.choice(KEYS)
                entries = model[name]
                action = rng.random()
                if action < 0.04:
                    if entries is None:
                        batch.append(jobs.ApplySlice(Slice([], [(name, name, None)], [])))
                        model[name] = waiting.pop(name, {})
                    else:
                        batch.append(jobs.ApplySlice(Slice([AssetRef(name, name)], [], [])))
                        waiting[name], model[name] = entries, None
                    expected.append(None)
                elif action < 0.6:
                    value = b"%d" % rng.randrange(10 ** rng.choice([1, 9, 3_000]))
                    batch.append(jobs.Put(ids[name], key, value, WRITER))
                    if entries is None:
                        expected.append("inactive_asset")
                    else:
                        entries[key] = value
                        expected.append("a revision")
                elif action < 0.9:
                    batch.append(jobs.Remove(ids[name], key, WRITER))
                    if entries is None:
                        expected.append("inactive_asset")
                    else:
                        expected.append(entries.pop(key, None) is not None)
                else:
                    batch.append(jobs.Empty(ids[name], WRITER))
                    if entries is None:
                        expected.append("inactive_asset")
                    else:
                        expected.append(len(entries))
                        entries.clear()
            for job, result, wanted in zip(batch, store.run(*batch), expected, strict=True):
                if wanted == "a revision":
                    assert result.code is None, (job, result)
                    assert result.value > revision
                    revision = result.value
                else:
                    assert (result.code or result.value) == wanted, (job, result)
            for name in NAMES:
                if (entries := model[name]) is not None:
                    assert store.contents(name) == entries
    assert engine.verify(str(tmp_path)) == []


def test_more_stores_than_handles_are_read_and_written_without_mixing_them_up(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    names = [f"n{number}" for number in range(2_500)]
    with Store(tmp_path) as store:
        for start in range(0, len(names), 500):
            store.activate(*names[start : start + 500])
        ids = {name: store.asset_id(name) for name in names}
        held: dict[str, bytes] = {}
        for _ in range(40):
            chosen = rng.sample(names, 150)
            written = {name: b'"%s %d"' % (name.encode(), rng.randrange(10**6)) for name in chosen}
            store.run(*(jobs.Put(ids[name], "k", written[name], WRITER) for name in chosen))
            held |= written
            # Drops in between give the slots of dead handles to other stores.
            name = rng.choice(sorted(held))
            store.clear(name)
            del held[name]
            store.drop(max(item[0] for item in store.trash()))
            for name in rng.sample(names, 100):
                raw = store.reader.get(AssetRef(name), "k")
                found = None if raw is None else msgspec.msgpack.decode(raw, type=WireEntry).value
                assert found == held.get(name)
        assert {name: entries for name in names if (entries := store.contents(name))} == {
            name: {"k": value} for name, value in held.items()
        }
    assert engine.verify(str(tmp_path)) == []

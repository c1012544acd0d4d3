"""Jobs that share a transaction: each gets the answer that it would get alone, in their order."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
from tests.support.store import Store, change

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
        model: Model = {name: {} for name in NAMES}
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
                else:
                    operations, outcomes, after = _drawn(rng, ids, model, name, key, action)
                    batch.append(change(*operations))
                    expected.append(outcomes)
                    model |= after
            for job, result, wanted in zip(batch, store.run(*batch), expected, strict=True):
                if isinstance(wanted, list):
                    assert result.code is None, (job, result)
                    for (given, count, *_), (has_revision, many) in zip(
                        result.decoded(), wanted, strict=True
                    ):
                        assert (given is not None, count) == (has_revision, many), (job, result)
                        if given is not None:
                            assert given > revision
                            revision = given
                else:
                    assert (result.code or result.decoded()) == wanted, (job, result)
            for name in NAMES:
                if (entries := model[name]) is not None:
                    assert store.contents(name) == entries
    assert engine.verify(str(tmp_path)) == []


Model = dict[str, dict[str, bytes] | None]


def _drawn(
    rng: random.Random, ids: dict[str, int], model: Model, name: str, key: str, action: float
) -> tuple[list[jobs.AnyOperation], list[tuple[bool, int]] | str, Model]:
    """Operations on one asset, what is to come of them, and how the asset stands then.

    Some are followed by one that is refused: then nothing is to come of any.
    """
    held = model[name]
    entries = dict(held or {})
    operations: list[jobs.AnyOperation] = []
    outcomes: list[tuple[bool, int]] = []
    for _ in range(rng.choice([1, 1, 1, 3])):
        if action < 0.6:
            value = b"%d" % rng.randrange(10 ** rng.choice([1, 9, 3_000]))
            operations.append(jobs.SetKey(ids[name], key, value, None))
            outcomes.append((True, 1))
            entries[key] = value
        elif action < 0.9:
            operations.append(jobs.DeleteKey(ids[name], key, None))
            existed = entries.pop(key, None) is not None
            outcomes.append((existed, int(existed)))
        else:
            operations.append(jobs.ClearStore(ids[name]))
            outcomes.append((bool(entries), len(entries)))
            entries.clear()
        action = rng.uniform(0.04, 1.0)
        key = rng.choice(KEYS)
    if held is None:
        return operations, "inactive_asset", {}
    if rng.random() < 0.2:
        operations.append(jobs.CheckKey(ids[name], "never written", 7))
        return operations, "conflict", {}
    return operations, outcomes, {name: entries}


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
            store.run(
                *(change(jobs.SetKey(ids[name], "k", written[name], None)) for name in chosen)
            )
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

"""Logged or not, all is the same: random changes of all kinds, asked of two stores.

In one of them changes of keys are logged and brought into the data file later, in the other the
writer does them all. Every answer is compared, and all that can be seen after it. The one that logs
is killed now and then, with changes under way.

Rule: neither is taken to be right; how a store should behave is in test_store_model.py.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import msgspec
from tests.support import seen
from tests.support.amount import amount
from tests.support.inspect_store import inspect
from tests.support.serving import Serving, next_turn, serve
from tests.support.store import Store, change

from assetstore.messages import AssetRef
from assetstored import jobs
from assetstored.changes import Slice

#: Between two kills.
STEPS = 40
LIVES = amount(5, whole=60)

NAMES = ["a", "b", "c", "d"]

# Some are too long for LMDB, and share their beginning with others.
KEYS = [
    *("k", "k1", "k2", "l", "m/1", "m/2", "\0", "ü"),
    *("x" * n for n in (477, 478, 511, 512)),
    *("y" * 478 + tail for tail in ("a", "b" * 34, "b" * 33 + "c", "c" * 34)),
]
PREFIXES = ["", "k", "m/", "x" * 478, "y" * 478 + "b"]

VALUES = [1, 2, 2.5, -7, "text", "other", True, [None], [1, 2], {"a": 1}, {"a": {"b": 2}, "c": 3}]

#: Later than any change.
NEVER_US = 2**62


class Pair:
    """Two stores that are asked for the same."""

    def __init__(
        self, serving: Serving, plain: Store, rng: random.Random, *, trims: bool = False
    ) -> None:
        self.trims = trims
        self.serving = serving
        self.plain = plain
        self.random = rng
        self.done: Counter[str] = Counter()
        self.began = time.monotonic()
        #: With the moment at which each was sent first.
        self.asked: list[tuple[jobs.Change, float]] = []
        serving.log_listeners.append(lambda first, touched: self.done.update(["logged"]))
        serving.listeners.append(lambda report: self.done.update(["written"]))

    async def step(self) -> None:
        chances = {
            self.changes: 60,
            self.repeat: 8,
            self.checkpoint: 12,
            self.toggle: 5,
            self.drop: 2,
            self.trim: self.trims,
            self.drain: 2,
        }
        (call,) = self.random.choices([*chances], [*chances.values()])
        self.done[call.__name__] += 1
        await call()
        if self.random.random() < 0.4:
            self.compare()

    # --- what is asked of both

    async def both(self, *batch: jobs.Change) -> None:
        logged = await asyncio.gather(*(self.serving.change(job) for job in batch))
        plain = self.plain.run(*batch)
        for job, ours, theirs in zip(batch, logged, plain, strict=True):
            assert _told(ours) == _told(theirs), job
            self.done[ours.code or "done"] += 1

    async def work(self, job: jobs.AnyJob) -> Any:
        """A job of the daemon's own."""
        ours = await self.serving.queue.do(job)
        assert ours == self.plain.do(job)
        return ours

    # --- changes

    async def changes(self) -> None:
        batch = [self.some_change() for _ in range(self.random.choice([1, 1, 1, 2, 5, 30]))]
        self.asked += [(job, time.monotonic()) for job in batch]
        await self.both(*batch)

    async def repeat(self) -> None:
        """As of a client that got no answer; perhaps of one that a later one has overtaken."""
        if not self.asked:
            return
        job, sent_at = self.random.choice(self.asked)
        if sent_at > self.began and self.random.random() < 0.3:
            await self.both(job)  # the first, which its repeat has overtaken
        elif sent_at > self.began + 2.0 or not self.plain.reader.counters().compacted:
            # Else the clock tells whether it is forgotten.
            await self.both(msgspec.structs.replace(job, sent_at=sent_at))

    async def checkpoint(self) -> None:
        """What is logged is being brought into the data file while others go on."""
        self.serving.queue._checkpoint()
        for _ in range(self.random.randrange(4)):
            await next_turn()

    async def drain(self) -> None:
        await self.serving.queue.drain()
        assert self.serving.log.is_empty

    def some_change(self) -> jobs.Change:
        rng = self.random
        kind = rng.random()
        if kind < 0.03:
            return change(self.some_rare_operation())
        if kind < 0.04:
            # More than is done beside the writer.
            return change(*(self.some_set() for _ in range(70)))
        if kind < 0.05:
            large = json.dumps("x" * 70_000).encode()
            return change(jobs.SetKey(self.some_asset(), "large", large, None), size=140_000)
        count = rng.choice([1, 1, 1, 2, 3, 6, 12])
        return change(*(self.some_operation() for _ in range(count)))

    def some_operation(self) -> jobs.AnyOperation:
        rng = self.random
        asset_id, key = self.some_asset(), rng.choice(KEYS)
        value = json.dumps(rng.choice(VALUES)).encode()
        match rng.choice(["set"] * 4 + ["delete"] * 3 + ["advance", "increment", "merge", "check"]):
            case "set":
                kind = rng.choice(["set", "set", "rewind"])
                return jobs.SetKey(asset_id, key, value, self.some_condition(asset_id, key), kind)
            case "delete":
                return jobs.DeleteKey(asset_id, key, self.some_condition(asset_id, key))
            case "advance":
                return jobs.AdvanceKey(asset_id, key, value, "value")
            case "increment":
                return jobs.IncrementKey(asset_id, key, rng.choice([b"1", b"-2.5"]), b"0")
            case "merge":
                patch = json.dumps({rng.choice("abc"): rng.choice([1, 5, {"b": 1}])}).encode()
                remove = rng.choice([[], [], [["a"]], [["a", "b"]]])
                how: Literal["replace", "max"] = "max" if rng.random() < 0.5 else "replace"
                return jobs.MergeKey(asset_id, key, patch, remove, how, "value")
        return jobs.CheckKey(asset_id, key, self.some_condition(asset_id, key) or 0)

    def some_rare_operation(self) -> jobs.AnyOperation:
        rng = self.random
        trash_ids = [trash_id for trash_id, *_ in self.plain.trash()] or [99]
        revision = self.plain.reader.counters().revision
        match rng.choice(["clear", "restore", "move", "purge", "unchanged"]):
            case "clear":
                return jobs.ClearStore(self.some_asset())
            case "restore":
                return jobs.RestoreStore(rng.choice(trash_ids))
            case "move":
                return jobs.MoveStore(self.some_asset(), self.some_asset(), rng.random() < 0.7)
            case "purge":
                return jobs.PurgeStores(rng.sample(trash_ids, 1))
        return jobs.CheckUnchanged(self.some_asset(), max(0, revision - rng.randrange(4)))

    def some_set(self) -> jobs.SetKey:
        value = b"%d" % self.random.randrange(1_000)
        return jobs.SetKey(self.some_asset(), self.random.choice(KEYS), value, None)

    def some_asset(self) -> int:
        return self.random.randrange(len(NAMES)) + 1

    def some_condition(self, asset_id: int, key: str) -> int | None:
        """Mostly none; or that the key is not there, stands as it does, or as it did."""
        chance = self.random.random()
        if chance < 0.7:
            return None
        row = self.plain.reader.row_of(asset_id)
        entry = self.plain.get(row.name, key) if row.state == "active" else None
        if chance < 0.9:
            return 0 if entry is None else entry.revision
        return self.random.choice([0, 1, self.plain.reader.counters().revision])

    # --- what the daemon does by itself

    async def toggle(self) -> None:
        states = {n: self.plain.reader.row_of(NAMES.index(n) + 1).state for n in NAMES}
        closed = [name for name in NAMES if states[name] != "active"]
        name = self.random.choice(closed or NAMES)
        if name not in closed:
            await self.work(jobs.ApplySlice(Slice([AssetRef(name, name)], [], [])))
        else:
            await self.work(jobs.ApplySlice(Slice([], [(name, name, None)], [])))
        await self.work(jobs.FinishManifest(str(self.random.random()), "/m.json"))

    async def drop(self) -> None:
        """What waits in the trash is removed for good."""
        for trash_id, *_ in self.plain.trash()[:2]:
            await self.work(jobs.Condemn([trash_id]))
        for trash_id, row in list(self.plain.reader.trash_rows()):
            # How much one slice does depends on the clock.
            if row.dropping:
                while await self.serving.queue.do(jobs.DropSlice(trash_id)):
                    pass
                while self.plain.do(jobs.DropSlice(trash_id)):
                    pass

    async def trim(self) -> None:
        after: int | None = 0
        while after is not None:
            after, _ = await self.serving.queue.do(jobs.TrimSlice(after, NEVER_US, 0))
        after = 0
        while after is not None:
            after, _ = self.plain.do(jobs.TrimSlice(after, NEVER_US, 0))

    # --- what is seen of both

    def compare(self) -> None:
        rng = self.random
        limit = rng.choice([1, 3, 1_000])
        prefixes = rng.sample(PREFIXES, 2)
        asset_id, key = self.some_asset(), rng.choice(KEYS)
        revision = self.plain.reader.counters().revision
        at = max(0, revision - rng.choice([0, 1, 5, 30, 10**6]) + rng.randrange(2))
        ours, theirs = (
            [
                seen.present(reader, NAMES, prefixes, limit),
                seen.past(reader, asset_id, key, at, limit),
                seen.changed_since(reader, asset_id, KEYS, min(at, revision)),
            ]
            for reader in (self.serving.reader, self.plain.reader)
        )
        seen.check_same(ours, theirs)

    # --- the end

    async def remember(self) -> None:
        """Both learn from the journal what was carried out before they began."""
        unknown = change(jobs.CheckKey(1, "k", 0), sent_at=self.began - 1.0)
        await self.serving.change(unknown)
        self.plain.run(unknown)

    async def begin_some_changes(self) -> list[tuple[jobs.Change, float]]:
        """Changes that are under way when the one that logs is killed: each changes something."""
        names = [n for n in range(1, 5) if self.plain.reader.row_of(n).state == "active"]
        batch = [
            change(
                *(
                    jobs.SetKey(self.random.choice(names), f"under way {n}", b"%d" % number, None)
                    for n in range(self.random.randrange(1, 4))
                )
            )
            for number in range(self.random.randrange(8) if names else 0)
        ]
        for job in batch:
            self.serving.queue.submit(job, size=1, deadline=None, done=lambda result: None)
            if self.random.random() < 0.5:
                await next_turn()
        return [(job, time.monotonic()) for job in batch]

    async def repeat_what_was_under_way(self, batch: list[tuple[jobs.Change, float]]) -> None:
        """Some of it was carried out and some was not; now all of it was, once, in its order."""
        for job, sent_at in batch:
            ours = await self.serving.change(msgspec.structs.replace(job, sent_at=sent_at))
            if ours.code == "forgotten":
                # It was not carried out, and what the journal has forgotten might have been it.
                self.done["forgotten at a start"] += 1
                continue
            (theirs,) = self.plain.run(job)
            assert _told(ours) == _told(theirs)


def _told(result: jobs.Result) -> Any:
    if result.code == "forgotten":
        return result.code  # why, depends on which process remembers what
    return seen.timeless([result.code, result.message, result.value])


class Lives:
    """Lives of the one that logs, each of which a kill ends; the other is opened anew, too."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.logged = directory / "logged"
        self.plain = directory / "plain"
        self.logged.mkdir()
        self.random = random.Random(seed)
        self.under_way: list[tuple[jobs.Change, float]] = []
        self.asked: list[tuple[jobs.Change, float]] = []
        self.done: Counter[str] = Counter()

    def live(self, steps: int, *, trims: bool, is_last: bool = False) -> None:
        # Before there is a loop, as it forks.
        with Store(self.plain) as plain:

            async def scenario(serving: Serving) -> None:
                pair = Pair(serving, plain, self.random, trims=trims)
                if not plain.reader.counters().asset_id:
                    slice_ = Slice([], [(name, name, None) for name in NAMES], [])
                    await pair.work(jobs.ApplySlice(slice_))
                await pair.remember()
                await pair.repeat_what_was_under_way(self.under_way)
                pair.compare()
                pair.asked = self.asked[-50:]
                for _ in range(steps):
                    await pair.step()
                self.asked = pair.asked
                if is_last:
                    await serving.queue.drain()
                    pair.compare()
                else:
                    self.under_way = await pair.begin_some_changes()
                self.done.update(pair.done)

            assert serve(self.logged, scenario, logs=True, deadline_s=300.0) == 0


def test_what_is_logged_and_what_the_writer_does_cannot_be_told_apart(
    tmp_path: Path, seed: int
) -> None:
    lives = Lives(tmp_path, seed)
    for number in range(LIVES):
        # What the journal has forgotten makes most repeats of earlier lives unknown.
        lives.live(STEPS, trims=number > LIVES // 2)
        # As it was left: what is logged only is looked at in a copy.
        assert inspect(lives.logged).problems == []
    lives.live(STEPS, trims=True, is_last=True)

    seen.check_same(seen.on_disk(lives.logged), seen.on_disk(lives.plain))
    assert inspect(lives.logged).problems == []
    print(dict(lives.done))
    assert lives.done["logged"] > 2 * LIVES

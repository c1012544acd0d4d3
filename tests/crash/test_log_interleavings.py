"""The commit queue and its log in any order of events: whatever the two processes beside it leave
for later, a kill or a power cut at any moment leaves whole changes, and all that were acknowledged.

A long random schedule asks for changes, background work and checkpoints while the syncing process
and the writer stand still and go on at random. What is on disk is copied in between, above all just
before and just after somebody is told of a change.

Rule: one event loop and two real processes; a copy is of a moment at which neither of them ran.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import random
import resource
import shutil
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from tests.support import small_log
from tests.support.amount import amount
from tests.support.inspect_store import Contained, inspect, read
from tests.support.left_behind import Halting, SyncedLog, copy_cut, copy_killed, standing_still
from tests.support.quick_disk import quick_disk
from tests.support.seen import all_items
from tests.support.serving import Serving, next_turn, serve
from tests.support.store import change

from assetstore.errors import StoreFull
from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstore.messages import AssetRef, WireEntry
from assetstored import commits, datadir, jobs, sync_choice
from assetstored.changes import Slice
from assetstored.reader import Reader
from assetstored.writer import StoreOfWriter

pytestmark = pytest.mark.crash

#: Each lives twice: the second time it finds what the first one left in the log.
STORES = amount(8, whole=200)

#: Of each life.
STEPS = 300

#: In each life; each is looked at as after a kill, and as after a power cut.
COPIES = 24

#: Of them all, how many are checked by the product, too, and opened as by the next daemon.
CHECKED = 0.1

NAMES = ["a", "b", "c", "d"]
KEYS = [f"k{n}" for n in range(8)]
COUNTERS = ["n0", "n1"]

#: More than this is not asked for before some of it is answered.
MOST_PENDING = 80

#: Later than any change.
NEVER_US = 2**62

#: What each active asset holds.
Held = dict[str, Contained]

#: Revision, asset, key and value; a key that is deleted has none, an asset that is cleared no key.
Effect = tuple[int, str, str | None, Any]

_wire_entry = msgspec.msgpack.Decoder(WireEntry).decode


class Told(NamedTuple):
    """Somebody was told of a change of these revisions."""

    first: int
    last: int
    effects: list[Effect]


class Sight(NamedTuple):
    """What was found at some moment, by whom, and up to which revision it had to be all there."""

    where: str
    floor: int
    revision: int
    held: Held


class Model:
    """What stood there after each change, as far as it was told."""

    def __init__(self) -> None:
        self.revision = 0
        self.held: Held = {}
        self.inactive: dict[str, Contained] = {}
        #: The journal has forgotten something.
        self.was_trimmed = False
        self._after: dict[int, Held] = {0: {}}
        self._told: list[Told] = []
        self._background: list[tuple[int, Callable[[], None]]] = []
        self._sights: list[Sight] = []

    def tell(self, told: Told) -> None:
        """A client was told so."""
        heapq.heappush(self._told, told)

    def tell_background(self, count: int, effect: Callable[[], None]) -> None:
        """Background work was done, which has so many revisions: those that no client has."""
        self._background.append((count, effect))

    def sees(self, sight: Sight) -> None:
        """To be judged when all of it is told."""
        self._sights.append(sight)

    def catch_up(self) -> None:
        """Take in what was told, in the order in which it happened, and judge what was seen."""
        while True:
            if self._told and self._told[0].first == self.revision + 1:
                told = heapq.heappop(self._told)
                for each in told.effects:
                    self._take(*each)
                self._now_at(told.last)
            elif self._background:
                count, effect = self._background.pop(0)
                effect()
                self._now_at(self.revision + count)
            else:
                break
        assert not self._told or self._told[0].first > self.revision, "a revision was given twice"
        waiting = []
        for sight in self._sights:
            if sight.revision > self.revision:
                waiting.append(sight)
            else:
                self._judge(sight)
        self._sights = waiting

    def check_complete(self) -> None:
        """Nothing was told, or seen, that would follow on something that never came."""
        assert not self._told
        assert not self._sights

    def _now_at(self, revision: int) -> None:
        self.revision = revision
        self._after[revision] = dict(self.held)

    def _take(self, revision: int, name: str, key: str | None, value: Any) -> None:
        # A new one each time: what was is kept.
        held = self.held[name] = {} if key is None else dict(self.held[name])
        if key is not None:
            held.pop(key, None)
            if value is not None:
                held[key] = (value, revision)

    def _judge(self, sight: Sight) -> None:
        assert sight.revision >= sight.floor, f"{sight.where}: {sight.revision} of {sight.floor}"
        expected = self._after.get(sight.revision)
        assert expected is not None, f"{sight.where}: half a change at {sight.revision}"
        assert sight.held == expected, f"{sight.where} at {sight.revision}"


@contextmanager
def caught(failed: list[Exception]) -> Iterator[None]:
    """What fails within is kept: who has called must go on."""
    try:
        yield
    except Exception as exc:
        failed.append(exc)


def effect_of(operation: jobs.AnyOperation, revision: int, entry: Any) -> Effect:
    """What an operation has done, by what was told of it."""
    match operation:
        case jobs.SetKey(asset_id, key, value):
            return revision, NAMES[asset_id - 1], key, json.loads(value)
        case jobs.DeleteKey(asset_id, key):
            return revision, NAMES[asset_id - 1], key, None
        case jobs.IncrementKey(asset_id, key):
            return revision, NAMES[asset_id - 1], key, json.loads(entry[3])
        case jobs.ClearStore(asset_id):
            return revision, NAMES[asset_id - 1], None, None
    raise AssertionError(operation)


def held_by(reader: Reader, name: str) -> Contained:
    """What an active asset holds."""
    entries = ((key, _wire_entry(raw)) for key, raw in all_items(reader, name, "", 1_000))
    return {key: (json.loads(entry.value), entry.revision) for key, entry in entries}


def open_and_close(data_dir: Path) -> None:
    """As the writer of the next daemon does."""
    StoreOfWriter(data_dir, max_value_bytes=DEFAULT_MAX_VALUE_BYTES).close()


class Life:
    """One serving process, from its start until it ends and leaves what is logged in the log."""

    def __init__(
        self, serving: Serving, model: Model, synced: SyncedLog, rng: random.Random
    ) -> None:
        self.serving = serving
        self.model = model
        self.synced = synced
        self.random = rng
        self.syncer = Halting(serving.syncer_pid)
        self.writer = Halting(serving.writer_pid)
        self.done: Counter[str] = Counter()
        #: The last revision that anybody has read, or could have.
        self.floor = model.revision
        self.failed: list[Exception] = []
        self._numbers = itertools.count()
        self._pending: set[asyncio.Future[None]] = set()
        self._answered: list[tuple[jobs.Change, float, Any]] = []
        self._refused: list[tuple[jobs.Change, float]] = []
        self._background: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._taken: list[tuple[str, int, Path, bytes]] = []
        self._copies = 0
        self._copies_due = 0.0
        self._has_others = True
        self._file_bytes = resource.prlimit(self.writer.pid, resource.RLIMIT_FSIZE)
        self._was_full = False
        # Where everything happens as often, much never lasts long enough to meet something else:
        # whatever needs the writer keeps all others waiting while that stands still.
        is_logging = rng.random() < 0.6
        self._weights = {
            self.submit: 30,
            self.halt_syncer: rng.choice([1, 4, 8]),
            self.go_on_syncer: rng.choice([2, 4, 8]),
            self.halt_writer: rng.choice([1, 4, 8]),
            self.go_on_writer: rng.choice([1, 2, 8]),
            self.checkpoint: rng.choice([2, 8]),
            self.work: 0 if is_logging else rng.choice([0, 1, 5]),
            self.repeat: 3,
            self.change_others: rng.choice([0, 2]),
            self.fill_disk: 0 if is_logging else rng.choice([0, 0, 1]),
            self.take_room: rng.choice([0, 0, 2]),
            self.make_room: 3,
            self.ping: 1,
            self.wait: rng.choice([4, 10]),
            self.copy: 1,
            self.drain: rng.choice([0, 0.5]),
        }
        self._clear_chance = 0.0 if is_logging else rng.choice([0.0, 0.01, 0.05])
        self._many_chance = 0.0 if is_logging else 0.01
        self._large_chance = rng.choice([0.05, 0.3])
        serving.queue.sync_choice.watch_others(self._others, self._others)
        serving.log_listeners.append(lambda first, touched: self._shown("logged"))
        serving.listeners.append(lambda report: self._shown("written"))

    # --- the schedule

    async def live(self) -> None:
        for step in range(STEPS):
            self._copies_due = COPIES * (step + 1) / STEPS
            (act,) = self.random.choices([*self._weights], [*self._weights.values()])
            self.done[act.__name__] += 1
            done = act()
            if asyncio.iscoroutine(done):
                await done
            for _ in range(self.random.choice([0, 0, 1, 3])):
                await next_turn()
            if len(self._pending) > MOST_PENDING:
                await self.settle(MOST_PENDING // 4)
            self.check()

    async def end(self) -> None:
        """All that was asked for is answered."""
        self.make_room()
        await self.settle(0)
        while self._tasks:
            await asyncio.wait(self._tasks)
            await next_turn()
        self.look()
        self.check()
        self.model.check_complete()
        assert self.model.revision == self.floor

    async def settle(self, most: int) -> None:
        """No more than so many changes are not answered."""
        self.go_on_syncer()
        self.go_on_writer()
        while len(self._pending) > most:
            await asyncio.wait(self._pending, return_when=asyncio.FIRST_COMPLETED)
            await next_turn()

    def check(self) -> None:
        """Whatever was found until now is as it should be."""
        self.done["held"] += self.serving.queue._held is not None
        self.done["checkpoint next"] += self.serving.queue._checkpoint_next
        if self.random.random() < 0.3:
            self.look()
        for where, floor, killed, synced in self._taken:
            cut = killed.with_name(killed.name + "-cut")
            copy_cut(killed, synced, cut, self.random)
            for each, path in (("killed", killed), ("cut", cut)):
                is_checked = self.random.random() < CHECKED
                found = inspect(path) if is_checked else read(path)
                assert found.problems == [], f"{each}: {where}"
                self.done[each] += 1
                self.model.sees(Sight(f"{each}: {where}", floor, found.revision, found.active))
                if is_checked:
                    open_and_close(path)
                    again = inspect(path)
                    assert again.problems == [], f"{each}, opened: {where}"
                    assert (again.revision, again.active) == (found.revision, found.active)
                shutil.rmtree(path)
        self._taken.clear()
        if self.failed:
            raise self.failed[0]
        assert self.serving.lost == []
        self.model.catch_up()

    # --- what is asked for

    def submit(self) -> None:
        for _ in range(self.random.choice([1, 1, 1, 2, 5, 20])):
            self._submit(self._some_change())

    def _submit(self, job: jobs.Change) -> None:
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.add(answered)
        answered.add_done_callback(self._pending.discard)
        asked_at = time.monotonic()

        def done(result: jobs.Result) -> None:
            with caught(self.failed):
                self._take(job, result, asked_at)
                self._at("told")
            answered.set_result(None)

        self.serving.queue.submit(job, size=1, deadline=None, done=done)

    def _take(self, job: jobs.Change, result: jobs.Result, asked_at: float) -> None:
        """Whoever is told of a change reads it, and nobody was told of it before."""
        self.done[result.code or "done"] += 1
        if result.code is not None:
            assert result.code in self._possible_refusals(job), result
            if result.code == "store_full":
                self._refused.append((job, asked_at))
            return
        outcomes = zip(job.operations, result.decoded(), strict=True)
        effects = [
            effect_of(operation, revision, entry)
            for operation, (revision, _, entry, _) in outcomes
            if revision is not None
        ]
        if not effects:
            return
        told = Told(effects[0][0], effects[-1][0], effects)
        assert [revision for revision, *_ in effects] == [*range(told.first, told.last + 1)]
        assert self.serving.reader.counters().revision >= told.last
        assert self.floor >= told.last
        self.model.tell(told)
        self._answered.append((job, asked_at, result.decoded()))

    def repeat(self) -> None:
        """As of a client that got no answer, or none that would keep it from asking again."""
        if self._refused and self.random.random() < 0.5:
            job, asked_at = self._refused.pop(self.random.randrange(len(self._refused)))
            self._submit(msgspec.structs.replace(job, sent_at=asked_at))
            return
        if not self._answered:
            return
        job, asked_at, first = self.random.choice(self._answered[-50:])
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pending.add(answered)
        answered.add_done_callback(self._pending.discard)

        def done(result: jobs.Result) -> None:
            with caught(self.failed):
                self.done[f"again: {result.code}"] += 1
                if result.code is None:
                    assert result.decoded() == first
                else:
                    assert result.code in self._possible_refusals(again) - {"inactive_asset"}, (
                        result
                    )
            answered.set_result(None)

        again = msgspec.structs.replace(job, sent_at=asked_at)
        self.serving.queue.submit(again, size=1, deadline=None, done=done)

    def _possible_refusals(self, job: jobs.Change) -> set[str]:
        codes = {"inactive_asset"}
        if self._was_full:
            codes.add("store_full")
            if job.sent_at is not None:
                codes.add("busy")  # what became of the first cannot be told just now
        if self.model.was_trimmed:
            codes.add("forgotten")
        return codes

    def _some_change(self) -> jobs.Change:
        rng = self.random
        if rng.random() < self._clear_chance:
            return change(jobs.ClearStore(self._some_asset()), *self._some_sets(rng.randrange(3)))
        if rng.random() < self._many_chance:
            # More than is done beside the writer.
            return change(*self._some_sets(70))
        if rng.random() < 0.25:
            return change(*self._some_sets(rng.randrange(2, 6)))
        match rng.choice(["set", "set", "delete", "increment"]):
            case "set":
                return change(*self._some_sets(1))
            case "delete":
                return change(jobs.DeleteKey(self._some_asset(), rng.choice(KEYS), None))
        key = rng.choice(COUNTERS)
        return change(jobs.IncrementKey(self._some_asset(), key, b"1", b"0"))

    def _some_sets(self, count: int) -> list[jobs.AnyOperation]:
        """All with the same value, of which there is no other."""
        size = self.random.randrange(9_000) if self.random.random() < self._large_chance else 0
        value = json.dumps([next(self._numbers), "x" * (size // max(1, count))]).encode()
        keys = self.random.sample([(n + 1, key) for n in range(4) for key in KEYS], min(count, 32))
        keys += [(1, f"many {n}") for n in range(count - len(keys))]
        return [jobs.SetKey(asset_id, key, value, None) for asset_id, key in keys]

    def _some_asset(self) -> int:
        return self.random.randrange(len(NAMES)) + 1

    # --- what the daemon does beside

    def checkpoint(self) -> None:
        self._begin(self._checkpoint())

    async def _checkpoint(self) -> None:
        asked_for = self.floor
        try:
            await self.serving.queue.checkpoint()
        except StoreFull:
            assert self._was_full
            return
        reader = self.serving.reader
        reader.give_up()
        assert reader.counters().revision - reader.logged_events() >= asked_for
        self._at("checkpoint")

    def ping(self) -> None:
        self._begin(self.serving.queue.ping())

    async def drain(self) -> None:
        self.go_on_syncer()
        self.go_on_writer()
        await self.serving.queue.drain()
        assert all(answered.done() for answered in self._pending)
        assert self.serving.log.is_empty or self._was_full

    def work(self) -> None:
        """Something of the daemon's own, one at a time."""
        if self._background is not None and not self._background.done():
            return
        kind = self.random.choice(
            [self._toggle, self._toggle, self._accept, self._trim, self._condemn, self._drop]
        )
        self._background = self._begin(kind())

    async def _toggle(self) -> None:
        model = self.model
        name = self.random.choice([*model.inactive] or NAMES)
        is_back = name in model.inactive
        slice_ = (
            Slice([], [(name, name, None)], [])
            if is_back
            else Slice([AssetRef(name, name)], [], [])
        )

        def effect() -> None:
            if is_back:
                model.held[name] = model.inactive.pop(name)
            else:
                model.inactive[name] = model.held.pop(name)

        if await self._done_by(jobs.ApplySlice(slice_)) is not StoreFull:
            model.tell_background(1, effect)

    async def _accept(self) -> None:
        job = jobs.FinishManifest(str(self.random.random()), "/m.json")
        if await self._done_by(job) is not StoreFull:
            self.model.tell_background(1, lambda: None)

    async def _trim(self) -> None:
        self.model.was_trimmed = True
        after: Any = 0
        while after not in (None, StoreFull):
            after = await self._done_by(jobs.TrimSlice(after, NEVER_US, 0))
            if after is not StoreFull:
                after = after[0]

    async def _condemn(self) -> None:
        """What waits in the trash cannot come back, and an asset that it waits for gets nothing."""
        model, reader = self.model, self.serving.reader
        rows = [(number, row) for number, row in reader.trash_rows() if not row.dropping][:2]
        lost = [NAMES[row.asset_id - 1] for _, row in rows if row.reason == "deactivated"]

        def effect() -> None:
            model.inactive.update((name, {}) for name in lost)

        count = await self._done_by(jobs.Condemn([number for number, _ in rows]))
        if count is not StoreFull:
            assert count == len(rows)
            model.tell_background(count, effect)

    async def _drop(self) -> None:
        for number, row in list(self.serving.reader.trash_rows()):
            if row.dropping:
                while await self._done_by(jobs.DropSlice(number)) is True:
                    pass

    async def _done_by(self, job: jobs.AnyJob) -> Any:
        try:
            found = await self.serving.queue.do(job)
        except StoreFull:
            assert self._was_full
            return StoreFull
        self._at("background")
        return found

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        async def run() -> None:
            with caught(self.failed):
                await work

        task = asyncio.ensure_future(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- what the machine does

    def halt_syncer(self) -> None:
        self.syncer.halt()

    def go_on_syncer(self) -> None:
        self.syncer.go_on()

    def halt_writer(self) -> None:
        self.writer.halt()

    def go_on_writer(self) -> None:
        self.writer.go_on()

    async def wait(self) -> None:
        """Somebody is answered, if that is soon."""
        if self._pending:
            timeout = self.random.choice([0.001, 0.01])
            await asyncio.wait(self._pending, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)

    def change_others(self) -> None:
        """Syncs are left to the syncing process, or no longer."""
        self._has_others = not self._has_others

    def _others(self) -> int:
        return next(self._numbers) if self._has_others else 0

    def fill_disk(self) -> None:
        """There is so little room that the writer has to take all changes, or there is enough."""
        log = self.serving.log
        log._has_room = not log.has_disk()
        log._room_known_until = float("inf")

    def take_room(self) -> None:
        """The data file may not grow."""
        # Not within a commit: one that fails halfway is the end of the writer.
        if not self.serving.queue._writer._reports:
            hard = self._file_bytes[1]
            resource.prlimit(self.writer.pid, resource.RLIMIT_FSIZE, (0, hard))
            self._was_full = True

    def make_room(self) -> None:
        """It may grow."""
        resource.prlimit(self.writer.pid, resource.RLIMIT_FSIZE, self._file_bytes)

    # --- what is seen

    def look(self) -> None:
        """What the reader shows is what was told. What the writer has committed it may show before
        that is reported."""
        reader = self.serving.reader
        revision = reader.counters().revision
        if revision != self.floor:
            assert revision > self.floor
            assert self.serving.queue._writer._reports, "seen before it was on disk"
            self.floor = revision
            self.done["looks ahead"] += 1
        self.done["looks"] += 1
        held = {name: held_by(reader, name) for name, *_ in reader.active_assets()}
        self.model.sees(Sight("reader", revision, revision, held))

    def copy(self) -> None:
        self._copy("at some moment")

    def _shown(self, what: str) -> None:
        """Whoever reads sees more than before, and nobody was told yet."""
        with caught(self.failed):
            revision = self.serving.reader.counters().revision
            assert revision >= self.floor
            self.floor = revision
            self._at(what)

    def _at(self, what: str) -> None:
        """Here a kill would be the most telling."""
        # While the writer is at it, what is acknowledged is in three places.
        if self.random.random() < (0.2 if self.serving.queue._is_checkpointing else 0.02):
            self._copy(what)

    def _copy(self, where: str) -> None:
        if self._copies < self._copies_due:
            self._copies += 1
            path = self.serving.data_dir.with_name(f"copy-{self._copies}")
            with standing_still([self.syncer, self.writer]):
                copy_killed(self.serving.data_dir, path)
                synced = self.synced.path.read_bytes()
            self._taken.append((where, self.floor, path, synced))
            self.done[f"copy: {where}"] += 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half of the log has sixteen blocks, and syncs are not slow."""
    small_log.shrink(monkeypatch.setattr)
    # Else a busy machine would decide who syncs.
    monkeypatch.setattr(sync_choice, "_SHORT_SYNC_S", 60.0)
    monkeypatch.setattr(commits, "_FULL_RETRY_S", 0.02)


@pytest.mark.usefixtures("small")
def test_whatever_waits_for_whatever_all_that_anybody_was_told_of_is_on_disk(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    with quick_disk() as directory:
        synced = SyncedLog(directory / "synced")
        synced.watch(monkeypatch)
        # What is rare elsewhere has to happen: a log without room, a checkpoint during a sync. One
        # life has much of it and the next one none.
        for number in itertools.count():
            if number >= STORES and done["held"] and done["checkpoint next"]:
                break
            assert number < 10 * STORES, done
            model = Model()
            path = directory / str(number)
            (path / "data").mkdir(parents=True)

            async def scenario(serving: Serving, model: Model = model) -> None:
                done.update(await live(serving, model, synced, rng))

            for _ in range(2):
                monkeypatch.setattr(commits, "_CHECKPOINT_S", rng.choice([0.002, 0.05]))
                ended = serve(
                    path / "data", scenario, logs=True, max_bytes=1 << 30, deadline_s=120.0
                )
                assert ended == 0
                found = inspect(path / "data")
                assert found.problems == []
                assert (found.revision, found.active) == (model.revision, model.held)
            shutil.rmtree(path)
    print(dict(done))
    assert done["killed"] > 100


async def live(
    serving: Serving, model: Model, synced: SyncedLog, rng: random.Random
) -> Counter[str]:
    """A life of a store, at the end of which all is answered; what was done in it."""
    synced.begin(serving.data_dir / datadir.WAL_FILE)
    if not model.revision:
        everything = Slice([], [(name, name, None) for name in NAMES], [])
        await serving.queue.do(jobs.ApplySlice(everything))
        model.tell_background(len(NAMES), lambda: model.held.update({n: {} for n in NAMES}))
        model.catch_up()
    life = Life(serving, model, synced, rng)
    try:
        await life.live()
        await life.end()
    finally:
        # Else they could not end.
        life.go_on_syncer()
        life.go_on_writer()
    if rng.random() < 0.5:
        await serving.queue.drain()
    return life.done

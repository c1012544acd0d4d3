"""The commit queue with a write-ahead log: what is logged, in which order, and who gets told when.

Rule: a real log, syncer and writer; who has to wait, waits for a process that stands still.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from tests.support import small_log
from tests.support.inspect_store import inspect, logged_only
from tests.support.seen import all_keys
from tests.support.serving import Serving, failing_calls, next_turn, serve
from tests.support.store import change
from tests.support.waiting import wait_until

from assetstore.errors import Busy, StoreFull
from assetstore.messages import AssetRef
from assetstored import change_log, datadir, gathering, jobs, sync_choice
from assetstored.changes import Slice
from assetstored.reader import Reader

A = AssetRef("a")


def put(key: str = "k", value: bytes = b"1", **options: Any) -> jobs.Change:
    """A client's job, for the first asset."""
    return change(jobs.SetKey(1, key, value, None), **options)


def count_up(key: str = "n", **options: Any) -> jobs.Change:
    """One that shows how often it was carried out."""
    return change(jobs.IncrementKey(1, key, b"1", b"0"), **options)


def repeat(job: jobs.Change) -> jobs.Change:
    """The same once more, as of a client that got no answer."""
    return msgspec.structs.replace(job, sent_at=time.monotonic() - 0.001)


def activating(*names: str) -> jobs.ApplySlice:
    """The job that makes assets active whose uri is their name."""
    return jobs.ApplySlice(Slice([], [(name, name, None) for name in names], []))


def logged(data_dir: Path, scenario: Callable[[Serving], Awaitable[None]], **options: Any) -> int:
    """Run the scenario with a log, and the assets a and b, of which a has a store."""

    async def begin(serving: Serving) -> None:
        if not serving.reader.counters().asset_id:
            await serving.queue.do(activating("a", "b"))
            assert (await serving.change(put("first"))).code is None
        await scenario(serving)

    return serve(data_dir, begin, logs=True, **options)


def submit(
    serving: Serving,
    job: jobs.AnyJob,
    *,
    size: int = 1,
    deadline: float | None = None,
    done: Callable[[jobs.Result], object] | None = None,
) -> asyncio.Future[jobs.Result]:
    """Queue a client's job; the future has its result."""
    future: asyncio.Future[jobs.Result] = asyncio.get_running_loop().create_future()

    def settle(result: jobs.Result) -> None:
        if done is not None:
            done(result)
        future.set_result(result)

    serving.queue.submit(job, size=size, deadline=deadline, done=settle)
    return future


def revision_of(result: jobs.Result) -> int:
    assert result.code is None, result
    return int(result.decoded()[0][0])


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """The process stands still, as one whose disk takes its time."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: is_stopped(pid), 10.0, "the process to be stopped")
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def is_held(serving: Serving, change: asyncio.Future[jobs.Result]) -> bool:
    """Whether the log has no room for a change until the writer goes on; else it is done.

    Told by the queue and not by the time it takes, which a busy disk may stretch.
    """
    while not change.done():
        if serving.queue._held is not None:
            return True
        await asyncio.wait({change}, timeout=0.005)
    return False


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def stored(data_dir: Path, *keys: str) -> list[bytes | None]:
    """The values of keys of the first asset in the data file as it is, without the log."""
    with TemporaryDirectory() as copy:
        shutil.copy(data_dir / datadir.DATA_FILE, copy)
        reader = Reader(copy)
        found = [reader.get(A, key) for key in keys]
        values = [None if each is None else msgspec.msgpack.decode(each)[3] for each in found]
        reader.close()
    return values


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await next_turn()


def keys_of(serving: Serving, name: str, prefix: str = "") -> list[str]:
    return all_keys(serving.reader, name, prefix, 1_000)


def in_file(serving: Serving) -> int:
    """The last revision that the data file has."""
    serving.reader.give_up()
    return serving.reader.counters().revision - serving.reader.logged_events()


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A half of the log has sixteen blocks."""
    small_log.shrink(monkeypatch.setattr)


# --- what shares a record


def test_changes_that_come_together_share_records_and_are_answered_in_their_order(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        before = serving.queue.commits, in_file(serving)
        results = await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(60)))

        revisions = [revision_of(result) for result in results]
        assert revisions == list(range(revisions[0], revisions[0] + 60))
        # How many go into one, the clock says too.
        assert before[0] < serving.queue.commits < before[0] + 30
        assert in_file(serving) == before[1]

    assert logged(tmp_path, scenario) == 0
    records = logged_only(tmp_path)
    assert len(records) < 30
    assert sum(record.last - record.first + 1 for record in records) == 60


def test_a_record_has_64_changes_at_most(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        before = serving.queue.commits
        await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(200)))

        assert serving.queue.commits - before >= 4

    assert logged(tmp_path, scenario) == 0


def test_what_comes_during_a_sync_is_the_next_record(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        before = serving.queue.commits
        with stopped(serving.syncer_pid):
            first = submit(serving, put("first"))
            await turns()
            others = [submit(serving, put(f"k{n}")) for n in range(20)]
            await turns()
            assert serving.queue.queued == 21
        await asyncio.gather(first, *others)

        assert 2 <= serving.queue.commits - before < 10

    assert logged(tmp_path, scenario) == 0


def test_a_refused_change_is_a_result_and_its_neighbours_are_logged(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        results = await asyncio.gather(
            submit(serving, put("a")),
            submit(serving, change(jobs.SetKey(1, "taken back", b"1", None), conflicting())),
            submit(serving, change(jobs.IncrementKey(1, "text", b"1", b'"no number"'))),
            submit(serving, put("b")),
        )

        assert [result.code for result in results] == [None, "conflict", "invalid_request", None]
        assert keys_of(serving, "a") == ["a", "b", "first"]

    assert logged(tmp_path, scenario) == 0


def conflicting() -> jobs.CheckKey:
    return jobs.CheckKey(1, "first", 0)


def test_changes_that_change_nothing_are_answered_without_a_sync(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(serving.syncer_pid), stopped(serving.writer_pid):
            results = await asyncio.gather(
                submit(serving, change(jobs.DeleteKey(1, "never", None))),
                submit(serving, change(conflicting())),
            )
        assert [result.code for result in results] == [None, "conflict"]

    assert logged(tmp_path, scenario) == 0
    assert logged_only(tmp_path) == []


# --- who gets told


def test_nobody_sees_a_change_before_it_is_on_disk_and_whoever_is_told_of_it_does(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        seen: list[bool] = []
        heard: list[tuple[int, set[int]]] = []
        serving.log_listeners.append(lambda first, touched: heard.append((first, touched)))

        def look(key: str, result: jobs.Result) -> None:
            seen.append(serving.reader.get(A, key) is not None)
            assert heard.pop() == (revision_of(result), {1})

        for number in range(20):
            key = f"k{number}"
            with stopped(serving.syncer_pid):
                told = submit(serving, put(key), done=partial(look, key))
                await turns(5)
                assert serving.reader.get(A, key) is None
                assert not heard
            await told
        assert seen == [True] * 20

    assert logged(tmp_path, scenario) == 0


@pytest.mark.parametrize("is_given_up", [False, True], ids=["as reported", "begun in between"])
def test_what_the_writer_has_done_is_seen_as_a_whole_before_anybody_is_told_of_it(
    tmp_path: Path, is_given_up: bool
) -> None:
    b = AssetRef("b")

    async def scenario(serving: Serving) -> None:
        await submit(serving, change(jobs.SetKey(2, "k", b"1", None)))
        assert serving.reader.get(A, "first") is not None
        assert serving.reader.get(b, "new") is None
        # The writer does that, and assets stay as they are; nobody reads after the report.
        await serving.queue.do(jobs.FinishManifest("digest", "/m.json"))

        told = submit(serving, change(jobs.ClearStore(1), jobs.SetKey(2, "new", b"1", None)))
        while serving.queue._in_hand is None:
            await next_turn()
        # Committed, while the report waits for its turn.
        wait_until(lambda: stored(tmp_path, "first") == [None], 10.0, "the commit")
        if is_given_up:
            serving.reader.give_up()
        with serving.reader.held():
            first, new = serving.reader.get(A, "first"), serving.reader.get(b, "new")
        assert (first is None) == (new is not None)
        assert not told.done()
        await told
        assert serving.reader.get(A, "first") is None
        assert serving.reader.get(b, "new") is not None

    assert logged(tmp_path, scenario) == 0


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Syncs are not left to another process, even where they take long."""
    monkeypatch.setattr(sync_choice, "_SHORT_SYNC_S", 60.0)


@pytest.mark.usefixtures("alone")
def test_who_is_alone_is_answered_without_another_process(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        serving.queue.sync_choice.watch_others(lambda: 0, lambda: 0)
        await serving.change(put())
        with stopped(serving.syncer_pid):
            for _ in range(5):
                assert (await serving.change(put())).code is None

    assert logged(tmp_path, scenario) == 0


@pytest.mark.usefixtures("alone")
def test_many_who_change_things_where_nobody_reads_are_answered_without_another_process(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        others = itertools.count()
        serving.queue.sync_choice.watch_others(lambda: next(others), lambda: 0)
        await serving.change(put())
        with stopped(serving.syncer_pid):
            results = await asyncio.gather(*(submit(serving, put()) for _ in range(200)))
        assert {result.code for result in results} == {None}

    assert logged(tmp_path, scenario) == 0


@pytest.fixture
def patient(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch waits for others as long as the disk lets it."""
    monkeypatch.setattr(gathering, "_LONGEST_WAIT_S", 10.0)


def took_turns(serving: Serving, sync_s: float) -> None:
    """As after two batches, of a client each, on a disk that takes its time."""
    for client in (1, 2):
        serving.queue._gathering.synced([client], sync_s)


@pytest.mark.usefixtures("patient")
def test_a_batch_waits_for_those_who_were_answered_just_now(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        serving.queue.sync_choice.watch_others(lambda: 0, lambda: 0)
        await serving.change(put())
        took_turns(serving, 20.0)
        before = serving.queue.commits
        first = submit(serving, put("first"))
        await turns()
        assert not first.done()
        second = submit(serving, put("second"))
        await asyncio.gather(first, second)

        assert serving.queue.commits == before + 1

    assert logged(tmp_path, scenario) == 0


@pytest.mark.usefixtures("patient")
def test_a_batch_for_which_nobody_comes_is_done_soon(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        serving.queue.sync_choice.watch_others(lambda: 0, lambda: 0)
        await serving.change(put())
        for wait_s in (0.02, 0.0):
            took_turns(serving, 2 * wait_s)
            begun = time.monotonic()
            assert (await submit(serving, put())).code is None
            assert time.monotonic() - begun >= wait_s

    assert logged(tmp_path, scenario) == 0


@pytest.mark.usefixtures("alone")
def test_answers_that_ask_for_more_at_once_are_as_good_as_any(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        serving.queue.sync_choice.watch_others(lambda: 0, lambda: 0)
        left = 300
        all_done = asyncio.Event()

        def again(result: jobs.Result) -> None:
            nonlocal left
            left -= 1
            if left:
                serving.queue.submit(put(), size=1, deadline=None, done=again)
            else:
                all_done.set()

        again(jobs.Result(None))
        await all_done.wait()

    assert logged(tmp_path, scenario) == 0


# --- with the writer


def test_what_is_for_the_writer_comes_in_its_turn_and_nothing_is_logged_meanwhile(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        results = await asyncio.gather(
            submit(serving, put("before")),
            submit(serving, put("before, too")),
            submit(serving, change(jobs.ClearStore(1))),
            submit(serving, put("after")),
            submit(serving, change(jobs.SetKey(2, "a store of its own", b"1", None))),
        )
        revisions = [revision_of(result) for result in results]
        assert revisions == list(range(revisions[0], revisions[0] + 5))
        assert keys_of(serving, "a") == ["after"]
        assert keys_of(serving, "b") == ["a store of its own"]
        assert serving.log.is_empty
        ((row,), _) = serving.reader.trash(0, 9, 0)
        assert row.entries == 3
        await serving.change(put("logged again"))
        assert not serving.log.is_empty

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).problems == []


def test_changes_are_done_in_the_order_in_which_they_came_whoever_does_them(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)

    def some_job() -> jobs.Change:
        match rng.randrange(12):
            case 0:
                return change(jobs.ClearStore(rng.randrange(1, 3)), jobs.SetKey(1, "k", b"1", None))
            case 1:
                return put("large", b'"%s"' % (b"x" * 70_000), size=140_000)
            case 2:
                return change(*(jobs.SetKey(1, f"k{n}", b"1", None) for n in range(70)))
            case 3:
                return put("long" * 128)
        return change(jobs.SetKey(rng.randrange(1, 3), f"k{rng.randrange(9)}", b"1", None))

    async def scenario(serving: Serving) -> None:
        for _ in range(10):
            batch = [some_job() for _ in range(rng.randrange(1, 40))]
            background = asyncio.ensure_future(
                serving.queue.do(jobs.FinishManifest(str(rng.random()), "/m.json"))
            )
            results = await asyncio.gather(*(submit(serving, job) for job in batch))
            await background
            revisions = [
                revision for result in results for revision, *_ in result.decoded() if revision
            ]
            assert revisions == sorted(revisions)

    assert logged(tmp_path, scenario, max_bytes=1 << 30) == 0
    assert inspect(tmp_path).problems == []


def test_what_is_logged_is_soon_in_the_data_file_and_seen_as_before(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        revision = revision_of(await serving.change(put("k")))
        assert in_file(serving) == revision - 1
        while not serving.log.is_empty:
            await asyncio.to_thread(time.monotonic)
        assert in_file(serving) == revision
        assert serving.reader.get(A, "k") is not None

    assert logged(tmp_path, scenario) == 0
    assert logged_only(tmp_path) == []


def test_draining_returns_when_the_data_file_has_it_all(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        waiting = [submit(serving, put(f"k{n}")) for n in range(300)]
        await serving.queue.drain()

        assert all(future.done() for future in waiting)
        assert serving.log.is_empty
        assert in_file(serving) == serving.reader.counters().revision

    assert logged(tmp_path, scenario) == 0
    assert logged_only(tmp_path) == []


def test_what_is_logged_when_the_daemon_dies_is_there_for_the_next_one(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(100)))

    async def next_one(serving: Serving) -> None:
        assert serving.reader.count(A, "", None) == (101, None)
        assert serving.log.is_empty

    assert logged(tmp_path, scenario) == 0
    assert sum(record.last - record.first + 1 for record in logged_only(tmp_path)) == 100
    assert logged(tmp_path, next_one) == 0
    assert inspect(tmp_path).problems == []


@pytest.mark.usefixtures("small")
def test_while_the_data_file_takes_its_time_the_log_goes_on_until_it_is_full(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(serving.writer_pid):
            done = 0
            while True:
                future = submit(serving, put(f"k{done:03}"))
                if await is_held(serving, future):
                    break
                done += 1
            # A half has sixteen blocks, and each has one of these.
            assert 16 <= done <= 32
            later = submit(serving, put("later"))
            await turns()
            assert serving.queue.queued == 2
            assert not later.done()
            assert serving.reader.count(A, "k", None) == (done, None)
        await asyncio.gather(future, later)
        assert serving.reader.count(A, "k", None) == (done + 1, None)

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).problems == []


@pytest.mark.usefixtures("small")
def test_the_log_is_gone_around_many_times(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        for number in range(100):
            await asyncio.gather(
                *(submit(serving, put(f"k{n}", b'"%s"' % (b"x" * number * 60))) for n in range(3))
            )

    assert logged(tmp_path, scenario) == 0
    found = inspect(tmp_path)
    assert found.problems == []
    assert found.active["a"]["k2"] == ("x" * 99 * 60, found.revision)


def test_a_ping_is_answered_whatever_goes_on(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        waiting = [submit(serving, put(f"k{n}")) for n in range(100)]
        await asyncio.gather(serving.queue.ping(), serving.queue.ping(), *waiting)
        await serving.queue.ping()

    assert logged(tmp_path, scenario) == 0


@pytest.mark.parametrize("process", ["writer_pid", "syncer_pid"])
def test_while_a_process_hangs_no_ping_is_answered(tmp_path: Path, process: str) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(getattr(serving, process)):
            change = submit(serving, put())
            ping = asyncio.ensure_future(serving.queue.ping())
            await turns()
            assert not ping.done()
        await ping
        await change

    assert logged(tmp_path, scenario) == 0


# --- limits


def test_what_waits_for_a_sync_counts_and_has_its_deadline(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(serving.syncer_pid):
            in_hand = submit(serving, put("in hand"), size=500)
            await turns()
            late = submit(serving, put("late"), size=500, deadline=time.monotonic() - 0.001)
            in_time = submit(serving, put("in time"), size=500, deadline=time.monotonic() + 60.0)
            with pytest.raises(Busy):
                submit(serving, put("more"), size=1)
            await turns()
        results = await asyncio.gather(in_hand, late, in_time)
        assert [result.code for result in results] == [None, "busy", None]
        assert keys_of(serving, "a", "in") == ["in hand", "in time"]
        assert serving.queue.queued == 0
        await submit(serving, put("more"), size=1_000)

    assert logged(tmp_path, scenario, max_bytes=1_000) == 0


def test_what_was_given_back_for_the_writer_counts_as_waiting(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(serving.writer_pid):
            waiting = [
                submit(serving, put("logged"), size=400),
                submit(serving, change(jobs.SetKey(2, "new store", b"1", None)), size=600),
            ]
            await waiting[0]
            await turns()
            with pytest.raises(Busy):
                submit(serving, put("more"), size=500)
        await asyncio.gather(*waiting)
        await submit(serving, put("more"), size=1_000)

    assert logged(tmp_path, scenario, max_bytes=1_000) == 0


# --- exactly once


def test_a_repeat_is_answered_as_the_first_wherever_that_is_by_then(tmp_path: Path) -> None:
    job = count_up()
    answers: list[Any] = []

    async def scenario(serving: Serving) -> None:
        answers.append((await serving.change(job)).decoded())
        # In the log.
        answers.append((await serving.change(repeat(job))).decoded())
        # On its way into the data file.
        with stopped(serving.writer_pid):
            serving.queue._checkpoint()
            answers.append((await serving.change(repeat(job))).decoded())
        # In the data file.
        await serving.queue.drain()
        answers.append((await serving.change(repeat(job))).decoded())
        # By the writer, together with what it does.
        clear, again = await asyncio.gather(
            submit(serving, change(jobs.ClearStore(2))), submit(serving, repeat(job))
        )
        assert clear.code is None
        answers.append(again.decoded())

    assert logged(tmp_path, scenario) == 0
    assert len(answers) == 5
    assert all(answer == answers[0] for answer in answers)
    assert inspect(tmp_path).active["a"]["n"][0] == 1


@pytest.mark.parametrize("is_drained", [False, True])
def test_a_repeat_is_answered_as_the_first_by_the_next_daemon(
    tmp_path: Path, is_drained: bool
) -> None:
    job = count_up()
    answers: list[Any] = []

    async def scenario(serving: Serving) -> None:
        answers.append((await serving.change(job)).decoded())
        if is_drained:
            await serving.queue.drain()

    async def next_one(serving: Serving) -> None:
        for _ in range(2):
            answers.append((await serving.change(repeat_of_old(job))).decoded())
        assert (await serving.change(count_up())).decoded()[0][2][3] == b"2"

    began = time.monotonic()

    def repeat_of_old(job: jobs.Change) -> jobs.Change:
        return msgspec.structs.replace(job, sent_at=began)

    assert logged(tmp_path, scenario) == 0
    assert logged(tmp_path, next_one) == 0
    assert answers[0] == answers[1] == answers[2]


def test_a_change_of_the_writer_is_answered_as_before_when_it_is_repeated(tmp_path: Path) -> None:
    """The serving process could carry out the repeat, and knows of the first."""
    job = change(jobs.IncrementKey(2, "n", b"1", b"0"))  # makes a store

    async def scenario(serving: Serving) -> None:
        first = await serving.change(job)
        assert (await serving.change(repeat(job))).decoded() == first.decoded()
        await serving.change(put())
        assert (await serving.change(repeat(job))).decoded() == first.decoded()

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).active["b"]["n"][0] == 1


@pytest.mark.parametrize("is_drained", [False, True])
def test_a_repeat_that_overtakes_the_first_is_the_one_that_counts(
    tmp_path: Path, is_drained: bool
) -> None:
    async def scenario(serving: Serving) -> None:
        job = count_up()
        first = await serving.change(repeat(job))
        if is_drained:
            await serving.queue.drain()
        assert (await serving.change(job)).decoded() == first.decoded()

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).active["a"]["n"][0] == 1


def test_one_change_twice_in_a_record_is_carried_out_once(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        job = count_up()
        results = await asyncio.gather(
            submit(serving, job), submit(serving, repeat(job)), submit(serving, count_up())
        )
        answers = [result.decoded()[0][2][3] for result in results]
        assert answers == [b"1", b"1", b"2"]

    assert logged(tmp_path, scenario) == 0


# --- no room


@contextmanager
def no_room(serving: Serving) -> Iterator[None]:
    """The writer's data file may not grow."""
    soft, hard = resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE)
    resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (soft, hard))


async def fill(serving: Serving) -> None:
    """Log something, and have the writer find no room for it."""
    with stopped(serving.writer_pid):
        await serving.change(put("logged", b'"%s"' % (b"x" * 20_000)))
        serving.queue._checkpoint()


def test_where_the_data_file_cannot_take_what_is_logged_nothing_more_is_until_there_is_room(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        with no_room(serving):
            await fill(serving)
            refused = await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(3)))
            assert {result.code for result in refused} <= {None, "store_full"}
            while (await serving.change(put("early"))).code is None:
                pass  # the writer has not said so yet
            for job in (put("more"), change(jobs.ClearStore(1)), count_up()):
                assert (await serving.change(job)).code == "store_full"
            with pytest.raises(StoreFull):
                await serving.queue.do(jobs.FinishManifest("digest", "/m.json"))
            assert serving.reader.get(A, "logged") is not None
            assert serving.reader.get(A, "more") is None
            with pytest.raises(StoreFull):
                await serving.queue.checkpoint()
            assert serving.queue.queued == 0
            # A stop does not wait for room.
            await serving.queue.drain()
            assert not serving.log.is_empty

        while (await serving.change(put("more"))).code is not None:
            pass
        assert serving.reader.get(A, "logged") is not None
        await serving.queue.drain()
        assert serving.log.is_empty

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).problems == []


@pytest.mark.usefixtures("small")
def test_what_the_log_had_no_room_for_is_refused_as_if_it_had_never_been_asked_for(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        with no_room(serving):
            with stopped(serving.writer_pid):
                for _ in range(40):
                    held = submit(serving, job := count_up())
                    if await is_held(serving, held):
                        break
                assert serving.queue.queued == 1
                counted = int(await value_of_n(serving))
            assert (await held).code == "store_full"
            assert int(await value_of_n(serving)) == counted
        while (again := await serving.change(repeat(job))).code is not None:
            pass
        assert again.decoded()[0][2][3] == b"%d" % (counted + 1)

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).problems == []


def test_who_repeats_a_change_that_was_carried_out_is_not_told_that_there_was_no_room_for_it(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        done, never, clear = count_up(), count_up(), change(jobs.ClearStore(1))
        first = await serving.change(done)
        # Of what was sent first since then it knows all; `early` is from before.
        serving.log._memory._started -= 60
        early = msgspec.structs.replace(clear, sent_at=time.monotonic() - 1_000)
        with no_room(serving):
            await fill(serving)
            while (await serving.change(put("early"))).code is None:
                pass  # the writer has not said so yet

            again = await serving.change(repeat(done))
            assert again.decoded() == first.decoded()
            assert (await serving.change(repeat(never))).code == "store_full"
            assert (await serving.change(early)).code == "busy"
            assert (await serving.change(clear)).code == "store_full"
            assert await value_of_n(serving) == b"1"

    assert logged(tmp_path, scenario) == 0


def test_a_repeat_that_is_refused_during_a_sync_takes_nothing_of_what_is_synced(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        with no_room(serving):
            with stopped(serving.writer_pid):
                await serving.change(put("logged", b'"%s"' % (b"x" * 20_000)))
                serving.queue._checkpoint()
                with stopped(serving.syncer_pid):
                    synced = submit(serving, job := count_up())
                    await turns()
                    repeated = submit(serving, repeat(job))
                    os.kill(serving.writer_pid, signal.SIGCONT)
                    assert (await repeated).code == "busy"
            first = await synced
            assert first.code is None
            again = await serving.change(repeat(job))
            assert again.decoded() == first.decoded()

    assert logged(tmp_path, scenario) == 0


async def value_of_n(serving: Serving) -> bytes:
    raw = serving.reader.get(A, "n")
    assert raw is not None
    value = msgspec.msgpack.decode(raw)[3]
    assert isinstance(value, bytes)
    return value


def test_on_a_disk_that_is_nearly_full_the_data_file_takes_each_change_at_once(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # As far as this process may write.
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 20, hard))
        try:
            serving.log._room_known_until = 0.0
            await serving.change(put())
            assert serving.log.is_empty
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        serving.log._room_known_until = 0.0
        await serving.change(put())
        assert not serving.log.is_empty

    assert logged(tmp_path, scenario) == 0


# --- gone


def test_a_fault_at_the_beginning_of_a_batch_is_said_and_ends_no_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(serving: Serving) -> None:
        def fail(batch: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(serving.log, "carry_out", fail)
        asked = submit(serving, put("k"))
        await serving.is_lost.wait()
        await turns()

        assert serving.lost == ["a fault in the daemon (ZeroDivisionError)"]
        assert not asked.done()

    assert logged(tmp_path, scenario) == 0


def test_when_the_log_cannot_be_synced_that_is_said_once_and_nobody_is_answered(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        with failing_calls(serving.syncer_pid, "fdatasync"):
            in_hand = submit(serving, put("k"))
            await turns(5)
            waiting = submit(serving, put("l"))
            await serving.is_lost.wait()
            await turns()

        assert serving.lost == [
            "the write-ahead log cannot be synced: [Errno 5] Input/output error"
        ]
        assert not in_hand.done()
        assert not waiting.done()
        assert serving.reader.get(A, "k") is None

    assert logged(tmp_path, scenario) == 0


def test_when_the_syncer_is_killed_that_is_said_and_nobody_is_answered(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        with stopped(serving.syncer_pid):
            in_hand = submit(serving, put("k"))
            await turns()
            os.kill(serving.syncer_pid, signal.SIGKILL)
            await serving.is_lost.wait()
        await turns()
        assert not in_hand.done()
        assert serving.reader.get(A, "k") is None

    assert logged(tmp_path, scenario) == 0


@pytest.mark.parametrize("calls", ["fdatasync", "pwrite64,pwritev,writev"], ids=["sync", "write"])
def test_when_the_data_file_cannot_take_what_is_logged_that_is_said_and_it_is_there_later(
    tmp_path: Path, calls: str
) -> None:
    async def scenario(serving: Serving) -> None:
        with failing_calls(serving.writer_pid, calls):
            assert (await serving.change(put("k"))).code is None
            serving.queue._checkpoint()
            await serving.is_lost.wait()
        (reason,) = serving.lost
        assert reason.startswith("commit failed: ")
        assert serving.reader.get(A, "k") is not None

    assert logged(tmp_path, scenario) == os.EX_IOERR
    assert inspect(tmp_path).problems == []
    assert set(inspect(tmp_path).active["a"]) == {"first", "k"}


def unlink(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("copy")
    other.write_bytes(path.read_bytes())
    other.rename(path)


@pytest.mark.parametrize("name", [datadir.WAL_FILE, datadir.DATA_FILE, datadir.ENGINE_LOCK_FILE])
@pytest.mark.parametrize("harm", [unlink, replace])
def test_when_files_are_pulled_away_that_is_said_and_nothing_more_is_acknowledged(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    async def scenario(serving: Serving) -> None:
        assert (await serving.change(put("k"))).code is None
        harm(tmp_path / name)
        # That is looked after some times a second.
        while not serving.lost:
            in_hand = submit(serving, put("l"))
            while not (in_hand.done() or serving.lost):
                await next_turn()
        await turns()

        (reason,) = serving.lost
        assert "were removed or replaced while in use" in reason
        assert not in_hand.done()

    logged(tmp_path, scenario)


def test_when_the_log_is_cut_off_that_is_said_and_nothing_more_is_acknowledged(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        os.truncate(tmp_path / datadir.WAL_FILE, 0)
        while not serving.lost:
            submit(serving, put("l"))
            await turns()
        in_hand = submit(serving, put("m"))
        await turns()

        assert "data.wal was cut off while in use" in serving.lost[0]
        assert not in_hand.done()

    logged(tmp_path, scenario)


def test_damage_under_one_asset_is_not_the_trouble_of_others(tmp_path: Path) -> None:
    async def begin(serving: Serving) -> None:
        assert (await serving.change(change(jobs.SetKey(2, "k", b"1", None)))).code is None

    assert logged(tmp_path, begin) == 0
    # The catalog names a sub-database that is not there.
    data = (tmp_path / "data.mdb").read_bytes()
    (tmp_path / "data.mdb").write_bytes(data.replace(b"s%010x" % 2, b"s%010x" % 999))

    async def scenario(serving: Serving) -> None:
        results = await asyncio.gather(
            submit(serving, put("before")),
            submit(serving, change(jobs.SetKey(2, "l", b"2", None))),
            submit(serving, put("after")),
        )
        assert [result.code for result in results] == [None, "damaged", None]
        assert serving.lost == []

    assert logged(tmp_path, scenario) == 0


def test_a_bug_in_a_change_is_a_server_fault_for_that_change_alone(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        results = await asyncio.gather(
            submit(serving, put("before")),
            submit(serving, change(jobs.SetKey(-1, "k", b"1", None))),
            submit(serving, put("after")),
        )
        assert [result.code for result in results] == [None, "server_fault", None]
        assert keys_of(serving, "a") == ["after", "before", "first"]

    assert logged(tmp_path, scenario) == 0
    assert inspect(tmp_path).problems == []


async def set_in_all(serving: Serving, count: int, value: bytes) -> None:
    """Set a key in so many stores; the writer goes on when it is waited for."""
    every = [change(jobs.SetKey(3 + n, "k", value, None)) for n in range(count)]
    for start in range(0, count, 500):
        waiting = [submit(serving, job) for job in every[start : start + 500]]
        _, pending = await asyncio.wait(waiting, timeout=1.0)
        if pending:
            os.kill(serving.writer_pid, signal.SIGCONT)
        assert {result.code for result in await asyncio.gather(*waiting)} == {None}


@pytest.mark.parametrize("end", ["checkpoint", "kill"])
def test_however_many_stores_are_changed_while_the_writer_stands_still_all_is_there(
    tmp_path: Path, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction opens so many at most, and so does the one of the next start."""
    count = 3_000
    if end == "kill":
        # More than this keeps what is logged within one transaction.
        monkeypatch.setattr(change_log, "_MAX_STORES", 2 * count)

    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activating(*(f"n{n}" for n in range(count))))
        await set_in_all(serving, count, b"1")
        await serving.queue.drain()
        os.kill(serving.writer_pid, signal.SIGSTOP)
        try:
            await set_in_all(serving, count, b"2")
        finally:
            os.kill(serving.writer_pid, signal.SIGKILL if end == "kill" else signal.SIGCONT)

    ended = logged(tmp_path, scenario)
    assert ended == (-signal.SIGKILL if end == "kill" else 0)
    found = inspect(tmp_path)
    assert found.problems == []
    assert all(found.active[f"n{n}"]["k"][0] == 2 for n in range(count))


# --- for who copies the data file


def test_a_checkpoint_that_is_asked_for_returns_when_the_data_file_has_all_that_was_acknowledged(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        for turn in range(1, 4):
            await asyncio.gather(*(submit(serving, count_up(f"n{each}")) for each in range(3)))
            assert not serving.log.is_empty

            await serving.queue.checkpoint()

            assert serving.log.is_empty
            assert stored(tmp_path, "n0", "n2") == [b"%d" % turn] * 2

    logged(tmp_path, scenario)


def test_a_checkpoint_that_is_asked_for_during_another_waits_for_what_came_since(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        await submit(serving, put("early"))
        with stopped(serving.writer_pid):
            first = asyncio.ensure_future(serving.queue.checkpoint())
            await turns()
            await submit(serving, put("late"))
            second = asyncio.ensure_future(serving.queue.checkpoint())
            await turns()
            assert not first.done()
        await first
        await second

        assert stored(tmp_path, "early", "late") == [b"1", b"1"]

    logged(tmp_path, scenario)


def test_a_checkpoint_that_finds_nothing_to_do_returns_at_once(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.checkpoint()
        with stopped(serving.writer_pid):
            await serving.queue.checkpoint()

    logged(tmp_path, scenario)


def test_a_change_that_is_being_synced_at_a_checkpoint_stays_in_the_log_until_the_data_file_has_it(
    tmp_path: Path,
) -> None:
    copy = tmp_path / "copy"

    async def scenario(serving: Serving) -> None:
        await submit(serving, put("early"))
        with stopped(serving.syncer_pid):
            late = submit(serving, put("late"))
            await turns()
            checkpoint = asyncio.ensure_future(serving.queue.checkpoint())
            await turns()
        await asyncio.gather(late, checkpoint)
        with stopped(serving.writer_pid):
            checkpoint = asyncio.ensure_future(serving.queue.checkpoint())
            for number in range(3):
                await submit(serving, put(f"later-{number}"))
            # Whatever the data file has by now, this is what a power cut would leave.
            shutil.copytree(tmp_path / "data", copy)
        await checkpoint

    (tmp_path / "data").mkdir()
    logged(tmp_path / "data", scenario)

    found = inspect(copy)
    assert found.problems == []
    assert {"early", "late", "later-0", "later-1", "later-2"} <= found.active["a"].keys()

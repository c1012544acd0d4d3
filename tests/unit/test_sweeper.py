"""The sweep: what is due, and that it is dropped, whatever comes in between."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.serving import Serving, serve
from tests.support.store import Store, change

from assetstore.messages import AssetRef
from assetstored import jobs
from assetstored.sweeper import Sweeper, is_due
from assetstored.tables import TrashRow

DAY_US = 86_400 * 1_000_000
WEEK_US = 7 * DAY_US


def row(since: int, *, dropping: bool = False) -> TrashRow:
    """A store that went into the trash then."""
    return TrashRow(1, 1, "cleared", since, 1, 4_096, dropping)


def furnish(data_dir: Path, *, cleared: int = 1, left: int = 1) -> None:
    """A store with this many cleared stores of a in its trash, and this many assets that left."""
    names = [f"left-{number}" for number in range(left)]
    with Store(data_dir) as store:
        store.activate("a", *names)
        batch: list[jobs.AnyJob] = []
        clear = jobs.ClearStore(store.asset_id("a"))
        if cleared:
            store.put("a", "k", b'"cleared"')
            store.operate(clear)
        for _ in range(cleared - 1):
            batch += [store.put_job("a", "k", b'"cleared"'), change(clear)]
        store.run(*batch)
        store.put("a", "k", b'"here"')
        if names:
            store.run(*(store.put_job(name, "k", b'"left"') for name in names))
            store.deactivate(*names)


def sweeper_of(serving: Serving, *, grace_us: int = 0, interval_s: float = 3_600.0) -> Sweeper:
    return Sweeper(serving.reader, serving.queue, grace_us=grace_us, interval_s=interval_s)


def trash(serving: Serving) -> list[tuple[str, bool]]:
    """Reason, and whether it is being dropped, of all rows of the trash."""
    return [(row.reason, row.dropping) for _, row in serving.reader.trash_rows()]


async def until(serving: Serving, fact: Callable[[], bool]) -> None:
    """Return when the fact is there. Each ping lets the writer and the loop do what waits."""
    while not fact():
        await serving.queue.ping()


@contextmanager
def running(sweeper: Sweeper) -> Iterator[asyncio.Task[None]]:
    """It sweeps beside everything else."""
    task = asyncio.get_running_loop().create_task(sweeper.run())
    try:
        yield task
    finally:
        task.cancel()


# --- what is due


@pytest.mark.parametrize(
    ("age_us", "grace_us", "expected"),
    [
        (WEEK_US, WEEK_US, True),
        (WEEK_US + 1, WEEK_US, True),
        (WEEK_US - 1, WEEK_US, False),
        (0, WEEK_US, False),
        (0, 0, True),
        (1, 0, True),
    ],
)
def test_a_store_is_due_when_its_grace_is_over(age_us: int, grace_us: int, expected: bool) -> None:
    assert is_due(row(since=1_000), 1_000 + age_us, grace_us) is expected


def test_a_clock_that_was_set_back_makes_grace_longer_and_never_shorter() -> None:
    assert not is_due(row(since=WEEK_US), WEEK_US - DAY_US, 0)


def test_what_is_being_dropped_is_not_due_again() -> None:
    assert not is_due(row(since=0, dropping=True), WEEK_US, 0)


# --- a sweep


def test_a_sweep_drops_what_is_due_and_says_what_it_was(tmp_path: Path) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        sweeper = sweeper_of(serving)
        before = time.time_ns() // 1_000

        dropped, after = await sweeper.sweep()

        assert [(store.name, store.reason, store.entries) for store in dropped] == [
            ("a", "cleared", 1),
            ("left-0", "deactivated", 1),
        ]
        assert after is None
        assert trash(serving) == [("cleared", True), ("deactivated", True)]
        assert serving.reader.find(AssetRef("left-0"))[1].state == "dropped"  # type: ignore[index]
        assert serving.reader.get(AssetRef("a"), "k") is not None
        assert sweeper.last_sweep_us is not None
        assert sweeper.last_sweep_us >= before

    assert serve(tmp_path, scenario, logs=True) == 0


def test_within_grace_nothing_is_dropped(tmp_path: Path) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        sweeper = sweeper_of(serving, grace_us=DAY_US)

        assert await sweeper.sweep() == ([], None)
        assert trash(serving) == [("cleared", False), ("deactivated", False)]
        assert serving.commits == []

    assert serve(tmp_path, scenario, logs=True) == 0


def test_looking_at_what_is_due_changes_nothing(tmp_path: Path) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        sweeper = sweeper_of(serving)

        first, _ = await sweeper.due()

        assert len(first) == 2
        assert (await sweeper.due())[0] == first
        assert serving.commits == []
        assert sweeper.last_sweep_us is None

    assert serve(tmp_path, scenario, logs=True) == 0


def test_more_than_a_page_is_due_in_pages(tmp_path: Path) -> None:
    furnish(tmp_path, cleared=1_203, left=0)

    async def scenario(serving: Serving) -> None:
        sweeper = sweeper_of(serving)

        first, after = await sweeper.due()
        assert len(first) == 1_000
        assert after == first[-1].id
        second, end = await sweeper.due(after)
        assert (len(second), end) == (203, None)

        swept, after = await sweeper.sweep()
        assert (len(swept), after) == (1_000, first[-1].id)
        assert len((await sweeper.due())[0]) == 203

    assert serve(tmp_path, scenario, logs=True) == 0


def test_the_log_tells_of_each_store_that_is_dropped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    furnish(tmp_path, left=0)

    async def scenario(serving: Serving) -> None:
        await sweeper_of(serving).sweep()

    assert serve(tmp_path, scenario, logs=True) == 0
    assert "dropped the store of asset 'a' (uri 'a'), cleared 0 s ago: 1 entries, 4096 bytes" in (
        caplog.messages
    )


# --- running


def test_while_it_runs_the_trash_empties_and_nothing_is_left_of_it(tmp_path: Path) -> None:
    furnish(tmp_path, cleared=203, left=2)

    async def scenario(serving: Serving) -> None:
        with running(sweeper_of(serving)):
            await until(serving, lambda: trash(serving) == [])
        assert serving.reader.get(AssetRef("a"), "k") is not None

    assert serve(tmp_path, scenario, logs=True) == 0


def test_what_a_crash_left_half_dropped_is_dropped_by_the_next_start(tmp_path: Path) -> None:
    furnish(tmp_path)
    with Store(tmp_path) as store:
        store.do(jobs.Condemn([store.trash()[0][0]]))

    async def scenario(serving: Serving) -> None:
        # Whatever the grace: a condemned store has none any more.
        with running(sweeper_of(serving, grace_us=WEEK_US)):
            await until(serving, lambda: len(trash(serving)) == 1)
        assert trash(serving) == [("deactivated", False)]

    assert serve(tmp_path, scenario, logs=True) == 0


def test_it_sweeps_again_after_every_interval(tmp_path: Path) -> None:
    furnish(tmp_path, left=0)

    async def scenario(serving: Serving) -> None:
        with running(sweeper_of(serving, interval_s=0.05)):
            for _ in range(3):
                await until(serving, lambda: trash(serving) == [])
                await serving.queue.do(change(jobs.ClearStore(1)))
                await serving.queue.do(change(jobs.SetKey(1, "k", b"1", None)))

    assert serve(tmp_path, scenario, logs=True) == 0


def test_a_purge_drops_at_once_what_is_named_whatever_its_grace(tmp_path: Path) -> None:
    furnish(tmp_path, cleared=3, left=0)

    async def scenario(serving: Serving) -> None:
        sweeper = sweeper_of(serving, grace_us=WEEK_US)
        ids = [trash_id for trash_id, _ in serving.reader.trash_rows()]
        with running(sweeper):
            ((_, count, *_),) = await serving.queue.do(
                change(jobs.PurgeStores([ids[0], ids[2], 999]))
            )
            assert count == 2
            sweeper.drop_soon()
            await until(serving, lambda: len(trash(serving)) == 1)
        assert [trash_id for trash_id, _ in serving.reader.trash_rows()] == [ids[1]]

    assert serve(tmp_path, scenario, logs=True) == 0


def test_a_full_disk_stops_the_sweep_only_for_as_long_as_it_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        soft, hard = resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE)
        resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (0, hard))
        with running(sweeper_of(serving, interval_s=0.05)) as task:

            def was_stopped() -> bool:
                return any("the sweep was stopped, and is tried" in m for m in caplog.messages)

            await until(serving, was_stopped)
            assert not task.done()
            assert trash(serving) == [("cleared", False), ("deactivated", False)]

            resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (soft, hard))
            await until(serving, lambda: trash(serving) == [])

    assert serve(tmp_path, scenario, logs=True) == 0


def test_it_ends_when_it_is_cancelled(tmp_path: Path) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        with running(sweeper_of(serving)) as task:
            await serving.queue.ping()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    assert serve(tmp_path, scenario, logs=True) == 0

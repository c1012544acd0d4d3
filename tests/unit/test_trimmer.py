"""The trimmer: when a pass over the journal is due, and what it makes of the bounds."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.support.serving import Serving, serve
from tests.support.store import Store, change

from assetstored import jobs
from assetstored.trimmer import Trimmer

DAY_US = 86_400 * 1_000_000
PAGE = 4_096


def manifest(number: int) -> jobs.FinishManifest:
    """A job that adds a row which is about no key."""
    return jobs.FinishManifest(f"{number:04}" + "x" * 300, "/m.json")


def furnish(data_dir: Path, *, manifests: int = 0, sets: int = 0) -> None:
    """A journal of so many rows that may be forgotten, then of so many that are kept."""
    with Store(data_dir) as store:
        store.activate("a")
        store.run(*(manifest(number) for number in range(manifests)))
        value = b'"%s"' % (b"x" * 1_000)
        keys = [f"k{number}" for number in range(sets)]
        if keys:
            store.run(*(store.put_job("a", key, value) for key in keys))


def trimmer_of(
    serving: Serving,
    *,
    max_age_us: int = 30 * DAY_US,
    max_bytes: int = 1 << 30,
    interval_s: float = 3_600.0,
) -> Trimmer:
    return Trimmer(
        serving.reader,
        serving.queue,
        max_age_us=max_age_us,
        max_bytes=max_bytes,
        interval_s=interval_s,
    )


def play(data_dir: Path, scenario: Callable[[Serving], Awaitable[None]]) -> None:
    assert serve(data_dir, scenario, logs=True) == 0


def rows(serving: Serving) -> int:
    return len(list(serving.reader.journal_rows(0)))


async def more(serving: Serving, count: int) -> None:
    """So many more rows that may be forgotten."""
    await asyncio.gather(*(serving.queue.do(manifest(number)) for number in range(count)))


# --- what a pass does


def test_within_its_bounds_the_journal_is_left_alone(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=50)

    async def scenario(serving: Serving) -> None:
        before = rows(serving)
        assert await trimmer_of(serving).trim() == 0
        assert rows(serving) == before
        assert serving.reader.counters().compacted == 0

    play(tmp_path, scenario)


def test_what_is_older_than_it_may_be_is_forgotten(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=50, sets=10)

    async def scenario(serving: Serving) -> None:
        assert await trimmer_of(serving, max_age_us=0).trim() > 50 * 300
        assert rows(serving) == 10

    play(tmp_path, scenario)


def test_a_journal_that_is_too_large_becomes_small_enough(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=500)

    async def scenario(serving: Serving) -> None:
        size = serving.reader.journal_bytes()
        assert size > 30 * PAGE
        assert await trimmer_of(serving, max_bytes=size // 2).trim() > 0

        # Rows are counted and pages are not: it may take another pass.
        assert size // 4 < serving.reader.journal_bytes() <= size // 2 + 4 * PAGE
        last = serving.reader.counters().revision
        kept = [revision for revision, _ in serving.reader.journal_rows(0)]
        assert kept == list(range(last - len(kept) + 1, last + 1))

    play(tmp_path, scenario)


def test_passes_bring_the_journal_within_its_bound_and_no_further(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=500)

    async def scenario(serving: Serving) -> None:
        bound = serving.reader.journal_bytes() // 2
        trimmer = trimmer_of(serving, max_bytes=bound)
        for _ in range(20):
            await more(serving, 20)
            await trimmer.trim()

            assert bound * 0.7 < serving.reader.journal_bytes() < bound * 1.2

    play(tmp_path, scenario)


def test_what_has_to_be_kept_is_kept_however_large_it_is(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=50, sets=100)

    async def scenario(serving: Serving) -> None:
        await trimmer_of(serving, max_age_us=0, max_bytes=PAGE).trim()

        assert rows(serving) == 100

    play(tmp_path, scenario)


def test_what_was_forgotten_is_told_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "assetstored.trimmer")
    furnish(tmp_path, manifests=50)

    async def scenario(serving: Serving) -> None:
        freed = await trimmer_of(serving, max_age_us=0).trim()
        size = serving.reader.journal_bytes()
        assert caplog.messages == [f"forgot {freed} bytes of the journal, which now has {size}"]
        await trimmer_of(serving, max_age_us=0).trim()
        assert len(caplog.messages) == 1

    play(tmp_path, scenario)


# --- when a pass is due


def test_a_pass_that_is_not_due_asks_nothing_of_the_writer(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=50)

    async def scenario(serving: Serving) -> None:
        trimmer = trimmer_of(serving)
        await trimmer.trim()
        before = serving.queue.committed_jobs
        for _ in range(10):
            assert await trimmer.trim() == 0
        assert serving.queue.committed_jobs == before

    play(tmp_path, scenario)


def test_rows_that_come_of_age_are_looked_for_after_a_hundredth_of_the_age(
    tmp_path: Path,
) -> None:
    furnish(tmp_path)

    async def scenario(serving: Serving) -> None:
        # But never more often than every interval.
        seldom = trimmer_of(serving, max_age_us=0, interval_s=3_600.0)
        often = trimmer_of(serving, max_age_us=0, interval_s=0.0)
        for trimmer in (seldom, often):
            await trimmer.trim()
        await more(serving, 5)
        assert await seldom.trim() == 0
        assert await often.trim() > 0

    play(tmp_path, scenario)


def test_what_could_not_be_freed_is_not_looked_at_again_until_there_is_more(
    tmp_path: Path,
) -> None:
    furnish(tmp_path, sets=500)

    async def scenario(serving: Serving) -> None:
        bound = serving.reader.journal_bytes() * 9 // 10
        trimmer = trimmer_of(serving, max_bytes=bound)
        await trimmer.trim()
        assert serving.reader.journal_bytes() > bound
        before = serving.queue.committed_jobs
        assert await trimmer.trim() == 0
        assert serving.queue.committed_jobs == before

        # More than a fiftieth of the bound: worth another look.
        await more(serving, bound // 50 // 300 + 20)
        assert await trimmer.trim() > 0

    play(tmp_path, scenario)


def test_what_had_to_be_kept_and_need_not_be_any_more_is_found_with_the_next_rows_of_age(
    tmp_path: Path,
) -> None:
    furnish(tmp_path, sets=500)

    async def scenario(serving: Serving) -> None:
        bound = serving.reader.journal_bytes() // 2
        trimmer = trimmer_of(serving, max_age_us=DAY_US, max_bytes=bound, interval_s=0.0)
        await trimmer.trim()
        await serving.queue.do(change(*(jobs.DeleteKey(1, f"k{n}", None) for n in range(20))))
        assert await trimmer.trim() == 0

        # As after a hundredth of the age.
        trimmer._oldest_due_us = 0
        assert await trimmer.trim() > 20 * 1_000

    play(tmp_path, scenario)


# --- running


async def until(serving: Serving, fact: Callable[[], bool]) -> None:
    """Return when the fact is there. Each ping lets the writer and the loop do what waits."""
    while not fact():
        await serving.queue.ping()


def test_while_it_runs_the_journal_stays_within_its_bound(tmp_path: Path) -> None:
    furnish(tmp_path, manifests=300)

    async def scenario(serving: Serving) -> None:
        bound = serving.reader.journal_bytes() // 2
        task = asyncio.get_running_loop().create_task(
            trimmer_of(serving, max_bytes=bound, interval_s=0.01).run()
        )
        for _ in range(3):
            await until(serving, lambda: serving.reader.journal_bytes() <= bound * 1.1)
            await more(serving, 50)
            await serving.queue.do(change(jobs.SetKey(1, "k", b"1", None)))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    play(tmp_path, scenario)


def test_a_full_disk_stops_it_only_for_as_long_as_it_is_full(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    furnish(tmp_path, manifests=300)

    async def scenario(serving: Serving) -> None:
        soft, hard = resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE)
        resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (0, hard))
        task = asyncio.get_running_loop().create_task(
            trimmer_of(serving, max_age_us=0, interval_s=0.01).run()
        )
        await until(
            serving,
            lambda: any("trimming the journal was stopped, and is" in m for m in caplog.messages),
        )
        assert not task.done()
        assert rows(serving) > 300

        resource.prlimit(serving.writer_pid, resource.RLIMIT_FSIZE, (soft, hard))
        await until(serving, lambda: rows(serving) == 0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    play(tmp_path, scenario)

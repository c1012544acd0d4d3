"""The commit queue, with a real writer: what shares a commit, whose turn it is, who gets told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.support.serving import Serving, failing_calls, next_turn, serve
from tests.support.store import change
from tests.support.waiting import wait_until

from assetstore.errors import Busy, InvalidRequest
from assetstore.messages import AssetRef
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.writer_link import WriterLost


def put(key: str = "k", value: bytes = b"1") -> jobs.Change:
    """A client's job, for the first asset."""
    return change(jobs.SetKey(1, key, value, None))


def activate(name: str) -> jobs.ApplySlice:
    """A background job."""
    return jobs.ApplySlice(Slice([], [(name, name, None)], []))


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


def is_stopped(pid: int) -> bool:
    """Whether the process stands still."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


# --- what shares a commit


def test_jobs_that_come_together_are_one_commit_and_answered_in_their_order(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        results = await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(100)))

        revisions = [result.decoded()[0][0] for result in results]
        assert revisions == list(range(revisions[0], revisions[0] + 100))
        assert (serving.queue.commits, serving.queue.committed_jobs) == (2, 101)

    assert serve(tmp_path, scenario) == 0


def test_what_comes_during_a_commit_is_the_next_one(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        first = submit(serving, put("first"))
        await next_turn()  # the loop turns: the batch is on its way
        others = [submit(serving, put(f"k{n}")) for n in range(50)]
        await asyncio.gather(first, *others)

        assert serving.queue.commits == 3

    assert serve(tmp_path, scenario) == 0


def test_a_batch_has_a_thousand_jobs_at_most(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        await asyncio.gather(*(submit(serving, put(f"k{n}")) for n in range(2_500)))

        assert serving.queue.commits == 1 + 3

    assert serve(tmp_path, scenario) == 0


def test_a_batch_ends_when_it_has_grown_to_4_mib(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        mebibyte = 1 << 20
        await asyncio.gather(*(submit(serving, put(f"k{n}"), size=mebibyte) for n in range(10)))

        assert serving.queue.commits == 1 + 3

    assert serve(tmp_path, scenario, max_bytes=1 << 30) == 0


def test_a_refused_job_is_a_result_and_its_neighbours_are_done(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        results = await asyncio.gather(
            submit(serving, put("a")),
            submit(serving, change(jobs.RestoreStore(9))),
            submit(serving, put("b")),
        )

        assert [result.code for result in results] == [None, "invalid_request", None]

    assert serve(tmp_path, scenario) == 0


def test_a_background_job_that_is_refused_raises(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        with pytest.raises(InvalidRequest, match="there is no store 9 in the trash"):
            await serving.queue.do(change(jobs.RestoreStore(9)))

    assert serve(tmp_path, scenario) == 0


# --- who gets told


def test_whoever_is_told_of_a_change_reads_it(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        seen: list[bool] = []

        def look(key: str, result: jobs.Result) -> None:
            seen.append(serving.reader.get(AssetRef("a"), key) is not None)

        for number in range(20):
            assert serving.reader.get(AssetRef("a"), f"k{number}") is None
            await submit(serving, put(f"k{number}"), done=partial(look, f"k{number}"))
        assert seen == [True] * 20

    assert serve(tmp_path, scenario) == 0


def test_a_commit_says_whether_the_catalog_changed(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        await submit(serving, put("k"))  # makes the store
        await submit(serving, put("k"))
        await submit(serving, change(jobs.ClearStore(1)))
        await submit(serving, change(jobs.DeleteKey(1, "k", None)))

        assert serving.commits == [True, True, False, True, False]

    assert serve(tmp_path, scenario) == 0


def test_a_background_job_whose_caller_gave_up_is_done_all_the_same(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        given_up = asyncio.ensure_future(serving.queue.do(activate("a")))
        await next_turn()
        given_up.cancel()
        await serving.queue.do(activate("b"))

        assert serving.reader.counters().active == 2

    assert serve(tmp_path, scenario) == 0


# --- turns


def test_background_work_and_clients_take_turns(tmp_path: Path) -> None:
    order: list[str] = []

    async def scenario(serving: Serving) -> None:
        await submit(serving, activate("a"))

        async def background(name: str) -> None:
            await serving.queue.do(activate(name))
            order.append(name)

        async with asyncio.TaskGroup() as group:
            for number in range(3):
                group.create_task(background(f"b{number}"))
            await next_turn()
            submit(serving, put(), done=lambda _: order.append("c0"))
            submit(serving, put(), done=lambda _: order.append("c1"))

    assert serve(tmp_path, scenario) == 0
    assert order == ["b0", "c0", "c1", "b1", "b2"]


def test_neither_starves_the_other(tmp_path: Path) -> None:
    order: list[str] = []

    async def scenario(serving: Serving) -> None:
        await submit(serving, activate("a"))

        async def background() -> None:
            for number in range(15):
                await serving.queue.do(activate(f"b{number}"))
                order.append("background")

        async def client() -> None:
            for _ in range(15):
                await submit(serving, put())
                order.append("client")

        await asyncio.gather(background(), client())

    assert serve(tmp_path, scenario) == 0
    assert 8 <= order[:20].count("client") <= 12, order


def test_a_background_job_is_not_left_lying_when_the_clients_jobs_are_too_late(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        async with asyncio.timeout(10.0):
            first = asyncio.ensure_future(serving.queue.do(activate("a")))
            second = asyncio.ensure_future(serving.queue.do(activate("b")))
            await next_turn()
            late = submit(serving, put(), deadline=time.monotonic() - 1.0)

            await asyncio.gather(first, second, late)

    assert serve(tmp_path, scenario) == 0


# --- limits and deadlines


def test_what_may_wait_is_limited_and_the_refusal_names_the_limit(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        waiting = [submit(serving, put(f"k{n}"), size=1_000) for n in range(10)]

        with pytest.raises(Busy) as refused:
            submit(serving, put("more"), size=1)

        assert str(refused.value) == (
            "10,000 bytes of changes wait for the disk; the limit is 10,000 (max_inflight_bytes). "
            "Nothing changed; try again"
        )
        await asyncio.gather(*waiting)
        await submit(serving, put("more"), size=10_000)

    assert serve(tmp_path, scenario, max_bytes=10_000) == 0


def test_a_job_that_is_larger_than_what_may_wait_waits_alone(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        large = submit(serving, put("large"), size=30_000)
        with pytest.raises(Busy):
            submit(serving, put("more"), size=1)

        assert (await large).code is None
        small = submit(serving, put("small"), size=1)
        with pytest.raises(Busy):
            submit(serving, put("large"), size=30_000)
        await small

    assert serve(tmp_path, scenario, max_bytes=10_000) == 0


def test_a_job_whose_time_is_over_is_refused_and_not_done(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        late = submit(serving, put("late"), deadline=time.monotonic() - 0.001)
        in_time = submit(serving, put("in time"), deadline=time.monotonic() + 60.0)

        result = await late
        assert result.code == "busy"
        assert "the request waited longer than its timeout" in result.message
        assert "nothing changed" in result.message
        assert (await in_time).code is None
        assert serving.reader.keys(AssetRef("a"), "", None, 9) == (["in time"], False)
        assert serving.queue.committed_jobs == 2

    assert serve(tmp_path, scenario) == 0


def test_a_job_that_was_too_late_no_longer_counts_as_waiting(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        await submit(serving, put(), size=10_000, deadline=time.monotonic() - 1.0)

        assert serving.queue.queued == 0
        await submit(serving, put(), size=10_000)

    assert serve(tmp_path, scenario, max_bytes=10_000) == 0


# --- idle, alive, gone


def test_draining_returns_when_all_is_on_disk(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        waiting = [submit(serving, put(f"k{n}")) for n in range(1_500)]
        background = asyncio.ensure_future(serving.queue.do(activate("b")))
        await next_turn()
        assert serving.queue.queued == 1_501

        await serving.queue.drain()

        assert serving.queue.queued == 0
        assert background.done()
        assert all(future.done() for future in waiting)
        await serving.queue.drain()

    assert serve(tmp_path, scenario) == 0


def test_a_writer_that_is_alive_answers_a_ping_busy_or_not(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.ping()
        await serving.queue.do(activate("a"))
        waiting = submit(serving, put())
        await asyncio.gather(serving.queue.ping(), serving.queue.ping(), waiting)

        assert serving.queue.commits == 2

    assert serve(tmp_path, scenario) == 0


def test_a_writer_that_hangs_answers_no_ping(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        os.kill(serving.writer_pid, signal.SIGSTOP)
        wait_until(lambda: is_stopped(serving.writer_pid), 10.0, "the writer to be stopped")
        ping = asyncio.ensure_future(serving.queue.ping())
        for _ in range(10):
            await next_turn()
        assert not ping.done()

        os.kill(serving.writer_pid, signal.SIGCONT)
        await ping

    assert serve(tmp_path, scenario) == 0


def test_when_the_writer_is_killed_that_is_said_once_and_nobody_is_answered(
    tmp_path: Path,
) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        os.kill(serving.writer_pid, signal.SIGSTOP)
        in_hand = submit(serving, put("k"))
        await next_turn()
        waiting = submit(serving, put("l"))
        os.kill(serving.writer_pid, signal.SIGKILL)
        await serving.is_lost.wait()

        assert serving.lost == ["the writer process ended unexpectedly"]
        assert not in_hand.done()
        assert not waiting.done()

    assert serve(tmp_path, scenario) == -signal.SIGKILL


def test_when_the_device_fails_that_is_said_once_and_nobody_is_answered(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        await serving.queue.do(activate("a"))
        with failing_calls(serving.writer_pid, "fdatasync"):
            in_hand = submit(serving, put("k"))
            await serving.is_lost.wait()

        (reason,) = serving.lost
        assert reason.startswith("commit failed: ")
        assert not in_hand.done()

    assert serve(tmp_path, scenario) == os.EX_IOERR


def test_a_store_that_is_refused_is_told_with_the_writer_s_reason(tmp_path: Path) -> None:
    async def nothing(serving: Serving) -> None:
        pass

    assert serve(tmp_path, nothing) == 0
    (tmp_path / "data.mdb").unlink()

    with pytest.raises(WriterLost, match=r"data\.mdb is missing, and store \w+ was here"):
        serve(tmp_path, nothing)


def test_a_writer_that_dies_while_it_opens_the_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def nothing(serving: Serving) -> None:
        raise AssertionError("the store was opened")

    with pytest.raises(WriterLost):
        serve(tmp_path / "file", nothing)

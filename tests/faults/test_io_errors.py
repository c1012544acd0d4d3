"""Every write and every sync of the daemon's processes fails in its turn, once or from then on.

Rule: the kernel's answer is changed by strace; what clients were told is held against what the
store holds afterwards.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.support import odd_build
from tests.support.amount import IS_FULL
from tests.support.daemon import COMMAND, Daemon
from tests.support.endings import strace, wait_until_deserted
from tests.support.inspect_store import inspect
from tests.support.quick_disk import quick_disk
from tests.support.serving import failing_calls
from tests.support.unlucky import ASSETS, Story, live_through

#: At a time: most of it is waiting for processes to start.
AT_ONCE = 3

#: Process, as the status names it, and calls by which it changes files.
RUNNING = [
    ("pid", "pwrite64"),
    ("pid", "fdatasync"),
    ("syncer_pid", "fdatasync"),
    ("writer_pid", "pwrite64"),
    ("writer_pid", "writev,pwritev"),
    ("writer_pid", "fdatasync"),
]

STARTING = ["pwrite64", "writev,pwritev", "fdatasync", "fsync", "rename"]

#: More than there are of any call in a run.
MOST = 200


class Fault(NamedTuple):
    """The N-th call fails, or all from the N-th on."""

    calls: str
    number: int
    error: str
    from_then_on: bool

    def __str__(self) -> str:
        return f"error={self.error}:when={self.number}{'+' if self.from_then_on else ''}"


VARIANTS = [(error, on) for error in ("EIO", "ENOSPC") for on in (False, True)]


def each_in_turn(
    calls: str, rng: random.Random, most: int, attempt: Callable[[Fault], bool]
) -> Iterator[Callable[[], int]]:
    """Work for a pool: have each of the calls fail, in each way; each says how many have.

    ``attempt`` says whether there was a call of this number. A sample is one of the first,
    up to ``most``.
    """

    def in_turn(error: str, from_then_on: bool) -> int:
        for number in range(1, MOST):
            if not attempt(Fault(calls, number, error, from_then_on)):
                return number - 1
        raise AssertionError(f"there is no end of {calls}")

    if not IS_FULL:
        fault = Fault(calls, rng.randint(1, most), *rng.choice(VARIANTS))
        yield lambda: int(attempt(fault))
        return
    for variant in VARIANTS:
        yield partial(in_turn, *variant)


def run_all(work: list[Callable[[], int]]) -> int:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return sum(pool.map(lambda each: each(), work))


def name_of(*parts: object) -> str:
    return re.sub(r"\W+", "-", "-".join(map(str, parts)))


# --- while it serves


def test_a_call_that_fails_while_the_daemon_serves_costs_nothing_and_is_told_as_it_is(
    starter: None, quick_path: Path, seed: int, tally: Callable[..., None]
) -> None:
    rng = random.Random(seed)
    stories: list[Story] = []

    def attempt(process: str, fault: Fault) -> bool:
        root = quick_path / name_of(process, fault.calls, fault)
        story = live_with(root, fault, process)
        if story is not None:
            stories.append(story)
        shutil.rmtree(root)
        return story is not None

    work: list[Callable[[], int]] = []
    for process, calls in RUNNING:
        work += each_in_turn(calls, rng, 4, partial(attempt, process))
    made = run_all(work)

    # Of a sample, one or the other may come after all that the process does.
    assert made >= len(RUNNING) / 2
    tally(
        "I/O errors",
        calls_failed=made,
        daemons_ended=sum(len(story.ended) for story in stories),
        store_full=sum(story.times_full for story in stories),
        unknown_to_impatient_clients=sum(len(story.unknown) for story in stories),
        surfaced_to_patient_clients=0,
        lost_or_done_twice=0,
    )


def test_a_build_that_goes_on_after_a_failed_sync_would_be_noticed(quick_path: Path) -> None:
    fault = Fault("fdatasync", 1, "EIO", from_then_on=True)
    careless = odd_build.command("careless")

    # Either of the two may be the one that syncs the log, as the load has it.
    with pytest.raises(AssertionError, match="it went on"):
        live_with(quick_path / "careless", fault, "pid", "syncer_pid", command=careless)


def live_with(
    root: Path, fault: Fault, *processes: str, command: Sequence[str] = ()
) -> Story | None:
    """What clients of a daemon were told some of whose calls failed; None if there were none.

    Fails if any of that was not so.
    """
    daemon = Daemon(root, command=command)
    daemon.set_manifest(*ASSETS)
    outputs = {process: root / f"strace-{process}" for process in processes}
    with contextlib.closing(daemon.start()), contextlib.ExitStack() as until_there_is_room:
        for process, output in outputs.items():
            until_there_is_room.enter_context(
                failing_calls(daemon.status()[process], fault.calls, str(fault), output)
            )
        story = live_through(daemon, until_there_is_room.close)
        # No call fails from here on; and if the last of them did, the daemon may yet be ending.
        until_there_is_room.close()
        if "giving up" in daemon.log_text() and not story.ended:
            story.ended.append(daemon.wait())
        else:
            daemon.kill()
    wait_until_deserted(daemon.data_dir)
    where = f"{processes} {fault}\n{daemon.log_text()}"
    problem = story.problem_of(inspect(daemon.data_dir))
    assert problem is None, f"{problem}\n{where}"
    assert "Traceback" not in daemon.log_text(), where
    was_hit = any("(INJECTED)" in output.read_text() for output in outputs.values())
    assert set(story.ended) <= {os.EX_IOERR}, where
    assert bool(story.ended) == ("giving up" in daemon.log_text()), where
    if not was_hit:
        assert not story.ended, where
        return None
    if fault.error == "EIO" or "writer_pid" not in processes:
        # Nobody knows what is on disk: a restart finds out.
        assert story.ended, f"it went on: {where}"
        assert not story.times_full, where
    elif fault.calls == "writev,pwritev":
        # Pages of the data file that had no room: the commit did not happen, and that is all.
        assert not story.ended, where
    return story


# --- while it starts


@pytest.fixture(scope="module")
def left(starter: None) -> Iterator[Path]:
    """What a daemon has left that was killed with changes in its log."""
    with quick_disk() as path:
        daemon = Daemon(path / "left")
        daemon.set_manifest(*ASSETS)
        with contextlib.closing(daemon.start()), daemon.client() as client:
            for number in range(20):
                for name in ASSETS:
                    client.store(name).set(f"key-{number}", number)
            daemon.kill()
        wait_until_deserted(daemon.data_dir)
        yield daemon.root


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "with_a_log"])
def test_a_call_that_fails_while_the_daemon_starts_costs_nothing(
    left: Path, quick_path: Path, seed: int, tally: Callable[..., None], is_new: bool
) -> None:
    rng = random.Random(seed)
    refused: list[Fault] = []

    def attempt(fault: Fault) -> bool:
        root = quick_path / name_of(fault.calls, fault)
        if is_new:
            root.mkdir()
        else:
            shutil.copytree(left, root)
        was_hit, was_refused = start_with(root, fault, is_new=is_new)
        if was_refused:
            refused.append(fault)
        shutil.rmtree(root)
        return was_hit

    work: list[Callable[[], int]] = []
    for calls in STARTING:
        work += each_in_turn(calls, rng, 2, attempt)
    made = run_all(work)

    assert made >= 1
    assert refused
    tally("I/O errors", calls_failed=made, starts_refused=len(refused), lost=0)


def start_with(root: Path, fault: Fault, *, is_new: bool) -> tuple[bool, bool]:
    """Start a daemon some of whose calls fail, and then another: whether any did, and whether the
    first has given up. Fails if anything is lost."""
    output = root / "strace"
    command = [*strace(f"{fault.calls}:{fault}", output=output), *COMMAND]
    daemon = Daemon(root, command=command)
    daemon.set_manifest(*ASSETS)
    with contextlib.closing(daemon):
        daemon.launch()
        try:
            daemon.wait_for("READY=1")
        except AssertionError:
            is_ready = False
            assert daemon.wait() in (os.EX_IOERR, os.EX_UNAVAILABLE), daemon.log_text()
            assert re.search("giving up|cannot", daemon.log_text()), daemon.log_text()
        else:
            is_ready = True
            if daemon.status()["manifest"]["state"] == "unapplied":
                assert fault.error == "ENOSPC", daemon.log_text()
            else:
                assert daemon.status()["assets_active"] == len(ASSETS)
            if daemon.status()["assets_active"]:
                check_contents(daemon, is_new=is_new)
            else:
                assert is_new, daemon.log_text()
    assert "Traceback" not in daemon.log_text(), f"{fault}\n{daemon.log_text()}"
    was_hit = "(INJECTED)" in output.read_text()
    assert was_hit or is_ready, daemon.log_text()

    again = Daemon(root)
    with again:
        check_contents(again, is_new=is_new)
    assert inspect(again.data_dir).problems == []
    return was_hit, not is_ready


def check_contents(daemon: Daemon, *, is_new: bool) -> None:
    expected = {} if is_new else {f"key-{number}": number for number in range(20)}
    with daemon.client() as client:
        for name in ASSETS:
            assert dict(client.store(name).items()) == expected

"""Client processes that begin and end together, and how long each of their calls took.

Rule: knows no system. What a client does comes from outside; connecting is never on the clock.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
import traceback
from array import array
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Sample, load_sample
from benchmarks.interrupts import held, leave_to_parent


class Took(NamedTuple):
    """What a client has to tell when it is over."""

    #: In nanoseconds, by the kind of call.
    latencies: dict[str, array[int]]
    #: How many of these calls ended after the end: they were slow, but do not count as done.
    late: int


#: A client that is connected and warm: to be called at the begin, with the end, both on the
#: clock of perf_counter_ns, which all processes share.
Run = Callable[[int], Took]

#: Makes the client with this number ready, in a process of its own.
Prepare = Callable[[int], Run]

#: How long all clients together may take to connect, and to come to their end.
_READY_S = 180.0
_OVERTIME_S = 120.0

#: A process rests that is on a processor for less than this share of that time.
_REST_S, _REST_SHARE = 0.03, 0.05
_SETTLE_S = 5.0

#: From the last client's being ready to the begin: as much as to tell them all.
_HEAD_START_S = 0.05


class LoadFailed(Exception):
    """A client raised, died, or never came to its end: there is no figure for this load."""


def run_load(
    prepare: Prepare, clients: int, seconds: float, processes: Mapping[str, int]
) -> Sample:
    """Run the load with that many client processes, and return its sample.

    ``processes`` are those of the system, by their part in it: their time on a processor is
    measured meanwhile. Raises LoadFailed; then all clients are gone too.
    """
    fork = multiprocessing.get_context("fork")
    crew: dict[Connection, ForkProcess] = {}
    try:
        for number in range(clients):
            ours, theirs = fork.Pipe()
            arguments = (prepare, number, theirs, [*crew, ours])
            process = fork.Process(target=_live, args=arguments, daemon=True)
            with held():
                process.start()
                theirs.close()
                crew[ours] = process
        deadline = time.monotonic() + _READY_S
        for pipe, process in crew.items():
            _hear(pipe, process, deadline)
        # Nobody calls now, nor when all have been heard: what lies between is the calls' alone,
        # with what was put off until there is time.
        idle_ns = {part: cpu_ns(pid) for part, pid in processes.items()}
        begin = time.perf_counter_ns() + int(_HEAD_START_S * 1e9)
        end = begin + int(seconds * 1e9)
        for pipe in crew:
            pipe.send((begin, end))
        sleep_until(end)
        deadline = time.monotonic() + _OVERTIME_S
        latencies: dict[str, array[int]] = {}
        late = 0
        for pipe, process in crew.items():
            took = _hear(pipe, process, deadline)
            late += took.late
            for kind, found in took.latencies.items():
                latencies.setdefault(kind, array("Q")).extend(found)
        settle(processes.values())
        used_ns = {part: cpu_ns(pid) - idle_ns[part] for part, pid in processes.items()}
    finally:
        with held():
            for pipe, process in crew.items():
                process.kill()
                process.join()
                pipe.close()
    return load_sample(latencies, late, seconds, used_ns)


def sleep_until(moment_ns: int) -> None:
    """Return at that moment of perf_counter_ns."""
    while (left_ns := moment_ns - time.perf_counter_ns()) > 0:
        time.sleep(left_ns / 1e9)


def cpu_ns(pid: int) -> int:
    """How long the threads of a process have been on a processor, in nanoseconds."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def settle(pids: Collection[int]) -> None:
    """Return once these processes rest, or after a while.

    What a system does after its calls must not fall into the turn of the next.
    """
    deadline = time.monotonic() + _SETTLE_S
    before = sum(map(cpu_ns, pids))
    while time.monotonic() < deadline:
        time.sleep(_REST_S)
        now = sum(map(cpu_ns, pids))
        if now - before < _REST_S * _REST_SHARE * 1e9:
            return
        before = now


def _hear(pipe: Connection, process: ForkProcess, deadline: float) -> Took:
    if not pipe.poll(max(deadline - time.monotonic(), 0)):
        raise LoadFailed("a client process did not answer in time")
    try:
        message = pipe.recv()
    except EOFError:
        process.join()
        raise LoadFailed(f"a client process died, exit code {process.exitcode}") from None
    if isinstance(message, str):
        raise LoadFailed(f"a client process failed:\n{message}")
    return Took(*message)


def _live(prepare: Prepare, number: int, pipe: Connection, of_parent: Sequence[Connection]) -> None:
    leave_to_parent()
    # Held open by a client, they would hide from it and others that the parent is gone.
    for each in of_parent:
        each.close()
    # What the benchmark itself has made is no burden of a client's.
    gc.freeze()
    try:
        run = prepare(number)
        pipe.send(Took({}, 0))
        begin, end = pipe.recv()
        sleep_until(begin)
        pipe.send(run(end))
    except BaseException:
        with suppress(BrokenPipeError):
            pipe.send(traceback.format_exc())
    # Nothing that a library has left for the exit is waited for.
    os._exit(0)

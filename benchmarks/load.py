"""Client processes that begin and end together, and how long each of their calls took.

Rule: knows no system. What a client does comes from outside; connecting is never on the clock.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import traceback
from array import array
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from benchmarks.figures import Sample, load_sample


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
            process = fork.Process(target=_live, args=(prepare, number, theirs), daemon=True)
            process.start()
            theirs.close()
            crew[ours] = process
        deadline = time.monotonic() + _READY_S
        for pipe, process in crew.items():
            _hear(pipe, process, deadline)
        begin = time.perf_counter_ns() + int(_HEAD_START_S * 1e9)
        end = begin + int(seconds * 1e9)
        for pipe in crew:
            pipe.send((begin, end))
        used_s = _cpu_used_s(processes, begin, end)
        deadline = time.monotonic() + _OVERTIME_S
        latencies: dict[str, array[int]] = {}
        late = 0
        for pipe, process in crew.items():
            took = _hear(pipe, process, deadline)
            late += took.late
            for kind, found in took.latencies.items():
                latencies.setdefault(kind, array("Q")).extend(found)
    finally:
        for pipe, process in crew.items():
            process.kill()
            process.join()
            pipe.close()
    finished = sum(map(len, latencies.values())) - late
    return load_sample(latencies, finished, seconds, used_s)


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


def _cpu_used_s(processes: Mapping[str, int], begin: int, end: int) -> dict[str, float]:
    sleep_until(begin)
    # Under load this process wakes late: what was used is scaled to the time between the looks.
    before = {part: (time.perf_counter_ns(), cpu_ns(pid)) for part, pid in processes.items()}
    sleep_until(end)
    used = {}
    for part, pid in processes.items():
        then, used_then = before[part]
        share = (cpu_ns(pid) - used_then) / (time.perf_counter_ns() - then)
        used[part] = share * (end - begin) / 1e9
    return used


def _hear(pipe: Connection, process: ForkProcess, deadline: float) -> Took:
    if not pipe.poll(max(deadline - time.monotonic(), 0)):
        raise LoadFailed("a client process did not come to its end in time")
    try:
        message = pipe.recv()
    except EOFError:
        process.join()
        raise LoadFailed(f"a client process died, exit code {process.exitcode}") from None
    if isinstance(message, str):
        raise LoadFailed(f"a client process failed:\n{message}")
    return Took(*message)


def _live(prepare: Prepare, number: int, pipe: Connection) -> None:
    # Ctrl-C reaches this process too: it is the parent's to end it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # What the benchmark itself has made is no burden of a client's.
    gc.freeze()
    try:
        run = prepare(number)
        pipe.send(Took({}, 0))
        begin, end = pipe.recv()
        sleep_until(begin)
        pipe.send(run(end))
    except BaseException:
        pipe.send(traceback.format_exc())
    # Nothing that a library has left for the exit is waited for.
    os._exit(0)

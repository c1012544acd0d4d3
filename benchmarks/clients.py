"""What the client processes of each kind of work do, and what they check before the clock starts.

Rule: a loop here has nothing in it but the call, the clock and what the call needs.
"""

from __future__ import annotations

import asyncio
import random
from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import count, cycle
from time import perf_counter_ns

from benchmarks.load import Prepare, Run, Took
from benchmarks.systems.system import AsyncSession, Session, System, Value, value_of

#: The assets of the client with this number.
AssetsOf = Callable[[int], Sequence[str]]

#: Calls of each kind before the clock starts.
_WARM = 20

#: How many random choices are made in advance; they are gone through again and again.
_CHOICES = 65_536

#: What part of the mixed work's calls are sets.
_SETS = 0.1


class WrongAnswer(Exception):
    """A system did not give back what was stored in it: its speed is of no interest."""


def getting(system: System, assets: AssetsOf) -> Prepare:
    """Clients that get, each at random over its own assets; all but the first hold a value."""

    def prepare(number: int) -> Run:
        session = system.session(assets(number))
        _check(session, number)
        order = _order(number, len(assets(number)))
        for _ in range(_WARM):
            session.get(next(order))

        def run(end: int) -> Took:
            found = array("Q")
            append, get, clock = found.append, session.get, perf_counter_ns
            before = clock()
            for index in order:
                get(index)
                now = clock()
                append(now - before)
                if now >= end:
                    break
                before = now
            session.close()
            return Took({"get": found}, 1)

        return run

    return prepare


def setting(system: System, assets: AssetsOf) -> Prepare:
    """Clients that set another value each time, each at random over its own assets."""

    def prepare(number: int) -> Run:
        session = system.session(assets(number))
        _check(session, number)
        order = _order(number, len(assets(number)))
        for warm in range(_WARM):
            session.set(next(order), value_of(warm))

        def run(end: int) -> Took:
            found = array("Q")
            append, set_, clock = found.append, session.set, perf_counter_ns
            before = clock()
            for index, each in zip(order, count(), strict=False):
                set_(index, value_of(each))
                now = clock()
                append(now - before)
                if now >= end:
                    break
                before = now
            _expect(session, index, value_of(each))
            session.close()
            return Took({"set": found}, 1)

        return run

    return prepare


def mixing(system: System, assets: AssetsOf) -> Prepare:
    """Clients of which one call in ten sets, by chance, and the others get."""

    def prepare(number: int) -> Run:
        session = system.session(assets(number))
        _check(session, number)
        chance = random.Random(number)
        turns = cycle([chance.random() < _SETS for _ in range(_CHOICES)])
        for warm in range(_WARM):
            session.set(0, value_of(warm))
            session.get(0)

        def run(end: int) -> Took:
            gets, sets = array("Q"), array("Q")
            get, set_, clock = session.get, session.set, perf_counter_ns
            before = clock()
            for each, is_set in zip(count(), turns, strict=False):
                if is_set:
                    set_(0, value_of(each))
                else:
                    get(0)
                now = clock()
                (sets if is_set else gets).append(now - before)
                if now >= end:
                    break
                before = now
            session.close()
            return Took({"get": gets, "set": sets}, 1)

        return run

    return prepare


def awaiting(system: System, asset: str, kind: str, coroutines: int) -> Prepare:
    """One client that many coroutines share, each of which calls again when it is answered."""

    def prepare(number: int) -> Run:
        runner = asyncio.Runner()
        session = runner.run(_open(system, asset, coroutines))

        def run(end: int) -> Took:
            found = array("Q")
            with runner:
                runner.run(_call(session, kind, coroutines, end, found))
            return Took({kind: found}, coroutines)

        return run

    return prepare


async def _open(system: System, asset: str, coroutines: int) -> AsyncSession:
    session = await system.async_session(asset)
    await session.set(value_of(0))
    # All at once, so that whatever connections are needed are there.
    for found in await asyncio.gather(*(session.get() for _ in range(coroutines))):
        if found != value_of(0):
            raise WrongAnswer(f"{system.name}: set {value_of(0)}, got {found}")
    return session


async def _call(
    session: AsyncSession, kind: str, coroutines: int, end: int, found: array[int]
) -> None:
    numbers = count()

    async def get() -> None:
        now = 0
        while now < end:
            before = perf_counter_ns()
            await session.get()
            now = perf_counter_ns()
            found.append(now - before)

    async def set_() -> None:
        now = 0
        while now < end:
            before = perf_counter_ns()
            await session.set(value_of(next(numbers)))
            now = perf_counter_ns()
            found.append(now - before)

    call = get if kind == "get" else set_
    await asyncio.gather(*(call() for _ in range(coroutines)))
    await session.close()


def _check(session: Session, number: int) -> None:
    session.set(0, value_of(number))
    _expect(session, 0, value_of(number))


def _expect(session: Session, index: int, value: Value) -> None:
    found = session.get(index)
    # A floor stores nothing: what it gives back is plain bytes.
    if not isinstance(found, bytes) and found != value:
        raise WrongAnswer(f"set {value}, got {found}")


def _order(number: int, length: int) -> Iterator[int]:
    chance = random.Random(number)
    return cycle([chance.randrange(length) for _ in range(_CHOICES)] if length > 1 else [0])

"""Clients of one daemon that ask for all that there is: changes of keys, of whole stores, of the
manifest, and what a watcher hears of them.

Rule: clients like any other; what they were told is for others to know, from their sockets.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable

from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

import assetstore
from assetstore import Refused

#: Those of the workers, and those that only the operator gives orders about.
SHARED = ("orders", "customers", "invoices")
OWN = ("archive", "staging", "scratch")

WORKERS = 4

#: That one of the workers asks for, or one more: after each, the log goes on in its other half.
CHECKPOINTS = 5

#: In an asset that is always there: all has been done, and the watcher may stop.
_END = "the end"


def keep_busy(daemon: Daemon, seed: int, changes: int) -> None:
    """Ask for so many changes, all in all; returns when they are answered, and were heard of."""
    failures: list[BaseException] = []

    def start(work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as exc:
                failures.append(exc)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    watcher = start(lambda: _watch(daemon))
    workers = [
        start(lambda number=number: _work(daemon, seed, number, changes // WORKERS))  # type: ignore[misc]
        for number in range(WORKERS)
    ]
    workers.append(start(lambda: _operate(daemon, seed, changes // 12)))
    for thread in workers:
        thread.join()
    with daemon.client() as client:
        # Of what the sweep did behind the end nobody would be told.
        wait_until(lambda: _is_swept(client), 30.0, "an empty trash")
        client.store("orders").set(_END, True)
    watcher.join()
    assert failures == []


def _is_swept(client: assetstore.Client) -> bool:
    """Whether nothing waits in the trash; what does is purged."""
    waiting = [each.id for each in client.trash()]
    if waiting:
        with contextlib.suppress(Refused):  # swept meanwhile
            client.purge(waiting)
    return not waiting


def _watch(daemon: Daemon) -> None:
    with daemon.client() as client:
        for event in client.watch(since=1):
            if event.key == _END:
                return


def _work(daemon: Daemon, seed: int, number: int, changes: int) -> None:
    rng = random.Random(f"{seed} {number}")
    # One of each of as many equal parts: so no kind is left out by chance.
    chances = [(part + rng.random()) / changes for part in range(changes)]
    rng.shuffle(chances)
    with daemon.client() as client:
        for done, chance in enumerate(chances, 1):
            _change(client, rng, chance)
            if number == 0 and done % (changes // CHECKPOINTS) == 0:
                # Else it would depend on the machine how often the log begins anew.
                client.checkpoint()


def _change(client: assetstore.Client, rng: random.Random, chance: float) -> None:
    store = client.store(rng.choice(SHARED))
    key = f"key-{rng.randrange(12)}"
    if chance < 0.35:
        store.set(key, _value(rng))
    elif chance < 0.45:
        store.delete(key)
    elif chance < 0.5:
        store.increment("counter", rng.randrange(1, 9))
    elif chance < 0.55:
        store.advance("watermark", rng.randrange(10_000))
    elif chance < 0.6:
        store.merge("settings", {rng.choice("abc"): rng.randrange(9)})
    elif chance < 0.7:
        store.set_many({f"key-{n}": _value(rng) for n in rng.sample(range(12), 3)})
    elif chance < 0.72:
        store.clear()
    elif chance < 0.85:
        store.get(key)
    else:
        with client.transaction() as together:
            for name in rng.sample(SHARED, 2):
                together.store(name).set(key, _value(rng))
            together.store(rng.choice(SHARED)).delete(f"key-{rng.randrange(12)}")
            if rng.random() < 0.1:
                together.store(rng.choice(SHARED)).clear()
                together.store(rng.choice(SHARED)).set(key, "after a clear")


def _value(rng: random.Random) -> str:
    size = rng.choice([10, 10, 300, 1_500, 6_000])
    return f"{rng.random()} " + "x" * size


def _operate(daemon: Daemon, seed: int, steps: int) -> None:
    """Fill, clear, restore, move, rewind and purge; let assets leave and come back."""
    rng = random.Random(f"{seed} operator")
    with daemon.client(timeout=30.0) as client:
        for number in range(steps):
            # What there is to restore may be swept meanwhile, and an asset not be active.
            with contextlib.suppress(Refused):
                _ORDERS[number % len(_ORDERS)](client, rng, *rng.sample(OWN, 2))
            if rng.random() < 0.4:
                active = [name for name in OWN if rng.random() < 0.8]
                daemon.set_manifest(*SHARED, *active)
                client.reload_manifest()


def _fill(client: assetstore.Client, rng: random.Random, name: str, other: str) -> None:
    client.store(name).set_many({f"key-{n}": _value(rng) for n in range(rng.randrange(1, 5))})


def _clear_and_restore(client: assetstore.Client, rng: random.Random, name: str, _: str) -> None:
    _fill(client, rng, name, name)
    client.store(name).clear()
    if rng.random() < 0.7:
        client.store(name).set("again", _value(rng))
    cleared = [each.id for each in client.trash() if (each.name, each.reason) == (name, "cleared")]
    if cleared:
        client.restore(max(cleared))


def _move(client: assetstore.Client, rng: random.Random, name: str, other: str) -> None:
    _fill(client, rng, name, name)
    client.move(name, other, replace=True)


def _rewind(client: assetstore.Client, rng: random.Random, name: str, other: str) -> None:
    revision = client.status()["revision"]
    _fill(client, rng, name, name)
    client.store(name).rewind(to=revision)


def _purge(client: assetstore.Client, rng: random.Random, name: str, other: str) -> None:
    client.store(name).clear()
    if oldest := [each.id for each in client.trash()][:2]:
        client.purge(oldest)


_ORDERS = (_fill, _clear_and_restore, _move, _rewind, _purge)

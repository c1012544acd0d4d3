"""One client in many threads, and in the children of a fork, with a real daemon."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

import assetstore
from assetstore import AsyncClient, Client, Store

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def in_child(action: Callable[[], object]) -> str:
    """What action returns in a forked child, as text; its traceback if it raises."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.close(reader)
            with open(writer, "w", encoding="utf-8") as pipe:
                try:
                    pipe.write(str(action()))
                    status = 0
                except BaseException:
                    pipe.write(traceback.format_exc())
        finally:
            os._exit(status)
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert status == 0, text
    return text


def wait_for_connections(client: Client, number: int) -> None:
    """Return when the daemon has this many, the client's own included."""
    wait_until(
        lambda: client.status()["connections"] == number, 10.0, f"{number} connections to be left"
    )


def writer_of(store: Store, key: str) -> int:
    entry = store.entry(key)
    assert entry is not None
    return entry.updated_by.pid


# --- fork


def test_the_child_of_a_fork_may_go_on_with_a_watch_and_so_may_its_parent(store: Store) -> None:
    watch = store.watch("k")
    store.set("k", 1)
    store.set("k", 2)
    assert next(watch).value == 1

    assert in_child(lambda: (next(watch).value, store.set("k", 3) > 0, next(watch).value)) == (
        "(2, True, 3)"
    )

    assert [next(watch).value, next(watch).value] == [2, 3]


def test_the_child_of_a_fork_connects_anew_and_the_parent_goes_on(store: Store) -> None:
    store.set("parent", "before")

    assert in_child(lambda: (store.set("child", 1) > 0, store.get("parent"))) == "(True, 'before')"

    assert store.get("child") == 1
    store.set("parent", "after")
    # The kernel vouches for whoever made the connection: two processes, two connections.
    assert writer_of(store, "parent") == os.getpid()
    assert writer_of(store, "child") != os.getpid()


def test_the_parents_connections_are_not_touched(shared_client: Client, store: Store) -> None:
    store.set("k", 1)

    in_child(lambda: store.get("k"))

    assert store.delete("k") is True
    wait_for_connections(shared_client, 1)


def test_a_child_that_ends_without_using_the_client_disturbs_nobody(store: Store) -> None:
    store.set("k", 1)

    in_child(lambda: None)
    in_child(lambda: store.asset)

    assert store.delete("k") is True


def test_a_child_may_close_the_client_it_has_inherited(shared_client: Client, store: Store) -> None:
    store.set("k", 1)

    in_child(shared_client.close)

    assert store.delete("k") is True


def test_children_of_children_connect_for_themselves(store: Store) -> None:
    pids = in_child(
        lambda: (
            store.set("a", 1) and os.getpid(),
            in_child(lambda: store.set("b", 1) and os.getpid()),
        )
    )

    child, grandchild = (int(each.strip("()' ")) for each in pids.split(","))
    assert (writer_of(store, "a"), writer_of(store, "b")) == (child, grandchild)


def test_a_fork_in_the_middle_of_other_threads_calls_harms_neither_side(store: Store) -> None:
    stop = threading.Event()

    def work(number: int) -> int:
        calls = 0
        while not stop.is_set():
            store.set(f"k{number}", calls)
            assert store.get(f"k{number}") == calls
            calls += 1
        return calls

    with ThreadPoolExecutor(12) as pool:
        working = [pool.submit(work, number) for number in range(12)]
        try:
            for number in range(20):
                # The threads of the parent do not exist in the child; their locks do.
                assert in_child(lambda n=number: store.set(f"c{n}", n) > 0) == "True"  # type: ignore[misc]
        finally:
            stop.set()
        assert all(each.result() > 0 for each in working)

    assert store.count("c") == 20


#: What a forked worker of a pool finds: arguments are pickled, and a store cannot be.
_inherited: list[Store] = []


def write(key: str, value: int) -> int:
    return _inherited[0].set(key, value)


def test_a_pool_of_forked_workers_may_use_a_client_of_the_parent(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set("k", 0)
    monkeypatch.setattr(sys.modules[__name__], "_inherited", [store])

    with multiprocessing.get_context("fork").Pool(4) as pool:
        written = pool.starmap(write, [(f"k{number}", number) for number in range(40)], chunksize=1)
        pool.close()
        pool.join()

    assert all(written)
    assert store.count("k") == 41


@pytest.mark.filterwarnings("ignore:unclosed transport:ResourceWarning")
def test_an_asynchronous_client_connects_anew_in_a_child(
    shared_daemon: Daemon, store: Store
) -> None:
    async def write(client: AsyncClient, key: str) -> None:
        await client.store("orders").set(key, 1)

    async def write_and_close(client: AsyncClient) -> None:
        await write(client, "child")
        await client.close()

    client = AsyncClient(shared_daemon.socket)
    with asyncio.Runner() as runner:
        runner.run(write(client, "parent"))

        assert in_child(lambda: asyncio.run(write_and_close(client))) == "None"

        # The parent's loop and connection are as they were.
        assert runner.run(client.store("orders").delete("parent")) is True
        runner.run(client.close())
    assert store.get("child") == 1


# --- threads


def test_threads_share_a_client_and_see_each_others_writes(store: Store) -> None:
    def work(number: int) -> None:
        for round_ in range(20):
            store.set(f"k{number}/{round_}", [number, round_])
        assert store.count(f"k{number}/") == 20
        assert dict(store.items(f"k{number}/")) == {
            f"k{number}/{round_}": [number, round_] for round_ in range(20)
        }

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))

    assert store.count() == 640


def test_a_thousand_threads_share_a_client_and_eight_connections(
    shared_client: Client, store: Store
) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            store.set(f"k{number}", number)
        except BaseException as exc:
            failures.append(exc)

    with assetstore.connect(shared_client.socket, timeout=60.0) as client:
        store = client.store("orders")
        threads = [threading.Thread(target=work, args=(number,)) for number in range(1_000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert failures == []
        assert store.count() == 1_000
        assert client.status()["connections"] <= 8 + 1


def test_threads_outlive_restarts_of_the_daemon(daemon: Daemon) -> None:
    stop = threading.Event()

    def work(store: Store, number: int) -> int:
        calls = 0
        while not stop.is_set():
            store.set(f"k{number}", calls)
            assert store.get(f"k{number}") == calls
            calls += 1
        return calls

    with daemon.client(timeout=30.0) as client, ThreadPoolExecutor(12) as pool:
        store = client.store("orders")
        working = [pool.submit(work, store, number) for number in range(12)]
        try:
            for ending in (daemon.stop, daemon.kill, daemon.stop, daemon.kill):
                store.set("alive", 1)
                ending()
                daemon.start()
        finally:
            stop.set()

        assert all(each.result() > 0 for each in working)


# --- signals, finalizers, and the end of the process


def test_a_signal_handler_may_use_the_client_that_it_interrupts(store: Store) -> None:
    handled: list[int] = []
    rng = random.Random(0)

    def handler(*_: object) -> None:
        handled.append(store.set("handler", len(handled)))

    before = signal.signal(signal.SIGALRM, handler)
    try:
        deadline = time.monotonic() + 30
        while len(handled) < 100 and time.monotonic() < deadline:
            # One signal, somewhere in one of the next calls: the handler is not interrupted.
            if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(0.0001, 0.003))
            key = f"k{rng.randrange(10)}"
            store.set(key, key)
            assert store.get(key) == key
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert len(handled) >= 100


@pytest.mark.parametrize(
    "program",
    [
        "store.set('k', 1)",
        "import atexit; atexit.register(store.set, 'k', 1)",
        "import threading; threading.Thread(target=store.set, args=('k', 1)).start()",
        "import signal, os; signal.signal(15, lambda *_: exit(store.set('k', 1) == 0)); "
        "os.kill(os.getpid(), 15)",
    ],
    ids=["without close", "in an exit handler", "in a thread", "in a signal handler"],
)
def test_a_process_ends_cleanly_without_closing_its_client(
    shared_daemon: Daemon, store: Store, program: str
) -> None:
    finished = subprocess.run(
        [
            sys.executable,
            "-c",
            "import assetstore; client = assetstore.connect(); store = client.store('orders'); "
            + program,
        ],
        env={**os.environ, "ASSETSTORE_SOCKET": str(shared_daemon.socket)},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (finished.returncode, finished.stderr) == (0, "")
    assert store.get("k") == 1


def test_a_client_in_a_process_that_is_killed_leaves_nothing_in_the_daemon(
    shared_daemon: Daemon, shared_client: Client
) -> None:
    wait_for_connections(shared_client, 1)
    worker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import assetstore, sys; client = assetstore.connect(); client.status(); "
            "print('ready', flush=True); sys.stdin.read()",
        ],
        env={**os.environ, "ASSETSTORE_SOCKET": str(shared_daemon.socket)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with worker, contextlib.ExitStack() as stack:
        stack.callback(worker.kill)
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"ready\n"
        assert shared_client.status()["connections"] == 2

    wait_for_connections(shared_client, 1)

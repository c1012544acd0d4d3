"""What goes on when one of several processes is killed: the others, and the next daemon.

Rule: here somebody survives; what is on disk when nobody does is in test_kills.py.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.endings import wait_until_deserted
from tests.support.inspect_store import inspect
from tests.support.waiting import wait_until
from tests.support.wire import Wire, set_key

import assetstore
from assetstore.messages import AssetRef
from assetstored.reader import Reader

pytestmark = pytest.mark.crash

#: A worker that never ends by itself: every request but the first meets a daemon under load.
WORKER = """
import sys, assetstore
with assetstore.connect(sys.argv[1]) as client:
    store = client.store("customers")
    number = 0
    while True:
        number += 1
        store.set(f"key-{number % 50}", "x" * 50_000)
        store.keys()
        if number % 10 == 0:
            store.clear()
        print(number, flush=True)
"""


def test_a_worker_that_is_killed_in_mid_request_disturbs_nobody(
    daemon: Daemon, client: assetstore.Client
) -> None:
    orders = client.store("orders")
    written = 0
    for round_ in range(10):
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, daemon.socket], stdout=subprocess.PIPE
        )
        with worker:
            assert worker.stdout is not None
            for _ in range(1 + round_):
                worker.stdout.readline()
            for _ in range(5):
                written += 1
                orders.set("watermark", written)
            worker.kill()
        written += 1
        orders.set("watermark", written)
        assert orders.get("watermark") == written

    wait_until(lambda: daemon.status()["connections"] <= 2, 5.0, "the dead connections to be gone")
    assert daemon.status()["health"] == "ok"
    assert "Traceback" not in daemon.log_text()
    client.close()
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []


def test_a_new_daemon_waits_for_the_last_commit_of_a_killed_one(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.start()
    with daemon.client() as client:
        client.store("orders").set("watermark", 1)
    writer_pid = daemon.status()["writer_pid"]
    os.kill(writer_pid, signal.SIGSTOP)  # as a commit on a slow disk
    daemon.kill()

    daemon.launch()
    assert daemon.process is not None
    lock = f"{daemon.data_dir}/assetstored.lock"
    pid = daemon.process.pid
    wait_until(lambda: lock in open_files(pid), 10.0, "the new daemon to ask for the lock")
    assert str(pid) not in (daemon.data_dir / "assetstored.lock").read_text()
    os.kill(writer_pid, signal.SIGCONT)
    daemon.wait_for("READY=1")

    assert f"{pid}\n" == (daemon.data_dir / "assetstored.lock").read_text()
    with daemon.client() as client:
        assert client.store("orders").get("watermark") == 1
    assert daemon.stop() == 0


def test_a_writer_that_was_answering_when_its_daemon_was_killed_ends_without_a_fuss(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.process is not None
    writer_pid, before = (daemon.status()[key] for key in ("writer_pid", "revision"))
    os.kill(writer_pid, signal.SIGSTOP)
    with Wire(daemon.socket).greet() as wire:
        wire.send_messages(set_key(1, AssetRef("orders"), "watermark", b"1"))
        wait_until(lambda: daemon.status()["queued"], 5.0, "the change to be handed to the writer")
        daemon.process.send_signal(signal.SIGSTOP)
        os.kill(writer_pid, signal.SIGCONT)
        wait_until(
            lambda: state_of(writer_pid) == "S" and revision_in(daemon) > before, 5.0, "the commit"
        )
        daemon.kill()

    wait_until_deserted(daemon.data_dir)

    assert "Traceback" not in daemon.log_text()
    found = inspect(daemon.data_dir)
    assert found.problems == []
    assert {key: value for key, (value, _) in found.active["orders"].items()} == {"watermark": 1}


def state_of(pid: int) -> str:
    """As ps shows it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def revision_in(daemon: Daemon) -> int:
    """The revision that is on disk, beside a daemon that does not answer."""
    reader = Reader(str(daemon.data_dir))
    try:
        return reader.counters().revision
    finally:
        reader.close()


def open_files(pid: int) -> list[str]:
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{fd}"))
        except FileNotFoundError:
            continue
    return found

"""How the daemon ends when it is told to, and what it makes of its socket.

Rule: what it does about its data directory is in test_data_directory.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.fleet import Fleet
from tests.support.inspect_store import inspect, logged_only
from tests.support.waiting import wait_until
from tests.support.wire import Wire, change, revision, set_key

import assetstore
from assetstore import messages as m
from assetstore.requests import new_request_id

#: What systemd's stop may take at most.
STOP_S = 5.0

ORDERS = m.AssetRef("orders")


def stop(daemon: Daemon, number: int = signal.SIGTERM) -> float:
    """Stop it; returns how long that took."""
    before = time.monotonic()
    status = daemon.signal(number)
    took_s = time.monotonic() - before
    assert status == 0, daemon.log_text()
    return took_s


# --- told to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_daemon_that_is_told_to_stop_under_load_answers_what_it_has_in_hand_and_loses_nothing(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int, number: int
) -> None:
    daemon = make_daemon()
    daemon.set_manifest(*Fleet.assets(8))
    daemon.start()
    with Fleet(daemon.socket, tmp_path / "stories", seed) as fleet:
        for _ in range(3):
            fleet.wait_for_acknowledgements(100)
            assert stop(daemon, number) < STOP_S
            found = inspect(daemon.data_dir)
            assert found.problems == []
            fleet.catch_up().check(found.active, found.revision)
            daemon.start()
        fleet.stop()
        ledger = fleet.catch_up()
    # Each was carried out and answered, or refused and sent again to the next daemon.
    assert ledger.unknown == []
    assert "Traceback" not in daemon.log_text()


def test_a_change_that_is_in_hand_is_answered_and_what_comes_later_is_refused(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.process is not None
    writer_pid = daemon.status()["writer_pid"]
    os.kill(writer_pid, signal.SIGSTOP)
    wires = [Wire(daemon.socket).greet() for _ in range(3)]
    for number, wire in enumerate(wires):
        # More than one connection may have in hand: the rest is not looked at before the stop.
        wire.send_messages(*(set_key(n, ORDERS, f"{number}/{n}", b"1") for n in range(1, 301)))
    wait_until(lambda: daemon.status()["queued"] >= 3 * 128, 10.0, "the changes to be queued")
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for("STOPPING=1")
    os.kill(writer_pid, signal.SIGCONT)

    answered = {}
    for number, wire in enumerate(wires):
        *answers, goodbye = wire.end()
        wire.close()
        assert isinstance(goodbye, m.Failed)
        assert (goodbye.id, goodbye.code) == (0, "busy")
        for answer in answers:
            answered[f"{number}/{answer.id}"] = revision(answer)
    assert daemon.wait() == 0

    contents = inspect(daemon.data_dir).active["orders"]
    assert {key: at for key, (_, at) in contents.items()} == answered
    assert len(answered) >= 3 * 128


def test_what_was_still_being_looked_for_at_the_stop_is_in_the_data_file_too(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.process is not None
    wire = Wire(daemon.socket).greet()
    first = revision(wire.ask(set_key(1, ORDERS, "k", b"1")))
    for id in range(2, 42):
        changes = (m.SetKey(ORDERS, "k", b"%d" % n, None) for n in range(1_000))
        assert isinstance(wire.ask(change(id, *changes)), m.Changed)
    # All of them are looked at, one by one.
    rewind = m.Rewind(42, None, new_request_id(), 0, ORDERS, "k", first, None, None, False)
    wire.send_messages(rewind).wait_until_read()
    assert daemon.status()["queued"] == 0
    daemon.process.send_signal(signal.SIGTERM)

    rewound, goodbye = wire.end()
    wire.close()

    assert isinstance(rewound, m.Rewound)
    assert rewound.revision == first + 40_001
    assert isinstance(goodbye, m.Failed)
    assert daemon.wait() == 0
    assert logged_only(daemon.data_dir) == []
    assert inspect(daemon.data_dir).active["orders"]["k"] == (1, rewound.revision)


def test_being_told_twice_is_being_told_once(daemon: Daemon, client: assetstore.Client) -> None:
    client.store("orders").set("watermark", 1)
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for("STOPPING=1")

    # It may be gone already, which is as good.
    daemon.process.send_signal(signal.SIGTERM)
    daemon.process.send_signal(signal.SIGINT)

    assert daemon.wait() == 0


def test_a_client_that_does_not_take_its_answers_does_not_hold_up_the_stop(
    daemon: Daemon, client: assetstore.Client
) -> None:
    client.store("orders").set("large", "x" * 500_000)
    with Wire(daemon.socket).greet() as wire:
        wire.send_messages(*(m.Get(n, None, ORDERS, "large") for n in range(1, 33)))
        wait_until(lambda: daemon.status()["requests"] > 4, 5.0, "the requests to be answered")

        assert stop(daemon) < STOP_S


def test_idle_and_half_made_connections_do_not_hold_up_the_stop(daemon: Daemon) -> None:
    silent = [Wire(daemon.socket) for _ in range(20)]
    idle = [Wire(daemon.socket).greet() for _ in range(20)]
    begun = [Wire(daemon.socket).greet().send(b"\0\0\1\0half a fra") for _ in range(20)]
    wait_until(lambda: daemon.status()["connections"] > 60, 5.0, "all to be connected")

    assert stop(daemon) < 2.0
    for wire in [*silent, *idle, *begun]:
        wire.close()


@pytest.mark.parametrize("victim", ["writer_pid", "syncer_pid"])
def test_a_daemon_that_loses_a_process_ends_with_an_error_and_the_next_one_has_everything(
    daemon: Daemon, client: assetstore.Client, victim: str
) -> None:
    client.store("orders").set("watermark", 1)
    os.kill(daemon.status()[victim], signal.SIGKILL)

    assert daemon.wait() == os.EX_IOERR
    assert "giving up: the " in daemon.log_text()
    assert "process ended unexpectedly" in daemon.log_text()
    daemon.start()
    assert client.store("orders").get("watermark") == 1


def test_told_to_stop_while_a_large_manifest_is_applied_it_stops_and_goes_on_later(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.start()
    assert daemon.process is not None
    assets = [f"asset-{number}" for number in range(30_000)]
    daemon.set_manifest(*assets)
    wait_until(lambda: daemon.status()["assets_active"] > 1_000, 30.0, "the first slices")

    assert stop(daemon) < STOP_S
    daemon.start()

    assert daemon.status()["assets_active"] == len(assets)
    assert daemon.status()["manifest"]["state"] == "accepted"
    assert "Traceback" not in daemon.log_text()


def test_told_to_stop_while_it_starts_with_a_large_manifest_it_stops_and_goes_on_later(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    assets = [f"asset-{number}" for number in range(60_000)]
    daemon.set_manifest(*assets)
    daemon.launch()
    data = daemon.data_dir / "data.mdb"
    wait_until(lambda: data.exists() and data.stat().st_size > 1 << 20, 30.0, "the first slices")

    # No client was served yet, so it may as well be ended by the signal itself.
    before = time.monotonic()
    assert daemon.signal(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert time.monotonic() - before < STOP_S
    daemon.start()

    assert daemon.status()["assets_active"] == len(assets)


# --- its socket


def test_the_socket_is_there_while_the_daemon_is_and_for_owner_and_group_only(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    with daemon:
        assert daemon.socket.stat().st_mode & 0o777 == 0o660
        assert daemon.stop() == 0

        assert not daemon.socket.exists()


def test_a_socket_that_a_killed_daemon_left_is_replaced(
    daemon: Daemon, client: assetstore.Client
) -> None:
    client.store("orders").set("watermark", 1)
    daemon.kill()
    assert daemon.socket.is_socket()

    daemon.start()

    assert client.store("orders").get("watermark") == 1


def occupy_with_a_file(path: Path) -> None:
    path.write_text("precious")


def occupy_with_a_directory(path: Path) -> None:
    path.mkdir()


def occupy_with_a_link(path: Path) -> None:
    path.symlink_to(path.with_name("precious"))


@pytest.mark.parametrize(
    "occupy", [occupy_with_a_file, occupy_with_a_directory, occupy_with_a_link]
)
def test_what_is_no_socket_is_not_taken_away_from_the_sockets_path(
    make_daemon: Callable[..., Daemon], occupy: Callable[[Path], None]
) -> None:
    daemon = make_daemon()
    occupy(daemon.socket)
    before = os.lstat(daemon.socket)

    daemon.launch()

    assert daemon.wait() == os.EX_UNAVAILABLE
    assert f"{daemon.socket} exists and is no socket; remove it" in daemon.log_text()
    assert os.lstat(daemon.socket) == before


def test_a_socket_at_which_another_program_listens_is_left_to_it(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.socket))
        other.listen()

        daemon.launch()

        assert daemon.wait() == os.EX_UNAVAILABLE
    assert f"another process listens at {daemon.socket}" in daemon.log_text()
    assert daemon.socket.is_socket()


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_the_limit(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.socket = daemon.socket.with_name("s" * 100)

    daemon.launch()

    assert daemon.wait() == os.EX_UNAVAILABLE
    assert f"{len(str(daemon.socket))} bytes long, the kernel takes 107" in daemon.log_text()


def test_a_directory_where_others_may_take_the_sockets_place_is_refused(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.socket.parent.chmod(0o777)

    daemon.launch()

    assert daemon.wait() == os.EX_UNAVAILABLE
    assert "any of them could take the socket's place" in daemon.log_text()


#: The socket has to be descriptor 3, and the variables name the process that is to take it.
HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="assetstored")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Activator:
    """In the place of systemd: holds the listening socket, and hands it to each daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(daemon.socket))
        self.socket.listen()

    def run(self) -> subprocess.Popen[bytes]:
        """A daemon as systemd would start it. Flags as always: what is handed over wins."""
        fd = self.socket.fileno()
        command = [sys.executable, "-m", "assetstored", f"--data-dir={self.daemon.data_dir}"]
        command += [f"--manifest={self.daemon.manifest}", f"--socket={self.daemon.root / 'not'}"]
        with open(self.daemon.log, "ab") as log:
            return subprocess.Popen(
                [sys.executable, "-c", HAND_OVER, str(fd), *command],
                stdin=subprocess.DEVNULL,
                stderr=log,
                pass_fds=[fd],
            )


@pytest.fixture
def activator(make_daemon: Callable[..., Daemon]) -> Iterator[Activator]:
    activator = Activator(make_daemon())
    yield activator
    activator.socket.close()


def test_a_socket_that_is_handed_over_serves_clients_that_waited_and_outlives_the_daemon(
    activator: Activator,
) -> None:
    daemon = activator.daemon
    with daemon.client(timeout=30.0) as client, Wire(daemon.socket) as early:
        early.send_messages(m.Hello(1, assetstore.Writer(), "early"))
        for number in range(2):
            process = activator.run()
            client.store("orders").set("watermark", number)
            if number == 0:
                assert isinstance(m.decode_welcome(early.receive()), m.Welcome)
                assert client.status()["socket"] == str(daemon.socket)
            process.terminate()

            assert process.wait(STOP_S) == 0
            assert daemon.socket.is_socket()
    assert not (daemon.root / "not").exists()


def test_a_descriptor_that_is_handed_over_and_is_no_listening_unix_socket_is_refused(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    activator = Activator(daemon)
    activator.socket.close()
    for family, kind, complaint in (
        (socket.AF_UNIX, socket.SOCK_DGRAM, "not a Unix stream socket"),
        (socket.AF_INET, socket.SOCK_STREAM, "not a Unix stream socket"),
        (socket.AF_UNIX, socket.SOCK_STREAM, "does not listen"),
    ):
        with socket.socket(family, kind) as activator.socket:
            process = activator.run()

            assert process.wait(30.0) == os.EX_UNAVAILABLE
        assert complaint in daemon.log_text().splitlines()[-1]

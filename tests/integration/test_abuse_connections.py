"""Connections that are opened, held, dropped or starved as no client should.

Rule: none of it may cost other clients their service, nor the daemon its memory or descriptors.
"""

from __future__ import annotations

import array
import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from tests.support.checkout import ROOT
from tests.support.daemon import Daemon
from tests.support.service import Service, serving
from tests.support.waiting import wait_until
from tests.support.wire import HELLO, Wire, connect, set_key

from assetstore import messages as m
from assetstore.framing import frame

ORDERS = m.AssetRef(name="orders")

#: As many as the issue of a whole fleet gone wrong; fewer where the machine allows fewer.
MANY = 10_000

#: The daemon's own limit.
MAX_CONNECTIONS = 4_096

LARGE = b'"' + b"x" * 1_000_000 + b'"'

#: A client that asks for more than its socket holds, and is stopped before it reads any of it.
STOPPED_CLIENT = """
import os, signal, sys
from pathlib import Path
from tests.support.wire import Wire
from assetstore import messages as m
wire = Wire(Path(sys.argv[1])).greet()
wire.send_messages(*[m.Get(id, None, m.AssetRef(name="orders"), "large") for id in range(1, 20)])
os.kill(os.getpid(), signal.SIGSTOP)
sys.exit(len({wire.answer().id for _ in range(19)}) != 19)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service:
        with Wire(service.socket).greet() as wire:
            wire.ask(set_key(1, ORDERS, "large", LARGE))
        yield service


@pytest.fixture
def many() -> Iterator[int]:
    """How many connections this process may open, up to MANY."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield min(MANY, before[1] - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


# --- many


def test_ten_thousand_connections_without_a_byte_leave_others_their_service(
    service: Service, many: int
) -> None:
    with service.undisturbed(), contextlib.ExitStack() as stack:
        socks = [stack.enter_context(connect(service.socket)) for _ in range(many)]
        turned_away = 0
        if many > MAX_CONNECTIONS:
            # They are accepted in their order: when the last is turned away, so are all that will.
            turned_away = bool(socks.pop().recv(4_096))
        for sock in socks:
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                turned_away += bool(sock.recv(4_096))

    assert turned_away >= many - MAX_CONNECTIONS


def test_a_storm_of_connections_that_come_and_go_leaves_others_their_service(
    service: Service,
) -> None:
    with service.undisturbed():
        for _ in range(3_000):
            connect(service.socket).close()
        for _ in range(500):
            Wire(service.socket).greet().close()


def test_idle_connections_cost_little(service: Service) -> None:
    with service.undisturbed() as footprint, contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(service.socket).greet()) for _ in range(1_000)]

        assert {wire.ask(m.Get(1, None, ORDERS, "none")).id for wire in wires} == {1}

    assert footprint.grown_bytes < 20 << 20


def test_beyond_the_limit_a_connection_is_turned_away_until_another_ends(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(max_connections=5).start()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(daemon.socket).greet()) for _ in range(5)]
        with Wire(daemon.socket) as sixth:
            (answer,) = sixth.end()
            assert isinstance(answer, m.Failed)
            assert (answer.id, answer.code) == (0, "busy")
            assert "max_connections" in answer.message

        assert wires[0].ask(m.Get(1, None, ORDERS, "k")) == m.Absent(1)
        wires[4].close()

        wait_until(lambda: is_let_in(daemon), 10, "a connection to be let in again")


def is_let_in(daemon: Daemon) -> bool:
    with Wire(daemon.socket) as wire:
        wire.send_while_it_reads(frame(m.encode(HELLO)))
        return isinstance(m.decode_welcome(wire.receive()), m.Welcome)


def test_a_low_limit_of_descriptors_lowers_the_limit_of_connections(
    make_daemon: Callable[..., Daemon],
) -> None:
    command = ["sh", "-c", 'ulimit -n 128 && exec "$@"', "sh", sys.executable, "-m", "assetstored"]
    daemon = make_daemon(command=command).start()
    with contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(daemon.socket)) for _ in range(300)]
        answers = [
            m.decode_welcome(wire.send_while_it_reads(frame(m.encode(HELLO))).receive())
            for wire in wires
        ]

        welcomed = [
            wire for wire, answer in zip(wires, answers, strict=True) if type(answer) is m.Welcome
        ]
        assert 0 < len(welcomed) <= 64
        assert {a.code for a in answers if isinstance(a, m.Failed)} == {"busy"}
        assert welcomed[0].ask(m.Get(1, None, ORDERS, "k")) == m.Absent(1)

    assert "raise LimitNOFILE=" in daemon.log_text()
    assert "Traceback" not in daemon.log_text()


def test_all_that_wait_while_the_daemon_hangs_are_answered_when_it_goes_on(
    service: Service, many: int
) -> None:
    os.kill(service.pid, signal.SIGSTOP)
    socks: list[socket.socket] = []
    try:
        # Until there is no more room in the queue, which is EAGAIN.
        with contextlib.suppress(BlockingIOError):
            while len(socks) < many:
                sock = socket.socket(socket.AF_UNIX)
                socks.append(sock)
                sock.setblocking(False)
                sock.connect(str(service.socket))
        socks.pop().close()
        assert len(socks) > 100
    finally:
        os.kill(service.pid, signal.SIGCONT)

    with service.undisturbed():
        for sock in socks:
            sock.settimeout(20)
            # Who is turned away may be so already.
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(frame(m.encode(HELLO)))
        assert all(sock.recv(4_096) for sock in socks)
        for sock in socks:
            sock.close()


# --- slow, silent, stopped, gone


def test_peers_that_are_silent_are_cut_off_after_their_deadline_and_others_are_not(
    service: Service,
) -> None:
    whole = frame(m.encode(set_key(1, ORDERS, "cut", b'"' + b"x" * 10_000 + b'"')))
    with service.undisturbed(), contextlib.ExitStack() as stack:
        began = time.monotonic()
        silent = {
            "no hello": Wire(service.socket),
            "half a hello": Wire(service.socket).send(frame(m.encode(HELLO))[:20]),
            "a byte": Wire(service.socket).greet().send(whole[:1]),
            "a header": Wire(service.socket).greet().send((100).to_bytes(4, "big")),
            "most of a frame": Wire(service.socket).greet().send(whole[:-1]),
        }
        idle = stack.enter_context(Wire(service.socket).greet())
        took_s = {}
        for name, wire in silent.items():
            with wire:
                assert wire.end() == []
                took_s[name] = time.monotonic() - began

        assert min(took_s.values()) > 9.9, took_s
        assert max(took_s.values()) < 20, took_s
        assert idle.ask(m.Get(1, None, ORDERS, "cut")) == m.Absent(1)

    assert "said no hello" in service.daemon.log_text()
    assert "began a frame and did not end it" in service.daemon.log_text()


def test_clients_that_vanish_in_the_middle_of_an_answer_leave_nothing(service: Service) -> None:
    with service.undisturbed():
        for number in range(100):
            wire = Wire(service.socket).greet()
            wire.send_messages(*[m.Get(id, None, ORDERS, "large") for id in range(1, 4)])
            wire.socket.recv(1 + number * 1_000)
            wire.close()  # what is unread makes this a reset
        for _ in range(100):
            wire = Wire(service.socket).greet()
            wire.send_messages(*[set_key(id, ORDERS, f"v{id}", b"1") for id in range(1, 50)])
            wire.close()


def test_clients_that_are_stopped_with_answers_unread_hold_up_nobody(service: Service) -> None:
    with service.undisturbed(more_bytes=4 << 20):
        stopped = [
            subprocess.Popen([sys.executable, "-c", STOPPED_CLIENT, str(service.socket)], cwd=ROOT)
            for _ in range(4)
        ]
        for process in stopped:
            os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        with service.daemon.client() as client:
            assert client.store("orders").get("large") == "x" * 1_000_000

        # One goes on where it was stopped; the others never do.
        os.kill(stopped[0].pid, signal.SIGCONT)
        assert stopped[0].wait(20) == 0
        for process in stopped[1:]:
            process.kill()
            process.wait()


def test_descriptors_that_are_sent_along_are_thrown_away(service: Service) -> None:
    with service.undisturbed(), Wire(service.socket).greet() as wire, open(os.devnull) as null:
        before = service.descriptors()
        rights = array.array("i", [null.fileno()] * 100)
        get = frame(m.encode(m.Get(1, None, ORDERS, "none")))
        for _ in range(50):
            wire.socket.sendmsg([get], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            assert wire.answer() == m.Absent(1)
            assert service.descriptors() <= before
        # In the middle of a frame too.
        wire.socket.sendmsg([get[:7]], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        assert wire.send(get[7:]).answer() == m.Absent(1)
        assert service.descriptors() <= before

"""Talking to systemd: what is sent where, and which sockets are taken over."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from assetstored.sdnotify import Notifier, inherited_sockets

_VARIABLES = (
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
)


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the tests is not to be told anything."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A socket in systemd's place."""
    # Short: the path of a socket has 107 bytes.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("notify")
        sock.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield sock


def test_readiness_comes_with_a_status_in_one_datagram(manager: socket.socket) -> None:
    Notifier().ready("serving 3 assets")

    assert manager.recv(4096) == b"READY=1\nSTATUS=serving 3 assets"


def test_a_reload_tells_when_it_began(manager: socket.socket) -> None:
    before = time.monotonic_ns() // 1_000
    Notifier().reloading()

    first, _, second = manager.recv(4096).decode().partition("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= time.monotonic_ns() // 1_000


def test_the_other_states_are_one_word(manager: socket.socket) -> None:
    notifier = Notifier()
    notifier.watchdog()
    notifier.stopping()
    notifier.extend_timeout(1.5)

    assert [manager.recv(4096) for _ in range(3)] == [
        b"WATCHDOG=1",
        b"STOPPING=1",
        b"EXTEND_TIMEOUT_USEC=1500000",
    ]


def test_an_abstract_address_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"assetstore-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name)
        sock.settimeout(5.0)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)

        Notifier().watchdog()

        assert sock.recv(4096) == b"WATCHDOG=1"


def test_outside_systemd_nothing_is_sent_and_nothing_fails() -> None:
    notifier = Notifier()

    notifier.ready("serving")
    notifier.stopping()

    assert notifier.watchdog_s is None


def test_a_manager_that_is_gone_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))

    Notifier().ready("serving")


@pytest.mark.parametrize(
    ("usec", "pid", "expected"),
    [
        ("15000000", None, 15.0),
        ("15000000", "ours", 15.0),
        ("15000000", "1", None),
        ("soon", None, None),
        ("", None, None),
    ],
)
def test_the_watchdog_is_fed_only_if_it_waits_for_this_process(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str | None, expected: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)

    assert Notifier().watchdog_s == expected


def test_children_inherit_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _VARIABLES:
        monkeypatch.setenv(name, "1")

    Notifier()
    inherited_sockets()

    assert not set(_VARIABLES) & set(os.environ)


@pytest.mark.parametrize(
    ("pid", "count"), [("1", "1"), ("", "1"), ("ours", ""), ("ours", "many"), ("ours", "-1")]
)
def test_sockets_that_are_not_for_this_process_are_not_taken(
    monkeypatch: pytest.MonkeyPatch, pid: str, count: str
) -> None:
    monkeypatch.setenv("LISTEN_PID", str(os.getpid()) if pid == "ours" else pid)
    monkeypatch.setenv("LISTEN_FDS", count)

    assert inherited_sockets() == []


def test_the_sockets_of_systemd_are_taken_in_order_and_not_handed_on(tmp_path: Path) -> None:
    # They begin at descriptor 3, which is the tests' own here; so in a process of its own.
    script = (
        "import os, socket, sys\n"
        "from assetstored.sdnotify import inherited_sockets\n"
        "made = [socket.socket(socket.AF_UNIX) for _ in range(2)]\n"
        "for number, sock in enumerate(made): sock.bind(f'socket-{number}')\n"
        "fds = [os.dup(sock.fileno()) for sock in made]\n"
        "for number, fd in enumerate(fds): os.dup2(fd, 3 + number)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='2', LISTEN_FDNAMES='a:b')\n"
        "taken = inherited_sockets()\n"
        "print([name for name, _ in taken])\n"
        "print([sock.fileno() for _, sock in taken])\n"
        "print([os.get_inheritable(sock.fileno()) for _, sock in taken])\n"
        "print([sock.getsockname() for _, sock in taken])\n"
        "print([name for name in os.environ if name.startswith('LISTEN_')])\n"
        "os._exit(0 if not sys.stdout.flush() else 1)\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines() == [
        "['a', 'b']",
        "[3, 4]",
        "[False, False]",
        "['socket-0', 'socket-1']",
        "[]",
    ]

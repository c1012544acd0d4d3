"""A process of clients that mean harm, or are broken: as fast as they can until told to end.

    python -m tests.support.hostile SOCKET KIND SEED

It says "{}" when it is at it. When standard input ends it closes what it holds and says in one line
of JSON how many connections it made and how many frames it sent.

Rule: sends, and judges nothing; who must not be harmed looks on from elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.checkout import ROOT
from tests.support.fuzzed import FRAMES_EACH, stream
from tests.support.wire import HELLO, set_key

from assetstore import messages as m
from assetstore.framing import frame

ORDERS = m.AssetRef(name="orders")

_GREETING = frame(m.encode(HELLO))
_LARGE = frame(m.encode(set_key(1, ORDERS, "large", b'"' + b"x" * 1_000_000 + b'"')))
_NESTED = frame(m.encode(set_key(1, ORDERS, "nested", b"[" * 200_000)))
_GETS = b"".join(frame(m.encode(m.Get(id, None, ORDERS, "k"))) for id in range(1, 1_001))
_PAGES = b"".join(
    frame(m.encode(m.Items(id, None, ORDERS, "", None, 1_000))) for id in range(1, 65)
)

#: Connections that a kind holds on to, and no more: the rest of its time it makes new ones.
_HELD = 300


class Clients:
    """What one process does: connections that never block it."""

    def __init__(self, path: str, seed: int) -> None:
        self._path = path
        self.random = random.Random(seed)
        self.connections = 0
        self.frames = 0
        self._held: deque[socket.socket] = deque()

    def connect(self) -> socket.socket | None:
        """A new connection, or None where there is no room for one."""
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return None
        self.connections += 1
        return sock

    def send(self, sock: socket.socket, data: bytes, frames: int = 1) -> None:
        """Send what the daemon takes of this now."""
        with contextlib.suppress(OSError):
            sock.send(data)
            self.frames += frames

    def hold(self, sock: socket.socket) -> None:
        """Leave it open; the oldest of too many is closed."""
        self._held.append(sock)
        if len(self._held) > _HELD:
            self._held.popleft().close()

    def close(self) -> None:
        """Close all that is held."""
        for sock in self._held:
            sock.close()


def garbage(clients: Clients, sock: socket.socket) -> None:
    """Frames that are broken in many ways, behind a good hello or without one."""
    clients.send(sock, _GREETING if clients.random.random() < 0.9 else b"")
    clients.send(sock, stream(clients.random), FRAMES_EACH)
    sock.close()


def storm(clients: Clients, sock: socket.socket) -> None:
    """Connections that come and go."""
    sock.close()


def silence(clients: Clients, sock: socket.socket) -> None:
    """Connections without a byte."""
    clients.hold(sock)


def halves(clients: Clients, sock: socket.socket) -> None:
    """Large frames that never end."""
    clients.send(sock, _GREETING + _LARGE[:100_000], 2)
    clients.hold(sock)


def deaf(clients: Clients, sock: socket.socket) -> None:
    """Pages that are asked for and never read."""
    clients.send(sock, _GREETING + _PAGES, 65)
    clients.hold(sock)


def greedy(clients: Clients, sock: socket.socket) -> None:
    """A thousand requests in one piece, of which no answer is read."""
    clients.send(sock, _GREETING + _GETS, 1_001)
    clients.hold(sock)


def nested(clients: Clients, sock: socket.socket) -> None:
    """Values nested without end."""
    clients.send(sock, _GREETING + _NESTED, 2)
    clients.hold(sock)


def web(clients: Clients, sock: socket.socket) -> None:
    """Those that took it for something else."""
    clients.send(sock, clients.random.choice([b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\2\0\1\0"]))
    clients.hold(sock)


KINDS: dict[str, Callable[[Clients, socket.socket], None]] = {
    kind.__name__: kind for kind in (garbage, storm, silence, halves, deaf, greedy, nested, web)
}


class Hostile:
    """The process, as a test drives it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.connections = 0
        self.frames = 0

    def count(self) -> None:
        """Let it end, and learn what it did."""
        said, _ = self._process.communicate(timeout=60.0)
        self.connections, self.frames = json.loads(said)


@contextmanager
def hostile(path: Path, kind: str, seed: int) -> Iterator[Hostile]:
    """Hostile clients during the block; afterwards it is known what they did."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__, str(path), kind, str(seed)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "{}\n", f"the clients of kind {kind} did not begin"
        clients = Hostile(process)
        yield clients
        clients.count()


def main(path: str, kind: str, seed: int) -> None:
    # What they cost is what the daemon does for them; their own work gives way to that of others.
    os.nice(10)
    clients = Clients(path, seed)
    is_at_it = False
    while not select.select([sys.stdin], [], [], 0)[0]:
        sock = clients.connect()
        if sock is None:
            os.sched_yield()
            continue
        KINDS[kind](clients, sock)
        if not is_at_it:
            is_at_it = True
            print("{}", flush=True)
    clients.close()
    print(json.dumps([clients.connections, clients.frames]))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

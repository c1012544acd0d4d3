"""How many bytes a call sends and gets: counted on the way between a client and the daemon.

Rule: knows nothing of what the bytes mean.
"""

from __future__ import annotations

import socket
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.systems.ours import Assetstore, OurSession
from benchmarks.systems.system import value_of

_ASSET = "asset-1"


class Sizes(NamedTuple):
    """Bytes on the wire, both with their frame's header."""

    request: int
    answer: int


class _Relay:
    """Passes the bytes of one connection on, and counts them."""

    def __init__(self, listening: str, daemon: str) -> None:
        self.there = self.back = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(listening)
        self._listener.listen()
        self._daemon = daemon
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.socket(socket.AF_UNIX) as daemon:
            daemon.connect(self._daemon)
            # A call is one request and then its answer, so they may be passed on in turns.
            while request := client.recv(1 << 16):
                self.there += len(request)
                daemon.sendall(request)
                answer = daemon.recv(1 << 16)
                self.back += len(answer)
                client.sendall(answer)


@cache
def call_sizes() -> dict[str, Sizes]:
    """The sizes of a "get" and of a "set" of the benchmark's value; starts a daemon for it."""
    system = Assetstore()
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        sockets = Path(directory)
        try:
            system.start(sockets / "daemon", sockets)
            return _sizes(system.socket, str(sockets / "relay"))
        finally:
            system.stop()


def _sizes(daemon: str, listening: str) -> dict[str, Sizes]:
    relay = _Relay(listening, daemon)
    session = OurSession(listening, [_ASSET])
    found = {}
    try:
        session.set(0, value_of(0))
        for kind in ("get", "set"):
            there, back = relay.there, relay.back
            session.get(0) if kind == "get" else session.set(0, value_of(1))
            found[kind] = Sizes(relay.there - there, relay.back - back)
    finally:
        session.close()
        relay.join()
    return found

"""A relay between client and daemon that loses answers: the request gets there, and then silence.

Rule: knows frames and counts them; nothing of what is in them.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from pathlib import Path
from typing import Self

from assetstore.framing import FrameReader, frame

DEADLINE_S = 30.0


class Lossy:
    """Listens; passes everything on, but in place of every ``every``-th answer it hangs up."""

    def __init__(self, daemon_path: Path, every: int) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="assetstore-")
        self.path = str(Path(self._directory.name) / "s")
        self.lost = 0
        self._daemon_path = str(daemon_path)
        self._every = every
        self._answers = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._listener.bind(self.path)
        self._listener.listen(128)
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        # Wakes up accept, which close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._directory.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            daemon = socket.socket(socket.AF_UNIX)
            daemon.connect(self._daemon_path)
            self._start(self._pass_requests, client, daemon)
            self._start(self._pass_answers, client, daemon)

    def _pass_requests(self, client: socket.socket, daemon: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                daemon.sendall(data)
        with contextlib.suppress(OSError):
            daemon.shutdown(socket.SHUT_WR)

    def _pass_answers(self, client: socket.socket, daemon: socket.socket) -> None:
        frames = FrameReader(2**31)
        is_welcomed = False
        with client, daemon, contextlib.suppress(OSError):
            while data := daemon.recv(65536):
                frames.feed(data)
                for payload in frames:
                    self._answers += is_welcomed
                    if is_welcomed and self._answers % self._every == 0:
                        self.lost += 1
                        client.shutdown(socket.SHUT_RDWR)
                        return
                    is_welcomed = True
                    client.sendall(frame(payload))

    def _start(self, target: object, *args: socket.socket) -> None:
        thread = threading.Thread(target=target, args=args)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

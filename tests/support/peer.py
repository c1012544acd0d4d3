"""A peer of a few lines in the daemon's place, to behave as no daemon should and some networks do.

Rule: speaks the protocol through assetstore's own frames and messages, on a real socket.
"""

from __future__ import annotations

import contextlib
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

from assetstore import messages as m
from assetstore.errors import ProtocolError
from assetstore.framing import FrameReader, frame

LIMITS = m.Limits(max_value_bytes=1024 * 1024, max_frame_bytes=1024 * 1024 + 64 * 1024)

#: How long a test may take before its peer gives up on it.
DEADLINE_S = 30.0


class Talk:
    """One connection of a client, seen from the other side."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.settimeout(DEADLINE_S)
        self.ended = threading.Event()
        self._reader = FrameReader(2**31)

    def hear_bytes(self) -> bytes | None:
        """The next payload, or None when the client has closed."""
        while (payload := self._reader.next()) is None:
            data = self._socket.recv(65536)
            if not data:
                return None
            self._reader.feed(data)
        return payload

    def welcome(self, **changes: Any) -> m.Hello:
        """Hear the hello and answer it as a daemon does, with changes."""
        payload = self.hear_bytes()
        assert payload is not None
        fields = {
            "version": m.PROTOCOL_VERSION,
            "store_id": "peer",
            "limits": LIMITS,
            "server": "peer/1",
        }
        self.say(m.Welcome(**{**fields, **changes}))
        return m.decode_hello(payload)

    def hear(self) -> Any:
        """The next request; ends the script if the client has closed."""
        payload = self.hear_bytes()
        if payload is None:
            raise EOFError
        return m.decode_request(payload)

    def requests(self) -> Iterator[Any]:
        """Requests until the client closes."""
        with contextlib.suppress(EOFError):
            while True:
                yield self.hear()

    def say(self, message: m.Message) -> None:
        """Send one message."""
        self.say_bytes(frame(m.encode(message)))

    def say_bytes(self, data: bytes) -> None:
        self._socket.sendall(data)

    def close(self) -> None:
        self._socket.close()

    def shut(self) -> None:
        """Wake up whoever reads from it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


Script = Callable[[Talk], None]


class Peer:
    """Listens; runs the next script for each connection, and the last one for all that follow."""

    def __init__(self, *scripts: Script) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="assetstore-")
        self.path = str(Path(self._directory.name) / "s")
        self.connections = 0
        self._scripts = list(scripts)
        self._talks: list[Talk] = []
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._listener = socket.socket(socket.AF_UNIX)

    def listen(self, backlog: int = 128) -> Self:
        """From now on connections are made, but nobody takes them."""
        self._listener.bind(self.path)
        self._listener.listen(backlog)
        return self

    def serve(self) -> None:
        """From now on the scripts are run."""
        self._start(self._accept)

    def __enter__(self) -> Self:
        self.listen()
        self.serve()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
        assert self._failures == []

    def close(self) -> None:
        """Close everything and wait for the scripts to end."""
        # Wakes up accept, which close alone does not.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for talk in self._talks:
            talk.shut()
        for thread in self._threads:
            thread.join(DEADLINE_S)
        self._directory.cleanup()

    def wait_until_hung_up(self) -> None:
        """Return when the script of the latest connection has ended, and closed it."""
        assert self._talks[-1].ended.wait(DEADLINE_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            talk = Talk(sock)
            self._talks.append(talk)
            self._start(partial(self._run, talk, script))

    def _run(self, talk: Talk, script: Script) -> None:
        try:
            script(talk)
        except (EOFError, ConnectionError, ProtocolError):
            pass  # the client has gone, which it may
        except OSError as exc:
            if exc.errno is not None:
                self._failures.append(exc)
        except BaseException as exc:
            self._failures.append(exc)
        finally:
            talk.close()
            talk.ended.set()

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        self._threads.append(thread)
        thread.start()


def answer(request: Any) -> m.Message:
    """What a daemon with an empty store that forgets everything would say."""
    match request:
        case m.Get():
            return m.Absent(request.id)
        case m.Change(operations=operations):
            return m.Changed(request.id, [m.Outcome(1, 1, None, None) for _ in operations])
        case m.Count():
            return m.Counted(request.id, 0, None)
        case m.Keys():
            return m.KeyPage(request.id, [], False)
        case m.Items():
            return m.ItemPage(request.id, [], False)
        case m.Status():
            return m.StatusReport(request.id, {})
    raise AssertionError(f"no test has asked for {request}")


def serve(talk: Talk) -> None:
    """Behave."""
    talk.welcome()
    for request in talk.requests():
        talk.say(answer(request))

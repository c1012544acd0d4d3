"""The command ``assetstore`` as tests run it: in this process, as a process, and on a terminal.

Rule: what it prints and returns is for the tests to judge.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from click.testing import CliRunner
from tests.support.daemon import Daemon

from assetstore_cli.program import program

#: How long a command may take on a busy machine.
DEADLINE_S = 30.0

COMMAND = [sys.executable, "-m", "assetstore_cli"]


class Ran(NamedTuple):
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of --json."""
        return [json.loads(line) for line in self.out.splitlines()]


class Cli:
    """The command, pointed at one daemon."""

    def __init__(self, socket: Path | str) -> None:
        self.env = {"ASSETSTORE_SOCKET": str(socket), "COLUMNS": "80"}

    def __call__(self, *args: str, stdin: str | bytes | None = None) -> Ran:
        """Run it in this process: quick. There is no terminal."""
        result = CliRunner().invoke(program, args, input=stdin, env=self.env)
        return Ran(result.exit_code, result.stdout, result.stderr)

    def process(self, *args: str, **env: str) -> Ran:
        """Run it as a process of its own, with pipes."""
        done = subprocess.run(
            [*COMMAND, *args],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=DEADLINE_S,
            env={**os.environ, **self.env, **env},
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def terminal(self, *args: str, columns: int = 80, **env: str) -> Terminal:
        """Start it on a terminal of its own."""
        return Terminal([*COMMAND, *args], columns, {**self.env, **env})


def _take_terminal() -> None:
    ioctl(0, termios.TIOCSCTTY, 0)
    # Whoever runs the tests in the background has it ignored, and that is inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A program on a terminal, and the person who reads and types there."""

    def __init__(self, command: list[str], columns: int, env: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        full_env = {**os.environ, "TERM": "xterm-256color", **env}
        # A terminal knows its width by itself.
        full_env.pop("COLUMNS", None)
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=full_env,
            # Its own session, with this as its terminal, so that Ctrl-C reaches it and only it.
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)
        self._ours = ours
        self.shown = ""

    def read_until(self, text: str) -> str:
        """All that was shown up to now, once text is in it."""
        return self._read(lambda: text in self.shown, f"{text!r}")

    def read_line(self, text: str) -> str:
        """The same, once the line has ended that text is in: what is written may come in pieces."""
        return self._read(lambda: text in self.shown.rpartition("\n")[0], f"a line with {text!r}")

    def press(self, text: str) -> None:
        """Press these keys. "\\x03" is Ctrl-C, "\\x04" the end of input."""
        os.write(self._ours, text.encode())

    def end(self) -> Ran:
        """Wait for its end; what it has shown is all in ``out``."""
        self._read(lambda: False, None)
        return Ran(self._process.wait(DEADLINE_S), self.shown.replace("\r\n", "\n"), "")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        os.close(self._ours)

    def _read(self, is_enough: Callable[[], bool], what: str | None) -> str:
        deadline = time.monotonic() + DEADLINE_S
        while not is_enough():
            ready, _, _ = select.select([self._ours], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                raise AssertionError(f"waited in vain for {what or 'the end'}: {self.shown!r}")
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                # EIO: nobody has the other side open any more.
                data = b""
            if not data:
                if what is None:
                    break
                raise AssertionError(f"it ended before {what}: {self.shown!r}")
            self.shown += data.decode(errors="replace")
        return self.shown


ASSETS: tuple[str | dict[str, str], ...] = (
    {"name": "orders", "uri": "s3://data/orders/", "group": "sales"},
    "customers",
)


@contextlib.contextmanager
def shared_daemon(root: Path) -> Iterator[Daemon]:
    """A daemon for the tests of one module: a start for each would be most of their time."""
    daemon = Daemon(root)
    daemon.set_manifest(*ASSETS)
    with daemon:
        yield daemon
    assert daemon.verify() == []


def reset(daemon: Daemon) -> None:
    """Make it as good as new for the next test: its assets active, nothing in them or the trash."""
    with daemon.client() as client:
        as_new = json.dumps({"version": 1, "assets": list(ASSETS)})
        if not daemon.manifest.exists() or daemon.manifest.read_text() != as_new:
            held = daemon.activate(*ASSETS)["manifest"]["held"]
            if held:
                client.accept_manifest(held["digest"])
        for asset in client.assets():
            if asset.state == "active" and asset.entries:
                client.store(asset).clear()
        client.purge([store.id for store in client.trash()])

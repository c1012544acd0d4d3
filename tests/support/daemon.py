"""A real daemon in a process of its own, as tests start, feed, kill and inspect it.

Rule: drives the daemon from outside only: its command, its files, its socket, its signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from tests.support.inspect_store import problems_of
from tests.support.starter import Started, Starter

import assetstore

#: How long a start, a stop or a manifest may take on a busy machine.
DEADLINE_S = 30.0

#: As users start it; to be followed by its flags.
COMMAND = (sys.executable, "-m", "assetstored")

_CONFIG_KEYS = ("data_dir", "socket", "manifest")


class Daemon:
    """A daemon on a directory of its own. Keyword arguments are keys of the configuration.

    READY, STATUS and the like are read from a socket in systemd's place, so every test that
    starts a daemon also tests what systemd would be told.
    """

    #: While there is one, it starts the daemons that are given no command.
    starter: ClassVar[Starter | None] = None

    def __init__(self, root: Path, *, command: Sequence[str] = (), **config: Any) -> None:
        self.root = root
        self.data_dir = root / "data"
        self.manifest = root / "manifest.json"
        # pytest's directories are too deep for the 107 bytes of a socket's path.
        self._socket_dir = tempfile.TemporaryDirectory(prefix="assetstore-")
        self.socket = Path(self._socket_dir.name) / "s"
        self.log = root / "daemon.log"
        self.config = config
        self.env: dict[str, str] = {}
        #: What the test has damaged on purpose: a part of what is then found.
        self.damaged: list[str] = []
        self.process: subprocess.Popen[bytes] | Started | None = None
        self._command = command

    # --- life

    def start(self) -> Self:
        """Start it and return when it is ready to serve."""
        self.launch()
        self.wait_for("READY=1")
        return self

    def launch(self) -> None:
        """Start it, without waiting for anything."""
        assert self.process is None, "it runs already"
        self.root.mkdir(parents=True, exist_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify_path = Path(self._socket_dir.name) / f"notify-{time.monotonic_ns()}"
        self._notify.bind(str(notify_path))
        env = {**os.environ, "NOTIFY_SOCKET": str(notify_path), **self.env}
        with open(self.log, "ab") as log:
            if self.starter is not None and not self._command:
                self.process = self.starter.start(self._flags(), env, log)
            else:
                self.process = subprocess.Popen(
                    [*(self._command or COMMAND), *self._flags()],
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def wait_for(self, state: str, deadline_s: float = DEADLINE_S) -> str:
        """The next notification that holds state; fails if the daemon ends before."""
        assert self.process is not None
        deadline = time.monotonic() + deadline_s
        exited = os.pidfd_open(self.process.pid)
        try:
            while (left := deadline - time.monotonic()) > 0:
                watched: list[socket.socket | int] = [self._notify, exited]
                ready, _, _ = select.select(watched, [], [], left)
                if self._notify in ready:
                    message = self._notify.recv(4096).decode()
                    if state in message.split("\n"):
                        return message
                elif ready:
                    raise AssertionError(f"the daemon ended before {state}:\n{self.log_text()}")
        finally:
            os.close(exited)
        raise AssertionError(f"no {state} within {deadline_s} s:\n{self.log_text()}")

    def stop(self) -> int:
        """Stop it as systemd would; returns its exit status."""
        return self.signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it as a crash would: no warning, nothing cleaned up."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> int:
        """Send a signal that ends it, and wait until it has."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self, deadline_s: float = DEADLINE_S) -> int:
        """Wait until it has ended by itself; returns its exit status."""
        assert self.process is not None
        status = self.process.wait(deadline_s)
        self._notify.close()
        self.process = None
        return status

    def restart(self) -> None:
        """Stop and start."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop it if it runs, and check that what it leaves is whole."""
        if self.process is not None:
            if self.process.poll() is None:
                # A test may have stopped it to see what a hang does.
                self.process.send_signal(signal.SIGCONT)
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()
            self.wait()
        self._socket_dir.cleanup()

    @contextlib.contextmanager
    def disk_busy(self) -> Iterator[None]:
        """Nothing gets on disk meanwhile, as with one that takes its time: all changes wait."""
        status = self.status()
        pids = [status["writer_pid"], status["syncer_pid"]]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    # --- what it holds

    def set_manifest(self, *assets: str | dict[str, str], **fields: object) -> None:
        """Write the manifest: names, or objects; as an operator's tool would, by rename."""
        text = json.dumps({"version": 1, "assets": list(assets), **fields})
        self.root.mkdir(parents=True, exist_ok=True)
        temporary = self.manifest.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.rename(self.manifest)

    def activate(self, *assets: str | dict[str, str], **fields: object) -> dict[str, Any]:
        """Write the manifest and return when the daemon has judged it: its status."""
        self.set_manifest(*assets, **fields)
        # A program is started for it, and three commits: on a busy machine that takes seconds.
        with self.client(timeout=30.0) as client:
            return client.reload_manifest()

    def client(self, **options: Any) -> assetstore.Client:
        """A client of this daemon."""
        return assetstore.connect(str(self.socket), **options)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with self.client() as client:
            return client.status()

    def log_text(self) -> str:
        """All it has logged since its first start."""
        return self.log.read_text() if self.log.exists() else ""

    def verify(self) -> list[str]:
        """What the product's own check finds wrong, beside ``damaged``; call it while it does not
        run."""
        return [
            problem
            for problem in problems_of(self.data_dir)
            if not any(part in problem for part in self.damaged)
        ]

    def _flags(self) -> list[str]:
        flags = [f"--{key.replace('_', '-')}={getattr(self, key)}" for key in _CONFIG_KEYS]
        if self.config:
            config = self.root / "assetstored.toml"
            config.write_text(
                "".join(f"{key} = {_toml(value)}\n" for key, value in self.config.items())
            )
            flags.append(f"--config={config}")
        return flags


def _toml(value: object) -> str:
    """A value as TOML has it on one line; what is no table is as in JSON."""
    if not isinstance(value, dict):
        return json.dumps(value)
    return (
        "{" + ", ".join(f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items()) + "}"
    )

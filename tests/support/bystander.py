"""A well-behaved client beside the abuse: a process of its own that notes how long it waits.

    python -m tests.support.bystander SOCKET

For each line "get" or "set" on its standard input it asks again and again until the next line,
and then says in one line of JSON how often, the longest wait in seconds, and what failed.

Rule: uses the client as a worker does; knows nothing of the abuse.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.checkout import ROOT

import assetstore

#: Between two requests: often enough to fall into every gap, and no load of its own.
_PAUSE_S = 0.001


class Seen(NamedTuple):
    """What the bystander went through."""

    requests: int
    longest_s: float
    error: str | None


class Bystander:
    """The bystander's process, as a test drives it."""

    def __init__(self, socket: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(socket)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._say()
        self._hear()

    def start(self, operation: str = "get") -> None:
        """Let it ask; when this returns, it does."""
        self._say(operation)
        self._hear()

    def stop(self) -> Seen:
        """Let it end, and say what it has seen."""
        self._say("stop")
        return Seen(**self._hear())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()

    def _say(self, word: str = "") -> None:
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def _hear(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, "the bystander died"
        return json.loads(line)


def main(socket: str) -> None:
    """Ask for as long as standard input lasts."""
    with assetstore.connect(socket) as client:
        store = client.store("customers")
        store.set("bystander", 0)
        for line in sys.stdin:
            operation = line.strip()
            print("{}", flush=True)
            if operation:
                seen = _ask(store, operation)
                sys.stdin.readline()
                print(json.dumps(seen._asdict()), flush=True)


def _ask(store: assetstore.Store, operation: str) -> Seen:
    requests, longest_s = 0, 0.0
    while True:
        before = time.monotonic()
        try:
            if operation == "get":
                store.get("bystander")
            else:
                store.set("bystander", requests)
        except assetstore.AssetStoreError as exc:
            return Seen(requests, time.monotonic() - before, f"{type(exc).__name__}: {exc}")
        longest_s = max(longest_s, time.monotonic() - before)
        requests += 1
        if select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            return Seen(requests, longest_s, None)


if __name__ == "__main__":
    main(sys.argv[1])

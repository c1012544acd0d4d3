"""A well-behaved client beside the abuse: a process of its own that notes how long it waits.

    python -m tests.support.bystander SOCKET

For each line "get N" or "set N" on its standard input it asks again and again until the next line,
says so after N times or a failure,
and then says in one line of JSON how often, how long it waited, in seconds, and what failed.

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
    p50_s: float
    p99_s: float
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

    def start(self, operation: str = "get", at_least: int = 1) -> None:
        """Let it ask so many times at least; when this returns, it does."""
        self._say(f"{operation} {at_least}")
        self._hear()
        self._has_asked = False

    def wait_until_asked(self) -> None:
        """Return when it has asked as often as it was to at least."""
        if not self._has_asked:
            self._hear()
            self._has_asked = True

    def stop(self) -> Seen:
        """Let it end, and say what it has seen."""
        self.wait_until_asked()
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
            words = line.split()
            print("{}", flush=True)
            if words:
                seen = _ask(store, words[0], int(words[1]))
                sys.stdin.readline()
                print(json.dumps(seen._asdict()), flush=True)


def _ask(store: assetstore.Store, operation: str, at_least: int) -> Seen:
    waits_s: list[float] = []
    error = None
    while True:
        before = time.monotonic()
        try:
            if operation == "get":
                store.get("bystander")
            else:
                store.set("bystander", len(waits_s))
        except assetstore.AssetStoreError as exc:
            error = f"{type(exc).__name__}: {exc}"
        waits_s.append(time.monotonic() - before)
        if error is not None or len(waits_s) == at_least:
            print("{}", flush=True)
        if error is not None or select.select([sys.stdin], [], [], _PAUSE_S)[0]:
            break
    waits_s.sort()
    count = len(waits_s)
    return Seen(count, waits_s[-1], waits_s[count // 2], waits_s[count * 99 // 100], error)


if __name__ == "__main__":
    main(sys.argv[1])

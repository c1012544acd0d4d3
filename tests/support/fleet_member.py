"""The program of a fleet: writers that write as fast as they can and note each step.

    python -m tests.support.fleet_member SOCKET DIRECTORY ACKS_FD SEED MEMBER [MEMBER ...]

Each member is a thread with keys of its own: asset ``own-MEMBER``, which it also clears, and
its prefix in assets that all share. It notes in DIRECTORY/MEMBER.jsonl what it is about to do and
what came of it (see ledger.py) before it goes on, and sends a byte to ACKS_FD for each change that
is acknowledged. It ends at the end of its standard input, with what is in hand done.

Rule: a client like any other; knows nothing of who is killed, or when.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import assetstore
from assetstore import OutcomeUnknown, Refused

SHARED = ("shared-0", "shared-1", "shared-2")

#: Longer than any restart: nothing but the loss of its connection keeps a change from an answer.
TIMEOUT_S = 60.0


class Member:
    """One writer and its story."""

    def __init__(self, client: assetstore.Client, name: str, seed: int, log: int, acks: int):
        self._client = client
        self._random = random.Random(f"{seed} {name}")
        self._log = log
        self._acks = acks
        self._parts = [(f"own-{name}", ""), *((asset, f"{name}/") for asset in SHARED)]
        # The last is longer than a key of LMDB.
        self._keys = [*(f"key-{n}" for n in range(8)), "é" * 300]
        self._step = 0

    def work(self, stop: threading.Event) -> None:
        """One step after another, until told to stop."""
        while not stop.is_set():
            self._step += 1
            part = self._random.choice(self._parts)
            chance = self._random.random()
            key = part[1] + self._random.choice(self._keys)
            if chance < 0.05:
                self._look(part)
            elif chance < 0.20:
                self._do(part, "delete", key)
            elif chance < 0.30 and not part[1]:
                self._do(part, "clear", "")
            else:
                # Now and then one that needs pages of its own.
                padding = "x" * (self._random.randrange(20_000) if chance > 0.97 else 20)
                self._do(part, "set", key, [self._step, padding])

    def _do(self, part: tuple[str, str], verb: str, key: str, value: Any = None) -> None:
        self._note("do", part, verb, key, value)
        store = self._client.store(part[0])
        try:
            match verb:
                case "set":
                    result: object = store.set(key, value)
                case "delete":
                    result = store.delete(key)
                case _:
                    result = store.clear()
        except OutcomeUnknown as exc:
            self._note("unknown", str(exc))
            self._look(part)
        except Refused as exc:
            self._note("no", str(exc))
        else:
            self._note("ok", result)
            with contextlib.suppress(BlockingIOError):
                os.write(self._acks, b".")

    def _look(self, part: tuple[str, str]) -> None:
        entries = self._client.store(part[0]).entries(part[1])
        self._note("saw", part, {entry.key: [entry.value, entry.revision] for entry in entries})

    def _note(self, *event: object) -> None:
        os.write(self._log, json.dumps(event).encode() + b"\n")


def _fail(args: threading.ExceptHookArgs) -> None:
    """A writer that cannot go on takes its process with it, for the fleet to see."""
    threading.__excepthook__(args)
    os._exit(1)


def main(argv: list[str]) -> None:
    threading.excepthook = _fail
    socket, directory, acks, seed, *names = argv
    stop = threading.Event()
    threads = []
    with assetstore.connect(socket, timeout=TIMEOUT_S) as client:
        for name in names:
            log = os.open(Path(directory, f"{name}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            member = Member(client, name, int(seed), log, int(acks))
            thread = threading.Thread(target=member.work, args=(stop,))
            thread.start()
            threads.append(thread)
        sys.stdin.read()
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])

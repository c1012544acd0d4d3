"""What the programs of a crew have in common: a client, threads, and notes of each.

    python -m tests.support.PROGRAM SOCKET DIRECTORY ACKS_FD SEED OPTIONS MEMBER [MEMBER ...]

Each member is a thread. It notes what it does and what came of it in DIRECTORY/MEMBER.jsonl, and
sends a byte to ACKS_FD for each change that is acknowledged. OPTIONS is a JSON object; "timeout_s"
is that of the client. A process ends when its members do. It fails with the first that does.

Rule: a client like any other; knows nothing of who is killed, or when.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import assetstore

#: Longer than any restart: nothing but the loss of its connection keeps a change from an answer.
TIMEOUT_S = 60.0


class Member:
    """One thread of a program: its client, its luck, its notes."""

    def __init__(
        self,
        client: assetstore.Client,
        name: str,
        seed: int,
        options: dict[str, Any],
        log: int,
        acks: int,
        stop: threading.Event,
    ) -> None:
        self.client = client
        self.name = name
        self.options = options
        self.seed = seed
        self.random = random.Random(f"{seed} {name}")
        self._log = log
        self._acks = acks
        self._stop = stop

    @property
    def is_told_to_stop(self) -> bool:
        """Whether standard input has ended: what is in hand should be done, and no more."""
        return self._stop.is_set()

    def note(self, *event: object) -> None:
        """Write the event down; it is there for others when this returns."""
        os.write(self._log, json.dumps(event).encode() + b"\n")

    def acknowledged(self) -> None:
        """Let the crew count one more."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._acks, b".")


def run(work: Callable[[Member], None], argv: list[str]) -> None:
    """Let each member do the work in a thread; returns when all have."""
    threading.excepthook = _fail
    socket, directory, acks, seed, options_text, *names = argv
    options = json.loads(options_text)
    stop = threading.Event()
    threading.Thread(target=_wait_for_end_of_input, args=(stop,), daemon=True).start()
    with assetstore.connect(socket, timeout=options.get("timeout_s", TIMEOUT_S)) as client:
        threads = []
        for name in names:
            log = os.open(Path(directory, f"{name}.jsonl"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            member = Member(client, name, int(seed), options, log, int(acks), stop)
            thread = threading.Thread(target=work, args=(member,))
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()


def _wait_for_end_of_input(stop: threading.Event) -> None:
    # Not sys.stdin: its lock would be held at the end of the process.
    while os.read(0, 4096):
        pass
    stop.set()


def _fail(args: threading.ExceptHookArgs) -> None:
    """A member that cannot go on takes its process with it, for the crew to see."""
    threading.__excepthook__(args)
    os._exit(1)

"""A daemon that is killed and started again while a crew works on.

Rule: ends processes and starts them; what clients see of it is for the test.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections import Counter

from tests.support.crew import DEADLINE_S, Crew
from tests.support.daemon import Daemon
from tests.support.endings import wait_until_deserted

#: Who is killed. A writer process that lives on finishes its batch, and nobody hears of it.
_VICTIMS = (
    "the daemon",
    "its writer",
    "its syncer",
    "the daemon, then its writer",
    "the writer, then its daemon",
)


def kill_and_restart(daemon: Daemon, rng: random.Random) -> str:
    """Kill the daemon, or others of its processes, and start it again; returns who it was."""
    assert daemon.process is not None
    victims = rng.choice(_VICTIMS)
    status = daemon.status()
    pids = {word: status[f"{word}_pid"] for word in ("writer", "syncer")}
    pids["daemon"] = daemon.process.pid
    for word in victims.replace(",", "").split():
        if word in pids:
            # Each is the end of the other.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pids[word], signal.SIGKILL)
    assert daemon.wait() in (-signal.SIGKILL, os.EX_IOERR)
    wait_until_deserted(daemon.data_dir)
    daemon.start()
    return victims


def kill_until_done(
    daemon: Daemon,
    crew: Crew,
    rng: random.Random,
    *,
    every: int,
    every_s: float = DEADLINE_S,
) -> Counter[str]:
    """Kill and restart while the crew works, until it has ended by itself; returns the kills.

    One comes after ``every`` more acknowledgements, give or take a half, or after every_s.
    """
    kills: Counter[str] = Counter()
    while crew.is_at_work(rng.randrange(every // 2, every * 3 // 2 + 1), every_s):
        kills[kill_and_restart(daemon, rng)] += 1
    return kills

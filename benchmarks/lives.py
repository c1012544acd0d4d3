"""A worker's whole life, from the start of Python to its exit, and what its imports cost.

Rule: each life is a process of its own that runs a program of this file and nothing else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from benchmarks.figures import Sample, life_sample
from benchmarks.load import LoadFailed
from benchmarks.systems.system import System, asset_name, value_of
from benchmarks.turns import Turn

#: So many in each turn, however short it is.
_LEAST = 3

#: What a worker does: it reads its watermark, advances it, and is gone.
_OURS = f"""
import sys
import assetstore

with assetstore.connect(sys.argv[1]) as client:
    store = client.store("{asset_name(0)}")
    watermark = store.get("watermark")
    store.set("watermark", dict(watermark, rows=watermark["rows"] + 1))
"""
_REDIS = f"""
import json
import sys
import redis

with redis.Redis(unix_socket_path=sys.argv[1]) as client:
    watermark = json.loads(client.get("{asset_name(0)}:watermark"))
    client.set("{asset_name(0)}:watermark", json.dumps(dict(watermark, rows=watermark["rows"] + 1)))
"""


class Life(NamedTuple):
    """A program, and the system whose socket it is given."""

    name: str
    title: str
    system: str | None
    program: str


class LifeWork(NamedTuple):
    """Lives that are compared."""

    name: str
    title: str
    lives: Sequence[Life]

    def is_for(self, system: System) -> bool:
        """Whether one of these lives is lived with this system."""
        return any(life.system == system.name for life in self.lives)

    def turns(self, systems: Sequence[System]) -> list[Turn]:
        """A turn for each life whose system is there."""
        there: dict[str | None, System | None] = {each.name: each for each in systems}
        there[None] = None
        return [
            Turn(life.name, life.title, "", partial(live, life, there[life.system]))
            for life in self.lives
            if life.system in there
        ]


LIVES = [
    LifeWork(
        "life",
        "start Python, import, connect, get, durable set, exit",
        [
            Life("assetstore", "assetstore", "assetstore", _OURS),
            Life("redis", "redis-py, Redis always", "redis", _REDIS),
        ],
    ),
    LifeWork(
        "import",
        "start Python, import, exit",
        [
            Life("python", "nothing", None, ""),
            Life("msgspec", "import msgspec", None, "import msgspec"),
            Life("assetstore", "import assetstore", None, "import assetstore"),
            # Where there is a server, there is redis-py too.
            Life("redis", "import redis", "redis", "import redis"),
        ],
    ),
]


def live(life: Life, system: System | None, seconds: float) -> Sample:
    """One life after the other for that many seconds, and at least three.

    Raises LoadFailed where one ends badly.
    """
    command = [sys.executable, "-c", life.program]
    if system is not None:
        session = system.session([asset_name(0)])
        session.set(0, value_of(0))
        session.close()
        command.append(system.socket)
    took_ns: list[int] = []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    while len(took_ns) < _LEAST or time.perf_counter_ns() < end:
        before = time.perf_counter_ns()
        # Not from the checkout: what is installed is what a worker imports.
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
        took_ns.append(time.perf_counter_ns() - before)
        if done.returncode:
            raise LoadFailed(f"a life of {life.title} failed:\n{done.stderr}")
    return life_sample(took_ns)

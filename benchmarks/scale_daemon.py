"""The daemon under measure: its files, its life, its memory, and the data it is given.

Rule: drives the daemon from outside only; what is measured of it is decided elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Self

from benchmarks.interrupts import held, leave_to_parent

from assetstore import AsyncClient, Client

#: How long anything here may take: a fill of 1 GiB on a slow disk.
_TIMEOUT_S = 600.0

#: A change of so many bytes fits a frame.
_CHANGE_BYTES = 512 * 1024

#: Of one client, that change things side by side.
_COROUTINES = 100

#: Processes that fill a store side by side.
_FILLERS = 4


class Memory(NamedTuple):
    """What all processes of a daemon take together, in MiB.

    ``private``: Private_Clean and Private_Dirty of all mappings but the store's own files, which
    are the map: pages of the page cache. ``own``: anonymous memory, where a page that they share
    since the fork counts once (Pss_Anon).
    """

    private: float
    own: float


class ScaleDaemon:
    """A daemon in a directory of its own. Keyword arguments are keys of the configuration."""

    def __init__(self, where: Path, **config: Any) -> None:
        where.mkdir(parents=True, exist_ok=True)
        self.data_dir = where / "data"
        self.manifest = where / "manifest.json"
        self.log = where / "daemon.log"
        self.config = config
        self._config_file = where / "assetstored.toml"
        self._process: subprocess.Popen[bytes] | None = None
        # Its path has 107 bytes at most, so it does not lie with the data.
        self._sockets = tempfile.TemporaryDirectory(prefix="bench-")
        self.socket = str(Path(self._sockets.name) / "s")

    def start(self) -> float:
        """Start it; returns the seconds until it has answered a client's status."""
        lines = [f"{key} = {json.dumps(value)}\n" for key, value in self.config.items()]
        self._config_file.write_text("".join(lines))
        flags = [f"--data-dir={self.data_dir}", f"--socket={self.socket}"]
        flags += [f"--manifest={self.manifest}", f"--config={self._config_file}"]
        began = time.monotonic()
        with open(self.log, "ab") as log, held():
            self._process = subprocess.Popen(
                [sys.executable, "-m", "assetstored", *flags], stdout=log, stderr=log
            )
        with self.client() as client:
            client.status()
        return time.monotonic() - began

    def stop(self) -> None:
        """Stop it, if it runs."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGTERM)
            if process.wait(_TIMEOUT_S) != 0:
                raise RuntimeError(f"the daemon failed:\n{self.log.read_text()[-2000:]}")

    def restart(self) -> float:
        """Stop and start; returns what ``start`` returns."""
        self.stop()
        return self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        self._sockets.cleanup()

    def client(self) -> Client:
        """A client of this daemon, with all the time it needs."""
        return Client(self.socket, timeout=_TIMEOUT_S)

    def status(self) -> dict[str, Any]:
        """What it says of itself."""
        with self.client() as client:
            return client.status()

    def back_up(self, dest: Path) -> None:
        """Have the command make a backup of the store, and wait for it."""
        with held():
            process = subprocess.Popen(
                [sys.executable, "-m", "assetstore_cli", "backup", f"--socket={self.socket}", dest],
                stdout=subprocess.DEVNULL,
            )
        if process.wait(_TIMEOUT_S) != 0:
            raise RuntimeError(f"the backup failed:\n{self.log.read_text()[-2000:]}")

    def set_manifest(self, names: list[str]) -> None:
        """Write the manifest, whole, as an operator's tool would; the daemon notices or is told."""
        assets = [{"name": name, "uri": f"s3://warehouse/{name}/"} for name in names]
        temporary = self.manifest.with_suffix(".new")
        temporary.write_text(json.dumps({"version": 1, "assets": assets}))
        temporary.rename(self.manifest)

    def says(self, words: str, within_s: float) -> bool:
        """Whether it has logged these words, or does within so many seconds."""
        deadline = time.monotonic() + within_s
        while words not in self.log.read_text():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.005)
        return True

    def memory(self) -> Memory:
        """What it takes now."""
        assert self._process is not None
        main = self._process.pid
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        parts = [_memory(pid, str(self.data_dir)) for pid in (main, *map(int, children))]
        return Memory(*(sum(values) / 2**20 for values in zip(*parts, strict=True)))

    def fill(self, names: list[str], keys: int, value_bytes: int, *, times: int = 1) -> None:
        """Set keys of each asset to values of this size, so many times over."""
        # Several processes share the assets, or the keys where there is only one asset.
        every = [(names[number::_FILLERS], range(keys)) for number in range(_FILLERS)]
        if len(names) == 1:
            every = [(names, range(number, keys, _FILLERS)) for number in range(_FILLERS)]
        with multiprocessing.Pool(_FILLERS, leave_to_parent) as pool:
            pool.starmap(_fill, [(self.socket, *part, value_bytes, times) for part in every])

    def change(self, name: str, count: int) -> None:
        """So many changes, one request each."""
        asyncio.run(_change(self.socket, name, count))


def copy_store(source: Path, target: Path) -> None:
    """A copy of a stopped daemon's data directory, on disk when this returns."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(mode=0o700)
    for path in source.iterdir():
        name = path.name
        shutil.copyfile(source / name, target / name)
        with open(target / name, "rb") as file:
            os.fsync(file.fileno())


def forget_cache(data_dir: Path) -> None:
    """Take the store out of the page cache, as after a reboot. The daemon must not run."""
    with open(data_dir / "data.mdb", "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _fill(socket: str, names: list[str], keys: range, value_bytes: int, times: int) -> None:
    value = "v" * (value_bytes - 2)  # and two quotes
    pairs = ((name, key) for _ in range(times) for name in names for key in keys)
    size = max(1, min(1_000, _CHANGE_BYTES // value_bytes))
    with Client(socket, timeout=_TIMEOUT_S) as client:
        while part := list(islice(pairs, size)):
            with client.transaction() as change:
                for name, key in part:
                    change.store(name).set(f"key-{key:07}", value)


async def _change(socket: str, name: str, count: int) -> None:
    async with AsyncClient(socket, timeout=_TIMEOUT_S) as client:
        store = client.store(name)

        async def some(key: str) -> None:
            for number in range(count // _COROUTINES):
                await store.set(key, number)

        await asyncio.gather(*(some(f"key-{number}") for number in range(_COROUTINES)))


def _memory(pid: int, data_dir: str) -> tuple[int, int]:
    """Private bytes of a process without the map, and its share of anonymous memory."""
    private = own = 0
    is_map = False
    with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                parts = line.split(maxsplit=5)
                is_map = len(parts) == 6 and parts[5].startswith(data_dir)
            elif line.startswith("Private_") and not is_map:
                private += int(line.split()[1]) * 1024
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss_Anon:"):
                own = int(line.split()[1]) * 1024
    return private, own

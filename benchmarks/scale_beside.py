"""Clients that get and set beside an operation, and how long each of them waited.

Rule: knows nothing of what goes on beside them.
"""

from __future__ import annotations

import multiprocessing
import time
from array import array
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Self

from benchmarks.interrupts import held, leave_to_parent

from assetstore import Client

#: Between two requests of a client: so many clients leave the machine some time of its own.
_PAUSE_S = 0.005

_TIMEOUT_S = 600.0


class Beside:
    """Half of the clients get, half of them set, each with a pause between two requests.

    Use it as a context manager: they run within. ``between`` can be asked afterwards.
    """

    def __init__(self, socket: str, names: list[str], clients: int = 16) -> None:
        self._ending = multiprocessing.Event()
        self._processes: list[multiprocessing.Process] = []
        self._pipes: list[tuple[str, Connection]] = []
        ready = multiprocessing.Barrier(clients + 1)
        for number in range(clients):
            kind = ("get", "set")[number % 2]
            ours, theirs = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(
                target=_work,
                args=(socket, names[number % len(names)], kind, ready, self._ending, theirs),
                # Whatever ends this process ends them.
                daemon=True,
            )
            with held():
                process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append((kind, ours))
        ready.wait(_TIMEOUT_S)
        self._seen: dict[str, list[tuple[float, float]]] = {"get": [], "set": []}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: object, *exc_info: object) -> None:
        self._ending.set()
        if exc_type is not None:
            return
        for kind, pipe in self._pipes:
            times = array("d", pipe.recv_bytes())
            self._seen[kind] += zip(times[::2], times[1::2], strict=True)
        for process in self._processes:
            process.join()

    def between(self, kind: str, *spans: tuple[float, float]) -> list[float]:
        """The waits of "get" or "set" that any of these spans, on the monotonic clock, met."""
        return [
            waited
            for span_begin, span_end in spans
            for began, waited in self._seen[kind]
            if began < span_end and began + waited > span_begin
        ]


def _work(
    socket: str, name: str, kind: str, ready: object, ending: Event, pipe: Connection
) -> None:
    leave_to_parent()
    seen = array("d")
    with Client(socket, timeout=_TIMEOUT_S) as client:
        store = client.store(name)
        store.set("watermark", "2026-01-01T00:00:00Z")
        ready.wait(_TIMEOUT_S)  # type: ignore[attr-defined]
        while not ending.is_set():
            began = time.monotonic()
            if kind == "get":
                store.get("watermark")
            else:
                store.set("watermark", "2026-01-01T00:00:00Z")
            seen.append(began)
            seen.append(time.monotonic() - began)
            time.sleep(_PAUSE_S)
    pipe.send_bytes(seen.tobytes())
    pipe.close()

"""The floor of a request over a Unix socket in Python: fixed bytes there, fixed bytes back.

The frames are as long as those of assetstore's get and set. Nothing is looked up, nothing stored.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import platform
import socket
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from benchmarks.interrupts import held, leave_to_parent
from benchmarks.systems.system import Session, System, Value
from benchmarks.wire import Sizes, call_sizes

_RECEIVE_BYTES = 64 * 1024


class EchoSession:
    """A blocking client: one send and one recv."""

    def __init__(self, path: str, sizes: dict[str, Sizes]) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(path)
        self._get = bytes(sizes["get"].request)
        self._set = bytes(sizes["set"].request)

    def get(self, index: int) -> Any:
        self._socket.send(self._get)
        return self._socket.recv(_RECEIVE_BYTES)

    def set(self, index: int, value: Value) -> Any:
        self._socket.send(self._set)
        return self._socket.recv(_RECEIVE_BYTES)

    def close(self) -> None:
        self._socket.close()


class _Answering(asyncio.Protocol):
    def __init__(self, answers: dict[int, bytes]) -> None:
        self._answers = answers

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's is a transport by its methods only.
        self._write = cast(asyncio.Transport, transport).write

    def data_received(self, data: bytes) -> None:
        self._write(self._answers[len(data)])


class Echo(System):
    """A server that blocks in recv, and serves one client at a time."""

    name = "echo"
    title = "floor: echo, blocking Python"
    survives = "nothing"
    does = frozenset({"get", "set"})
    max_clients = 1

    _process: BaseProcess | None = None

    def start(self, disk: Path, sockets: Path) -> None:
        self._sizes = call_sizes()
        self._path = str(sockets / "echo")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path)
        listener.listen(128)
        fork = multiprocessing.get_context("fork")
        process = fork.Process(target=self._live, args=(listener,), daemon=True)
        with held():
            process.start()
            self._process = process
        listener.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def session(self, assets: Sequence[str]) -> Session:
        return EchoSession(self._path, self._sizes)

    def processes(self) -> dict[str, int]:
        assert self._process is not None
        assert self._process.pid is not None
        return {"server": self._process.pid}

    def versions(self) -> dict[str, str]:
        return {"Python": platform.python_version()}

    def _live(self, listener: socket.socket) -> None:
        leave_to_parent()
        answers = {each.request: bytes(each.answer) for each in self._sizes.values()}
        self._serve(listener, answers)
        os._exit(0)

    def _serve(self, listener: socket.socket, answers: dict[int, bytes]) -> None:
        while True:
            client, _ = listener.accept()
            with client:
                while data := client.recv(_RECEIVE_BYTES):
                    client.send(answers[len(data)])


class EchoAsyncio(Echo):
    """A server of many clients: asyncio with a Protocol, the least that a loop can do."""

    name = "echo-asyncio"
    title = "floor: echo, asyncio Protocol"
    max_clients = 64

    def _serve(self, listener: socket.socket, answers: dict[int, bytes]) -> None:
        asyncio.run(serve_forever(listener, answers))


async def serve_forever(listener: socket.socket, answers: dict[int, bytes]) -> None:
    """Answer all clients of the listener."""
    listener.setblocking(False)
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Answering(answers), sock=listener)
    await server.serve_forever()

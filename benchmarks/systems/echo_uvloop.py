"""The echo floor on uvloop, in a file of its own, as uvloop may be missing."""

from __future__ import annotations

import asyncio
import socket
from importlib.metadata import version

import uvloop
from benchmarks.systems.echo import EchoAsyncio, serve_forever


class EchoUvloop(EchoAsyncio):
    """The server of many clients, on uvloop's event loop."""

    name = "echo-uvloop"
    title = "floor: echo, uvloop Protocol"

    def versions(self) -> dict[str, str]:
        return {"uvloop": version("uvloop")}

    def _serve(self, listener: socket.socket, answers: dict[int, bytes]) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_forever(listener, answers))

"""A connected, non-blocking socket, or the error that says why there is none.

A connected socket is not yet a connection: the listener may be systemd's, with nobody
behind it. That is one when the hello is answered.

Rule: sends and receives nothing.
"""

from __future__ import annotations

import os
import socket

from assetstore.address import access_hint
from assetstore.errors import Forbidden, NotConnected


def dial(path: str) -> socket.socket:
    """A socket connected to path. Never blocks.

    Raises Forbidden where the user may not connect, which waiting does not mend, and
    NotConnected for everything else: no such file, nobody listens, the backlog is full.
    """
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as exc:
        raise NotConnected(f"cannot make a socket: {reason(exc)}") from exc
    try:
        sock.connect(path)
    except PermissionError as exc:
        sock.close()
        raise Forbidden(f"this user may not connect to {path}: {access_hint(path)}") from exc
    except BlockingIOError as exc:
        # A Unix socket with a full backlog does not wait, it says EAGAIN.
        sock.close()
        raise NotConnected("more connections wait there than its backlog holds") from exc
    except OSError as exc:
        sock.close()
        raise NotConnected(reason(exc)) from exc
    except BaseException:
        sock.close()
        raise
    return sock


def reason(exc: OSError) -> str:
    """What the operating system said, in its words."""
    return os.strerror(exc.errno) if exc.errno else str(exc)

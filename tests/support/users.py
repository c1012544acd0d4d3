"""Connections of other users: a process takes their uid and groups, connects, and hands over the
socket, whose credentials stay those of who connected.

Rule: knows nothing of what is asked over it. Only root may become another user.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.wire import DEADLINE_S, connect

#: Of no user on any ordinary machine; the daemon goes by the number.
ALICE, BOB = 64_711, 64_712
ETL = 64_800

#: Who owns nothing, on any machine.
NOBODY = 65_534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


def connected_as(
    uid: int, gid: int | None = None, groups: Sequence[int] = ()
) -> Callable[[Path, float], socket.socket]:
    """What connects as this user; its primary group is gid, or else has the number of the uid."""

    def as_user(path: Path, deadline_s: float = DEADLINE_S) -> socket.socket:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            pid = os.fork()
            if pid == 0:
                try:
                    _become(uid, uid if gid is None else gid, groups)
                    with connect(path, deadline_s) as sock:
                        socket.send_fds(theirs, [b"-"], [sock.fileno()])
                except OSError as exc:
                    theirs.sendall(str(exc).encode())
                finally:
                    os._exit(0)
            os.waitpid(pid, 0)
            said, fds, _, _ = socket.recv_fds(ours, 1_000, 1)
        if not fds:
            raise ConnectionError(said.decode())
        sock = socket.socket(fileno=fds[0])
        sock.settimeout(deadline_s)
        return sock

    return as_user


def run_as(uid: int, function: Callable[[], object], groups: Sequence[int] = ()) -> str:
    """What a function returns in a process of this user, or what it raises: class and message."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = "nothing"
        try:
            _become(uid, uid, groups)
            said = str(function())
        except Exception as exc:
            said = f"{type(exc).__name__}: {exc}"
        finally:
            os.write(write, said.encode())
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def _become(uid: int, gid: int, groups: Sequence[int]) -> None:
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def open_to_all(path: Path) -> None:
    """Let every user connect to a socket of a test, which is in a directory of its own."""
    path.parent.chmod(0o755)
    path.chmod(0o666)

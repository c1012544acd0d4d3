"""Who is at the other end of a connection, by the kernel's word.

Rule: facts only; what a peer may do is decided in access.py.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from typing import NamedTuple

import msgspec

from assetstore.entries import RecordedWriter, Writer

_UCRED = struct.Struct("iII")

#: socket(7), Linux 4.13; Python has no name for it.
_SO_PEERGROUPS = 59

#: The most that Python's getsockopt takes: 256 groups.
_MOST_BYTES = 1_024

_libc = ctypes.CDLL(None, use_errno=True)


class Peer(NamedTuple):
    """uid, gid, pid and groups as they were when the connection was made (unix(7), SO_PEERCRED and
    SO_PEERGROUPS).

    After a fork or a setuid in the client they still show who connected; so the uid is a ground
    for decisions, the pid only a hint for people.
    """

    uid: int
    gid: int
    pid: int
    groups: tuple[int, ...] = ()

    @property
    def gids(self) -> frozenset[int]:
        """All groups: the primary and the supplementary ones."""
        return frozenset((self.gid, *self.groups))


def peer_of(sock: socket.socket) -> Peer:
    """The peer of a connected Unix socket."""
    pid, uid, gid = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return Peer(uid, gid, pid, _groups_of(sock))


def _groups_of(sock: socket.socket) -> tuple[int, ...]:
    """The supplementary groups; none where the kernel does not tell them, before Linux 4.13."""
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError as exc:
        if exc.errno != errno.ERANGE:
            return ()
        raw = _long_option(sock, _SO_PEERGROUPS)
    return struct.unpack(f"{len(raw) // 4}I", raw)


def _long_option(sock: socket.socket, option: int) -> bytes:
    """An option of a socket that is longer than Python's getsockopt takes."""
    size = ctypes.c_uint(0)
    # It fails, and says how long it is; that cannot change on a connection.
    _libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, option, None, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    if _libc.getsockopt(sock.fileno(), socket.SOL_SOCKET, option, buffer, ctypes.byref(size)):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw[: size.value]


def recorded(writer: Writer, peer: Peer) -> msgspec.Raw:
    """What is stored as the writer of an entry, encoded once for all writes of a connection."""
    return msgspec.Raw(
        msgspec.msgpack.encode(
            RecordedWriter(
                writer.kind,
                writer.dag_id,
                writer.run_id,
                writer.task_id,
                writer.map_index,
                peer.uid,
                peer.gid,
                peer.pid,
            )
        )
    )

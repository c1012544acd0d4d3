"""Who is at the other end of a connection, by the kernel's word.

Rule: facts only; what a peer may do is decided in service.py.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

import msgspec

from assetstore.entries import RecordedWriter, Writer

_UCRED = struct.Struct("iII")


class Peer(NamedTuple):
    """uid, gid and pid as they were when the connection was made (unix(7), SO_PEERCRED).

    After a fork or a setuid in the client they still show who connected; so the uid is a ground
    for decisions, the pid only a hint for people.
    """

    uid: int
    gid: int
    pid: int


def peer_of(sock: socket.socket) -> Peer:
    """The peer of a connected Unix socket."""
    pid, uid, gid = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    return Peer(uid, gid, pid)


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

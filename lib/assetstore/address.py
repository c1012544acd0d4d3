"""Where the daemon's socket is.

Rule: paths only; connecting is for connection.py.
"""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Mapping

from assetstore.errors import InvalidRequest

#: The variable that names the socket when the caller does not.
SOCKET_VARIABLE = "ASSETSTORE_SOCKET"

#: Where the systemd unit puts it.
SYSTEM_SOCKET = "/run/assetstore/assetstored.sock"

#: sun_path of unix(7) is 108 bytes with its closing NUL.
MAX_SOCKET_PATH_BYTES = 107


def default_socket(environ: Mapping[str, str] = os.environ) -> str:
    """The path of the daemon's socket, for a caller that names none.

    ``$ASSETSTORE_SOCKET``, else ``$XDG_RUNTIME_DIR/assetstore/assetstored.sock`` if it
    exists, else ``/run/assetstore/assetstored.sock``.
    """
    if named := environ.get(SOCKET_VARIABLE):
        return named
    if runtime_dir := environ.get("XDG_RUNTIME_DIR"):
        own = os.path.join(runtime_dir, "assetstore", "assetstored.sock")
        if os.path.exists(own):
            return own
    return SYSTEM_SOCKET


def check_socket(path: str | os.PathLike[str]) -> str:
    """The path as a str, or InvalidRequest if no Unix socket can have it."""
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"socket must be a str or a path, not {type(text).__name__}")
    size_bytes = len(os.fsencode(text))
    if size_bytes > MAX_SOCKET_PATH_BYTES:
        raise InvalidRequest(
            f"socket path is {size_bytes} bytes long; the limit of Unix sockets is "
            f"{MAX_SOCKET_PATH_BYTES}: {text}"
        )
    if not text or "\0" in text:
        raise InvalidRequest(f"socket path is empty or holds a NUL: {text!r}")
    return text


def access_hint(path: str) -> str:
    """What a user may do to whom the socket at path is closed."""
    try:
        status = os.stat(path)
    except OSError:
        return f"a directory on the way to it is closed to you (uid {os.getuid()})"
    if not status.st_mode & stat.S_IWGRP:
        return f"only its owner (uid {status.st_uid}) may use it; you are uid {os.getuid()}"
    try:
        group = grp.getgrgid(status.st_gid).gr_name
    except KeyError:
        group = f"gid {status.st_gid}"
    return (
        f"join the group {group}, then log in again or restart the service "
        f"(you are uid {os.getuid()})"
    )

"""What the process asks of the C library and of the kernel for itself: memory and descriptors.

Rule: knows nothing of what they are used for.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import resource

_log = logging.getLogger("assetstored")

#: Descriptors beside the connections: the store, the sockets, the log, a manifest's child.
_RESERVED_FDS = 64

#: From malloc.h. Setting it also turns off that it grows.
_M_MMAP_THRESHOLD = -3
_LARGE_BUFFER_BYTES = 128 * 1024


def return_memory() -> None:
    """Have the C library give large buffers back when they are freed.

    By itself it raises the size that it calls large to that of the largest buffer it has seen, and
    answers of 1 MiB then leave the heap in pieces: 700 MB where 90 are needed (measured).
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _LARGE_BUFFER_BYTES)


def connection_limit(wanted_connections: int) -> int:
    """max_connections, or what the limit of descriptors leaves of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted_connections + _RESERVED_FDS
    if soft < wanted:
        # Where a sandbox forbids it, the unit has set the limit already.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = max(1, min(wanted_connections, soft - _RESERVED_FDS))
    if limit < wanted_connections:
        _log.warning(
            "max_connections is %d, but the limit of %d file descriptors leaves room for %d; "
            "raise LimitNOFILE= in the unit",
            wanted_connections,
            soft,
            limit,
        )
    return limit

"""The process that forks daemons; see starter.py.

    python -m tests.support.starter_process SOCKET

Rule: one thread, and no descriptors but its own: what it has, each daemon would inherit.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import sys

from assetstored import app

#: More than a request needs; most of it is the environment.
_LARGEST_BYTES = 1 << 17


def _serve(control: socket.socket) -> int:
    """Fork for each request; returns in each fork, with the daemon's exit status."""
    # Nothing of it is ever freed, so no fork has to copy it in order to look.
    gc.freeze()
    while True:
        text, fds, _, _ = socket.recv_fds(control, _LARGEST_BYTES, 1)
        if not text:
            return os.EX_OK
        request = json.loads(text)
        if "reap" in request:
            pid, status = os.waitpid(request["reap"], os.WNOHANG)
            control.send(json.dumps(os.waitstatus_to_exitcode(status) if pid else None).encode())
        elif pid := os.fork():
            os.close(fds[0])
            control.send(json.dumps(pid).encode())
        else:
            control.close()
            for number in (1, 2):
                os.dup2(fds[0], number)
            os.close(fds[0])
            os.environ.clear()
            os.environ.update(request["env"])
            os.chdir(request["cwd"])
            signal.signal(signal.SIGINT, signal.default_int_handler)
            gc.unfreeze()
            return app.main(request["flags"])


if __name__ == "__main__":
    # Ctrl-C reaches everyone; those who are started stop by themselves, and then their starter.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.closing(socket.socket(fileno=int(sys.argv[1]))) as control_socket:
        sys.exit(_serve(control_socket))

"""Talking to systemd: readiness, watchdog, and the sockets it hands over.

Written here because it is one datagram and two variables, see sd_notify(3) and sd_listen_fds(3);
the packages for it are old, or C. Everything does nothing outside systemd.

Rule: no other module reads NOTIFY_SOCKET, WATCHDOG_* or LISTEN_*.
"""

from __future__ import annotations

import os
import socket
import time

_FIRST_FD = 3


class Notifier:
    """Sends states to whoever started this process, if it wants to know."""

    def __init__(self) -> None:
        address = os.environ.pop("NOTIFY_SOCKET", "")
        # A name in the abstract namespace is written with @ for its leading NUL.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog_s = int(usec) / 1_000_000 if usec.isdigit() and ours else None

    def send(self, *states: str) -> None:
        """Send states as one datagram. A manager that is gone is no reason to fail."""
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.connect(self._address)
                sock.sendall("\n".join(states).encode())
            except OSError:
                pass

    def ready(self, status: str) -> None:
        """The daemon serves, or serves again after a reload."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The configuration is being read again; ready() ends it."""
        # Without the time, a unit of Type=notify-reload (systemd 253) times out.
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1_000}")

    def stopping(self) -> None:
        """The daemon is on its way out."""
        self.send("STOPPING=1")

    def watchdog(self) -> None:
        """The daemon is well."""
        self.send("WATCHDOG=1")

    def extend_timeout(self, seconds: float) -> None:
        """Starting takes longer; do not give up for so long."""
        self.send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")


def inherited_sockets() -> list[tuple[str, socket.socket]]:
    """The sockets that systemd handed over, each with its name (FileDescriptorName=).

    The environment is cleaned of them.
    """
    pid = os.environ.pop("LISTEN_PID", "")
    count = os.environ.pop("LISTEN_FDS", "")
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = []
    for number in range(int(count)):
        fd = _FIRST_FD + number
        os.set_inheritable(fd, False)
        name = names[number] if number < len(names) else ""
        sockets.append((name, socket.socket(fileno=fd)))
    return sockets

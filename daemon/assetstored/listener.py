"""The listening socket: taken from systemd, or bound here, and who connects to it.

Rule: only this file makes or removes the socket's file.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

from assetstored.access_rules import group_id
from assetstored.config import Config
from assetstored.sdnotify import inherited_sockets

_log = logging.getLogger("assetstored.server")

#: sun_path has 108 bytes with its NUL (unix(7)).
MAX_PATH_BYTES = 107

#: Connections that wait while the daemon restarts or is busy accepting; the kernel caps it, and
#: assetstored.socket has the same.
_BACKLOG = 4_096

#: Connections accepted in a row before others get their turn: a storm of them is no stall.
_ACCEPTS_PER_TURN = 16

#: How long nothing is accepted where the process has no descriptor left.
_PAUSE_S = 1.0

#: Who may connect is decided by the group of the directory and the socket: owner and group.
_MODE = 0o660

#: FileDescriptorName= of the socket that is for reading; any other name is the main one's.
READONLY_NAME = "assetstored-readonly"


class ListenRefused(Exception):
    """The socket cannot be had; the message says why and what to do."""


class SocketGone(Exception):
    """Nobody can connect any more; the message says why."""


class Listener:
    """A listening socket, and the duty to remove its file if it was made here.

    The lock of the data directory must be held: its holder may take away a stale socket.
    """

    def __init__(
        self,
        path: Path,
        *,
        inherited: socket.socket | None = None,
        mode: int = _MODE,
        gid: int | None = None,
    ) -> None:
        """``inherited`` from systemd, in place of one at path; mode and group are of that one."""
        self._made: tuple[int, int] | None = None
        self._path = path
        self._mode = mode
        self._gid = gid
        if inherited is not None:
            self.socket = inherited
            self.from_systemd = True
            self._check_inherited()
            self._path = Path(os.fsdecode(self.socket.getsockname()))
        else:
            self.socket = self._bind()
            self.from_systemd = False
        self.socket.setblocking(False)

    @property
    def path(self) -> Path:
        """Where clients connect."""
        return self._path

    def check(self) -> None:
        """Raise SocketGone unless who connects to the path comes here. Systemd minds its own."""
        if self._made is not None and _identity(self._path) != self._made:
            raise SocketGone(
                f"the socket {self._path} was removed or replaced, and nobody can connect any "
                "more; a restart makes it anew"
            )

    def close(self) -> None:
        """Stop listening; removes the file, if it is still the one that was made here."""
        self.socket.close()
        if self._made is not None and _identity(self._path) == self._made:
            self._path.unlink(missing_ok=True)

    def _check_inherited(self) -> None:
        listens = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if self.socket.family != socket.AF_UNIX or self.socket.type != socket.SOCK_STREAM:
            raise ListenRefused("the socket from systemd is not a Unix stream socket")
        if not listens:
            raise ListenRefused("the socket from systemd does not listen; use ListenStream=")

    def _bind(self) -> socket.socket:
        path = self._path
        if len(os.fsencode(path)) > MAX_PATH_BYTES:
            raise ListenRefused(
                f"the socket's path is {len(os.fsencode(path))} bytes long, the kernel takes "
                f"{MAX_PATH_BYTES}: {path}"
            )
        try:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._check_directory()
            self._remove_stale()
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            try:
                # Before bind, so that the file never exists with another mode.
                os.fchmod(sock.fileno(), self._mode)
                umask = os.umask(0o777 & ~self._mode)
                try:
                    sock.bind(os.fspath(path))
                finally:
                    os.umask(umask)
                if self._gid is not None:
                    # Nobody can have connected: it does not listen yet.
                    os.chown(path, -1, self._gid)
                sock.listen(_BACKLOG)
            except OSError:
                sock.close()
                raise
        except OSError as exc:
            raise ListenRefused(f"cannot listen at {path}: {exc.strerror or exc}") from exc
        self._made = _identity(path)
        return sock

    def _check_directory(self) -> None:
        """In a directory where others may write, they could put a socket of theirs in place."""
        info = os.stat(self._path.parent)
        others_write = info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if info.st_uid not in (0, os.geteuid()) or (
            others_write and not info.st_mode & stat.S_ISVTX
        ):
            raise ListenRefused(
                f"{self._path.parent} must belong to root or uid {os.geteuid()} and not be "
                "writable by others, or any of them could take the socket's place"
            )

    def _remove_stale(self) -> None:
        try:
            mode = os.lstat(self._path).st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ListenRefused(f"{self._path} exists and is no socket; remove it, or use another")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(os.fspath(self._path))
            except (ConnectionRefusedError, FileNotFoundError):
                self._path.unlink(missing_ok=True)
                return
            except OSError:
                pass
        raise ListenRefused(
            f"another process listens at {self._path}; stop it, or give this one another --socket"
        )


class Listeners:
    """The sockets of a daemon: the one for everything, and if there is to be one, for reading."""

    def __init__(self, config: Config) -> None:
        main, readonly = _inherited()
        self.main = Listener(Path(config.socket), inherited=main)
        self.readonly: Listener | None = None
        try:
            if readonly is not None or config.readonly_socket:
                self.readonly = Listener(
                    Path(config.readonly_socket),
                    inherited=readonly,
                    mode=config.readonly_mode,
                    gid=group_id(config.readonly_socket_group),
                )
        except ListenRefused:
            self.main.close()
            raise

    @property
    def sockets(self) -> list[socket.socket]:
        """All that listen."""
        return [each.socket for each in (self.main, self.readonly) if each is not None]

    def check(self) -> None:
        """Raise SocketGone unless clients reach all of them by their paths."""
        self.main.check()
        if self.readonly is not None:
            self.readonly.check()

    def in_words(self) -> list[str]:
        """Where clients connect."""
        paths = [str(self.main.path)]
        return paths if self.readonly is None else [*paths, f"{self.readonly.path} (for reading)"]

    def accept(
        self, serve: Callable[[socket.socket], None], serve_reading: Callable[[socket.socket], None]
    ) -> list[Acceptor]:
        """Take new connections from now on, and hand those of each socket on."""
        accepting = [Acceptor(self.main.socket, serve)]
        if self.readonly is not None:
            accepting.append(Acceptor(self.readonly.socket, serve_reading))
        return accepting

    def close(self) -> None:
        """Stop listening."""
        self.main.close()
        if self.readonly is not None:
            self.readonly.close()


def _inherited() -> tuple[socket.socket | None, socket.socket | None]:
    """From systemd: the main socket, and the one for reading."""
    sockets = inherited_sockets()
    main = [sock for name, sock in sockets if name != READONLY_NAME]
    readonly = [sock for name, sock in sockets if name == READONLY_NAME]
    if len(main) > 1 or len(readonly) > 1:
        raise ListenRefused(
            f"systemd handed over more than one socket of a kind; the unit needs one, and with "
            f"FileDescriptorName={READONLY_NAME} one for reading"
        )
    if readonly and not main:
        raise ListenRefused(
            "systemd handed over the socket for reading and not the other one: start "
            "assetstored.socket too"
        )
    return main[0] if main else None, readonly[0] if readonly else None


class Acceptor:
    """Takes new connections while it lives, and hands each of them on."""

    def __init__(self, listening: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        """``serve`` gets each new connection, which does not block."""
        self._listening = listening
        self._serve = serve
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._loop.add_reader(listening, self._accept)

    def close(self) -> None:
        """Accept no more; those that wait do so for the next daemon, if the socket stays."""
        self._loop.remove_reader(self._listening)
        if self._pause is not None:
            self._pause.cancel()

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                sock, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as exc:
                # Out of descriptors, or of memory: those that wait go on waiting.
                _log.warning("no connection can be accepted for a second: %s", exc)
                self._loop.remove_reader(self._listening)
                self._pause = self._loop.call_later(_PAUSE_S, self._go_on)
                return
            sock.setblocking(False)
            self._serve(sock)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._listening, self._accept)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino

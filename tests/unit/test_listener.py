"""The listening socket: its mode, where it may be, and whose file it may take away."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from assetstored.listener import MAX_PATH_BYTES, Listener, ListenRefused


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory of our own with a short path: pytest's are too deep for a socket."""
    with tempfile.TemporaryDirectory(prefix="assetstore-") as name:
        yield Path(name)


@pytest.fixture
def path(directory: Path) -> Path:
    """Where the socket shall be."""
    return directory / "s"


def connect(path: Path) -> None:
    """A client that comes and goes."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))


def leave_stale_socket(path: Path) -> None:
    """What a daemon that was killed leaves behind."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()


def test_clients_can_connect_as_soon_as_there_is_a_listener(path: Path) -> None:
    listener = Listener(path)
    try:
        connect(path)

        assert listener.path == path
        assert not listener.from_systemd
        assert not listener.socket.getblocking()
        assert not listener.socket.get_inheritable()
    finally:
        listener.close()


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_owner_and_group_may_connect_whatever_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        listener = Listener(path)
        assert os.umask(umask) == umask, "the umask of the process is as it was"
    finally:
        os.umask(before)
    try:
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
    finally:
        listener.close()


def test_the_directory_is_made_if_it_is_not_there(directory: Path) -> None:
    listener = Listener(directory / "a/b/s")
    try:
        connect(directory / "a/b/s")
        assert stat.S_IMODE((directory / "a/b").stat().st_mode) & 0o022 == 0
    finally:
        listener.close()


def test_closing_takes_the_file_away(path: Path) -> None:
    Listener(path).close()

    assert not path.exists()


def test_a_file_that_is_another_s_by_now_stays(path: Path) -> None:
    listener = Listener(path)
    path.unlink()
    leave_stale_socket(path)

    listener.close()

    assert path.is_socket()


def test_a_file_that_is_gone_already_is_no_reason_to_fail(path: Path) -> None:
    listener = Listener(path)
    path.unlink()

    listener.close()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    leave_stale_socket(path)

    listener = Listener(path)
    try:
        connect(path)
    finally:
        listener.close()


def test_a_socket_at_which_somebody_listens_is_refused(path: Path) -> None:
    first = Listener(path)
    try:
        with pytest.raises(ListenRefused, match=r"another process listens at .*another --socket"):
            Listener(path)
        connect(path)
    finally:
        first.close()


def test_a_socket_with_a_full_backlog_is_somebody_s_too(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as busy:
        busy.bind(str(path))
        busy.listen(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

            with pytest.raises(ListenRefused, match="another process listens at"):
                Listener(path)


def test_a_datagram_socket_in_the_way_is_refused(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))

        with pytest.raises(ListenRefused, match="another process listens at"):
            Listener(path)
    assert path.is_socket()


def test_a_file_in_the_way_is_refused_and_stays(path: Path) -> None:
    path.write_text("precious")

    with pytest.raises(ListenRefused, match="exists and is no socket; remove it, or use another"):
        Listener(path)
    assert path.read_text() == "precious"


def test_a_directory_in_the_way_is_refused(path: Path) -> None:
    path.mkdir()

    with pytest.raises(ListenRefused, match="exists and is no socket"):
        Listener(path)


@pytest.mark.parametrize("target", ["elsewhere", "socket"])
def test_a_symbolic_link_in_the_way_is_not_followed(path: Path, target: str) -> None:
    if target == "socket":
        leave_stale_socket(path.parent / target)
    path.symlink_to(path.parent / target)

    with pytest.raises(ListenRefused, match="exists and is no socket"):
        Listener(path)
    assert path.is_symlink()
    assert (path.parent / target).is_socket() is (target == "socket")


def test_a_path_of_107_bytes_is_taken(directory: Path) -> None:
    path = directory / ("x" * (MAX_PATH_BYTES - len(os.fsencode(directory)) - 1))
    assert len(os.fsencode(path)) == 107

    listener = Listener(path)
    try:
        connect(path)
    finally:
        listener.close()


def test_a_longer_path_is_refused_with_length_and_limit(directory: Path) -> None:
    path = directory / ("ü" * 60)

    with pytest.raises(ListenRefused, match=f"is {len(os.fsencode(path))} bytes long, .* 107: "):
        Listener(path)


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_a_directory_that_others_may_write_is_refused(directory: Path, mode: int) -> None:
    directory.chmod(mode)

    with pytest.raises(ListenRefused, match=r"must belong to root or uid .* not be writable by"):
        Listener(directory / "s")
    directory.chmod(0o700)


def test_a_sticky_directory_will_do(directory: Path) -> None:
    directory.chmod(0o1777)

    Listener(directory / "s").close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory away")
def test_a_directory_of_somebody_else_is_refused(directory: Path) -> None:
    os.chown(directory, 12_345, -1)
    try:
        with pytest.raises(ListenRefused, match="must belong to root or uid 0"):
            Listener(directory / "s")
    finally:
        os.chown(directory, 0, -1)


def test_a_file_in_place_of_the_directory_is_refused(path: Path) -> None:
    path.write_text("")

    with pytest.raises(ListenRefused, match=r"cannot listen at .*/s/s: "):
        Listener(path / "s")


def test_a_place_where_no_socket_can_be_is_refused_and_nothing_is_left_open() -> None:
    with pytest.raises(ListenRefused, match=r"cannot listen at /proc/assetstored\.sock: "):
        Listener(Path("/proc/assetstored.sock"))


# --- sockets of systemd: they begin at descriptor 3, so each in a process of its own


def take_over(
    directory: Path, made: str, path: str = "unused", *, names: str = "", readonly: str = ""
) -> str:
    """What a process says that finds these sockets, with these names, from descriptor 3 on."""
    script = (
        "import os, socket, sys\n"
        "from pathlib import Path\n"
        "from assetstored.config import Config\n"
        "from assetstored.listener import Listeners, ListenRefused\n"
        f"made = {made}\n"
        "fds = [os.dup(sock.fileno()) for sock in made]\n"
        "for number, fd in enumerate(fds): os.dup2(fd, 3 + number)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(made)),\n"
        f"                  LISTEN_FDNAMES={names!r})\n"
        "try:\n"
        f"    listeners = Listeners(Config(socket={path!r}, readonly_socket={readonly!r}))\n"
        "    for each in (listeners.main, listeners.readonly):\n"
        "        if each: print('took', each.path, each.from_systemd, each.socket.fileno())\n"
        "    listeners.close()\n"
        "except ListenRefused as exc: print(exc)\n"
        "sys.stdout.flush()\n"
        "os._exit(0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=directory, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


TWO = (
    "[socket.socket(socket.AF_UNIX) for _ in range(2)]; "
    "[sock.bind(f'given-{number}') or sock.listen() for number, sock in enumerate(made)]"
)


def test_a_socket_from_systemd_is_for_reading_by_its_name(directory: Path) -> None:
    for names, main, readonly in (
        ("assetstored:assetstored-readonly", "given-0 True 3", "given-1 True 4"),
        ("assetstored-readonly:another", "given-1 True 4", "given-0 True 3"),
    ):
        assert take_over(directory, TWO, names=names) == f"took {main}\ntook {readonly}"
        for file in directory.iterdir():
            file.unlink()


def test_the_socket_for_reading_can_be_bound_beside_one_of_systemd(directory: Path) -> None:
    made = "[socket.socket(socket.AF_UNIX)]; made[0].bind('given'); made[0].listen()"

    taken = take_over(directory, made, names="assetstored", readonly=str(directory / "r"))

    first, second = taken.splitlines()
    assert first == "took given True 3"
    assert second.startswith(f"took {directory}/r False ")
    assert not (directory / "r").exists(), "its file is the daemon's to remove"


def test_sockets_from_systemd_that_are_two_of_a_kind_or_only_for_reading_are_refused(
    directory: Path,
) -> None:
    assert "more than one socket of a kind" in take_over(directory, TWO, names="a:b")
    made = "[socket.socket(socket.AF_UNIX)]; made[0].bind('r'); made[0].listen()"
    assert "start assetstored.socket too" in take_over(
        directory, made, names="assetstored-readonly"
    )


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_the_socket_has_the_mode_that_is_asked_for_under_any_umask(path: Path, mode: int) -> None:
    before = os.umask(0o077)
    try:
        listener = Listener(path, mode=mode)
    finally:
        os.umask(before)
    try:
        assert stat.S_IMODE(path.lstat().st_mode) == mode
    finally:
        listener.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file to any group")
def test_the_socket_has_the_group_that_is_asked_for(path: Path) -> None:
    listener = Listener(path, gid=4_711)
    try:
        assert path.lstat().st_gid == 4_711
    finally:
        listener.close()


def test_a_group_that_the_daemon_may_not_give_is_refused(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may give a file to any group")
    with pytest.raises(ListenRefused, match="cannot listen at"):
        Listener(path, gid=0)


def test_a_socket_from_systemd_is_taken_wherever_it_is(directory: Path) -> None:
    made = "[socket.socket(socket.AF_UNIX)]; made[0].bind('given'); made[0].listen()"

    assert take_over(directory, made, path="configured") == "took given True 3"
    assert (directory / "given").is_socket(), "its file is systemd's to remove"
    assert not (directory / "configured").exists()


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ("[socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)]", "is not a Unix stream socket"),
        ("[socket.socket(socket.AF_INET)]", "is not a Unix stream socket"),
        ("[socket.socket(socket.AF_UNIX)]", "does not listen; use ListenStream="),
        ("[socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]", "more than one socket"),
    ],
)
def test_a_socket_from_systemd_that_will_not_do_is_refused(
    directory: Path, made: str, message: str
) -> None:
    assert message in take_over(directory, made)

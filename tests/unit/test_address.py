"""Where the socket is looked for, and what a path of a socket may be."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import assetstore
from assetstore.address import access_hint, check_socket, default_socket
from assetstore.errors import InvalidRequest

SYSTEM = "/run/assetstore/assetstored.sock"


def test_the_variable_names_the_socket(tmp_path: Path) -> None:
    environ = {"ASSETSTORE_SOCKET": "/somewhere/s.sock", "XDG_RUNTIME_DIR": str(tmp_path)}

    assert default_socket(environ) == "/somewhere/s.sock"


def test_without_it_the_users_own_daemon_is_taken_if_its_socket_exists(tmp_path: Path) -> None:
    own = tmp_path / "assetstore" / "assetstored.sock"
    own.parent.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}

    assert default_socket(environ) == SYSTEM
    own.touch()
    assert default_socket(environ) == str(own)


@pytest.mark.parametrize("environ", [{}, {"ASSETSTORE_SOCKET": ""}, {"XDG_RUNTIME_DIR": ""}])
def test_else_it_is_the_systems(environ: dict[str, str]) -> None:
    assert default_socket(environ) == SYSTEM


def test_the_argument_comes_before_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSETSTORE_SOCKET", "/from/the/environment")

    assert assetstore.connect("/from/the/argument").socket == "/from/the/argument"
    assert assetstore.connect().socket == "/from/the/environment"


def test_a_path_object_is_as_good_as_a_str() -> None:
    assert check_socket(Path("/run/x.sock")) == "/run/x.sock"


def test_a_path_of_107_bytes_is_the_longest_that_a_socket_can_have(tmp_path: Path) -> None:
    check_socket("/" + "x" * 106)

    with pytest.raises(InvalidRequest, match="108 bytes long; the limit of Unix sockets is 107"):
        check_socket("/" + "x" * 107)
    with pytest.raises(InvalidRequest, match="109 bytes"):
        check_socket("/" + "é" * 54)


@pytest.mark.parametrize("path", ["", "/run/\0x"])
def test_a_path_that_no_file_can_have_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest, match="empty or holds a NUL"):
        check_socket(path)


@pytest.mark.parametrize("path", [b"/run/x", 7, None])
def test_a_path_of_another_type_is_a_type_error(path: object) -> None:
    with pytest.raises(TypeError):
        check_socket(path)  # type: ignore[arg-type]


def test_the_hint_names_the_group_that_may_connect(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        path.chmod(0o660)
        group = path.group()

        assert f"join the group {group}" in access_hint(str(path))

        path.chmod(0o600)
        assert "only its owner" in access_hint(str(path))


def test_the_hint_for_a_socket_that_cannot_be_seen_speaks_of_the_way_there() -> None:
    assert "directory on the way" in access_hint("/nonexistent/s.sock")

"""Peers: who connected, by the kernel's word, with all of their groups."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.users import ALICE, connected_as, needs_root, open_to_all

from assetstored.peers import Peer, peer_of


@pytest.fixture
def listening() -> Iterator[tuple[Path, socket.socket]]:
    with (
        tempfile.TemporaryDirectory(prefix="assetstore-") as name,
        socket.socket(socket.AF_UNIX) as sock,
    ):
        path = Path(name) / "s"
        sock.bind(str(path))
        sock.listen()
        open_to_all(path)
        yield path, sock


def test_a_peer_is_who_connected() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        peer = peer_of(ours)

    assert peer == Peer(os.geteuid(), os.getegid(), os.getpid(), peer.groups)
    assert set(peer.groups) == set(os.getgroups())


# Python's getsockopt takes 256 groups at most; the kernel gives up to 65,536.
@pytest.mark.parametrize("count", [0, 1, 16, 255, 256, 257, 300, 5_000])
@needs_root
def test_a_peer_has_all_the_groups_of_who_connected(
    listening: tuple[Path, socket.socket], count: int
) -> None:
    path, sock = listening
    groups = range(70_000, 70_000 + count)

    with connected_as(ALICE, 5, groups)(path, 10.0):
        accepted, _ = sock.accept()
    with accepted:
        peer = peer_of(accepted)

    assert (peer.uid, peer.gid) == (ALICE, 5)
    assert peer.groups == tuple(groups)
    assert peer.gids == {5, *groups}

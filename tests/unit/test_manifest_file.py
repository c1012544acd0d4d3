"""Reading the manifest file: what may lie at its path, and what may happen to it meanwhile."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from assetstore.errors import AssetStoreError
from assetstore.manifest import ManifestInvalid
from assetstored.manifest_file import (
    READ_ATTEMPTS,
    ManifestMissing,
    ManifestUnreadable,
    read,
    signature,
)

NOBODY = 65534


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.json"


@contextmanager
def in_the_background(step: Callable[[], object], pause_s: float = 0.0) -> Iterator[None]:
    """Repeat step in a thread from now until the end of the block."""
    stop = threading.Event()
    once = threading.Event()

    def repeat() -> None:
        while not stop.wait(pause_s):
            step()
            once.set()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        assert once.wait(10)
        yield
    finally:
        stop.set()
        thread.join()


@contextmanager
def as_nobody() -> Iterator[None]:
    """As root, everything is readable; so be someone else for a moment."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


# --- what lies at the path


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"x" * 3_000_000])
def test_the_content_of_a_file_is_read_whatever_it_is(path: Path, content: bytes) -> None:
    path.write_bytes(content)

    assert read(str(path)) == content


def test_symbolic_links_are_followed(tmp_path: Path, path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_bytes(b"content")
    (tmp_path / "dir").symlink_to("real")
    path.symlink_to("dir/file")

    assert read(str(path)) == b"content"


def test_a_file_that_is_not_there_is_missing(path: Path) -> None:
    with pytest.raises(ManifestMissing, match="is not there; write the manifest to this path"):
        read(str(path))


def test_a_file_whose_directory_is_not_there_is_missing(path: Path) -> None:
    with pytest.raises(ManifestMissing):
        read(str(path / "below" / "it"))
    path.write_bytes(b"a file, where a directory should be")
    with pytest.raises(ManifestMissing):
        read(str(path / "below"))


def test_a_link_to_nothing_is_missing_and_the_message_names_its_target(path: Path) -> None:
    path.symlink_to("gone.json")

    with pytest.raises(ManifestMissing, match=r"is a symbolic link to gone\.json"):
        read(str(path))


def test_a_circle_of_links_is_unreadable(tmp_path: Path, path: Path) -> None:
    path.symlink_to("other")
    (tmp_path / "other").symlink_to(path)

    with pytest.raises(ManifestUnreadable, match="circle"):
        read(str(path))


def test_a_directory_is_unreadable(path: Path) -> None:
    path.mkdir()

    with pytest.raises(ManifestUnreadable, match="is a directory; put the manifest there"):
        read(str(path))


def test_a_fifo_is_unreadable_and_nobody_waits_for_its_writer(path: Path) -> None:
    os.mkfifo(path)

    with pytest.raises(ManifestUnreadable, match="is a FIFO"):
        read(str(path))


def test_a_socket_is_unreadable(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        with pytest.raises(ManifestUnreadable, match="is a socket"):
            read(str(path))


@pytest.mark.parametrize("device", ["/dev/null", "/dev/zero", "/dev/tty"])
def test_a_device_is_unreadable_even_behind_a_link(path: Path, device: str) -> None:
    path.symlink_to(device)

    with pytest.raises(ManifestUnreadable, match="is a device"):
        read(str(path))


def test_a_file_of_mode_000_is_unreadable_and_the_message_says_for_whom() -> None:
    # Not below tmp_path, which only its owner may enter.
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        path = Path(directory, "manifest.json")
        path.write_bytes(b"{}")
        path.chmod(0)

        with as_nobody(), pytest.raises(ManifestUnreadable, match=r"\(uid \d+\) may not read it"):
            read(str(path))


def test_a_file_in_a_directory_that_may_not_be_entered_is_unreadable() -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "closed", "manifest.json")
        path.parent.mkdir(mode=0o700)
        path.write_bytes(b"{}")
        path.parent.chmod(0)
        try:
            with as_nobody(), pytest.raises(ManifestUnreadable, match="may not read it"):
                read(str(path))
        finally:
            path.parent.chmod(0o700)


@pytest.mark.parametrize("impossible", ["a\0b", "x" * 5000, "x" * 300])
def test_a_path_that_cannot_be_is_unreadable(tmp_path: Path, impossible: str) -> None:
    with pytest.raises(ManifestUnreadable):
        read(f"{tmp_path}/{impossible}")


def test_a_file_over_the_size_limit_is_refused_unread(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 36)  # it would take minutes to read

    with pytest.raises(ManifestInvalid, match="68,719,476,736 bytes; a manifest has 67,108,864"):
        read(str(path))


def test_each_error_says_in_a_word_what_the_state_is() -> None:
    assert {e.state: e for e in (ManifestMissing, ManifestUnreadable, ManifestInvalid)} == {
        "missing": ManifestMissing,
        "unreadable": ManifestUnreadable,
        "invalid": ManifestInvalid,
    }
    assert issubclass(ManifestMissing, AssetStoreError)
    assert issubclass(ManifestUnreadable, AssetStoreError)


# --- what happens to it meanwhile

WHOLE = b"[[assets]]\nname = 'a'\n" * 1000


def test_a_file_that_is_rewritten_in_place_is_never_read_in_half(path: Path) -> None:
    path.write_bytes(WHOLE)
    rounds = iter(range(300))
    done = threading.Event()

    def rewrite() -> None:
        if next(rounds, None) is None:
            done.set()
            return
        with path.open("wb", buffering=0) as file:
            file.write(WHOLE[: len(WHOLE) // 2])
            file.write(WHOLE[len(WHOLE) // 2 :])

    with in_the_background(rewrite):
        while not done.is_set():
            with suppress(ManifestUnreadable):
                # Longer than a busy machine halts the other thread in the middle of the file.
                assert read(str(path), settle_s=0.2) == WHOLE
    assert read(str(path)) == WHOLE


def test_a_file_that_never_stands_still_is_unreadable_after_a_while(path: Path) -> None:
    with (
        in_the_background(lambda: path.write_bytes(WHOLE), pause_s=0.002),
        pytest.raises(ManifestUnreadable, match=f"changed each of the {READ_ATTEMPTS} times"),
    ):
        read(str(path), settle_s=0.2)  # longer than a busy machine halts the other thread


def test_a_file_that_is_replaced_all_the_time_is_read_whole(tmp_path: Path, path: Path) -> None:
    new = tmp_path / "new"

    def replace() -> None:
        new.write_bytes(WHOLE)
        new.replace(path)

    with in_the_background(replace):
        for _ in range(5):
            assert read(str(path)) == WHOLE


def test_a_file_with_a_time_in_the_future_is_read(path: Path) -> None:
    path.write_bytes(WHOLE)
    os.utime(path, (2**33, 2**33))

    assert read(str(path)) == WHOLE


# --- the signature


def test_the_signature_stays_while_nothing_changes(path: Path) -> None:
    path.write_bytes(b"1")

    before = signature(str(path))
    path.read_bytes()

    assert before is not None
    assert signature(str(path)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"other content"),
        lambda path: path.chmod(0o600 if path.stat().st_mode & 0o077 else 0o644),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.rename(path.with_suffix(".old")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["content", "mode", "time", "gone", "directory"],
)
def test_the_signature_changes_with_the_file(path: Path, change: Callable[[Path], object]) -> None:
    path.write_bytes(b"1")
    before = signature(str(path))

    change(path)

    assert signature(str(path)) != before


def test_the_signature_changes_with_the_target_of_a_link(tmp_path: Path, path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"1")
    path.symlink_to("a")
    before = signature(str(path))

    path.unlink()
    path.symlink_to("b")

    assert signature(str(path)) != before


def test_the_signature_of_nothing_is_none_and_of_what_cannot_be_looked_at_a_number(
    path: Path,
) -> None:
    assert signature(str(path)) is None
    assert signature("a\0b") not in (None, ())
    path.symlink_to(path.name)
    assert signature(str(path)) not in (None, ())

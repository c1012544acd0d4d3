"""A disk that gets full and has room again, over and over: a tmpfs, and an ext4 of its own.

What is refused, and what goes on, in each situation is in tests/integration/test_disk_faults.py;
here it is what comes of many turns under load, on both kinds of file system.

Rule: the lack of room is the kernel's own; a daemon that ends, by SIGBUS above all, has failed.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect
from tests.support.waiting import wait_until

from assetstore import Client, StoreFull

DISK_MIB = 40

#: What a worker writes; large values take pages of their own.
SIZES = (20, 2_000, 100_000)


@pytest.fixture(params=["tmpfs", "ext4"])
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    path = tmp_path / "disk"
    path.mkdir()
    try:
        if request.param == "tmpfs":
            arguments = ["-t", "tmpfs", "-o", f"size={DISK_MIB}m", "assetstore-test"]
        else:
            image = tmp_path / "image"
            with image.open("wb") as file:
                file.truncate(DISK_MIB << 20)
            subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
            arguments = ["-o", "loop", str(image)]
        subprocess.run(["mount", *arguments, str(path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        pytest.skip(f"no file system can be mounted here: {exc}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, left_bytes: int) -> None:
    """Somebody else's file takes all but so much of what is left."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 4096):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue
        file.truncate(max(0, file.tell() - left_bytes))


def test_writes_stop_and_resume_with_the_room_on_the_disk_and_nothing_else_does(
    make_daemon: Callable[..., Daemon], disk: Path, seed: int, tally: Callable[..., None]
) -> None:
    rng = random.Random(seed)
    turns = amount(2, whole=12)
    daemon = make_daemon(grace="0s", sweep_interval="100ms", journal_max_bytes=1 << 20)
    daemon.data_dir = disk / "data"
    filler = disk / "somebody-elses"
    held: dict[str, str] = {}
    acknowledged = refused = 0
    with daemon, daemon.client(timeout=30.0) as client:
        pid = client.status()["pid"]
        for turn in range(turns):
            fill(filler, rng.randrange(8 << 20))
            done, refusal = write_until_full(client, held, rng)
            acknowledged += done
            refused += 1
            assert {"free_bytes", "needed_bytes"} == set(refusal.detail)
            assert f"{refusal.detail['free_bytes']:,} bytes are free" in str(refusal)
            assert f"{refusal.detail['needed_bytes']:,}" in str(refusal)
            assert dict(client.store("orders").items()) == held
            status = client.status()
            assert status["pid"] == pid, "it has never ended"
            assert any("bytes are free" in problem for problem in status["problems"])

            filler.unlink()

            wait_until(lambda: is_writable(client, held), 20.0, "writes to resume by themselves")
            assert dict(client.store("orders").items()) == held
            # Room for the next turn, made by dropping.
            assert client.store("orders").clear() == len(held)
            held.clear()
            wait_until(lambda: not client.status()["trash_stores"], 20.0, f"drop {turn}")
    assert "Traceback" not in daemon.log_text()
    assert inspect(daemon.data_dir).problems == []
    tally(
        "No room",
        turns=turns,
        acknowledged=acknowledged,
        refused_as_StoreFull=refused,
        lost=0,
        daemons_ended=0,
    )


def write_until_full(
    client: Client, held: dict[str, str], rng: random.Random
) -> tuple[int, StoreFull]:
    """Write until it is refused; ``held`` has what was acknowledged."""
    for number in range(5_000):
        key, value = f"key-{rng.randrange(400)}", f"{number}" + "x" * rng.choice(SIZES)
        try:
            client.store("orders").set(key, value)
        except StoreFull as exc:
            return number, exc
        held[key] = value
    raise AssertionError("the store never got full")


def is_writable(client: Client, held: dict[str, str]) -> bool:
    try:
        client.store("orders").set("again", "x")
    except StoreFull:
        return False
    held["again"] = "x"
    return True

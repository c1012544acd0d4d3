"""Each file of a daemon removed, replaced, cut off, emptied or given away, as it runs and before.

What the messages say of each kind of damage at a start is in tests/integration; here it is each
file in each way, what clients were told, and how long it took to be noticed.

Rule: the files themselves are kept aside by a hard link, and put back to see what they hold.
"""

from __future__ import annotations

import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.amount import amount
from tests.support.daemon import COMMAND, Daemon
from tests.support.endings import kill_all, wait_until_deserted
from tests.support.strangers import foreign_file, without_privileges
from tests.support.waiting import wait_until

import assetstore

NAMES = ("data.mdb", "lock.mdb", "data.wal", "store.json")
WAYS = (
    "removed",
    "replaced by a copy",
    "replaced by another store's",
    "replaced by the other engine's",
    "replaced by a text file",
    "truncated",
    "emptied",
    "made read-only",
    "given to another user",
)

#: To the daemon they mean something only as long as a file is being opened.
PERMISSIONS = ("made read-only", "given to another user")

#: A second, on a busy machine.
NOTICED_S = 5.0


class Load(threading.Thread):
    """A writer that goes on until it is told to end, or for so long without an answer; it knows
    what was acknowledged."""

    def __init__(self, daemon: Daemon, patience_s: float) -> None:
        super().__init__()
        self._daemon = daemon
        self._patience_s = patience_s
        self.acknowledged = 0
        self.ended = threading.Event()

    def run(self) -> None:
        with self._daemon.client(timeout=self._patience_s) as client:
            try:
                while not self.ended.is_set():
                    client.store("orders").set("counter", self.acknowledged + 1)
                    self.acknowledged += 1
            except assetstore.AssetStoreError:
                return


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the files of another store, and with one of another engine."""
    root = tmp_path_factory.mktemp("others")
    daemon = Daemon(root / "other")
    daemon.set_manifest("orders")
    with daemon, daemon.client() as client:
        client.store("orders").set("counter", 1_000_000)
    shutil.copytree(daemon.data_dir, root / "store")
    foreign_file(root / "engine", engine=1)
    return root


def damage(path: Path, way: str, others: Path) -> None:
    """Do it to the file. What replaces it comes by rename, as a tool of an operator would."""
    new = path.with_name("new")
    match way:
        case "removed":
            path.unlink()
        case "truncated":
            os.truncate(path, path.stat().st_size // 2)
        case "emptied":
            os.truncate(path, 0)
        case "made read-only":
            path.chmod(0o400)
        case "given to another user":
            os.chown(path, 65_534, 65_534)
        case "replaced by a copy":
            shutil.copy(path, new)
        case "replaced by another store's":
            shutil.copy(others / "store" / path.name, new)
        case "replaced by the other engine's":
            name = "lock.mdb" if path.name == "lock.mdb" else "data.mdb"
            shutil.copy(others / "engine" / name, new)
        case "replaced by a text file":
            new.write_text("these are not the pages you are looking for\n" * 500)
    if new.exists():
        new.rename(path)


def cases(sample: int) -> list[tuple[str, str]]:
    """Each file in each way, or a sample that has each file and each way."""
    every = [(name, way) for name in NAMES for way in WAYS]
    if os.geteuid() != 0:
        every = [case for case in every if case[1] != "given to another user"]
    return random.Random(7).sample(every, amount(sample, whole=len(every)))


def is_to_stop(name: str, way: str) -> bool:
    """Whether a running daemon has to end: not for the marker, which it has read, nor for
    permissions, as it has the file open."""
    return name != "store.json" and way not in PERMISSIONS


def test_files_pulled_away_under_a_daemon_end_it_and_what_was_acknowledged_is_in_them(
    make_daemon: Callable[..., Daemon], others: Path, tally: Callable[..., None]
) -> None:
    outcomes: Counter[str] = Counter()
    longest_s, acknowledged = 0.0, 0
    for number, (name, way) in enumerate(cases(5)):
        daemon = make_daemon(f"{number}")
        daemon.set_manifest("orders")
        # What was cut off cannot be put back: its client gives up.
        is_gone = way in ("truncated", "emptied") and name in ("data.mdb", "data.wal")
        load = start_with_load(daemon, 2.0 if is_gone else 60.0)
        kept = keep(daemon)
        begun = time.monotonic()

        damage(daemon.data_dir / name, way, others)

        if is_to_stop(name, way):
            assert daemon.wait(30.0) != 0, (name, way)
            longest_s = max(longest_s, time.monotonic() - begun)
            # Where a signal has ended it, a process that outlives it says why.
            wait_until_deserted(daemon.data_dir)
            check_said(daemon, (name, way))
            outcomes["stopped"] += 1
        else:
            before = load.acknowledged
            while load.acknowledged < before + 20:
                assert load.is_alive(), (name, way, daemon.log_text())
            outcomes["served on"] += 1
            kill_all(daemon, 0)
        if is_gone:
            load.join()
        else:
            put_back(kept, daemon)
            check_that_all_is_there(daemon, load)
        acknowledged += load.acknowledged
    assert longest_s < NOTICED_S
    tally(
        "Files pulled away",
        cases=sum(outcomes.values()),
        **{what.replace(" ", "_"): count for what, count in outcomes.items()},
        acknowledged=acknowledged,
        of_these_not_in_the_files=0,
        longest_until_noticed=f"{longest_s:.2f} s",
    )


def start_with_load(daemon: Daemon, patience_s: float = 60.0) -> Load:
    daemon.start()
    load = Load(daemon, patience_s)
    load.start()
    while load.acknowledged < 5:
        assert load.is_alive(), daemon.log_text()
    return load


def keep(daemon: Daemon) -> Path:
    """Hard links to all files: whatever becomes of the names, what is written to them is there."""
    kept = daemon.root / "kept"
    kept.mkdir()
    for name in NAMES[:-1]:
        os.link(daemon.data_dir / name, kept / name)
    # Nothing is ever written to the marker.
    shutil.copy(daemon.data_dir / NAMES[-1], kept)
    return kept


def check_that_all_is_there(daemon: Daemon, load: Load) -> None:
    """Start it: the client goes on as if nothing had been, and its last change is there."""
    daemon.start()
    before = load.acknowledged
    wait_until(lambda: load.acknowledged > before + 2 or not load.is_alive(), 30.0, "more changes")
    load.ended.set()
    load.join()
    with daemon.client() as client:
        assert client.store("orders").get("counter") == load.acknowledged
    daemon.stop()


def put_back(kept: Path, daemon: Daemon) -> None:
    """As an operator who has found them."""
    daemon.data_dir.mkdir(exist_ok=True)
    for name in NAMES:
        path = daemon.data_dir / name
        path.unlink(missing_ok=True)
        os.link(kept / name, path)
        path.chmod(0o600)
        os.chown(path, os.geteuid(), os.getegid())
    # It is half of what it was, or LMDB's for another program: LMDB makes it anew.
    (daemon.data_dir / "lock.mdb").unlink()


def check_said(daemon: Daemon, what: object) -> None:
    """The log names the remedy."""
    text = daemon.log_text()
    assert "restore a backup" in text or "restore the data directory" in text, (what, text)
    assert "Traceback" not in text, (what, text)


@pytest.mark.parametrize("way", ["removed", "moved away"])
def test_a_whole_directory_that_is_pulled_away_ends_the_daemon(
    make_daemon: Callable[..., Daemon], tally: Callable[..., None], way: str
) -> None:
    daemon = make_daemon()
    load = start_with_load(daemon)
    kept = keep(daemon)
    begun = time.monotonic()
    if way == "removed":
        shutil.rmtree(daemon.data_dir)
    else:
        daemon.data_dir.rename(daemon.root / "elsewhere")

    assert daemon.wait(30.0) != 0
    took_s = time.monotonic() - begun

    assert took_s < NOTICED_S
    check_said(daemon, way)
    put_back(kept, daemon)
    check_that_all_is_there(daemon, load)
    tally("Files pulled away", directory=way, noticed_after=f"{took_s:.2f} s")


@pytest.mark.parametrize("way", ["removed", "replaced by a text file"])
def test_a_socket_that_is_pulled_away_ends_the_daemon_and_the_next_one_makes_it_anew(
    make_daemon: Callable[..., Daemon], way: str
) -> None:
    daemon = make_daemon()
    load = start_with_load(daemon)

    daemon.socket.unlink()
    if way != "removed":
        daemon.socket.write_text("precious")

    begun = time.monotonic()
    assert daemon.wait(30.0) == os.EX_IOERR
    assert time.monotonic() - begun < NOTICED_S
    assert f"the socket {daemon.socket} was removed or replaced" in daemon.log_text()
    wait_until_deserted(daemon.data_dir)
    if way != "removed":
        assert daemon.socket.read_text() == "precious"
        daemon.launch()
        assert daemon.wait() not in (0, 1)
        assert "exists and is no socket; remove it" in daemon.log_text()
        daemon.socket.unlink()
    check_that_all_is_there(daemon, load)


# --- before a start

#: What a start makes anew, or does without: LMDB's lock file; and the marker, which is in the data
#: file too.
_HARMLESS = {
    ("data.mdb", "replaced by a copy"),
    ("data.wal", "replaced by a copy"),
    ("store.json", "replaced by a copy"),
    ("store.json", "removed"),
    ("store.json", "made read-only"),
    *(("lock.mdb", way) for way in WAYS if way not in PERMISSIONS),
}


def test_a_start_on_files_that_were_pulled_away_serves_all_there_was_or_is_refused(
    tmp_path: Path, others: Path, tally: Callable[..., None]
) -> None:
    sound = Daemon(tmp_path / "sound")
    sound.set_manifest("orders")
    with sound, sound.client() as client:
        client.store("orders").set("counter", 7)
    outcomes: Counter[str] = Counter()
    longest_s = 0.0
    for number, (name, way) in enumerate(cases(12)):
        command = without_privileges() if way in PERMISSIONS else COMMAND
        daemon = Daemon(tmp_path / f"{number}", command=command)
        daemon.set_manifest("orders")
        shutil.copytree(sound.data_dir, daemon.data_dir)
        damage(daemon.data_dir / name, way, others)

        begun = time.monotonic()
        daemon.launch()

        if (name, way) in _HARMLESS:
            daemon.wait_for("READY=1")
            with daemon.client() as client:
                assert client.store("orders").get("counter") == 7, (name, way)
            outcomes["served"] += 1
        else:
            assert daemon.wait(30.0) not in (0, 1), (name, way, daemon.log_text())
            longest_s = max(longest_s, time.monotonic() - begun)
            last = daemon.log_text().splitlines()[-1]
            assert any(word in last for word in ("restore", "must belong", "belongs")), last
            outcomes["refused"] += 1
        daemon.close()
    assert longest_s < NOTICED_S
    tally(
        "Files pulled away",
        cases=sum(outcomes.values()),
        **outcomes,
        longest_until_refused=f"{longest_s:.2f} s",
    )

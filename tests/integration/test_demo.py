"""`make demo`, as a newcomer sees it, and what it does when it must not succeed.

Rule: the demo runs as a program of its own, as the Makefile starts it.
"""

from __future__ import annotations

import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from examples.proof import ProofFailed, check_each_day_once
from examples.weather_worker import read_days
from tests.support.checkout import ROOT
from tests.support.waiting import wait_until

SOURCE = ROOT / "examples/seattle-weather.csv"
DEADLINE_S = 60


@contextmanager
def demo(directory: Path, stdout: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    """The demo at work; whatever it leaves behind would be in directory."""
    # A socket's path has 107 bytes at most, and pytest's directories are deep.
    process = subprocess.Popen(
        [sys.executable, "-m", "examples.demo"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory), "TERM": "xterm"},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


def processes_that_name(path: Path) -> list[str]:
    """Command lines of running processes that mention the path."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(path) in line:
            found.append(line)
    return found


def test_the_demo_holds_what_it_claims_and_leaves_nothing_behind(directory: Path) -> None:
    """On a terminal, where it draws a bar for each worker."""
    ours, theirs = pty.openpty()
    read = b""
    with open(ours, "rb", buffering=0) as screen, demo(directory, stdout=theirs) as process:
        os.close(theirs)
        try:
            while part := screen.read(65536):
                read += part
        except OSError:
            pass  # how Linux says that the other side of a terminal is closed
        process.wait(DEADLINE_S)

    shown = read.decode()
    assert process.returncode == 0, shown
    for line in (
        "kill -9 worker 2013: the warehouse has it until 2013-05-20, its watermark says 2013-05-10",
        "kill -9 assetstored with",
        "2013 resumes after 2013-05-10",
        "1,461 days in the source, 1,461 rows, each of another day",
        "a worker gets InactiveAsset",
        "watermark 2013-12-31",
        "All of it held.",
    ):
        assert line in shown, shown
    for year in (2012, 2013, 2014, 2015):
        days = 366 if year == 2012 else 365
        assert f"{year} [{'#' * 40}] {days}/{days}" in shown
    assert list(directory.iterdir()) == []
    assert processes_that_name(directory) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_takes_all_its_processes_and_files_with_it(
    directory: Path, number: signal.Signals
) -> None:
    with demo(directory) as process:
        assert process.stdout is not None
        for line in process.stdout:
            # In a pipe there is no terminal to draw on.
            assert "\x1b" not in line
            if "kill -9 worker" in line:
                break
        process.send_signal(number)
        shown, _ = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130, shown
    assert "Interrupted" in shown
    assert "Traceback" not in shown
    assert list(directory.iterdir()) == []
    wait_until(lambda: not processes_that_name(directory), 5, "the demo's processes to be gone")


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    """A warehouse that holds each day once, as the demo would have left it."""
    path = tmp_path / "warehouse.sqlite"
    with closing(sqlite3.connect(path)) as database, database:
        # Without a primary key, so that a test may put a day in twice.
        database.execute("CREATE TABLE weather (day, rain, temp_max, temp_min, wind, weather)")
        database.executemany("INSERT INTO weather VALUES (?, ?, ?, ?, ?, ?)", read_days(SOURCE))
    return path


def test_the_proof_accepts_a_warehouse_that_holds_each_day_once(warehouse: Path) -> None:
    days, _ = check_each_day_once(SOURCE, warehouse)

    assert days == 1461


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("DELETE FROM weather WHERE day = '2014-02-03'", "lacks 1 days, such as 2014-02-03"),
        ("INSERT INTO weather SELECT * FROM weather WHERE wind > 9", "holds 1,4"),
        ("UPDATE weather SET wind = wind + 1 WHERE day = '2012-01-01'", "not what the source says"),
    ],
)
def test_the_proof_refuses_a_warehouse_with_a_day_missing_twice_or_changed(
    warehouse: Path, change: str, complaint: str
) -> None:
    with closing(sqlite3.connect(warehouse)) as database, database:
        database.execute(change)

    with pytest.raises(ProofFailed, match=complaint):
        check_each_day_once(SOURCE, warehouse)


def test_a_demo_whose_daemon_does_not_start_says_so_and_fails(
    directory: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT / "examples", copy / "examples")
    broken = copy / "assetstored"
    broken.mkdir()
    (broken / "__init__.py").touch()
    (broken / "__main__.py").write_text("raise SystemExit('no daemon today')")

    done = subprocess.run(
        [sys.executable, "-m", "examples.demo"],
        cwd=copy,
        env={**os.environ, "TMPDIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.returncode == 1
    assert "FAILED: " in done.stdout
    assert "no daemon today" in done.stdout
    assert list(directory.iterdir()) == []

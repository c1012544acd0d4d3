"""Ways in which a daemon ends that no caller of Daemon can bring about by a signal to it alone.

Rule: ends processes, or waits until they have ended; looks at nothing that they have stored.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.support.daemon import Daemon
from tests.support.waiting import wait_until


def wait_until_deserted(data_dir: Path) -> None:
    """Return when no process of a daemon is left: the writer goes on to the end of its batch."""
    lock = os.open(data_dir / "assetstored.lock", os.O_RDWR | os.O_CREAT, 0o600)

    def is_free() -> bool:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        wait_until(is_free, 10.0, "the last process of the daemon to end")
    finally:
        os.close(lock)


def children_of(pid: int) -> list[int]:
    """The processes that it has started: of a daemon two, and now and then a manifest's."""
    try:
        return [
            int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        ]
    except OSError:
        return []


def kill_all(daemon: Daemon, life_s: float) -> None:
    """Let the daemon live for so long and kill all its processes; returns when they have ended."""
    assert daemon.process is not None
    try:
        daemon.process.wait(life_s)
    except subprocess.TimeoutExpired:
        for pid in [daemon.process.pid, *children_of(daemon.process.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        daemon.wait()
    else:
        raise AssertionError(f"it ended by itself:\n{daemon.log_text()}")
    wait_until_deserted(daemon.data_dir)


def strace(*injections: str, trace: str = "", output: Path = Path(os.devnull)) -> list[str]:
    """What to put before a command to inject faults into system calls of all its processes.

    An injection is strace's, such as "fdatasync:error=EIO:when=3". ``trace`` names calls that are
    recorded in output, with all they write, in hexadecimal. Skips the test where there is no
    strace, or where it may not trace.
    """
    program = shutil.which("strace")
    if program is None:
        pytest.skip("needs strace")
    traced = ",".join(filter(None, [trace, *(each.partition(":")[0] for each in injections)]))
    options = ["-qq", "-o", str(output), "-e", f"trace={traced}"]
    # -D: the tracer is a grandchild, so that signals go to the command itself. A recording
    # is whole when the tracer has ended. -y: of a descriptor it has the path, too.
    options += ["-f", "--seccomp-bpf", "-y", "-xx", "-s", str(1 << 24)] if trace else ["-D", "-f"]
    tried = subprocess.run([program, *options, "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"strace may not trace here: {tried.stderr.decode()}")
    for each in injections:
        options += ["-e", f"inject={each}"]
    return [program, *options]

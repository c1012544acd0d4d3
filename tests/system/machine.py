"""A machine whose PID 1 is systemd, and what a test does there: run, write, ask, wait.

Rule: nothing here knows whether the machine is this one or a container, nor what is installed.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What a login has, and not what happens to be set where the tests run.
_ENVIRONMENT = (
    "/usr/bin/env",
    "--ignore-environment",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG=C.UTF-8",
    "SYSTEMD_PAGER=",
    "SYSTEMD_COLORS=0",
)


@dataclass(frozen=True)
class Machine:
    """``enter`` comes before each command: how to get there from here. Empty for this machine."""

    enter: tuple[str, ...] = ()

    def command(self, argv: Sequence[str], user: str | None = None) -> list[str]:
        """What to execute here so that argv runs there, as root or with all groups of user."""
        # What is started here must not outlive this end of it, wherever there is.
        there = ("setpriv", "--pdeathsig=KILL", *(_as(user) if user else ()))
        return [*self.enter, *_ENVIRONMENT, *there, *argv]

    def run(
        self,
        *argv: str,
        user: str | None = None,
        stdin: str = "",
        timeout_s: float = 30,
        may_fail: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """The ended command. Unless it may fail, the test fails with its output if it does."""
        done = subprocess.run(
            self.command(argv, user),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if done.returncode and not may_fail:
            raise AssertionError(
                f"{' '.join(argv)[:500]}: exit {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def start(self, *argv: str, user: str | None = None) -> subprocess.Popen[str]:
        """The running command, with pipes for its input and output."""
        return subprocess.Popen(
            self.command(argv, user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def systemctl(self, *argv: str, timeout_s: float = 60) -> str:
        """What systemctl printed, once the job is done."""
        return self.run("systemctl", *argv, timeout_s=timeout_s).stdout.strip()

    def show(self, unit: str, prop: str) -> str:
        """One property of a unit, as systemd has it now."""
        return self.systemctl("show", "--property", prop, "--value", unit)

    def write(self, path: str, text: str) -> None:
        """Replace the file in one step, as an administrator's tool does."""
        self.run("sh", "-c", 'cat >"$1.new" && mv "$1.new" "$1"', "sh", path, stdin=text)

    def copy(self, source: Path, target: str) -> None:
        """What is in the directory source is in the directory target there, root's own."""
        self.run("mkdir", "-p", target)
        packed = subprocess.run(
            ["tar", "-C", str(source), "-c", "."], capture_output=True, check=True
        ).stdout
        unpack = ["tar", "-C", target, "-x", "--no-same-owner"]
        subprocess.run(self.command(unpack), input=packed, check=True)

    def journal(self, unit: str, since: str = "") -> str:
        """The messages of systemd about the unit, and of the unit itself, after a cursor."""
        after = [f"--after-cursor={since}"] if since else []
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}", *after).stdout

    def journal_cursor(self) -> str:
        """Where the journal ends now, to read from later."""
        last = self.run("journalctl", "--no-pager", "--output=json", "--lines=1").stdout
        entry: dict[str, Any] = json.loads(last)
        return str(entry["__CURSOR"])


def _as(user: str) -> tuple[str, ...]:
    return (f"--reuid={user}", f"--regid={user}", "--init-groups", "--inh-caps=-all")

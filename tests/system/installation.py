"""The asset store on a machine, installed as docs/operations.md tells an administrator to.

Rule: only commands that a user would type; the checkout is not looked into from the machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.support.checkout import ROOT
from tests.system.machine import Machine

SERVICE = "assetstored.service"
SOCKET_UNIT = "assetstored.socket"
SOCKET = "/run/assetstore/assetstored.sock"
CONFIG = "/etc/assetstore/assetstored.toml"
MANIFEST = "/etc/assetstore/manifest.json"
DATA_DIR = "/var/lib/assetstore"
CLIENTS = "assetstore-clients"

_VENV = "/opt/assetstore"
PYTHON = f"{_VENV}/bin/python3"
COMMAND = f"{_VENV}/bin/assetstore"

# What it brings with it: the wheels, and the folder with the units.
_LUGGAGE = "/opt/assetstore-install"

#: Not the interpreter of these tests: the service's user must be able to run it.
SYSTEM_PYTHON = "/usr/bin/python3"


def what_is_missing() -> str | None:
    """Why it cannot be installed with what this machine has, or None."""
    wanted = "import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))"
    if not os.access(SYSTEM_PYTHON, os.X_OK):
        return f"no {SYSTEM_PYTHON} for the service to run with: apt-get install python3"
    if subprocess.run([SYSTEM_PYTHON, "-c", wanted], capture_output=True, check=False).returncode:
        return f"{SYSTEM_PYTHON} is older than 3.11, or lacks venv: apt-get install python3-venv"
    return None


def build_wheels(scratch: Path) -> Path:
    """A folder with the wheel of this checkout and those of everything it needs."""
    wheels = scratch / "wheels"
    _here(SYSTEM_PYTHON, "-m", "venv", str(scratch / "builder"))
    pip = str(scratch / "builder" / "bin" / "pip")
    _here(pip, "wheel", "--quiet", "--wheel-dir", str(wheels), f"{ROOT}[daemon,cli]")
    return wheels


def install(machine: Machine, wheels: Path) -> None:
    """The program, its users, directories and units; the socket listens, and nothing runs yet."""
    machine.copy(wheels, f"{_LUGGAGE}/wheels")
    machine.copy(ROOT / "systemd", f"{_LUGGAGE}/systemd")
    machine.run(SYSTEM_PYTHON, "-m", "venv", _VENV, timeout_s=120)
    # Every wheel by name, so that pip has nothing to look for.
    machine.run(
        *("sh", "-c", f"{_VENV}/bin/pip install --quiet --no-index {_LUGGAGE}/wheels/*.whl"),
        timeout_s=120,
    )
    machine.run(f"{_LUGGAGE}/systemd/install.sh")
    machine.run("systemd-sysusers", "assetstore.conf")
    machine.run("systemd-tmpfiles", "--create", "assetstore.conf")
    machine.systemctl("daemon-reload")
    machine.systemctl("enable", "--now", SOCKET_UNIT)


def uninstall(machine: Machine) -> None:
    """Everything that install made is gone, the data included, however far install came."""
    for argv in (
        ("systemctl", "disable", "--now", SOCKET_UNIT, SERVICE),
        (f"{_LUGGAGE}/systemd/install.sh", "uninstall"),
        ("systemctl", "daemon-reload"),
        ("rm", "-rf", _VENV, _LUGGAGE, DATA_DIR, "/etc/assetstore", "/run/assetstore"),
        ("userdel", "assetstore"),
        ("groupdel", "assetstore"),
        ("groupdel", CLIENTS),
    ):
        machine.run(*argv, may_fail=True)
    left = traces(machine)
    assert left == [], f"still there after uninstall: {left}"


def traces(machine: Machine) -> list[str]:
    """What there already is of an asset store on the machine."""
    paths = (
        *(_VENV, _LUGGAGE, DATA_DIR, "/etc/assetstore", "/run/assetstore"),
        f"/usr/local/lib/systemd/system/{SERVICE}",
        f"/etc/systemd/system/{SERVICE}",
    )
    return [path for path in paths if not machine.run("test", "-e", path, may_fail=True).returncode]


def _here(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(
            f"{' '.join(argv)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        )

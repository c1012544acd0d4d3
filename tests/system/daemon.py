"""The daemon on a machine, as its administrator deals with it.

Rule: through systemctl, files and signals only; what clients see is clients.py's.
"""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tests.support.waiting import wait_until
from tests.system.clients import on_client
from tests.system.installation import CONFIG, MANIFEST, SERVICE
from tests.system.machine import Machine

# Below /run, where it would be gone after a reboot in any case.
_DROP_INS = f"/run/systemd/system/{SERVICE}.d"


class Daemon:
    """One service on one machine; tests share it, so each begins with ``reset``."""

    ASSETS: ClassVar = ["orders", "customers", "invoices", "parcels"]

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def reset(self) -> None:
        """Running, with the default configuration, the assets above and the unit as shipped."""
        self._machine.write(CONFIG, "")
        self.write_manifest(self.ASSETS)
        self.remove_drop_in()
        self._machine.systemctl("restart", SERVICE)

    def write_manifest(self, assets: list[str]) -> None:
        self._machine.write(MANIFEST, json.dumps({"version": 1, "assets": assets}))

    def add_drop_in(self, *settings: str) -> None:
        """Restart with these settings in place of the unit's."""
        self._machine.run("mkdir", "-p", _DROP_INS)
        self._machine.write(f"{_DROP_INS}/test.conf", "\n".join(["[Service]", *settings, ""]))
        self._machine.systemctl("daemon-reload")
        self._machine.systemctl("restart", SERVICE)

    def remove_drop_in(self) -> None:
        """The unit is as shipped. What runs goes on with what it was started with."""
        if self._machine.run("test", "-e", _DROP_INS, may_fail=True).returncode == 0:
            self._machine.run("rm", "-r", _DROP_INS)
            self._machine.systemctl("daemon-reload")

    def status(self) -> dict[str, Any]:
        """What ``status`` answers; starts the daemon if it is not running."""
        report: dict[str, Any] = on_client(self._machine, "client.status()")
        return report

    def signal(self, name: str, pid: int) -> None:
        # Process 0 is one's own group, and -1 everybody.
        assert pid > 1
        self._machine.run("kill", f"-{name}", str(pid))

    def wait_for_a_new_one(self, old_pid: int, deadline_s: float = 20) -> None:
        """Return once systemd has another main process than old_pid, and it says it is ready."""

        def is_new() -> bool:
            shown = self._machine.systemctl("show", "-P", "MainPID", "-P", "ActiveState", SERVICE)
            pid, state = shown.split()
            return state == "active" and int(pid) not in (0, old_pid)

        wait_until(is_new, deadline_s, f"a new daemon in place of {old_pid}")

"""Airflow's own asset store, in an interpreter of its own: Airflow's, which --airflow names.

Measured is its default backend on SQLite, called in the client's own process. A task in production
reaches it through its supervisor and the API server, which is not measured and can only add.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Sample
from benchmarks.interrupts import held
from benchmarks.load import LoadFailed, Prepare
from benchmarks.systems.system import Session, System, SystemFailed

_STOP_S = 60.0

_CHECKOUT = Path(__file__).parent.parent.parent


class Airflow(System):
    """The metadata database on SQLite, with Airflow's own settings for it."""

    name = "airflow"
    title = "Airflow's asset store, in process, on SQLite"
    max_clients = 16

    def __init__(self, python: str) -> None:
        self._python = python
        self._inside: subprocess.Popen[str] | None = None

    def start(self, disk: Path, sockets: Path) -> None:
        disk.mkdir()
        database = f"sqlite:///{disk / 'airflow.db'}?timeout=60"
        environment = {
            **os.environ,
            "PYTHONPATH": str(_CHECKOUT),
            "AIRFLOW_HOME": str(disk),
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        with held(), (disk / "log").open("ab") as log:
            self._inside = subprocess.Popen(
                [self._python, "-m", "benchmarks.systems.airflow_inside"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._inside.stdout is not None
        self._version = self._inside.stdout.readline().strip()
        if not self._version:
            raise SystemFailed(
                "Airflow 3.3 is not installed: --airflow names an interpreter that has it"
            )

    def stop(self) -> None:
        if self._inside is not None:
            # The end of its input is the end of it, once a turn under way is over.
            try:
                self._inside.communicate(timeout=_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(self._inside.pid, signal.SIGKILL)
                self._inside.wait()

    def session(self, assets: Sequence[str]) -> Session:
        raise NotImplementedError("only Airflow's interpreter can open one")

    def take_turn(self, work: str, prepare: Prepare, clients: int, seconds: float) -> Sample:
        inside = self._inside
        assert inside is not None
        assert inside.stdin is not None
        assert inside.stdout is not None
        inside.stdin.write(f"{work} {seconds}\n")
        inside.stdin.flush()
        answer = inside.stdout.readline()
        if not answer:
            raise LoadFailed("the process with Airflow in it died")
        sample: Sample = json.loads(answer)
        if "failed" in sample:
            raise LoadFailed(f"Airflow: {sample['failed']}")
        return sample

    def versions(self) -> dict[str, str]:
        return {"Airflow": self._version}

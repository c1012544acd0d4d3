"""What runs in Airflow's interpreter: the works that are named on standard input.

    python -m benchmarks.systems.airflow_inside

Rule: imports neither assetstore nor msgspec, which Airflow's interpreter need not have.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow import __version__, settings
from airflow.models.asset import AssetModel
from airflow.state import AssetScope
from airflow.state.metastore import MetastoreBackend
from airflow.utils.session import create_session
from benchmarks.load import LoadFailed
from benchmarks.systems.system import KEY, Session, System, Value, asset_name
from benchmarks.works import WORKS
from sqlalchemy import select


class InsideSession:
    """The backend, which takes a session of the database for each call."""

    def __init__(self, assets: Sequence[str]) -> None:
        # Connections that were made before the fork are the parent's.
        settings.engine.dispose(close=False)
        self._backend = MetastoreBackend()
        with create_session() as database:
            found = dict(database.execute(select(AssetModel.name, AssetModel.id)).all())
        self._scopes = [AssetScope(asset_id=found[asset]) for asset in assets]

    def get(self, index: int) -> Any:
        return json.loads(self._backend.get(self._scopes[index], KEY))

    def set(self, index: int, value: Value) -> Any:
        self._backend.set(self._scopes[index], KEY, json.dumps(value))

    def close(self) -> None:
        settings.engine.dispose()


class Inside(System):
    """Airflow, as it is seen in its own interpreter."""

    name = "airflow"

    def start(self, disk: Path, sockets: Path) -> None:
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(command, stdout=sys.stderr, check=True)
        with create_session() as database:
            for number in range(self.assets):
                name = asset_name(number)
                database.add(AssetModel(name=name, uri=name, group="asset"))

    def session(self, assets: Sequence[str]) -> Session:
        return InsideSession(assets)

    def versions(self) -> dict[str, str]:
        return {"Airflow": __version__}


def main() -> None:
    """Say the version when it is ready, then a sample for each work."""
    # What Airflow prints is no answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    system = Inside()
    system.start(Path(), Path())
    print(__version__, file=answers)
    works = {work.name: work for work in WORKS}
    for line in sys.stdin:
        name, seconds = line.split()
        try:
            answer = works[name].measure(system, float(seconds))
        except LoadFailed as exc:
            answer = {"failed": str(exc)}
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()

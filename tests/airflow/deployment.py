"""An Airflow of its own: a home, a metadata database, and its real commands.

Rule: drives Airflow by its commands, its files and its API only; nothing of it is imported here,
so that a test fails in its own words and not in those of Airflow's warnings.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.daemon import Daemon
from tests.support.waiting import wait_until

#: How long one of Airflow's commands may take on a busy machine.
COMMAND_S = 240.0

DAGS = Path(__file__).parent / "dags"

SERVER = "assetstore.airflow.ServerBackend"
WORKER = "assetstore.airflow.WorkerBackend"

#: What [state_store] backend and [workers] state_store_backend say, by the name of a combination.
BACKENDS: dict[str, dict[str, str]] = {
    "airflow": {},
    "server": {"STATE_STORE__BACKEND": SERVER},
    "worker": {"WORKERS__STATE_STORE_BACKEND": WORKER},
    "both": {"STATE_STORE__BACKEND": SERVER, "WORKERS__STATE_STORE_BACKEND": WORKER},
}


class Deployment:
    """One Airflow. ``settings`` are its environment's: "SECTION__KEY" to what it says."""

    def __init__(self, home: Path, daemon: Daemon | None = None, **settings: str) -> None:
        self.home = home
        self.dags = home / "dags"
        self.dags.mkdir(parents=True)
        self.database = home / "airflow.db"
        self.port = _free_port()
        self.settings = {
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_FOLDER": str(self.dags),
            "CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{self.port}/execution/",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "API__PORT": str(self.port),
            "API__HOST": "127.0.0.1",
            "API_AUTH__JWT_SECRET": "one secret for all parts of this deployment",
            "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout=60",
            "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            # No test is about how long Airflow's client keeps asking, and machines may be busy.
            "WORKERS__EXECUTION_API_RETRIES": "1",
            "WORKERS__EXECUTION_API_TIMEOUT": "60",
            "CORE__PARALLELISM": "1",
            **settings,
        }
        if daemon is not None:
            self.settings["ASSETSTORE__SOCKET"] = str(daemon.socket)
        #: Where Dags of a test may leave what they have seen: $SEEN_DIR.
        self.seen = home / "seen"
        self.seen.mkdir()

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes a command of Airflow's this deployment's."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")
        }
        given = {f"AIRFLOW__{name}": value for name, value in self.settings.items()}
        # "airflow standalone" starts others by their name.
        path = f"{Path(sys.executable).parent}:{inherited.get('PATH', os.defpath)}"
        own = {"AIRFLOW_HOME": str(self.home), "SEEN_DIR": str(self.seen), "PATH": path}
        return {**inherited, **own, **given}

    def run(self, *args: str) -> str:
        """Run ``airflow`` and return what it printed; it has to succeed."""
        return self.command(sys.executable, "-m", "airflow", *args)

    def command(self, *command: str) -> str:
        """Run a program in this deployment's environment; it has to succeed."""
        done = subprocess.run(
            command,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
        )
        assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def add_dags(self, *files: Path) -> None:
        """Put files into the Dags folder as they are."""
        for file in files:
            shutil.copy(file, self.dags)

    def test_dag(self, dag_id: str, *options: str) -> str:
        """``airflow dags test``: one run, which has to succeed; what it printed."""
        printed = self.run("dags", "test", *options, dag_id)
        states = [state for (state,) in self.rows("select state from dag_run order by id")]
        assert states[-1] == "success", f"the run of {dag_id} ended as {states[-1]}:\n{printed}"
        return printed

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the metadata database answers."""
        with contextlib.closing(sqlite3.connect(self.database, timeout=60)) as database:
            return database.execute(query).fetchall()

    @contextlib.contextmanager
    def serving(self, *command: str) -> Iterator[None]:
        """``airflow api-server``, or another command that serves, while the block runs."""
        log = self.home / f"{command[0]}.log"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "airflow", *command],
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._is_healthy(process, log), COMMAND_S, "Airflow's API server")
            yield
        finally:
            _end_group(process)

    def api(self, path: str, **body: Any) -> Any:
        """Ask the REST API, as an administrator; with a body by POST."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/v2{path}")
        request.add_header("Authorization", f"Bearer {self.token()}")
        if body:
            request.add_header("Content-Type", "application/json")
            request.data = json.dumps(body).encode()
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def token(self) -> str:
        """A token of the REST API."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/auth/token") as answer:
            return str(json.load(answer)["access_token"])

    def _is_healthy(self, process: subprocess.Popen[bytes], log: Path) -> bool:
        assert process.poll() is None, f"it ended:\n{log.read_text()}"
        with contextlib.suppress(OSError, ValueError):
            url = f"http://127.0.0.1:{self.port}/api/v2/version"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bool(json.load(answer)["version"])
        return False


def example_dag() -> Path:
    """Airflow's shipped example of this feature, as it is installed."""
    found = subprocess.run(
        [sys.executable, "-c", "import airflow; print(airflow.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    return Path(found.splitlines()[-1]) / "example_dags" / "example_asset_state_store.py"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a command of Airflow's with all that it has started: it is the leader of its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(30)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])

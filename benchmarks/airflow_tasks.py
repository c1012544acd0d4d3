"""How long get and set take as a task of Airflow's sees them, on each store in turn.

    .venv-airflow/bin/python -m benchmarks.airflow_tasks [--rounds N]

Each round has a run on each store: a real API server, a supervisor and a task in a process of its
own, which times its calls. ``direct`` is ``assetstore.airflow.task_client`` in such a task.
Prints the table of docs/airflow.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import tempfile
from pathlib import Path

from tests.airflow.deployment import BACKENDS, Deployment
from tests.support.daemon import Daemon

ASSET = {"name": "bench/orders", "uri": "s3://bench/orders"}
DAG = Path(__file__).parent / "systems" / "airflow_dag.py"

TITLES = {
    "airflow": "Airflow's own",
    "server": "`ServerBackend`",
    "worker": "`WorkerBackend`",
    "direct": "`task_client`, beside the `ServerBackend`",
}

Times = dict[str, dict[str, list[float]]]


def measure(root: Path, rounds: int) -> Times:
    """Store -> call -> seconds of each call, of all rounds."""
    times: Times = {}
    with contextlib.ExitStack() as stack:
        deployments = {}
        for name in ("airflow", "server", "worker"):
            daemon = Daemon(root / f"daemon-{name}")
            daemon.set_manifest(ASSET)
            stack.enter_context(daemon)
            deployment = Deployment(
                root / name, daemon, **BACKENDS[name], CORE__EXECUTOR="LocalExecutor"
            )
            deployments[name] = deployment
            deployment.run("db", "migrate")
            deployment.add_dags(DAG)
            stack.enter_context(deployment.serving("api-server", "--workers", "1"))
        for _ in range(rounds):
            for name, deployment in deployments.items():
                deployment.test_dag("bench", "--use-executor")
                for file in deployment.seen.glob("*.json"):
                    store = "direct" if file.stem == "direct" else name
                    if store == "direct" and name != "server":
                        continue
                    for call, seconds in json.loads(file.read_text()).items():
                        times.setdefault(store, {}).setdefault(call, []).extend(seconds)
    return times


def table(times: Times) -> str:
    """Median, and what one in a hundred exceeds, in milliseconds."""
    lines = ["| | get | set |", "|---|---:|---:|"]
    for name, title in TITLES.items():
        cells = []
        for call in ("get", "set"):
            found = sorted(times[name][call])
            late = found[int(len(found) * 0.99)]
            cells.append(f"{statistics.median(found) * 1e3:.2f} ms ({late * 1e3:.1f})")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    root = Path(tempfile.mkdtemp(prefix="assetstore-airflow-"))
    try:
        print(table(measure(root, rounds)))
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()

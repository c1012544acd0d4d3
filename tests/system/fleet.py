"""Workers on the machine that read and write while something happens to the daemon.

Rule: nothing here knows what happens.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.system.clients import on_client
from tests.system.installation import PYTHON
from tests.system.machine import Machine

_WORKER = Path(__file__).with_name("worker.py").read_text()


@dataclass
class Report:
    """What one worker went through."""

    asset: str
    acknowledged: int
    wrong: list[str]
    longest_wait_s: float


@contextmanager
def at_work(machine: Machine, assets: list[str], timeout_s: float = 5.0) -> Iterator[list[Report]]:
    """One worker process for each asset is reading and writing; afterwards the list is filled.

    Each worker has written before this begins, and writes and reads once more before it reports:
    what is done in between is done to working clients, who have to get over it.
    """
    reports: list[Report] = []
    workers = [machine.start(PYTHON, "-c", _WORKER, asset, str(timeout_s)) for asset in assets]
    try:
        for worker in workers:
            assert worker.stdout is not None
            first = worker.stdout.readline()
            assert first == "at work\n", _output_of(worker)
        yield reports
        for asset, worker in zip(assets, workers, strict=True):
            output, errors = worker.communicate(timeout=30)
            assert worker.returncode == 0, errors
            reports.append(Report(asset=asset, **json.loads(output)))
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def assert_nothing_surfaced_and_nothing_is_lost(machine: Machine, reports: list[Report]) -> None:
    """No worker saw an error, and what each was promised is what a new client finds."""
    for report in reports:
        assert report.wrong == [], report
        assert report.acknowledged > 0
        kept = on_client(machine, f"list(client.store({report.asset!r}).items())")
        entries = dict(kept)
        promised = {f"{number:08}": number for number in range(1, report.acknowledged + 1)}
        lost = [key for key in promised if entries.get(key) != promised[key]]
        assert lost == [], f"{report.asset}: {len(lost)} of {len(promised)} are lost: {lost[:5]}"
        assert entries["watermark"] == report.acknowledged


def _output_of(worker: subprocess.Popen[str]) -> str:
    worker.kill()
    return "".join(worker.communicate())

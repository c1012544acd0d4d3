"""examples/orders_load.py without Airflow; tests/airflow has it in a task."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from examples.orders_load import SOURCE, load
from tests.support.checkout import ROOT
from tests.support.daemon import Daemon

from assetstore import Asset, Client


def test_the_load_goes_on_from_its_watermark(client: Client) -> None:
    context = {"asset_store": client.asset_store(inlets=[Asset("customers")])}

    assert load(context, SOURCE) == list(SOURCE)
    assert load(context, SOURCE) == []
    assert load(context, {**SOURCE, "2026-01-04": 1}) == ["2026-01-04"]

    assert client.store("customers").get_many(["watermark", "total"]) == {
        "watermark": "2026-01-04",
        "total": 17,
    }


def test_it_runs_as_a_program(
    starter: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = Daemon(tmp_path)
    daemon.set_manifest("orders")
    with daemon:
        monkeypatch.setenv("ASSETSTORE_SOCKET", str(daemon.socket))
        printed = [
            subprocess.run(
                [sys.executable, "-m", "examples.orders_load"],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=True,
            ).stdout
            for _ in range(2)
        ]

        assert printed == ["loaded 3 days\n", "loaded 0 days\n"]
        with daemon.client() as client:
            entry = client.store("orders").entry("watermark")
        assert entry is not None
        assert (entry.updated_by.dag_id, entry.updated_by.task_id) == ("orders", "load")

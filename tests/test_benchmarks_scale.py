"""The benchmark of scale: what it says of its figures, a very small run, and what it leaves behind.

Rule: no figure is judged here. How fast something is depends on the machine.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.scale_goals import Beside, Figure, as_json, as_lines
from tests.support.bench import Bench, benching
from tests.support.waiting import wait_until

_DEADLINE_S = 60.0

QUICK, SLOW = [0.001] * 99, 0.030


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with benching("benchmarks.scale", tmp_path) as bench:
        yield bench


def test_a_goal_is_met_if_the_median_of_its_rounds_is_within() -> None:
    assert Figure("start", 1.0, [0.5, 0.9, 3.0], "s").met is True
    assert Figure("start", 1.0, [0.5, 1.1, 3.0], "s").met is False
    assert Figure("start", None, [0.5], "s").met is None
    assert Figure("start", 1.0, [], "s").met is None


def test_waits_are_held_against_the_limit_and_against_those_without_the_operation() -> None:
    def met(beside: list[float], without: list[float]) -> bool | None:
        return Beside("drop: set", [beside], [without]).met

    assert met(QUICK, QUICK) is True
    assert met([*QUICK, SLOW], QUICK) is False
    assert met([*QUICK, SLOW], [*QUICK, SLOW]) is True
    assert met([*QUICK, SLOW, SLOW], [*QUICK, SLOW]) is False
    assert met([], QUICK) is None


def test_the_tables_and_the_json_say_the_same() -> None:
    found: list[Figure | Beside] = [
        Figure("start", 1.0, [0.25, 0.75, 0.5], "s"),
        Figure("first start", None, [4.0], "s"),
        Beside("drop: set", [QUICK, [*QUICK, SLOW]], [QUICK, QUICK]),
    ]

    assert as_lines(found) == [
        "| what | goal | measured | | |",
        "|---|---:|---:|---|---|",
        "| start | 1 s | 0.5 s (0.25 to 0.75) | met |  |",
        "| first start |  | 4 s |  |  |",
        "",
        "| requests beside | longest wait, ms | without | p99, ms | without "
        "| over 20 ms, of all | without | |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
        "| drop: set | 30 | 1 | 1 | 1 | 1 of 199 | 0 of 198 | **not met** |",
    ]
    written = as_json(found, {"cores": 2})
    assert written["machine"] == {"cores": 2}
    assert [(each["name"], each["measured"], each["met"]) for each in written["goals"]] == [
        ("start", 0.5, True),
        ("first start", 4.0, None),
        ("drop: set", pytest.approx(15.5), False),
    ]
    assert written["goals"][2]["beside"]["over_20_ms"] == 1


def test_a_small_run_measures_everything_and_leaves_nothing(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "scale.json"
    process = bench.start(
        *("--assets", "1200", "--data", "2MiB", "--rounds", "1", "--seconds", "1"),
        *("--json", str(path), "--only", "start,reload,drop,trim,backup"),
    )
    out, err = process.communicate(timeout=_DEADLINE_S)

    assert process.returncode == 0, err
    written = json.loads(path.read_text())
    assert len(written["goals"]) == 20
    assert "| start with 1,200 assets and" in out
    for each in written["goals"]:
        assert each["measured"] is not None, each["name"]
    assert [each.name for each in tmp_path.iterdir()] == ["scale.json"]
    assert bench.processes() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(bench: Bench, number: int, tmp_path: Path) -> None:
    process = bench.start("--assets", "2000", "--data", "2MiB", "--only", "reload")
    # Both processes of a daemon and its syncing one, and clients beside.
    wait_until(lambda: len(bench.processes()) > 8, _DEADLINE_S, "clients beside the daemon")

    process.send_signal(number)
    _, err = process.communicate(timeout=_DEADLINE_S)

    assert process.returncode == 130, err
    wait_until(lambda: not bench.processes(), _DEADLINE_S, "the last process to end")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["--only", "stat"], "--only takes"), (["--data", "1 GB"], "is no size like")],
)
def test_a_wrong_argument_says_what_is_right(bench: Bench, arguments: list[str], says: str) -> None:
    process = bench.start(*arguments)
    _, err = process.communicate(timeout=_DEADLINE_S)

    assert process.returncode in (2, os.EX_USAGE)
    assert says in err

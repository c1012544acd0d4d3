"""The benchmark itself: its arithmetic, its clients, a very small run, and what it leaves behind.

Rule: no figure is judged here. How fast something is depends on the machine.
"""

from __future__ import annotations

import os
import signal
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from benchmarks.figures import load_sample, percentile, ratios, series, spread
from benchmarks.goals import GOALS, Figure, Goal, judge
from benchmarks.load import LoadFailed, Run, Took, run_load
from benchmarks.machine import mount_of
from benchmarks.record import PUBLISHED, dumps, read, write
from benchmarks.report import DOCUMENT, with_tables
from benchmarks.tables import table
from benchmarks.works import WORKS
from tests.support.bench import Bench, benching
from tests.support.waiting import wait_until

_DEADLINE_S = 60.0

#: What is in every environment that runs the tests.
_SYSTEMS = "assetstore,sqlite,lmdb,echo,disk"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with benching("benchmarks", tmp_path) as bench:
        yield bench


def run(bench: Bench, *arguments: str) -> tuple[int, str, str]:
    process = bench.start(*arguments)
    out, err = process.communicate(timeout=_DEADLINE_S)
    return process.returncode, out, err


def goal(limit: float, *, is_at_most: bool, unit: str = "x") -> Goal:
    top, bottom = (Figure("get-1", system, "per_s") for system in ("assetstore", "redis"))
    return Goal("get-1", "Redis", limit, unit, is_at_most, top, bottom)


def results_of(ours: list[float], theirs: list[float]) -> dict[str, Any]:
    rounds = {"assetstore": ours, "redis": theirs}
    systems = {
        name: {"title": name, "survives": "", "rounds": [{"per_s": each} for each in found]}
        for name, found in rounds.items()
    }
    return {"get-1": {"title": "get", "systems": systems}}


def test_a_percentile_is_a_value_that_was_measured() -> None:
    ordered = list(range(1, 101))

    assert [percentile(ordered, part) for part in (0.0, 0.5, 0.99, 1.0)] == [1, 50, 99, 100]
    assert percentile([7], 0.99) == 7


def test_a_sample_counts_what_was_finished_in_time_and_shows_the_latencies_of_all() -> None:
    latencies = {"get": [1_000] * 99 + [5_000], "set": [9_000]}

    sample = load_sample(
        latencies, late=1, seconds=0.5, cpu_ns={"serving": 2_000_000, "writer": 1_000_000}
    )

    assert sample == {
        "per_s": 200.0,
        "get": {"count": 100, "p50_us": 1.0, "p99_us": 1.0},
        "set": {"count": 1, "p50_us": 9.0, "p99_us": 9.0},
        "cpu_us": {"all": 29.7, "serving": 19.8, "writer": 9.9},
    }


def test_a_ratio_is_taken_within_each_round_and_its_median_is_shown() -> None:
    found = spread(ratios([10, 40, 60], [10, 10, 20]))

    assert found == (3, 1, 4)
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


def test_a_figure_that_one_round_lacks_is_none() -> None:
    assert series([{"get": {"p50_us": 1}}, {"get": {"p50_us": 2}}], "get.p50_us") == [1, 2]
    assert series([{"get": {"p50_us": 1}}, {"per_s": 2}], "get.p50_us") == []


@pytest.mark.parametrize(
    ("limit", "is_at_most", "is_met"),
    [(3.0, False, True), (3.1, False, False), (3.0, True, True), (2.9, True, False)],
)
def test_a_goal_is_met_if_the_median_of_its_rounds_is_within(
    limit: float, *, is_at_most: bool, is_met: bool
) -> None:
    verdict = judge(goal(limit, is_at_most=is_at_most), results_of([10, 40, 60], [10, 10, 20]), {})

    assert verdict.found == (3, 1, 4)
    assert verdict.is_met is is_met


def test_a_goal_in_milliseconds_is_about_the_difference() -> None:
    verdict = judge(
        goal(15, is_at_most=True, unit="ms"), results_of([90, 70, 80], [60, 60, 60]), {}
    )

    assert verdict.found == (20, 10, 30)
    assert verdict.is_met is False


def test_a_goal_that_was_not_measured_says_why() -> None:
    verdict = judge(
        goal(3, is_at_most=False), results_of([1], []), {"redis": "redis is not installed"}
    )

    assert (verdict.is_met, verdict.reason) == (None, "redis is not installed")


def test_every_goal_is_about_a_work_that_there_is() -> None:
    works = {work.name for work in WORKS} | {"life", "import"}

    assert {side.work for each in GOALS for side in (each.top, each.bottom)} <= works


def test_the_mount_of_a_directory_is_the_deepest_and_latest_above_it() -> None:
    mounts = (
        "22 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 22 0:26 / /srv/my\\040data rw shared:9 - tmpfs tmpfs rw\n"
        "31 22 254:1 / /srv/my\\040data rw - xfs /dev/vdb rw\n"
    )

    assert mount_of(Path("/srv/my data/x"), mounts)[1:] == ("xfs", "/dev/vdb")
    assert mount_of(Path("/srv/my"), mounts)[1:] == ("ext4", "/dev/vda")


def test_a_table_sets_figures_right_and_words_left() -> None:
    lines = list(table(["system", "p50, us"], [["a", "1,000"], ["bcd", "-"]]))

    assert lines == [
        "| system | p50, us |",
        "| ------ | ------: |",
        "| a      |   1,000 |",
        "| bcd    |       - |",
    ]


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    report = {"format": 1, "results": results_of([1.5, 2.5], [3.5])}

    write(report, tmp_path / "made" / "run.json")

    assert read(tmp_path / "made" / "run.json") == report
    assert '{"per_s": 1.5},\n' in dumps(report)


def test_clients_begin_together_and_a_call_that_ends_late_does_not_count() -> None:
    def prepare(number: int) -> Run:
        return lambda end: Took({"get": array("Q", [1_000, 2_000])}, late=1)

    sample = run_load(prepare, clients=3, seconds=0.1, processes={"own": os.getpid()})

    assert sample["per_s"] == 30.0
    assert sample["get"]["count"] == 6
    assert sample["cpu_us"]["own"] >= 0


def test_a_client_that_raises_fails_the_run_with_what_it_raised() -> None:
    def prepare(number: int) -> Run:
        raise RuntimeError("no such socket")

    with pytest.raises(LoadFailed, match="RuntimeError: no such socket"):
        run_load(prepare, clients=2, seconds=0.1, processes={})


def test_a_client_that_dies_fails_the_run() -> None:
    def prepare(number: int) -> Run:
        os._exit(3)

    with pytest.raises(LoadFailed, match="exit code 3"):
        run_load(prepare, clients=1, seconds=0.1, processes={})


def test_a_small_run_measures_everything_and_leaves_nothing(bench: Bench) -> None:
    path = bench.directory / "run.json"

    code, out, err = run(
        bench,
        *("--rounds", "1", "--seconds", "0.03", "--systems", _SYSTEMS, "--json", str(path)),
        *("--only", "get-1,set-1,mix,async-get,life,import"),
    )

    assert code == 0, err
    report = read(path)
    assert report["missing"] == {}
    assert {"cores", "processor", "kernel", "file_system", "device"} <= report["machine"].keys()
    assert {"assetstore", "SQLite", "lmdb", "msgspec"} <= report["versions"].keys()
    took_part = {work: set(each["systems"]) for work, each in report["results"].items()}
    stores = {"assetstore", "sqlite", "lmdb"}
    assert took_part == {
        "get-1": stores | {"echo"},
        "set-1": stores | {"echo", "disk"},
        "mix-16": stores,
        "async-get": {"assetstore"},
        "life": {"assetstore"},
        "import": {"python", "msgspec", "assetstore"},
    }
    for work, each in report["results"].items():
        path_of_figure = "p50_ms" if work in ("life", "import") else "per_s"
        for about in each["systems"].values():
            assert len(series(about["rounds"], path_of_figure)) == 1
    assert "set-1, p50" in out
    assert "fdatasync floor" in out
    assert "serving" in out
    assert bench.processes() == []
    assert list(bench.directory.iterdir()) == [path]


def test_a_run_goes_on_without_what_is_not_there(bench: Bench) -> None:
    path = bench.directory / "run.json"

    code, out, err = run(
        bench,
        *("--rounds", "1", "--seconds", "0.01", "--systems", "assetstore,airflow"),
        *("--only", "get-1", "--airflow", "/bin/false", "--json", str(path)),
    )

    assert code == 0, err
    assert read(path)["missing"].keys() == {"airflow"}
    assert "goes on without airflow" in err
    assert "Not measured: airflow" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_stopped_leaves_nothing(bench: Bench, number: int) -> None:
    process = bench.start("--seconds", "60", "--systems", "assetstore", "--only", "set-16")
    # More than the benchmark and its daemon have: clients are being started, or run.
    wait_until(lambda: len(bench.processes()) >= 10, _DEADLINE_S, "the clients to run")

    process.send_signal(number)

    assert process.communicate(timeout=_DEADLINE_S) == (
        "",
        "benchmarks: stopped, and nothing is left behind\n",
    )
    assert process.returncode == 130
    assert bench.processes() == []
    assert list(bench.directory.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "gte"], "there is no work 'gte'; there are get-1,"),
        (["--systems", "rdis"], "there is no 'rdis'; there are assetstore,"),
        (["--rounds", "0"], "'0' is not a number from 1 on"),
        (["--seconds", "1h"], "'1h' is not a number above 0, up to 60"),
        (["--dir", "/nowhere"], "/nowhere is no directory"),
    ],
)
def test_a_wrong_argument_says_what_is_right(
    bench: Bench, arguments: list[str], message: str
) -> None:
    code, out, err = run(bench, *arguments)

    assert (code, out) != (0, "")
    assert message in err


def test_the_document_shows_the_run_that_is_published() -> None:
    document = DOCUMENT.read_text()

    assert with_tables(document, read(PUBLISHED)) == document

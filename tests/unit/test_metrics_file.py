"""The metrics file: whole or as it was, readable by all, and a failure is told once."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path

import pytest

from assetstore.errors import Damaged
from assetstored.metrics_file import MetricsFile, write_whole


def test_it_is_readable_by_all_whatever_the_umask_is(tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        write_whole(tmp_path / "a.prom", "x 1\n")
    finally:
        os.umask(umask)

    assert stat.S_IMODE((tmp_path / "a.prom").stat().st_mode) == 0o644
    assert (tmp_path / "a.prom").read_text() == "x 1\n"
    assert os.listdir(tmp_path) == ["a.prom"]


def test_it_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    path = tmp_path / "a.prom"
    write_whole(path, "x 1\n" * 1_000)
    with path.open() as before:
        write_whole(path, "x 2\n")

        assert before.read() == "x 1\n" * 1_000
    assert path.read_text() == "x 2\n"


def test_a_link_in_the_way_of_the_temporary_file_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".a.prom.new").symlink_to(victim)

    write_whole(tmp_path / "a.prom", "x 1\n")

    assert victim.read_text() == "precious"
    assert not (tmp_path / "a.prom").is_symlink()


def test_where_it_cannot_be_replaced_nothing_is_left_beside_it(tmp_path: Path) -> None:
    (tmp_path / "a.prom").mkdir()

    with pytest.raises(OSError, match=r"a\.prom"):
        write_whole(tmp_path / "a.prom", "x 1\n")

    assert os.listdir(tmp_path) == ["a.prom"]


def run_until_asked(file: MetricsFile, asked: list[int], times: int) -> None:
    """Let it write until the numbers were asked for so many times, and the last was dealt with."""

    async def run() -> None:
        running = asyncio.ensure_future(file.run())
        async with asyncio.timeout(30.0):
            while len(asked) <= times:
                await asyncio.wait({running}, timeout=0.001)
        running.cancel()

    asyncio.run(run())


def test_a_failure_is_logged_once_and_stands_until_it_is_mended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    asked: list[int] = []

    async def text() -> str:
        asked.append(1)
        return "x 1\n"

    path = tmp_path / "later" / "a.prom"
    file = MetricsFile(str(path), interval_s=0.001, metrics=text)

    run_until_asked(file, asked, 3)
    assert file.problem == f"the metrics file {path} cannot be written: No such file or directory"
    assert [record.levelname for record in caplog.records] == ["WARNING"]

    path.parent.mkdir()
    run_until_asked(file, asked, len(asked) + 2)
    assert file.problem is None
    assert path.read_text() == "x 1\n"
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


def test_numbers_that_cannot_be_collected_are_a_problem_and_not_the_end(tmp_path: Path) -> None:
    asked: list[int] = []

    async def text() -> str:
        asked.append(1)
        raise Damaged("the catalog is damaged")

    file = MetricsFile(str(tmp_path / "a.prom"), interval_s=0.001, metrics=text)

    run_until_asked(file, asked, 3)

    assert file.problem is not None
    assert file.problem.endswith("cannot be written: the catalog is damaged")

"""Entries and writers: which run fields a kind takes, and times to the microsecond."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from assetstore.entries import Entry, RecordedWriter, Writer, time_from_us
from assetstore.errors import InvalidRequest

RUN: dict[str, Any] = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}


def test_a_writer_is_a_worker_unless_it_says_otherwise() -> None:
    writer = Writer()

    writer.check()
    assert writer.kind == "worker"


def test_a_worker_may_give_any_of_the_run_fields() -> None:
    Writer(kind="worker", dag_id="d").check()
    Writer(kind="worker", **RUN).check()


def test_a_task_gives_all_four_run_fields() -> None:
    Writer(kind="task", **RUN).check()


@pytest.mark.parametrize("missing", RUN)
def test_a_task_without_one_of_them_is_refused_by_its_name(missing: str) -> None:
    run = {name: value for name, value in RUN.items() if name != missing}

    with pytest.raises(InvalidRequest, match=f"'task' lacks {missing}"):
        Writer(kind="task", **run).check()


def test_a_task_without_any_of_them_names_them_all() -> None:
    with pytest.raises(InvalidRequest, match="lacks dag_id, run_id, task_id, map_index"):
        Writer(kind="task").check()


@pytest.mark.parametrize("kind", ["watcher", "api", "cli", "daemon"])
@pytest.mark.parametrize("field", RUN)
def test_other_kinds_take_none_of_them(kind: Any, field: str) -> None:
    Writer(kind=kind).check()

    with pytest.raises(InvalidRequest, match=f"'{kind}' takes no {field}"):
        Writer(kind=kind, **{field: RUN[field]}).check()


@pytest.mark.parametrize("field", ["dag_id", "run_id", "task_id"])
def test_a_run_field_has_the_limit_of_a_name(field: str) -> None:
    Writer(kind="worker", **{field: "x" * 1_500}).check()  # type: ignore[arg-type]

    with pytest.raises(InvalidRequest, match=f"{field} is 1,501 characters long.*1,500"):
        Writer(kind="worker", **{field: "x" * 1_501}).check()  # type: ignore[arg-type]


def test_a_writer_of_no_known_kind_does_not_pass_the_wire() -> None:
    text = msgspec.msgpack.encode(["root", None, None, None, None])

    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(text, type=Writer)


@pytest.mark.parametrize("value", [Writer(), time_from_us(0)])
def test_an_entry_and_its_parts_are_immutable(value: object) -> None:
    with pytest.raises(AttributeError):
        value.kind = "task"  # type: ignore[attr-defined]


def test_two_entries_of_the_same_change_are_equal() -> None:
    writer = RecordedWriter("worker", None, None, None, None, 0, 0, 1)
    first, second = (Entry("k", [1], 7, time_from_us(5), writer) for _ in range(2))

    assert first == second
    assert repr(first).startswith("Entry(key='k', value=[1], revision=7")


@pytest.mark.parametrize(
    ("microseconds", "when"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        # A float of seconds cannot hold this one to the microsecond.
        (9_007_199_254_740_993, datetime(2255, 6, 5, 23, 47, 34, 740993, tzinfo=UTC)),
    ],
)
def test_times_are_exact_and_aware(microseconds: int, when: datetime) -> None:
    assert time_from_us(microseconds) == when
    assert time_from_us(microseconds).tzinfo is UTC

"""What moving in and out of Airflow's own store does with each key."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from assetstore import AssetRef, Entry
from assetstore.airflow.moving import (
    Row,
    State,
    Step,
    counts,
    prepared,
    way_in,
    way_out,
    write_export,
    writer,
)
from assetstore.airflow.references import reference_to
from assetstore.entries import RecordedWriter
from assetstore.export_format import AssetLine
from assetstore.manifest import ManifestAsset
from assetstore.survey import entries_of, survey

ORDERS = ManifestAsset("orders", "s3://data/orders/", "sales")
NOW = datetime(2026, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)
TASK = writer("task", "dag", "run-1", "load", -1)


def row(value: Any = 1, *, key: str = "k", age_s: float = 0, **fields: Any) -> Row:
    text = value if isinstance(value, str) and "text" in fields else json.dumps(value)
    fields.pop("text", None)
    given: dict[str, Any] = {"asset": ORDERS, "is_active": True, "writer": TASK, **fields}
    return Row(key=key, value=text, updated_at=NOW - timedelta(seconds=age_s), **given)


def entry(value: Any = 1, *, age_s: float = 0, by: RecordedWriter = TASK) -> Entry:
    return Entry("k", value, 7, NOW - timedelta(seconds=age_s), by)


def state_in(row: Row, held: Entry | None) -> State:
    ready = prepared(row)
    return ready.state if isinstance(ready, Step) else way_in(ready, held).state


@pytest.mark.parametrize(
    ("held", "state"),
    [
        (None, "new"),
        (entry({"a": [1, None]}), "same"),
        (entry({"a": [1, None]}, age_s=-60), "same"),
        (entry("other", age_s=60), "changed"),
        (entry("other", age_s=0), "changed"),
        (entry("other", age_s=-60), "newer"),
    ],
)
def test_the_newer_of_two_values_stays_when_moving_in(held: Entry | None, state: State) -> None:
    assert state_in(row({"a": [1, None]}), held) == state


@pytest.mark.parametrize(
    ("bad", "state"),
    [
        (row(is_active=False), "skipped"),
        (row({"__airflow_state_ref__": reference_to(AssetRef(name="orders"), "k")}), "skipped"),
        (row({"__airflow_state_ref__": "s3://elsewhere"}), "refused"),
        (row('{"a": NaN}', text=True), "refused"),
        (row("null", text=True), "refused"),
        (row("no json", text=True), "refused"),
        (row(key=""), "refused"),
        (row(key="k" * 513), "refused"),
    ],
)
def test_what_cannot_be_moved_in_is_said_with_its_reason(bad: Row, state: State) -> None:
    step = prepared(bad)

    assert isinstance(step, Step)
    assert step.state == state
    assert step.reason


def test_an_int_is_not_a_float_nor_a_bool_when_values_are_compared() -> None:
    assert state_in(row(1), entry(1.0, age_s=1)) == "changed"
    assert state_in(row(1), entry(True, age_s=1)) == "changed"
    assert way_out(ORDERS, entry(1), row(1.0, age_s=1)).state == "changed"
    assert way_out(ORDERS, entry(1), row(True, age_s=1)).state == "changed"


@pytest.mark.parametrize(
    ("there", "state"),
    [
        (None, "new"),
        (row([1]), "same"),
        (row([2], age_s=60), "changed"),
        (row([2], age_s=-60), "newer"),
        # Whenever it was written, it is no value.
        (
            row({"__airflow_state_ref__": reference_to(AssetRef(name="orders"), "k")}, age_s=-60),
            "changed",
        ),
    ],
)
def test_the_newer_of_two_values_stays_when_moving_out(there: Row | None, state: State) -> None:
    assert way_out(ORDERS, entry([1]), there).state == state


def test_a_writer_that_airflow_has_no_word_for_becomes_the_api() -> None:
    by = RecordedWriter("cli", None, None, None, None, 0, 0, 1)

    moved = way_out(ORDERS, entry(by=by), None).row
    assert moved is not None
    assert moved.writer.kind == "api"

    moved = way_out(ORDERS, entry(by=TASK), None).row
    assert moved is not None
    assert moved.writer == TASK


def test_an_int_that_airflow_could_not_read_is_refused() -> None:
    assert way_out(ORDERS, entry(10**5000), None).state == "refused"


def test_rows_become_an_export_with_times_writers_and_order() -> None:
    other = ManifestAsset("a", "a")
    rows = [
        row("third", key="k3"),
        row("first", key="k1", age_s=20),
        row("second", key="k2", age_s=10, asset=other),
    ]
    file = io.BytesIO()

    write_export(rows, file)

    file.seek(0)
    found = survey(file)
    assert [section.asset for section in found.sections] == [
        AssetLine("a", "a", None),
        AssetLine("orders", "s3://data/orders/", "sales"),
    ]
    entries = [each for section in found.sections for each in entries_of(file, section)]
    assert [each.key for each in entries] == ["k2", "k1", "k3"]
    assert entries[1].updated_by == TASK
    assert entries[1].value == b'"first"'


def test_no_rows_are_an_export_of_nothing() -> None:
    file = io.BytesIO()

    write_export([], file)

    file.seek(0)
    assert survey(file).sections == []


def test_states_are_counted() -> None:
    assert counts([Step(ORDERS, "a", "new"), Step(ORDERS, "b", "new")]) == {"new": 2}

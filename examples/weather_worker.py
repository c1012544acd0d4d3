"""A worker as one would write it: loads one year of Seattle's weather into a SQLite warehouse.

    python examples/weather_worker.py 2013 examples/seattle-weather.csv warehouse.sqlite

The warehouse and the asset store cannot commit as one, so the order matters: first the chunk, then
its watermark. A worker that dies in between offers that one chunk again in its next run, and the
warehouse, whose primary key is the day, takes each day once. The other order would lose the chunk.
"""

from __future__ import annotations

import csv
import itertools
import sqlite3
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

import assetstore
from assetstore import Asset, Store, Writer

CHUNK_DAYS = 10

_TABLE = """
    CREATE TABLE IF NOT EXISTS weather (
        day TEXT PRIMARY KEY,
        precipitation REAL, temp_max REAL, temp_min REAL, wind REAL, weather TEXT
    ) WITHOUT ROWID
"""


class Day(NamedTuple):
    """One line of the source and one row of the warehouse; ``day`` as 2013-05-20."""

    day: str
    precipitation: float
    temp_max: float
    temp_min: float
    wind: float
    weather: str


class Step(NamedTuple):
    """What a worker has just done, for whoever watches; ``day`` is how far that reaches."""

    what: Literal["resumed", "committed", "marked", "finished"]
    day: str
    offered: int = 0
    added: int = 0


def asset(year: int) -> Asset:
    return Asset(f"weather_{year}", uri=f"sqlite://warehouse/weather/{year}")


def load(year: int, source: Path, warehouse: Path, report: Callable[[Step], None]) -> None:
    """The days of that year are in the warehouse, and its watermark says so.

    ``report`` hears of each step when it is done.
    """
    # The timeout is how long a stop of the daemon may last before it becomes our error.
    # The writer is what an operator sees beside each entry.
    connection = assetstore.connect(timeout=30, writer=Writer(dag_id="weather", task_id="load"))
    with connection as client, closing(_open(warehouse)) as database:
        store = client.store(asset(year))
        watermark: str = store.get("watermark", default="")
        report(Step("resumed", watermark))
        for chunk in _chunks(_newer(year, source, watermark)):
            watermark = _load_chunk(chunk, database, store, report)
        report(Step("finished", watermark))


def _load_chunk(
    chunk: list[Day], database: sqlite3.Connection, store: Store, report: Callable[[Step], None]
) -> str:
    reached = chunk[-1].day
    with database:
        added = database.executemany(
            "INSERT INTO weather VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (day) DO NOTHING", chunk
        ).rowcount
    report(Step("committed", reached, len(chunk), added))
    store.set("watermark", reached)
    report(Step("marked", reached))
    return reached


def read_days(source: Path) -> Iterator[Day]:
    """All days of the source, in its order, which is that of time."""
    with source.open(newline="") as lines:
        for line in csv.DictReader(lines):
            yield Day(
                line["date"].replace("/", "-"),
                float(line["precipitation"]),
                float(line["temp_max"]),
                float(line["temp_min"]),
                float(line["wind"]),
                line["weather"],
            )


def _newer(year: int, source: Path, watermark: str) -> Iterator[Day]:
    for day in read_days(source):
        if day.day.startswith(f"{year}-") and day.day > watermark:
            yield day


def _chunks(days: Iterable[Day]) -> Iterator[list[Day]]:
    remaining = iter(days)
    while chunk := list(itertools.islice(remaining, CHUNK_DAYS)):
        yield chunk


def _open(warehouse: Path) -> sqlite3.Connection:
    # Workers wait for each other's commits; those are short.
    database = sqlite3.connect(warehouse, timeout=30)
    database.execute(_TABLE)
    return database


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: weather_worker.py YEAR SOURCE.csv WAREHOUSE.sqlite", file=sys.stderr)
        return 2
    year, source, warehouse = arguments
    try:
        load(int(year), Path(source), Path(warehouse), print)
    except assetstore.AssetStoreError as exc:
        print(f"weather_{year}: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

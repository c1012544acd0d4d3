"""What the demo claims, as checks that can fail.

Rule: nothing is started, written or printed here.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from examples.weather_worker import Day, read_days


class ProofFailed(Exception):
    """Something the demo claims does not hold."""


def check(holds: bool, claim: str) -> None:
    """Raise ProofFailed, unless it holds."""
    if not holds:
        raise ProofFailed(claim)


def check_each_day_once(source: Path, warehouse: Path) -> tuple[int, str]:
    """The number of days and the checksum that source and warehouse share, or ProofFailed."""
    wanted = list(read_days(source))
    with closing(sqlite3.connect(warehouse)) as database:
        found = [Day(*row) for row in database.execute("SELECT * FROM weather ORDER BY day")]
    missing = {row.day for row in wanted} - {row.day for row in found}
    check(
        not missing, f"the warehouse lacks {len(missing)} days, such as {min(missing, default='')}"
    )
    check(
        len(found) == len({row.day for row in found}) == len(wanted),
        f"the warehouse holds {len(found):,} rows, where the source has {len(wanted):,} days",
    )
    check(
        _checksum(found) == _checksum(wanted),
        "the warehouse holds each day, but not what the source says of it",
    )
    return len(found), _checksum(found)


def _checksum(days: Iterable[Day]) -> str:
    digest = hashlib.sha256()
    for day in days:
        digest.update(repr(tuple(day)).encode() + b"\n")
    return digest.hexdigest()

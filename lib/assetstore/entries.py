"""What the store keeps: entries, and who wrote them.

Rule: values only; nothing here does I/O.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec

from assetstore.errors import InvalidRequest
from assetstore.limits import MAX_NAME_CHARS

Kind = Literal["worker", "task", "watcher", "api", "cli", "daemon"]

_RUN_FIELDS = ("dag_id", "run_id", "task_id", "map_index")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Writer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who makes a change, as the client declares it. Anyone can declare anything.

    ``task`` needs all four run fields, as in Airflow (map_index is -1 for a task that is
    not mapped); ``watcher`` and ``api`` take none; ``worker`` takes any.
    ``cli`` and ``daemon`` are the project's own programs.
    """

    kind: Kind = "worker"
    dag_id: str | None = None
    run_id: str | None = None
    task_id: str | None = None
    map_index: int | None = None

    def check(self) -> None:
        """Raise InvalidRequest where the fields do not fit the kind."""
        given = [name for name in _RUN_FIELDS if getattr(self, name) is not None]
        missing = [name for name in _RUN_FIELDS if name not in given]
        if self.kind == "task" and missing:
            raise InvalidRequest(f"writer of kind 'task' lacks {', '.join(missing)}")
        if self.kind in ("watcher", "api", "cli", "daemon") and given:
            raise InvalidRequest(f"writer of kind {self.kind!r} takes no {', '.join(given)}")
        for name in ("dag_id", "run_id", "task_id"):
            _check_length(name, getattr(self, name))


class RecordedWriter(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Who made a change: what the client declared, beside what the kernel vouches for.

    The first five fields can be forged by any client; uid, gid and pid come from
    SO_PEERCRED, as they were when the connection was made.
    """

    kind: str
    dag_id: str | None
    run_id: str | None
    task_id: str | None
    map_index: int | None
    uid: int
    gid: int
    pid: int

    def check(self) -> None:
        """Raise InvalidRequest where a text is longer than any that was recorded."""
        for name in ("kind", "dag_id", "run_id", "task_id"):
            _check_length(name, getattr(self, name))


class Entry(msgspec.Struct, frozen=True):
    """A key with its value, and when and by whom it was last changed.

    ``revision`` is store-wide: of two changes anywhere in the store, the later has the greater.
    """

    key: str
    value: Any
    revision: int
    updated_at: datetime
    updated_by: RecordedWriter


class Advance(msgspec.Struct, frozen=True):
    """What ``advance`` found: the entry as it stands now, and whether this call wrote it."""

    applied: bool
    entry: Entry


def _check_length(name: str, text: str | None) -> None:
    if text is not None and len(text) > MAX_NAME_CHARS:
        raise InvalidRequest(
            f"writer's {name} is {len(text):,} characters long; the limit is {MAX_NAME_CHARS:,}"
        )


def time_from_us(microseconds: int) -> datetime:
    """The aware datetime (UTC) for microseconds since 1970, exactly."""
    return _EPOCH + timedelta(microseconds=microseconds)


def time_to_us(time: datetime) -> int:
    """Microseconds since 1970 of an aware datetime, exactly."""
    return (time - _EPOCH) // timedelta(microseconds=1)

"""What ``metrics`` tells: the numbers of the daemon for a monitoring system, as one text.

Names, units and types are those that Prometheus advises: seconds, bytes, _total for what only
grows. docs/operations.md lists them.

Rule: collects, and names; exposition.py writes, and nobody is judged here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, get_args

from assetstore.errors import Damaged
from assetstored.exposition import Family, Labels, exposition
from assetstored.key_ages import Ages, KeyAges
from assetstored.manifest_keeper import State
from assetstored.meters import Histogram, Meters, tag_of
from assetstored.reader import Reader
from assetstored.sweeper import Sweeper
from assetstored.wal import FILE_BYTES

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Trash(NamedTuple):
    """What waits in the trash: how much, and since when the oldest does."""

    entries: int = 0
    size_bytes: int = 0
    oldest_us: int | None = None


class Metrics:
    """Collects them. Those who ask while it does so share the next collection."""

    def __init__(
        self,
        *,
        report: Callable[[], dict[str, Any]],
        meters: Meters,
        reader: Reader,
        sweeper: Sweeper,
        ages: KeyAges,
    ) -> None:
        self._report = report
        self._meters = meters
        self._reader = reader
        self._sweeper = sweeper
        self._ages = ages
        self._started = time.time()
        self._lock = asyncio.Lock()
        self._next: asyncio.Future[str] | None = None

    async def text(self) -> str:
        """All of them, as they are now."""
        if self._next is None:
            self._next = asyncio.ensure_future(self._text_in_turn())
        return await asyncio.shield(self._next)

    async def _text_in_turn(self) -> str:
        async with self._lock:
            self._next = None
            ages = await self._ages.look()
            trash = await self._trash()
            report = self._report()
            return exposition(
                [
                    *_of_service(report, self._meters, self._started),
                    *_of_store(report, trash),
                    *_of_keys(ages, time.time()),
                ]
            )

    async def _trash(self) -> Trash | None:
        try:
            return await self._trash_now()
        except Damaged:
            return None  # whoever looks into the trash hears of it

    async def _trash_now(self) -> Trash:
        entries = size_bytes = 0
        oldest = None
        async for _, row in self._sweeper.rows():
            if not row.dropping:
                entries += row.entries
                size_bytes += row.size_bytes
                oldest = row.since if oldest is None else min(oldest, row.since)
        return Trash(entries, size_bytes, oldest)


def _of_service(report: dict[str, Any], meters: Meters, started: float) -> Iterator[Family]:
    yield _one("info", "Always 1; which daemon and store this is.", 1, _identity(report))
    yield _one("start_time_seconds", "When the daemon started, in Unix time.", started)
    yield _one("healthy", "1, or 0 where status has problems.", int(report["health"] == "ok"))
    yield _one("problems", "How many problems status has.", len(report["problems"]))
    yield _many(
        "requests_total",
        "Requests since the start, by kind.",
        {"get": meters.gets, **{tag_of(kind): n for kind, n in meters.by_kind.items()}},
        "kind",
    )
    times = {tag_of(kind): each for kind, each in meters.answer_times.items() if each.count}
    yield _many(
        "request_duration_seconds",
        "From a request to its answer, the wait for the disk included; of gets one in 64 is timed.",
        times,
        "kind",
    )
    yield _many(
        "refusals_total",
        "Requests, and connections, that were refused, by code.",
        meters.refusals,
        "code",
    )
    yield _one("connections", "Clients that are connected.", report["connections"])
    yield _one("connections_max", "How many may be.", report["max_connections"])
    yield _count("connections_accepted_total", "Connections since the start.", meters.connections)
    yield _count("connections_cut_total", "Those that were cut off.", meters.cut_off)
    watchers = report["waiting_for_events"]
    yield _one("watchers_waiting", "Requests that wait for the next event.", watchers)
    yield _one("changes_waiting", "Changes that wait for the disk.", report["queued"])
    yield _many(
        "batch_jobs",
        "Changes that shared a commit: with one record of the log, or one of the writer's.",
        {"log": meters.logged_batches, "writer": meters.written_batches},
        "by",
    )
    yield _timed("log_sync", "To write a batch to the log and sync it.", meters.log_times)
    yield _timed("writer_commit", "For the writer to commit a batch.", meters.writer_times)
    yield _timed("checkpoint", "To bring the log into the data file.", meters.checkpoint_times)
    pids = {process: report[f"{key}pid"] for process, key in _PROCESSES.items()}
    yield _many("memory_bytes", "Resident memory, by process.", _each(_memory, pids), "process")
    yield _many("cpu_seconds_total", "Processor time, by process.", _each(_cpu, pids), "process")


def _of_store(report: dict[str, Any], trash: Trash | None) -> Iterator[Family]:
    yield _one("revision", "The last revision that was given out.", report["revision"])
    yield _one("assets_active", "Assets that are active.", report["assets_active"])
    yield _one("assets_known", "All assets ever known.", report["assets_known"])
    yield _one("data_file_bytes", "The length of the data file.", report["data_bytes"])
    used = "Of it in use, or used before and free for use again."
    yield _one("data_used_bytes", used, report["used_bytes"])
    free = "Free space on the disk of the store."
    yield _one("disk_free_bytes", free, report["disk_free_bytes"])
    yield _one("log_bytes", "The length of the write-ahead log, which is fixed.", FILE_BYTES)
    yield _one(
        "log_used_bytes",
        "Of its present half, what was logged since the last checkpoint.",
        report["log_used_bytes"],
    )
    yield _one("journal_events", "Changes that the journal holds.", report["journal_events"])
    yield _one("journal_bytes", "What they take of the data file.", report["journal_bytes"])
    oldest = report["journal_oldest"]
    yield _one("journal_oldest_revision", "From which on the journal is complete.", oldest)
    yield _one(
        "trash_stores",
        "Stores in the trash, those that are being dropped included.",
        report["trash_stores"],
    )
    if trash is not None:
        yield _one("trash_entries", "Entries of those that can be had back.", trash.entries)
        yield _one("trash_bytes", "What these take of the data file.", trash.size_bytes)
        yield _when("trash_oldest", "Since when the oldest of these is there.", trash.oldest_us)
    yield _when("last_sweep", "When the last sweep ended.", report["last_sweep"])
    yield _one("readers", "Transactions that read the data file.", report["readers"])
    stale = "Readers whose processes are gone; each may keep the file growing."
    yield _one("readers_stale", stale, report["stale_readers"])
    manifest = report["manifest"]
    states = {
        state: int(state == manifest["state"])
        for state in get_args(State)
        if state != "unchanged"  # a verdict, and never the state
    }
    yield _many("manifest_state", "1 for the state of the manifest.", states, "state")
    accepted = manifest["accepted_at"]
    yield _when("manifest_accepted", "When the last accepted manifest was.", accepted)


def _of_keys(ages: Ages, now: float) -> Iterator[Family]:
    seconds = [
        ({"asset": name, "key": key}, updated / 1e6)
        for (name, key), updated in ages.updated.items()
    ]
    written = "When the key was written last, in Unix time."
    yield Family("assetstore_key_updated_timestamp_seconds", "gauge", written, seconds)
    since = [(labels, round(max(0.0, now - when), 6)) for labels, when in seconds]
    age = "How long ago that was when this was collected."
    yield Family("assetstore_key_age_seconds", "gauge", age, since)
    yield _many("key_ages_found", "Keys that a pattern fits.", ages.found, "pattern")
    yield _many(
        "key_ages_missing",
        "Active assets that a pattern fits, without a key that it fits.",
        ages.missing,
        "pattern",
    )
    if ages.found:
        whole = "1, or 0 where the patterns fit more keys than are told of."
        yield _one("key_ages_complete", whole, int(ages.is_whole))


#: Process -> what its pid is called in the report.
_PROCESSES = {"serving": "", "writer": "writer_", "syncer": "syncer_"}


def _identity(report: dict[str, Any]) -> Labels:
    return {"version": report["version"], "store_id": report["store_id"]}


def _one(name: str, text: str, value: float, labels: Labels | None = None) -> Family:
    return Family(f"assetstore_{name}", "gauge", text, [(labels or {}, value)])


def _count(name: str, text: str, value: int) -> Family:
    return Family(f"assetstore_{name}", "counter", text, [({}, value)])


def _timed(name: str, text: str, times: Histogram) -> Family:
    return Family(f"assetstore_{name}_duration_seconds", "histogram", text, [({}, times)])


def _when(name: str, text: str, time_us: int | None) -> Family:
    """A moment; left out where it has not been."""
    samples: list[tuple[Labels, float]] = [] if time_us is None else [({}, time_us / 1e6)]
    return Family(f"assetstore_{name}_timestamp_seconds", "gauge", f"{text} In Unix time.", samples)


def _many(
    name: str, text: str, values: Mapping[str, float] | Mapping[str, Histogram], label: str
) -> Family:
    samples = [({label: each}, value) for each, value in values.items()]
    if any(isinstance(value, Histogram) for value in values.values()):
        return Family(f"assetstore_{name}", "histogram", text, samples)
    kind: Literal["counter", "gauge"] = "counter" if name.endswith("_total") else "gauge"
    return Family(f"assetstore_{name}", kind, text, samples)


def _each(read: Callable[[int], float | None], pids: dict[str, int]) -> dict[str, float]:
    """What can be read of each process; one that has ended is left out."""
    found = {process: read(pid) for process, pid in pids.items()}
    return {process: value for process, value in found.items() if value is not None}


def _memory(pid: int) -> float | None:
    fields = _read(f"/proc/{pid}/statm")
    return int(fields.split()[1]) * _PAGE_BYTES if fields else None


def _cpu(pid: int) -> float | None:
    # The name in it may hold anything, and ends with the last bracket.
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S if fields else None


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""

"""What ``status`` tells: facts of the daemon in one map.

Rule: collects; decides only what counts as a problem.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import Any

from assetstore.version import VERSION
from assetstored import engine
from assetstored.access import Right, Rules, rules_of
from assetstored.border import Permit
from assetstored.commits import CommitQueue
from assetstored.config import Config
from assetstored.feed import Feed
from assetstored.listener import Listeners
from assetstored.manifest_keeper import ManifestKeeper
from assetstored.metrics_file import MetricsFile
from assetstored.reader import Reader
from assetstored.server import Server
from assetstored.service import Service
from assetstored.sweeper import Sweeper

#: Below this a write may soon be refused.
_LOW_DISK_BYTES = 256 << 20


class StatusReporter:
    """Asks the parts of the daemon for what they know."""

    def __init__(
        self,
        config: Config,
        *,
        listeners: Listeners,
        store_id: str,
        writer_pid: int,
        syncer_pid: int,
        reader: Reader,
        queue: CommitQueue,
        keeper: ManifestKeeper,
        sweeper: Sweeper,
    ) -> None:
        self._config = config
        self._listeners = listeners
        self._store_id = store_id
        self._writer_pid = writer_pid
        self._syncer_pid = syncer_pid
        self._reader = reader
        self._queue = queue
        self._keeper = keeper
        self._sweeper = sweeper
        self._started = time.monotonic()
        self.server: Server | None = None
        self.service: Service | None = None
        self.feed: Feed | None = None
        self.metrics_file: MetricsFile | None = None

    def report(self, permit: Permit | None = None) -> dict[str, Any]:
        """The fields are in docs/operations.md; times are in microseconds since 1970.

        What names assets is left out for who may not read them all. Without a permit it is the
        daemon that asks.
        """
        config = self._config
        sizes = self._reader.sizes()
        counters = self._reader.counters()
        readers = self._reader.readers()
        manifest = self._keeper.report()
        disk_free = shutil.disk_usage(config.data_dir).free
        problems = self._problems(disk_free)
        readonly = self._listeners.readonly
        if permit is not None and permit.grants.everywhere < Right.READ:
            if problems:
                problems = [f"{len(problems):,}; who may read every asset is told which"]
            manifest = {**manifest, "reason": None}
        server, service = self.server, self.service
        return {
            "version": VERSION,
            "lmdb_version": engine.LMDB_VERSION,
            "store_id": self._store_id,
            "pid": os.getpid(),
            "writer_pid": self._writer_pid,
            "syncer_pid": self._syncer_pid,
            "uptime_s": round(time.monotonic() - self._started, 3),
            "revision": counters.revision,
            "health": "degraded" if problems else "ok",
            "problems": problems,
            "socket": str(self._listeners.main.path),
            "readonly_socket": None if readonly is None else str(readonly.path),
            "data_dir": config.data_dir,
            "data_bytes": os.stat(os.path.join(config.data_dir, "data.mdb")).st_size,
            "used_bytes": sizes["used_bytes"],
            "disk_free_bytes": disk_free,
            "map_bytes": sizes["map_bytes"],
            "max_value_bytes": config.max_value_bytes,
            "connections": len(server.connections) if server else 0,
            "max_connections": server.limits.max_connections if server else 0,
            "requests": service.meters.requests if service else 0,
            "queued": self._queue.queued,
            "log_used_bytes": self._queue.logged_bytes,
            "commits": self._queue.commits,
            "batched": self._queue.committed_jobs,
            "assets_active": counters.active,
            "assets_known": sizes["assets_known"],
            "trash_stores": sizes["trash_stores"],
            "journal_events": sizes["journal_events"],
            "journal_bytes": sizes["journal_bytes"],
            "journal_oldest": counters.compacted + 1,
            "readers": sum(slot.is_reading for slot in readers),
            "stale_readers": sum(slot.is_stale for slot in readers),
            "waiting_for_events": self.feed.count if self.feed else 0,
            "grace_s": config.grace_s,
            "sweep_interval_s": config.sweep_interval_s,
            "max_deactivate_fraction": config.max_deactivate_fraction,
            "last_sweep": self._sweeper.last_sweep_us,
            "manifest": manifest,
            "access": None if permit is None else _access(permit, self._config.access),
        }

    def _problems(self, disk_free: int) -> list[str]:
        problems = []
        if self._keeper.state not in ("accepted", "applying"):
            problems.append(
                f"the manifest is {self._keeper.state}"
                + (f": {self._keeper.reason}" if self._keeper.reason else "")
            )
        if disk_free < _LOW_DISK_BYTES:
            problems.append(f"only {disk_free:,} bytes are free on the disk of the store")
        if self.metrics_file is not None and self.metrics_file.problem is not None:
            problems.append(self.metrics_file.problem)
        if self.service is not None:
            problems += self.service.damaged
        return problems


def _access(permit: Permit, rules: Rules | None) -> dict[str, Any]:
    """Who asks, and what they may do: everywhere, and by which rules more."""
    return {
        "uid": permit.identity.uid,
        "gids": sorted(permit.identity.gids),
        "reads_only": permit.reads_only,
        "everywhere": permit.grants.everywhere.word,
        "rules": None
        if rules is None
        else [
            {"who": rule.who, "name": rule.name, "right": rule.right.word, "assets": rule.globs}
            for rule in rules_of(rules, permit.identity)
        ],
    }

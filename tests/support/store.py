"""A real writer process and a reader on one directory, without a daemon around them.

Rule: batches in, results out; no client, no socket file.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any, Self

import msgspec

from assetstore.entries import RecordedWriter
from assetstore.errors import refusal
from assetstore.framing import FrameReader, frame
from assetstore.limits import DEFAULT_MAX_VALUE_BYTES
from assetstore.messages import AssetRef, WireEntry
from assetstore.requests import new_request_id
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.reader import Reader
from assetstored.writer import MAX_BATCH_FRAME_BYTES, run_writer

WRITER = msgspec.Raw(
    msgspec.msgpack.encode(RecordedWriter("worker", None, None, None, None, 1, 2, 3))
)


def change(
    *operations: jobs.AnyOperation,
    request: bytes | None = None,
    sent_at: float | None = None,
    size: int = 1,
) -> jobs.Change:
    """The job of a client that asks for these operations; a repeat names the request."""
    request = request or new_request_id()
    return jobs.Change(list(operations), WRITER, request, sent_at, size)


class Store:
    """Changes go through a forked writer process, reads through a reader in this one."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.open()

    def open(self) -> None:
        """Start the writer and the reader."""
        self._link, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                self._link.close()
                status = run_writer(theirs, self.data_dir, max_value_bytes=DEFAULT_MAX_VALUE_BYTES)
            finally:
                os._exit(status)
        theirs.close()
        self._frames = FrameReader(MAX_BATCH_FRAME_BYTES)
        ready = self._receive()
        assert isinstance(ready, jobs.Ready), ready
        self.reader = Reader(str(self.data_dir))

    def close(self) -> None:
        """End both, as a stop does."""
        self.reader.close()
        self._link.close()
        os.waitpid(self.pid, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def run(self, *batch: jobs.AnyJob) -> list[jobs.Result]:
        """The results of one batch, after its commit."""
        self._link.sendall(frame(jobs.encode(jobs.Batch(list(batch)))))
        committed = self._receive()
        assert isinstance(committed, jobs.Committed), committed
        self.reader.refresh(catalog_changed=committed.catalog_changed)
        return committed.results

    def do(self, job: jobs.AnyJob) -> Any:
        """The value of one job; raises Refused."""
        (result,) = self.run(job)
        if result.code is not None:
            raise refusal(result.code, result.message, result.decoded())
        return result.decoded()

    def operate(self, operation: jobs.AnyOperation) -> Any:
        """The outcome of one operation, a list as messages.Outcome; raises Refused."""
        (outcome,) = self.do(change(operation))
        return outcome

    def activate(self, *names: str) -> None:
        """Make assets active whose uri is their name."""
        self.do(jobs.ApplySlice(Slice([], [(name, name, None) for name in names], [])))

    def deactivate(self, *names: str) -> None:
        """Let assets leave."""
        self.do(jobs.ApplySlice(Slice([AssetRef(name, name) for name in names], [], [])))

    def asset_id(self, name: str) -> int:
        """The id of an asset, in whatever state it is."""
        found = self.reader.find(AssetRef(name))
        assert found is not None
        return found[0]

    def put(self, name: str, key: str, value: bytes) -> int:
        """Set a key; returns the revision."""
        return int(self.do(self.put_job(name, key, value))[0][0])

    def put_job(self, name: str, key: str, value: bytes) -> jobs.Change:
        """The job that sets a key."""
        job = jobs.SetKey(self.asset_id(name), key, value, None)
        return change(job, size=2 * len(value))

    def remove(self, name: str, key: str) -> bool:
        """Delete a key; returns whether it was there."""
        revision, *_ = self.operate(jobs.DeleteKey(self.asset_id(name), key, None))
        return revision is not None

    def clear(self, name: str) -> int:
        """Clear an asset; returns the count."""
        _, count, *_ = self.operate(jobs.ClearStore(self.asset_id(name)))
        return int(count)

    def drop(self, trash_id: int) -> None:
        """Condemn a store and drop it to the end."""
        self.do(jobs.Condemn([trash_id]))
        while self.do(jobs.DropSlice(trash_id)):
            pass

    def get(self, name: str, key: str) -> WireEntry | None:
        """The entry, or None."""
        raw = self.reader.get(AssetRef(name), key)
        return None if raw is None else msgspec.msgpack.decode(raw, type=WireEntry)

    def contents(self, name: str) -> dict[str, bytes]:
        """All of an active asset, read page by page in pages of a few."""
        found: dict[str, bytes] = {}
        after: str | None = None
        more = True
        while more:
            page, more = self.reader.items(AssetRef(name), "", after, 7)
            for key, raw in page:
                assert after is None or key.encode() > after.encode()
                found[key] = msgspec.msgpack.decode(raw, type=WireEntry).value
                after = key
        return found

    def trash(self) -> list[tuple[int, str, str, int]]:
        """What waits in the trash: id, name, reason, entries."""
        page, after = self.reader.trash(0, 1_000, 0)
        assert after is None
        return [(item.id, item.name, item.reason, item.entries) for item in page]

    def _receive(self) -> jobs.AnyReport:
        while (payload := self._frames.next()) is None:
            data = self._link.recv(1 << 20)
            assert data, "the writer ended"
            self._frames.feed(data)
        return jobs.decode_report(payload)

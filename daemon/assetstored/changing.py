"""Changes on their way to the writer: what clients ask for is checked here, and names become ids.

Rule: decides what may be queued; what becomes of it the writer decides.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from assetstore import messages as m
from assetstore.errors import Busy, InvalidRequest, Refused
from assetstore.limits import (
    MAX_IMPORT_KEYS,
    MAX_KEY_CHARS,
    MAX_OPERATIONS,
    MAX_PURGE,
    MAX_TIME_US,
    MAX_VALUE_DEPTH,
    check_computed_size,
    check_key,
    check_value_size,
)
from assetstore.values import check_json
from assetstored import jobs
from assetstored.border import Caller
from assetstored.catalog import checked
from assetstored.commits import CommitQueue
from assetstored.reader import Reader
from assetstored.sweeper import Sweeper

#: To check the JSON of a longer value can take milliseconds, during which nobody else is served.
_LARGE_VALUE_BYTES = 32 * 1024

#: What an operation costs beside its value, roughly: the record's other fields, and the journal's.
_OPERATION_BYTES = 200


class Changer:
    """Checks changes and queues them."""

    def __init__(
        self, reader: Reader, queue: CommitQueue, sweeper: Sweeper, *, max_value_bytes: int
    ) -> None:
        self._reader = reader
        self._queue = queue
        self._sweeper = sweeper
        self._max_value_bytes = max_value_bytes
        # Threads start with the first job, so none exists when the daemon forks.
        self._aside = ThreadPoolExecutor(1, "large-values")
        self._aside_bytes = 0

    def is_large(self, request: m.Change) -> bool:
        """Whether its values are to be checked aside, with ``check_aside``; checks their sizes."""
        if len(request.operations) > MAX_OPERATIONS:
            raise InvalidRequest(
                f"{len(request.operations):,} operations; one change takes {MAX_OPERATIONS:,}"
            )
        total = 0
        for operation in request.operations:
            if type(operation) is m.SetKey:
                size = len(operation.value)
                if size > self._max_value_bytes:
                    check_value_size(size, self._max_value_bytes)
                total += size
                continue
            if type(operation) is m.ImportKeys:
                total += _check_entries(operation, self._max_value_bytes)
                continue
            for text in _texts(operation):
                check_value_size(len(text), self._max_value_bytes)
                check_computed_size(len(text), "what was sent", _tag(operation))
                total += len(text)
        return total > _LARGE_VALUE_BYTES

    async def check_aside(self, request: m.Change) -> None:
        """Check its values in a thread, since it may take long."""
        texts = [text for operation in request.operations for text in _texts(operation)]
        size = sum(map(len, texts))
        if self._aside_bytes and self._aside_bytes + size > self._queue.max_bytes:
            raise Busy(
                f"{self._aside_bytes:,} bytes of values wait to be checked; the limit is "
                f"{self._queue.max_bytes:,} (max_inflight_bytes). Nothing changed; try again"
            )
        self._aside_bytes += size
        loop = asyncio.get_running_loop()
        try:
            for some in _parts(texts):
                await loop.run_in_executor(self._aside, _check_all, some)
        finally:
            self._aside_bytes -= size

    def check(self, request: m.Change) -> None:
        """Check its values here and now."""
        for operation in request.operations:
            if type(operation) is m.SetKey:
                check_json(operation.value)
                continue
            for text in _texts(operation):
                check_json(text)

    def submit(
        self, request: m.Change, caller: Caller, done: Callable[[jobs.Result], None]
    ) -> None:
        """Queue a change whose values have been checked."""
        try:
            operations = [self._resolved(operation) for operation in request.operations]
        except Refused as exc:
            if not request.age_ms:
                raise
            self.ask_again(request, caller, exc, done)
            return
        condemns = any(type(operation) is m.PurgeStores for operation in request.operations)

        def settle(result: jobs.Result) -> None:
            if condemns and result.code is None:
                self._sweeper.drop_soon()
            done(result)

        self.submit_resolved(request, operations, caller, settle)

    def ask_again(
        self,
        request: m.Change,
        caller: Caller,
        refused: Refused,
        done: Callable[[jobs.Result], None],
    ) -> None:
        """What is refused now may have been carried out when it was sent first: tell which."""
        self.submit_resolved(request, [], caller, partial(_settle_again, refused, done))

    def submit_resolved(
        self,
        request: m.Change | m.Rewind,
        operations: list[jobs.AnyOperation],
        caller: Caller,
        done: Callable[[jobs.Result], None],
    ) -> None:
        """Queue these operations under the id of the request."""
        now = time.monotonic()
        deadline = None if request.timeout_ms is None else now + request.timeout_ms / 1_000
        sent_at = now - request.age_ms / 1_000 if request.age_ms else None
        size = sum(map(_size_of, operations))
        job = jobs.Change(operations, caller.writer, request.request, sent_at, size)
        self._queue.submit(job, size=size, deadline=deadline, done=done)

    def _resolved(self, op: m.AnyOperation) -> jobs.AnyOperation:
        match op:
            case m.SetKey(asset, key, value, if_revision):
                return jobs.SetKey(self._id_of(asset), check_key(key), value, if_revision)
            case m.DeleteKey(asset, key, if_revision):
                return jobs.DeleteKey(self._id_of(asset), check_key(key), if_revision)
            case m.AdvanceKey(asset, key, value, order):
                return jobs.AdvanceKey(self._id_of(asset), check_key(key), value, order)
            case m.IncrementKey(asset, key, by, default):
                return jobs.IncrementKey(self._id_of(asset), check_key(key), by, default)
            case m.MergeKey(asset, key, patch, remove, how, order):
                _check_paths(remove)
                asset_id = self._id_of(asset)
                return jobs.MergeKey(asset_id, check_key(key), patch, remove, how, order)
            case m.ClearStore(asset):
                return jobs.ClearStore(self._id_of(asset))
            case m.CheckKey(asset, key, if_revision):
                return jobs.CheckKey(self._id_of(asset), check_key(key), if_revision)
            case m.ImportKeys(asset, entries, replace):
                return jobs.ImportKeys(self._id_of(asset), entries, replace)
            case m.RestoreStore(trash_id):
                return jobs.RestoreStore(trash_id)
            case m.MoveStore(source, target, replace):
                found = self._reader.find(checked(source))
                source_id = found[0] if found else self._id_of(source)  # says why it is unknown
                return jobs.MoveStore(source_id, self._id_of(target), replace)
            case m.PurgeStores(trash_ids):
                if len(trash_ids) > MAX_PURGE:
                    raise InvalidRequest(f"{len(trash_ids):,} stores; one purge takes {MAX_PURGE}")
                return jobs.PurgeStores(trash_ids)

    def _id_of(self, ref: m.AssetRef) -> int:
        return self._reader.resolve(ref).asset_id


def _settle_again(
    refusal: Refused, done: Callable[[jobs.Result], None], result: jobs.Result
) -> None:
    if result.code is None and not result.decoded():
        result = jobs.Result(refusal.code, jobs.raw(refusal.detail), str(refusal))
    done(result)


def _texts(operation: m.AnyOperation) -> tuple[bytes, ...]:
    """The JSON texts that a client sends with an operation."""
    match operation:
        case m.SetKey() | m.AdvanceKey():
            return (operation.value,)
        case m.IncrementKey():
            return operation.by, operation.default
        case m.MergeKey():
            return (operation.patch,)
        case m.ImportKeys():
            return tuple(entry.value for entry in operation.entries)
    return ()


def _parts(texts: list[bytes]) -> Iterator[list[bytes]]:
    """The texts, as many together as to hand over each alone would take longer than to check."""
    part: list[bytes] = []
    size = 0
    for text in texts:
        part.append(text)
        size += len(text)
        if size >= _LARGE_VALUE_BYTES:
            yield part
            part, size = [], 0
    yield part


def _check_all(texts: list[bytes]) -> None:
    for text in texts:
        check_json(text)


def _check_entries(operation: m.ImportKeys, max_value_bytes: int) -> int:
    """Check all of the entries but their JSON; return how long their values are together."""
    if len(operation.entries) > MAX_IMPORT_KEYS:
        raise InvalidRequest(
            f"{len(operation.entries):,} entries; one import takes {MAX_IMPORT_KEYS:,}"
        )
    total = 0
    for entry in operation.entries:
        check_key(entry.key)
        check_value_size(len(entry.value), max_value_bytes)
        total += len(entry.value)
        if entry.updated_at > MAX_TIME_US:
            raise InvalidRequest(
                f"updated_at of key {entry.key!r} is {entry.updated_at}, after the year 9999"
            )
        entry.updated_by.check()
    return total


def _tag(operation: m.AnyOperation) -> str:
    return str(operation.__struct_config__.tag)


def _check_paths(paths: list[list[str]]) -> None:
    if len(paths) > MAX_OPERATIONS:
        raise InvalidRequest(f"{len(paths):,} fields to remove; one merge takes {MAX_OPERATIONS:,}")
    for path in paths:
        if not 0 < len(path) <= MAX_VALUE_DEPTH:
            raise InvalidRequest(
                f"the path of a field to remove has {len(path)} steps; it has 1 to "
                f"{MAX_VALUE_DEPTH}"
            )


def _size_of(operation: jobs.AnyOperation) -> int:
    """About how many bytes an operation writes: into the store, and into the journal."""
    match operation:
        case jobs.SetKey() | jobs.AdvanceKey():
            return 2 * len(operation.value) + _OPERATION_BYTES
        case jobs.ImportKeys():
            # Each entry has a writer of its own, which the journal holds beside that of the import.
            return sum(2 * len(each.value) + 2 * _OPERATION_BYTES for each in operation.entries)
        case jobs.MergeKey():
            return 2 * len(operation.patch) + MAX_KEY_CHARS + _OPERATION_BYTES
    return _OPERATION_BYTES

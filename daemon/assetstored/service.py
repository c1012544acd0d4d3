"""What each request does: one match over the messages.

Reads are answered at once from the snapshot; changes go to the commit queue and are answered when
they are on disk.

Rule: no bytes and no sockets here; server.py has those.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import msgspec

from assetstore import messages as m
from assetstore.errors import (
    AssetStoreError,
    Busy,
    Damaged,
    Forbidden,
    InvalidRequest,
    Refused,
    ServerFault,
)
from assetstore.limits import (
    MAX_RESOLVE_REFS,
    check_key,
    check_name,
    check_prefix,
    check_uri,
    check_value_size,
)
from assetstore.values import check_json
from assetstored import jobs
from assetstored.commits import CommitQueue
from assetstored.manifest_keeper import ManifestKeeper
from assetstored.peers import Peer
from assetstored.reader import Reader
from assetstored.sweeper import Sweeper

_log = logging.getLogger("assetstored.service")

#: To check the JSON of a longer value can take milliseconds, during which nobody else is served.
_LARGE_VALUE_BYTES = 32 * 1024

#: Damage that is remembered for status; beyond it the store is to be restored anyway.
_DAMAGES = 100

Answer = Callable[[object], None]


class FoundRaw(m.Answer, frozen=True, tag="found"):
    """messages.Found with an entry that is encoded already."""

    entry: msgspec.Raw


class ItemPageRaw(m.Answer, frozen=True, tag="item_page"):
    """messages.ItemPage with entries that are encoded already."""

    items: list[tuple[str, msgspec.Raw]]
    more: bool


class Caller(NamedTuple):
    """Who asks: by the kernel's word, and as stored with what they write."""

    peer: Peer
    writer: msgspec.Raw


class Service:
    """Answers requests. One thread: that of the event loop."""

    def __init__(
        self,
        reader: Reader,
        queue: CommitQueue,
        keeper: ManifestKeeper,
        sweeper: Sweeper,
        *,
        report: Callable[[], dict[str, Any]],
        max_value_bytes: int,
        grace_us: int,
        spawn: Callable[[Awaitable[None]], None],
    ) -> None:
        self._reader = reader
        self._queue = queue
        self._keeper = keeper
        self._sweeper = sweeper
        self._report = report
        self._max_value_bytes = max_value_bytes
        self._grace_us = grace_us
        self._spawn = spawn
        # Threads start with the first job, so none exists when the daemon forks.
        self._aside = ThreadPoolExecutor(1, "large-values")
        self._aside_bytes = 0
        self.requests = 0
        self.damaged: list[str] = []

    def handle(self, request: m.AnyRequest, caller: Caller, answer: Answer) -> None:
        """Answer the request, now or when its change is on disk. Never raises."""
        self.requests += 1
        try:
            self._handle(request, caller, answer)
        except Exception as exc:
            answer(self._failed(request, exc))

    def _handle(self, request: m.AnyRequest, caller: Caller, answer: Answer) -> None:
        reader = self._reader
        match request:
            case m.Get(id, _, asset, key):
                entry = reader.get(_checked(asset), check_key(key))
                answer(m.Absent(id) if entry is None else FoundRaw(id, entry))
            case m.Set(id, _, _, _, value):
                check_value_size(len(value), self._max_value_bytes)
                if len(value) > _LARGE_VALUE_BYTES:
                    self._later(request, answer, self._check_aside(request, caller, answer))
                else:
                    check_json(value)
                    self._set(request, caller, answer)
            case m.Delete(id, _, asset, key):
                asset_id = reader.resolve(_checked(asset)).asset_id
                job_ = jobs.Remove(asset_id, check_key(key), caller.writer)
                self._change(request, answer, job_, m.Deleted)
            case m.Clear(id, _, asset):
                asset_id = reader.resolve(_checked(asset)).asset_id
                self._change(request, answer, jobs.Empty(asset_id, caller.writer), m.Cleared)
            case m.Keys(id, _, asset, prefix, after, limit):
                found = reader.keys(_checked(asset), *_range(prefix, after), limit)
                answer(m.KeyPage(id, *found))
            case m.Items(id, _, asset, prefix, after, limit):
                items = reader.items(_checked(asset), *_range(prefix, after), limit)
                answer(ItemPageRaw(id, *items))
            case m.Count(id, _, asset, prefix, after):
                answer(m.Counted(id, *reader.count(_checked(asset), *_range(prefix, after))))
            case m.Resolve(id, _, assets):
                if len(assets) > MAX_RESOLVE_REFS:
                    raise InvalidRequest(
                        f"{len(assets):,} references; one resolve takes {MAX_RESOLVE_REFS}"
                    )
                answer(m.Resolved(id, [self._identity(ref) for ref in assets]))
            case m.Assets(id, _, after_id, limit):
                answer(m.AssetPage(id, *reader.assets(after_id, limit)))
            case m.ListTrash(id, _, after_id, limit):
                answer(m.TrashPage(id, *reader.trash(after_id, limit, self._grace_us)))
            case m.Status(id):
                answer(m.StatusReport(id, self._report()))
            case _:
                self._administrate(request, caller, answer)

    def _administrate(self, request: m.AnyRequest, caller: Caller, answer: Answer) -> None:
        match request:
            case m.ReloadManifest():
                self._later(request, answer, self._reload(request.id))
            case m.AcceptManifest(id, _, digest):
                _check_admin(caller, "accept a manifest that is held")
                self._later(request, answer, self._accept(id, digest))
            case m.RestoreTrash(id, _, trash_id):
                _check_admin(caller, "restore from the trash")
                self._change(
                    request,
                    answer,
                    jobs.Restore(trash_id),
                    lambda id, value: m.Restored(id, *value),
                )
            case m.PurgeTrash(id, _, trash_ids):
                _check_admin(caller, "purge the trash")
                self._later(request, answer, self._purge(id, trash_ids))
            case m.Sweep(id, _, after, dry_run):
                if not dry_run:
                    _check_admin(caller, "sweep")
                self._later(request, answer, self._sweep(id, after, dry_run))
            case m.Move(_, _, source, target, replace):
                _check_admin(caller, "move a store")
                source_found = self._reader.find(_checked(source))
                if source_found is None:
                    self._reader.find_active(source)  # says why it is unknown
                    return
                target_id, _ = self._reader.find_active(_checked(target))
                job = jobs.Relink(source_found[0], target_id, replace)
                self._change(request, answer, job, m.Moved)

    def _set(self, request: m.Set, caller: Caller, answer: Answer) -> None:
        """Queue a set whose value has been checked."""
        asset_id = self._reader.resolve(_checked(request.asset)).asset_id
        job = jobs.Put(asset_id, check_key(request.key), request.value, caller.writer)
        self._change(request, answer, job, m.Written, len(request.value) + len(request.key))

    async def _check_aside(self, request: m.Set, caller: Caller, answer: Answer) -> None:
        """Check a value in a thread, since it may take long, and queue its set then."""
        size = len(request.value)
        if self._aside_bytes + size > self._queue.max_bytes:
            raise Busy(
                f"{self._aside_bytes:,} bytes of values wait to be checked; the limit is "
                f"{self._queue.max_bytes:,} (max_inflight_bytes). Nothing changed; try again"
            )
        self._aside_bytes += size
        try:
            await asyncio.get_running_loop().run_in_executor(self._aside, check_json, request.value)
        finally:
            self._aside_bytes -= size
        self._set(request, caller, answer)

    def _change(
        self,
        request: m.AnyRequest,
        answer: Answer,
        job: jobs.AnyJob,
        done: Callable[[int, Any], object],
        size: int = 0,
    ) -> None:
        def settle(result: jobs.Result) -> None:
            if result.code is None:
                answer(done(request.id, result.value))
            else:
                if result.code == Damaged.default_code:
                    self._note_damage(result.message)
                answer(m.Failed(request.id, result.code, result.message, result.value))

        deadline = None
        if request.timeout_ms is not None:
            deadline = time.monotonic() + request.timeout_ms / 1_000
        self._queue.submit(job, size=size + 200, deadline=deadline, done=settle)

    def _later(self, request: m.AnyRequest, answer: Answer, work: Awaitable[object]) -> None:
        """Answer with what work returns, unless that is None; or with its failure."""

        async def run() -> None:
            try:
                if (result := await work) is not None:
                    answer(result)
            except Exception as exc:
                answer(self._failed(request, exc))

        self._spawn(run())

    async def _reload(self, id: int) -> object:
        await self._keeper.check()
        return m.StatusReport(id, self._report())

    async def _accept(self, id: int, digest: str) -> object:
        await self._keeper.accept(digest)
        return m.StatusReport(id, self._report())

    async def _purge(self, id: int, trash_ids: list[int]) -> object:
        return m.Purged(id, await self._sweeper.purge(trash_ids))

    async def _sweep(self, id: int, after: int, dry_run: bool) -> object:
        sweeper = self._sweeper
        return m.TrashPage(id, *await (sweeper.due(after) if dry_run else sweeper.sweep(after)))

    def _identity(self, ref: m.AssetRef) -> m.AssetRef | None:
        found = self._reader.find(_checked(ref))
        return None if found is None else m.AssetRef(found[1].name, found[1].uri)

    def _failed(self, request: m.AnyRequest, exc: Exception) -> m.Failed:
        if isinstance(exc, Refused):
            if isinstance(exc, Damaged):
                self._note_damage(str(exc))
            return m.Failed(request.id, exc.code, str(exc), exc.detail)
        if isinstance(exc, AssetStoreError):
            return m.Failed(request.id, "refused", str(exc), None)
        name = type(request).__name__
        _log.error("%s failed", name, exc_info=exc)
        fault = ServerFault(f"a fault in the daemon ({type(exc).__name__}); its log has more")
        return m.Failed(request.id, fault.code, str(fault), None)

    def _note_damage(self, message: str) -> None:
        """Log it, and let status tell of it until the daemon is restarted."""
        if message not in self.damaged and len(self.damaged) < _DAMAGES:
            _log.error("%s", message)
            self.damaged.append(message)


def _checked(ref: m.AssetRef) -> m.AssetRef:
    if ref.name is not None:
        check_name(ref.name)
    if ref.uri is not None:
        check_uri(ref.uri)
    return ref


def _range(prefix: str, after: str | None) -> tuple[str, str | None]:
    return check_prefix(prefix), None if after is None else check_key(after)


def _check_admin(caller: Caller, what: str) -> None:
    own = os.geteuid()
    if caller.peer.uid not in (0, own):
        raise Forbidden(
            f"uid {caller.peer.uid} may not {what}: that is for root and for uid {own}, "
            "the user of the daemon"
        )

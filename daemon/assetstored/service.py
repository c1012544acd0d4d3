"""What each request does: one match over the messages.

Reads are answered at once from the snapshot; changes go to the commit queue and are answered when
they are on disk.

Rule: no bytes and no sockets here; server.py has those.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec

from assetstore import messages as m
from assetstore.errors import (
    AssetStoreError,
    Damaged,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    Refused,
    ServerFault,
    UnknownAsset,
)
from assetstore.limits import (
    MAX_PAGE_ITEMS,
    MAX_RESOLVE_REFS,
    PAGE_BYTES,
    check_key,
)
from assetstored import history, jobs
from assetstored.border import Border, Caller, Permit
from assetstored.catalog import checked
from assetstored.changing import Changer
from assetstored.engine import EngineError
from assetstored.feed import Desk, Feed
from assetstored.manifest_keeper import ManifestKeeper
from assetstored.meters import GETS_PER_SAMPLE, Histogram, Meters
from assetstored.page_requests import Paging
from assetstored.raw_answers import (
    ChangedRaw,
    EventPageRaw,
    FoundManyRaw,
    FoundRaw,
)
from assetstored.reader import Reader
from assetstored.rewinding import Rewinder, in_turns
from assetstored.sweeper import Sweeper

_log = logging.getLogger("assetstored.service")

#: Damage that is remembered for status; beyond it the store is to be restored anyway.
_DAMAGES = 100

#: What one answer to get_many may hold; clients take frames of this much more than a request.
_MANY_BYTES = 15 << 20

#: How long pages are put together before others get their turn.
_PAGES_S = 0.002

#: Requests that are answered with a page: each may take a millisecond, and 256 KiB.
PAGES = (m.Keys, m.Items, m.Count, m.Log, m.Assets, m.ListTrash)

#: What was done when it was sent first is told again, although it may be forbidden by now. So these
#: are judged when they are about to be carried out.
_MAY_BE_REPEATS = (m.Change, m.Rewind)

Answer = Callable[[object], None]


class Service:
    """Answers requests. One thread: that of the event loop."""

    def __init__(
        self,
        border: Border,
        reader: Reader,
        changer: Changer,
        feed: Feed,
        keeper: ManifestKeeper,
        sweeper: Sweeper,
        *,
        report: Callable[[Permit], dict[str, Any]],
        bring_in: Callable[[], Awaitable[None]],
        metrics: Callable[[], Awaitable[str]],
        grace_us: int,
        spawn: Callable[[Awaitable[None]], None],
        meters: Meters | None = None,
    ) -> None:
        self.border = border
        self._reader = reader
        self._changer = changer
        self._feed = feed
        self._rewinder = Rewinder(reader, changer)
        self._keeper = keeper
        self._sweeper = sweeper
        self._report = report
        self._bring_in = bring_in
        self._metrics = metrics
        self._spawn = spawn
        self.meters = meters or Meters()
        self._loop = asyncio.get_running_loop()
        self._paging = Paging(border, reader, feed, grace_us=grace_us)
        self._pages: deque[tuple[m.AnyRequest, Caller, Answer]] = deque()
        self.damaged: list[str] = []

    def getter(self, permit: Permit) -> Callable[[m.Get], object]:
        """What answers the request that most are, to this caller. It never raises."""
        # Who may read all is not asked again for each.
        return self.get if self.border.sight(permit) is None else partial(self._judged_get, permit)

    def _judged_get(self, permit: Permit, request: m.Get) -> object:
        try:
            self.border.check(request, permit)
        except Exception as exc:
            self.meters.requests += 1
            return self._failed(request, exc)
        return self.get(request)

    def get(self, request: m.Get) -> object:
        """Its answer, to who may have it."""
        meters = self.meters
        meters.requests += 1
        if meters.requests % GETS_PER_SAMPLE:
            return self._get(request)
        begun = time.monotonic()
        answer = self._get(request)
        meters.answer_times[m.Get].observe(time.monotonic() - begun)
        return answer

    def _get(self, request: m.Get) -> object:
        try:
            entry = self._reader.get(request.asset, request.key)
        except Exception as exc:
            return self._failed(request, exc)
        return m.Absent(request.id) if entry is None else FoundRaw(request.id, entry)

    def handle(self, request: m.AnyRequest, caller: Caller, desk: Desk, answer: Answer) -> None:
        """Answer the request, now or when its change is on disk. Never raises.

        A request for events waits at the desk.
        """
        kind = type(request)
        if kind is not m.Get:
            self.meters.requests += 1
            self.meters.by_kind[kind] += 1
            if kind is not m.Events:
                answer = partial(
                    self._timed, answer, self.meters.answer_times[kind], time.monotonic()
                )
        try:
            if not isinstance(request, _MAY_BE_REPEATS):
                self.border.check(request, caller.permit)
            self._handle(request, caller, desk, answer)
        except Exception as exc:
            answer(self._failed(request, exc))

    def _timed(self, answer: Answer, histogram: Histogram, begun: float, message: object) -> None:
        histogram.observe(time.monotonic() - begun)
        answer(message)

    def _handle(self, request: m.AnyRequest, caller: Caller, desk: Desk, answer: Answer) -> None:
        match request:
            case m.Get():
                answer(self.get(request))
            case m.Change():
                if self._changer.is_large(request):
                    self._later(
                        request, caller, answer, self._change_aside(request, caller, answer)
                    )
                else:
                    self._changer.check(request)
                    self._change(request, caller, answer)
            case m.GetMany(id, _, keys):
                answer(FoundManyRaw(id, self._get_many(keys)))
            case m.Events(id, _, asset, prefix, since, limit, wait_ms):
                self._feed.ask(
                    self._paging.wanted(asset, prefix, caller.permit),
                    since,
                    limit,
                    wait_ms,
                    desk,
                    lambda page: answer(EventPageRaw(id, *page)),
                )
            case m.Keys() | m.Items() | m.Count() | m.Log() | m.Assets() | m.ListTrash():
                self._pages.append((request, caller, answer))
                if len(self._pages) == 1:
                    self._loop.call_soon(self._make_pages)
            case m.Resolve(id, _, assets):
                if len(assets) > MAX_RESOLVE_REFS:
                    raise InvalidRequest(
                        f"{len(assets):,} references; one resolve takes {MAX_RESOLVE_REFS}"
                    )
                answer(m.Resolved(id, [self._identity(ref) for ref in assets]))
            case m.Status(id):
                answer(m.StatusReport(id, self._report(caller.permit)))
            case m.Metrics():
                self._later(request, caller, answer, self._metrics_text(request.id))
            case _:
                self._administrate(request, caller, answer)

    def _make_pages(self) -> None:
        """Answer some of those who wait for a page; the others after everything else that came."""
        turn_ends = time.monotonic() + _PAGES_S
        while self._pages:
            request, caller, answer = self._pages.popleft()
            try:
                self.border.check(request, caller.permit)
                page = self._paging.page(request, caller.permit)
            except Exception as exc:
                page = self._failed(request, exc)
            answer(page)
            if time.monotonic() > turn_ends:
                break
        if self._pages:
            self._loop.call_soon(self._make_pages)

    def _administrate(self, request: m.AnyRequest, caller: Caller, answer: Answer) -> None:
        match request:
            case m.GetAt():
                work = self._get_at(request)
            case m.History():
                work = self._history(request)
            case m.Rewind():
                check = partial(self.border.check, request, caller.permit)
                work = self._rewinder.rewind(request, caller, check)
            case m.ReloadManifest():
                work = self._reload(request.id, caller)
            case m.AcceptManifest(id, _, digest):
                work = self._accept(id, digest, caller)
            case m.Checkpoint(id):
                work = self._checkpoint(id)
            case m.Sweep(id, _, after, dry_run):
                work = self._sweep(id, after, caller, dry_run=dry_run)
            case _:
                raise AssertionError(request)
        self._later(request, caller, answer, work)

    def _change(self, request: m.Change, caller: Caller, answer: Answer) -> None:
        """Queue a change whose values have been checked."""

        def settle(result: jobs.Result) -> None:
            if result.code is None:
                answer(ChangedRaw(request.id, result.value))
            else:
                if result.code == Damaged.default_code:
                    self._note_damage(result.message)
                self.meters.refused(result.code)
                answer(m.Failed(request.id, result.code, result.message, result.decoded()))

        try:
            self.border.check(request, caller.permit)
        except Forbidden as exc:
            if not request.age_ms:
                raise
            self._changer.ask_again(request, caller, exc, settle)
            return
        self._changer.submit(request, caller, settle)

    async def _change_aside(self, request: m.Change, caller: Caller, answer: Answer) -> None:
        await self._changer.check_aside(request)
        self._change(request, caller, answer)

    def _get_many(self, wanted: list[tuple[m.AssetRef, str]]) -> list[msgspec.Raw | None]:
        if len(wanted) > MAX_PAGE_ITEMS:
            raise InvalidRequest(f"{len(wanted):,} keys; one get_many takes {MAX_PAGE_ITEMS:,}")
        with self._reader.held():
            entries = [self._reader.get(ref, key) for ref, key in wanted]
        size = sum(len(memoryview(entry)) for entry in entries if entry is not None)
        if size > _MANY_BYTES:
            raise InvalidRequest(
                f"these entries are {size:,} bytes; one get_many answers up to {_MANY_BYTES:,}. "
                "Ask for fewer keys"
            )
        return entries

    async def _get_at(self, request: m.GetAt) -> object:
        asset_id = self._reader.resolve(request.asset).asset_id
        at = self._rewinder.revision_of(request.revision, request.time)
        entry = await self._rewinder.entry_at(asset_id, check_key(request.key), at)
        return m.Absent(request.id) if entry is None else FoundRaw(request.id, entry)

    async def _history(self, request: m.History) -> object:
        asset_id = self._reader.resolve(request.asset).asset_id
        limit = min(request.limit, MAX_PAGE_ITEMS)
        events: list[tuple[object, ...]] = []
        size = 0
        steps = history.steps(self._reader, asset_id, check_key(request.key), request.before)
        async for revision, row, *_ in in_turns(steps):
            if row is None:
                break
            if len(events) == limit or size > PAGE_BYTES:
                return EventPageRaw(request.id, events, events[-1][0])  # type: ignore[arg-type]
            events.append(history.event(self._reader, revision, row))
            size += len(row.value or b"")
        return EventPageRaw(request.id, events, None)

    def _later(
        self,
        request: m.AnyRequest,
        caller: Caller,
        answer: Answer,
        work: Coroutine[Any, Any, object],
    ) -> None:
        """Answer with what work returns, unless that is None; or with its failure."""

        async def run() -> None:
            try:
                if not isinstance(request, _MAY_BE_REPEATS):
                    self.border.check(request, caller.permit)
                if (result := await work) is not None:
                    answer(result)
            except Exception as exc:
                answer(self._failed(request, exc))
            finally:
                work.close()

        self._spawn(run())

    async def _metrics_text(self, id: int) -> object:
        return m.MetricsText(id, await self._metrics())

    async def _reload(self, id: int, caller: Caller) -> object:
        await self._keeper.check()
        return m.StatusReport(id, self._report(caller.permit))

    async def _accept(self, id: int, digest: str, caller: Caller) -> object:
        await self._keeper.accept(digest, caller.writer)
        return m.StatusReport(id, self._report(caller.permit))

    async def _checkpoint(self, id: int) -> object:
        revision = self._reader.counters().revision
        await self._bring_in()
        return m.Checkpointed(id, revision)

    async def _sweep(self, id: int, after: int, caller: Caller, *, dry_run: bool) -> object:
        sweeper = self._sweeper
        stores = await (sweeper.due(after) if dry_run else sweeper.sweep(after))
        return m.TrashPage(id, *self.border.seen(stores, caller.permit))

    def _identity(self, ref: m.AssetRef) -> m.AssetRef | None:
        found = self._reader.find(checked(ref))
        return None if found is None else m.AssetRef(found[1].name, found[1].uri)

    def _failed(self, request: m.AnyRequest, exc: Exception) -> m.Failed:
        refusal = refusal_of(self._reader, exc)
        if refusal is not None:
            if isinstance(refusal, Damaged):
                self._note_damage(str(refusal))
            self.meters.refused(refusal.code)
            message = str(refusal)
            if isinstance(refusal, UnknownAsset | InactiveAsset) and not self._keeper.is_in_force:
                message += (
                    f". The manifest file as it is now is not in force ({self._keeper.state}), "
                    "and the asset may be in it: `assetstore status` says more"
                )
            return m.Failed(request.id, refusal.code, message, refusal.detail)
        if isinstance(exc, AssetStoreError):
            self.meters.refused("refused")
            return m.Failed(request.id, "refused", str(exc), None)
        name = type(request).__name__
        _log.error("%s failed", name, exc_info=exc)
        fault = ServerFault(f"a fault in the daemon ({type(exc).__name__}); its log has more")
        self.meters.refused(fault.code)
        return m.Failed(request.id, fault.code, str(fault), None)

    def _note_damage(self, message: str) -> None:
        """Log it, and let status tell of it until the daemon is restarted."""
        if message not in self.damaged and len(self.damaged) < _DAMAGES:
            _log.error("%s", message)
            self.damaged.append(message)


def refusal_of(reader: Reader, exc: Exception) -> Refused | None:
    """What a client is told of a failure to read, or None where it is a fault of the daemon."""
    if isinstance(exc, Refused):
        return exc
    if isinstance(exc, EngineError):
        # LMDB takes a transaction that met such a page for broken as a whole.
        reader.give_up()
        return Damaged(
            f"LMDB cannot read what was asked for ({exc}): a page of the data file is damaged. "
            "What does not need it is served; restore the data directory from a backup"
        )
    return None

"""The past of a store, and what is to come: history, log, rewind, watch.

Rule: pages of events become iterators here; waiting for them is in watching.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from assetstore.answers import event_of, rewound_of
from assetstore.asynchronous.calls import Calls
from assetstore.asynchronous.watching import AsyncWatch, wait_for
from assetstore.entries import Entry
from assetstore.events import Event, Rewound
from assetstore.limits import check_key, check_prefix
from assetstore.messages import AssetRef, EventPage, History, Log, Order, Rewind
from assetstore.moments import Moment, check_moment, check_revision
from assetstore.requests import new_request_id
from assetstore.views import check_limit, page_size


class StoreJournal:
    """The calls of a store that are about its changes.

    The journal reaches back as far as the daemon keeps it, 30 days by default; of a key that is
    there, its last 10 changes are kept in any case.
    """

    def __init__(self, calls: Calls, ref: AssetRef) -> None:
        self._calls = calls
        self._ref = ref

    def history(self, key: str, limit: int | None = None) -> AsyncIterator[Event]:
        """The changes of key, newest first, at most limit of them.

        As far back as the journal reaches. Among them are the events of the asset by which the key
        came or went, with key None: "clear", "restored", "moved".
        """
        return _history(self._calls, self._ref, check_key(key), check_limit(limit))

    async def rewind(
        self,
        key: str | None = None,
        *,
        to: int | datetime,
        dry_run: bool = False,
        expected: int | None = None,
    ) -> Rewound:
        """Write again what stood after the change ``to``, or at that time; return what differed.

        Of one key, or without it of all keys of the asset, in one commit; a key that was not there
        then is deleted. These are new changes with new revisions: what they undo stays in the
        history, and a rewind can be rewound. When it returns, all of it is on disk.

        With ``dry_run`` nothing is written, and the result says what would be. With ``expected``,
        the revision of a dry run, it raises Conflict if anything of the asset was changed since.
        Compacted if the journal does not reach so far; InvalidRequest if more than 10,000 keys or
        8 MiB would change.
        """
        moment = check_moment(to, "to")
        if key is not None:
            check_key(key)
        if expected is not None:
            check_revision(expected, "expected")
        fields = (self._ref, key, *moment, expected, dry_run)
        return rewound_of(await self._calls.call(Rewind, new_request_id(), 0, *fields))

    # sync: def watch(self, prefix: str = "", since: int | None = None) -> Watch:
    def watch(self, prefix: str = "", since: int | None = None) -> AsyncWatch:  # async only
        """What is committed to this asset, as an endless iterator of ``Event``.

        From the revision ``since`` on, inclusive; without it from now on: the blocking client asks
        for the position in this call, the asynchronous one with the first event, or in ``await
        watch.start()``. Each change is seen once, in order, across restarts of the daemon.
        Of keys that begin with prefix, and always what happens to the asset as a whole: a clear,
        for example, is one event without a key, and none for each key that it removes.

        Compacted if the journal does not reach back to ``since``. ``NotConnected`` or
        DeadlineExceeded when the daemon was away for longer than the client's timeout; to go on,
        give the revision of the last event + 1 as ``since``. While it waits, a blocking watch
        uses a connection beside those for other calls.
        """
        # sync: return new_watch(self._calls, self._ref, prefix, since).start()
        return new_watch(self._calls, self._ref, prefix, since)  # async only

    async def wait_for(
        self,
        key: str,
        *,
        at_least: Any = None,
        after: int | None = None,
        order: Order = "value",
        # sync: timeout: float | None = None,
        timeout: float | None = None,  # noqa: ASYNC109  # async only
    ) -> Entry:
        """Return the entry of key as soon as it is what is asked for, and if it is so now, at once.

        With ``at_least``: its value is equal or greater, by the rule of ``advance``; InvalidRequest
        if the two cannot be compared. With ``after``: its revision is greater. While the key is
        absent it waits. A value that was overwritten at once counts too.

        ``WaitTimeout``, a TimeoutError, after ``timeout`` seconds; without it, it waits for ever.
        ``NotConnected`` or DeadlineExceeded when the daemon was away for longer than the client's
        timeout. While it waits, the blocking client uses a connection beside those for other calls.
        """
        what = (at_least, after, order, timeout)
        return await wait_for(self._calls, self._ref, check_key(key), *what)

    def log(
        self,
        prefix: str = "",
        *,
        since: int | datetime | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[Event]:
        """What was committed to this asset, newest first, at most limit events.

        As far back as ``since``, a revision or a time, or as the journal reaches. Of keys that
        begin with prefix, and always what happened to the asset as a whole. The asset may have
        left the manifest: why it did is what is told.
        """
        return new_log(self._calls, self._ref, prefix, since, limit)


def new_watch(calls: Calls, ref: AssetRef | None, prefix: str, since: int | None) -> AsyncWatch:
    """A watch of one asset, or of all."""
    if since is not None:
        check_revision(since, "since")
    return AsyncWatch(calls, ref, check_prefix(prefix), since)


def new_log(
    calls: Calls,
    ref: AssetRef | None,
    prefix: str,
    since: int | datetime | None,
    limit: int | None,
) -> AsyncIterator[Event]:
    """The log of one asset, or of all."""
    moment = Moment(None, None) if since is None else check_moment(since, "since")
    return _log(calls, ref, check_prefix(prefix), moment, check_limit(limit))


async def _history(
    calls: Calls,
    ref: AssetRef,
    key: str,
    limit: int | None,
) -> AsyncIterator[Event]:
    before: int | None = None
    while limit is None or limit > 0:
        page: EventPage = await calls.call(History, ref, key, before, page_size(limit))
        for event in page.events:
            yield event_of(event)
        before = page.next
        if before is None:
            return
        limit = None if limit is None else limit - len(page.events)


async def _log(
    calls: Calls, ref: AssetRef | None, prefix: str, since: Moment, limit: int | None
) -> AsyncIterator[Event]:
    before: int | None = None
    while limit is None or limit > 0:
        fields = (ref, prefix, before, *since, page_size(limit))
        page: EventPage = await calls.call(Log, *fields)
        for event in page.events:
            yield event_of(event)
        before = page.next
        if before is None:
            return
        limit = None if limit is None else limit - len(page.events)

"""Which events a log shows, and where they come from: what was, and what comes.

Rule: nothing is shown here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from assetstore import Client, Event, InactiveAsset
from assetstore.watching import Watch
from assetstore_cli.naming import Named
from assetstore_cli.when import Moment


class Wanted:
    """Events of one asset or of all, of one key, or of keys that begin with a prefix.

    Those of an asset that has left the manifest, whose store is closed, are found among all.
    Raises UnknownAsset for one that has never been there.
    """

    def __init__(
        self, client: Client, asset: Named | None, *, key: str | None, prefix: str
    ) -> None:
        self._client = client
        self._key = key
        self._prefix = prefix if key is None else key
        self._identity = None
        self._store = None
        if asset is not None:
            store = client.store(asset.ref)
            [self._identity] = client.resolve([asset.ref])
            try:
                next(store.log(limit=1), None)
                self._store = store
            except InactiveAsset:
                pass

    def past(self, since: Moment | None) -> Iterator[Event]:
        """What was, newest first, as far back as ``since`` or the journal reaches."""
        if self._store is None:
            events = self._client.log(since=since)
        else:
            events = self._store.log(self._prefix, since=since)
        return filter(self._takes, events)

    def follow(self) -> Coming:
        """What comes from now on."""
        if self._store is None:
            return Coming(self._client, self._client.watch(), self._takes)
        return Coming(self._client, self._store.watch(self._prefix), self._takes)

    def _takes(self, event: Event) -> bool:
        if self._identity is not None and event.asset != self._identity:
            return False
        if self._key is not None:
            return event.key == self._key
        return not self._prefix or (event.key is not None and event.key.startswith(self._prefix))


class Coming:
    """Events as they come, without end and without gaps."""

    def __init__(self, client: Client, watch: Watch, takes: Callable[[Event], bool]) -> None:
        self._client = client
        self._watch = watch
        self._takes = takes

    @property
    def since(self) -> int:
        """All that comes has this revision or a later one."""
        assert self._watch.since is not None
        return self._watch.since

    def __iter__(self) -> Iterator[Event]:
        while True:
            try:
                yield from filter(self._takes, self._watch)
            except InactiveAsset:
                # The asset has left the manifest. That it did so, and may come back, is to be seen.
                self._watch = self._client.watch(since=self._watch.since)

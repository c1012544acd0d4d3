"""An export: all entries of many assets as they stood at one moment, without holding up anybody.

No snapshot of the daemon's is kept open. A revision R is taken, and the assets are listed page by
page while others write. What a page shows is what stood there at R, as long as its revision is not
beyond R. What was changed or deleted since is in the journal, which tells where to look; the daemon
says what stood there at R. So all of it is of one moment, however long it took.

Rule: asks and writes lines; what a line looks like is export_format.py's.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, BinaryIO, Final, NamedTuple

from assetstore.assets import reference
from assetstore.asynchronous.calls import Calls
from assetstore.asynchronous.client import AsyncClient
from assetstore.errors import (
    Busy,
    Compacted,
    InactiveAsset,
    InvalidRequest,
    ProtocolError,
    UnknownAsset,
)
from assetstore.export_format import (
    FORMAT,
    VERSION,
    AssetLine,
    Header,
    asset_line,
    entry_line,
    header_line,
    sealed,
)
from assetstore.journal_tracking import Moved, Tracked
from assetstore.limits import MAX_PAGE_ITEMS
from assetstore.listing import AssetInfo
from assetstore.messages import (
    Absent,
    AssetRef,
    EventPage,
    Events,
    Found,
    GetAt,
    ItemPage,
    Items,
    Rewind,
    Rewound,
    WireEntry,
)
from assetstore.requests import new_request_id
from assetstore.survey import Progress
from assetstore.transfers import Exported

#: How often one asset is begun anew, and all of them.
_ATTEMPTS: Final = 10

_CHUNK_BYTES: Final = 1 << 20


async def export_to(
    client: AsyncClient,
    file: BinaryIO,
    assets: Iterable[Any] | None = None,
    *,
    progress: Progress | None = None,
) -> Exported:
    """Write an export of these active assets, or of all that are active, to a file in binary mode.

    All of it is of one moment, across assets, though others write meanwhile: the state after the
    revision that is returned. The lines are gathered in a temporary file first, so nothing is
    written if it fails; ``file`` is neither synced nor closed.

    ``progress`` is called with how many entries are done, of about how many. UnknownAsset or
    InactiveAsset for one that is not active; Busy where assets are moved, restored or deactivated
    so often that there was no moment to be had.
    """
    wanted = None if assets is None else [reference(asset) for asset in assets]
    calls = client._calls
    status = await client.status()
    error: Moved | None = None
    for _ in range(_ATTEMPTS):
        with tempfile.TemporaryFile() as spool:
            try:
                export = _Export(calls, _Spool(spool), progress)
                exported = await export.run(client, wanted, status["store_id"])
            except Moved as exc:
                error = exc
                continue
            spool.seek(0)
            _copy(spool, file, exported)
            return exported
    raise Busy(
        f"the assets were changed as a whole {_ATTEMPTS} times while they were exported "
        f"(the last time: {error}); nothing was exported. Try again"
    )


class _Place(NamedTuple):
    """Where a spool stands, to come back to."""

    offset: int
    crc: int
    assets: int
    entries: int


class _Spool:
    """The lines up to now."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.place = _Place(0, 0, 0, 0)

    def asset(self, info: AssetInfo) -> None:
        self._write(asset_line(AssetLine(info.name, info.uri, info.group)), assets=1)

    def entry(self, key: str, entry: WireEntry) -> None:
        self._write(entry_line(key, entry), entries=1)

    def take_back(self, place: _Place) -> None:
        """Forget what was written since."""
        self._file.seek(place.offset)
        self._file.truncate()
        self.place = place

    def _write(self, rest: bytes, *, assets: int = 0, entries: int = 0) -> None:
        was = self.place
        line, crc = sealed(rest, was.crc)
        self._file.write(line)
        self.place = _Place(was.offset + len(line), crc, was.assets + assets, was.entries + entries)


class _Export:
    """One attempt at all of the assets. Raises Moved where another may do better."""

    def __init__(self, calls: Calls, spool: _Spool, progress: Progress | None) -> None:
        self._calls = calls
        self._spool = spool
        self._progress = progress
        self._at = 0
        self._total = 0
        self._tracked = Tracked()

    async def run(
        self,
        client: AsyncClient,
        wanted: list[AssetRef] | None,
        store_id: str,
    ) -> Exported:
        self._at = await self._position() - 1
        self._tracked = Tracked(self._at + 1)
        infos: list[AssetInfo] = []
        async for info in client.assets():
            infos.append(info)
        if wanted is not None:
            infos = _chosen(infos, wanted, await self._calls.resolve(wanted))
        await self._catch_up()
        chosen = [info for info in infos if self._was_active(info, is_named=wanted is not None)]
        self._total = sum(info.entries for info in chosen)
        for info in chosen:
            await self._asset(info)
        place = self._spool.place
        return Exported(store_id, self._at, place.assets, place.entries)

    def _was_active(self, info: AssetInfo, *, is_named: bool) -> bool:
        """Whether the asset was active at the revision of the export. Raises Moved."""
        first = self._tracked.first_of_asset(_exact(info))
        if info.state == "active" and first == "activated":
            if is_named:
                raise Moved(f"asset {info.name!r} was activated")
            return False
        if info.state != "active":
            if first is not None:
                raise Moved(f"asset {info.name!r} was deactivated")
            if is_named:
                raise InactiveAsset(
                    f"asset {info.name!r} has left the manifest; its store is closed, and cannot "
                    "be exported. Nothing was exported"
                )
            return False
        return True

    async def _asset(self, info: AssetInfo) -> None:
        """Write the entries of one asset."""
        ref = _exact(info)
        place = self._spool.place
        for _ in range(_ATTEMPTS):
            self._spool.take_back(place)
            self._spool.asset(info)
            began = self._tracked.next
            try:
                if not info.entries and not self._tracked.knows(ref):
                    return
                if self._tracked.first_of_asset(ref) is None:
                    await self._list(ref)
                else:
                    await self._look_up_all(ref)
            # Read as it was then, it cannot be any more; at a later moment it may.
            except (UnknownAsset, Compacted) as exc:
                raise Moved(str(exc)) from exc
            if not self._tracked.was_changed_as_a_whole(ref, began):
                return
        raise Moved(f"asset {info.name!r} is cleared, restored or moved all the time")

    async def _list(self, ref: AssetRef) -> None:
        """What the store shows, except what was changed since; and that as it was."""
        written: set[str] = set()
        late: set[str] = set()
        after: str | None = None
        more = True
        while more:
            page: ItemPage = await self._calls.call(Items, ref, "", after, MAX_PAGE_ITEMS)
            for key, entry in page.items:
                after = key
                if entry.revision <= self._at:
                    self._write(key, entry)
                    written.add(key)
                else:
                    late.add(key)
            more = page.more
            if more and not page.items:
                raise ProtocolError("a page without items says that there are more")
        await self._catch_up()
        await self._look_up(ref, (late | self._tracked.keys_of(ref)) - written)

    async def _look_up_all(self, ref: AssetRef) -> None:
        """The same of an asset that has another store since, or had: each key by itself."""
        keys: set[str] = set()
        after: str | None = None
        more = True
        while more:
            page: ItemPage = await self._calls.call(Items, ref, "", after, MAX_PAGE_ITEMS)
            keys.update(key for key, _ in page.items)
            after = page.items[-1][0] if page.items else None
            more = page.more and after is not None
        try:
            # What is neither there now nor in the journal is told by what a rewind would bring.
            answer: Rewound = await self._calls.call(
                *(Rewind, new_request_id(), 0, ref, None, self._at, None, None, True)
            )
        except InvalidRequest as exc:
            raise Moved(str(exc)) from exc
        keys.update(each.key for each in answer.differences)
        await self._catch_up()
        await self._look_up(ref, keys | self._tracked.keys_of(ref))

    async def _look_up(self, ref: AssetRef, keys: set[str]) -> None:
        """Write these keys as they stood at the revision of the export."""
        for key in sorted(keys, key=str.encode):
            answer: Found | Absent = await self._calls.call(GetAt, ref, key, self._at, None)
            if isinstance(answer, Found):
                self._write(key, answer.entry)

    def _write(self, key: str, entry: WireEntry) -> None:
        self._spool.entry(key, entry)
        done = self._spool.place.entries
        if self._progress is not None and done % 256 == 0:
            self._progress(done, max(self._total, done))

    async def _position(self) -> int:
        """The revision that the next change will be given."""
        page: EventPage = await self._calls.call(Events, None, "", None, 1, 0)
        if page.next is None:
            raise ProtocolError("a page of events says not where to go on")
        return page.next

    async def _catch_up(self) -> None:
        """Learn of all that was changed up to now."""
        until = await self._position()
        while self._tracked.next < until:
            try:
                page: EventPage = await self._calls.call(
                    *(Events, None, "", self._tracked.next, MAX_PAGE_ITEMS, 0)
                )
            except Compacted as exc:
                raise Moved(str(exc)) from exc
            self._tracked.learn(page)


def _chosen(
    infos: list[AssetInfo], wanted: list[AssetRef], resolved: list[AssetRef | None]
) -> list[AssetInfo]:
    """Those that are wanted, each once, in the order of the catalog. Raises UnknownAsset."""
    exact = set()
    for ref, found in zip(wanted, resolved, strict=True):
        if found is None:
            name = ref.uri if ref.name is None else ref.name
            raise UnknownAsset(f"no asset {name!r} is known; nothing was exported")
        exact.add((found.name, found.uri))
    return [info for info in infos if (info.name, info.uri) in exact]


def _exact(info: AssetInfo) -> AssetRef:
    return AssetRef(info.name, info.uri)


def _copy(spool: BinaryIO, file: BinaryIO, exported: Exported) -> None:
    digest = sha256()
    while chunk := spool.read(_CHUNK_BYTES):
        digest.update(chunk)
    now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
    fields = (exported.store_id, exported.revision, now, exported.assets, exported.entries)
    file.write(header_line(Header(FORMAT, VERSION, *fields, digest.hexdigest())))
    spool.seek(0)
    shutil.copyfileobj(spool, file, _CHUNK_BYTES)

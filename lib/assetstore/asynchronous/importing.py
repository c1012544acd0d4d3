"""An import: the entries of an export, written into the assets that they are of.

Everything that can be known is known before anything is changed: that the file is whole, that its
assets are active, that their entries fit one change each, that the daemon lets this user do it.

Rule: compares and asks for changes; the file is read in survey.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from assetstore.asynchronous.client import AsyncClient
from assetstore.errors import Damaged, InvalidRequest
from assetstore.limits import (
    MAX_IMPORT_BYTES,
    MAX_IMPORT_KEYS,
    MAX_PAGE_ITEMS,
    check_value_size,
)
from assetstore.messages import (
    Absent,
    AssetRef,
    Found,
    Get,
    ImportedEntry,
    ImportKeys,
    ItemPage,
    Items,
)
from assetstore.survey import Progress, Section, Survey, entries_of, in_changes, survey
from assetstore.transfers import (
    Comparison,
    Imported,
    ImportedAsset,
    digest_of,
    names_of,
    not_active,
)


async def import_from(
    client: AsyncClient,
    file: BinaryIO,
    *,
    replace: bool = False,
    dry_run: bool = False,
    in_parts: bool = False,
    skip_missing: bool = False,
    progress: Progress | None = None,
) -> Imported:
    """Write the entries of an export into the active assets of the same name and uri.

    With the times and the writers that they had, in the order of their revisions; each gets a new
    revision. What is there already is not written again, so an import may be repeated. Keys that
    are not in the export stay; with ``replace`` they go, to the trash, with all that the asset
    held. All or nothing for each asset, in one change: for up to 10,000 entries and 8 MiB. More
    needs ``in_parts``, several changes of that size, each of them all or nothing.

    Nothing is changed before the whole file was read and all is known to fit: ExportInvalid names
    the line where the file is not as it was written; UnknownAsset or InactiveAsset what is not
    active here, unless ``skip_missing``; InvalidRequest what is too large, Forbidden who is
    neither root nor the user of the daemon. ``file`` is open in binary mode, and can be sought.

    With ``dry_run`` nothing is changed. ``progress`` is called with how much is done, of how much:
    every entry counts twice, once for being read.
    """
    whole = survey(file, None if progress is None else _first_half(progress))
    importing = _Import(client, file, replace, dry_run, progress)
    return await importing.run(whole, in_parts=in_parts, skip_missing=skip_missing)


class _Import:
    """One run, once the file was found to be whole."""

    def __init__(
        self,
        client: AsyncClient,
        file: BinaryIO,
        replace: bool,
        dry_run: bool,
        progress: Progress | None,
    ) -> None:
        self._client = client
        self._calls = client._calls
        self._file = file
        self._replace = replace
        self._dry_run = dry_run
        self._progress = progress

    async def run(self, whole: Survey, *, in_parts: bool, skip_missing: bool) -> Imported:
        states: dict[tuple[str, str], str] = {}
        async for info in self._client.assets():
            states[info.name, info.uri] = info.state
        named = [
            (section, states.get((section.asset.name, section.asset.uri), "unknown"))
            for section in whole.sections
        ]
        missing = [(section, state) for section, state in named if state != "active"]
        if missing and not skip_missing:
            raise not_active(missing, len(named))
        active = [section for section, state in named if state == "active"]
        await self._check(active, in_parts=in_parts)
        total, done = 2 * whole.header.entries, whole.header.entries
        results = []
        for section, state in named:
            asset = section.asset
            if state == "active":
                compared = await self._asset(section)
                results.append(ImportedAsset(asset.name, asset.uri, state, *compared))
            else:
                results.append(ImportedAsset(asset.name, asset.uri, state))
            done += section.entries
            if self._progress is not None:
                self._progress(done, total)
        return Imported(whole.header.store_id, whole.header.revision, results)

    async def _check(self, active: Sequence[Section], *, in_parts: bool) -> None:
        """Raise now what would be raised when a part of it is done already."""
        large = [section for section in active if not section.is_one_change]
        if large and not in_parts:
            raise InvalidRequest(
                f"{names_of(large)}: more than {MAX_IMPORT_KEYS:,} entries or {MAX_IMPORT_BYTES:,} "
                "bytes, which is the limit of one change. Nothing was imported. In parts "
                "(--in-parts) it is several changes, of which the first ones stay if a later one "
                "fails; the import can be repeated then"
            )
        max_value_bytes = (await self._client.status())["max_value_bytes"]
        for section in active:
            check_value_size(section.longest_value, max_value_bytes)
        if active and not self._dry_run:
            # An import of nothing, which is refused as any other.
            await self._calls.change([ImportKeys(_exact(active[0]), [], False)])

    async def _asset(self, section: Section) -> Comparison:
        compared = await self._compare(section)
        if self._dry_run or not (compared.added or compared.changed or compared.removed):
            return compared
        ref = _exact(section)
        replace = self._replace
        if not section.entries:
            await self._calls.change([ImportKeys(ref, [], replace)])
        for part in in_changes(entries_of(self._file, section)):
            await self._calls.change([ImportKeys(ref, part, replace)])
            replace = False
        return compared

    async def _compare(self, section: Section) -> Comparison:
        """How the entries of the file differ from what is there."""
        try:
            return await self._compare_pages(section)
        except Damaged:
            # To import is the way to mend it, so each key is asked for by itself.
            return await self._compare_each(section)

    async def _compare_each(self, section: Section) -> Comparison:
        """The same with damaged entries, which count as changed. Those that are there and not in
        the file, as far as replace is concerned, are what is left of the count."""
        ref = _exact(section)
        added = changed = unchanged = 0
        for entry in entries_of(self._file, section):
            try:
                answer: Found | Absent = await self._calls.call(Get, ref, entry.key)
            except Damaged:
                changed += 1
                continue
            if isinstance(answer, Absent):
                added += 1
                continue
            held = answer.entry
            its = ImportedEntry(entry.key, held.updated_at, held.updated_by, held.value)
            unchanged += its == entry
            changed += its != entry
        others = 0
        if self._replace:
            others = await self._client.store(ref).count() - changed - unchanged
        return Comparison(added, changed, max(others, 0), unchanged)

    async def _compare_pages(self, section: Section) -> Comparison:
        ours = {entry.key: digest_of(entry) for entry in entries_of(self._file, section)}
        changed = unchanged = others = 0
        after: str | None = None
        more = True
        while more:
            fields = (_exact(section), "", after, MAX_PAGE_ITEMS)
            page: ItemPage = await self._calls.call(Items, *fields)
            for key, held in page.items:
                after = key
                its = ImportedEntry(key, held.updated_at, held.updated_by, held.value)
                wanted = ours.get(key)
                others += wanted is None
                unchanged += wanted == digest_of(its)
                changed += wanted is not None and wanted != digest_of(its)
            more = page.more
        added = len(ours) - changed - unchanged
        return Comparison(added, changed, others if self._replace else 0, unchanged)


def _first_half(progress: Progress) -> Progress:
    return lambda done, total: progress(done, 2 * total)


def _exact(section: Section) -> AssetRef:
    return AssetRef(section.asset.name, section.asset.uri)

"""The check of a whole store: its files, LMDB's structure, and all that is in it.

Where nobody has the store open, the data file and the log are looked at as a start would find them.
Where a daemon serves it, one snapshot of the data file is: what is logged beyond it is on its way.

Rule: the order of the checks, and what is done when one cannot go on. Changes nothing on disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, TypeAlias, TypeVar

from assetstore.errors import Refused
from assetstored import datadir, engine, verifying_files, verifying_tables
from assetstored.findings import CannotVerify, Finding, Progress, Summary
from assetstored.image import Image, SnapshotLost, is_in_use
from assetstored.tables import CATALOG, JOURNAL, META, NAMES, TRASH, Counters, Identity, decode_row
from assetstored.verifying_entries import EntriesCheck
from assetstored.verifying_tables import Contents, Owner

T = TypeVar("T")

Step: TypeAlias = "Progress | Finding | Summary"


def verify(data_dir: Path, *, whatever_happens: bool = False) -> Iterator[Step]:
    """Check a store; the last step is the Summary, if the check came to its end.

    The process must not have the store open. Where the structure of the file is damaged, what is in
    it is looked at only with ``whatever_happens``: LMDB may end the process with a signal then.
    Raises CannotVerify.
    """
    verifying_files.check_access(data_dir)
    is_live = is_in_use(data_dir)
    try:
        marker, found = verifying_files.look_at_files(data_dir)
    except datadir.StartRefused as exc:
        yield Finding("file", str(exc))
        return
    if found in (datadir.DataFile.ABSENT, datadir.DataFile.UNBORN):
        raise CannotVerify(f"there is no store in {data_dir}: nothing was ever committed to it")
    if not is_live:
        yield Progress("structure", 0, 1)
        is_sound = True
        for finding in verifying_files.structure(data_dir):
            is_sound = False
            yield finding
        yield Progress("structure", 1, 1)
        if not is_sound and not whatever_happens:
            return
    try:
        with Image(data_dir, is_live=is_live) as image:
            yield from _Check(data_dir, image, marker, is_live=is_live).run()
    except engine.NotFoundError:
        yield Finding("file", f"{data_dir / datadir.DATA_FILE} is not a store: tables are missing")
    except engine.EngineError as exc:
        if engine.is_of_system(exc):
            raise CannotVerify(
                f"{data_dir} cannot be opened: {exc}; run this as the daemon's own user, or root"
            ) from exc
        yield Finding("structure", f"LMDB cannot read {data_dir / datadir.DATA_FILE}: {exc}")
    except SnapshotLost:
        yield Finding("structure", "LMDB failed, and the store has changed since: no more is known")


class _Check:
    def __init__(
        self, data_dir: Path, image: Image, marker: Identity | None, *, is_live: bool
    ) -> None:
        self._data_dir = data_dir
        self._image = image
        self._marker = marker
        self._is_live = is_live
        self._contents = Contents()
        self._findings = 0
        self._logged = 0

    def run(self) -> Iterator[Step]:
        walker = verifying_files.LiveStructure(self._data_dir) if self._is_live else None
        try:
            for step in self._all(walker):
                self._findings += isinstance(step, Finding)
                yield step
        finally:
            if walker is not None:
                walker.close()

    def _all(self, walker: verifying_files.LiveStructure | None) -> Iterator[Step]:
        yield from self._identity()
        if walker is None:
            yield from self._log()
        image, contents = self._image, self._contents
        names = image.stores()
        yield from self._tables(names)
        owners = contents.owners()
        entries = EntriesCheck(image, contents.counters, contents.gaps, owners)
        yield from self._entries(entries, owners, names)
        yield from self._journal(entries)
        if walker is not None:
            yield from self._live_log()
            yield Progress("structure", 0, 1)
            yield from walker.findings()
            yield Progress("structure", 1, 1)
        elif is_in_use(self._data_dir) or not image.is_newest():
            raise CannotVerify(
                f"a daemon was started on {self._data_dir} meanwhile, so what was found says "
                "nothing; check again"
            )
        yield Summary(
            store_id=contents.identity.store_id if contents.identity else "",
            revision=contents.counters.revision,
            assets=len(contents.catalog),
            stores=len(owners),
            entries=entries.entries,
            events=entries.events,
            logged=self._logged,
            was_live=self._is_live,
            findings=self._findings,
        )

    def _identity(self) -> Iterator[Finding]:
        stored = self._image.get(META, b"identity")
        if stored is None:
            return  # told with the tables
        found = verifying_tables.row_or_finding(META, b"identity", stored, Identity)
        if isinstance(found, Finding):
            return
        self._contents.identity = found
        try:
            datadir.check_identity(self._data_dir, self._marker, found)
        except datadir.StartRefused as exc:
            yield Finding("file", str(exc))

    def _revision(self) -> int:
        stored = self._image.get(META, b"counters")
        if stored is None:
            return 0
        found = verifying_tables.row_or_finding(META, b"counters", stored, Counters)
        return 0 if isinstance(found, Finding) else found.revision

    def _log(self) -> Iterator[Finding]:
        """What is logged counts from here on, as at a start."""
        if self._contents.identity is None:
            return  # whose it should be is not known
        revision = self._revision()
        logged = verifying_files.read_log(
            self._data_dir, self._contents.identity.store_id, revision
        )
        yield from logged.findings
        yield from verifying_tables.check_logged_stores(self._image, list(logged.changes))
        self._image.lay_over(logged.changes)
        self._logged = logged.last - revision
        if self._logged and self._revision() != logged.last:
            yield Finding(
                "log",
                f"data.wal: it ends with revision {logged.last:,}, and says that the last is "
                f"{self._revision():,}",
            )

    def _live_log(self) -> Iterator[Finding]:
        if self._contents.identity is None:
            return
        store_id = self._contents.identity.store_id
        yield from verifying_files.check_live_log(self._data_dir, store_id, self._newest_revision)

    def _newest_revision(self) -> int:
        stored = self._image.get_newest(META, b"counters")
        if stored is None:
            return 0
        try:
            return decode_row(META, b"counters", stored, Counters).revision
        except Refused:
            return 0

    def _tables(self, names: dict[bytes, int]) -> Iterator[Step]:
        image, contents = self._image, self._contents
        total = sum(map(image.count, (CATALOG, TRASH, NAMES)))
        yield Progress("tables", 0, total)
        yield from self._guarded(verifying_tables.read_tables(image, contents), "the tables")
        yield Progress("tables", len(contents.catalog) + len(contents.trash), total)
        yield from self._guarded(verifying_tables.check_names(image, contents), "table 'names'")
        yield from verifying_tables.check_references(contents)
        yield from verifying_tables.check_sub_databases(contents, set(names))
        yield from verifying_tables.check_counters(contents)
        yield Progress("tables", total, total)

    def _entries(
        self, entries: EntriesCheck, owners: dict[int, Owner], names: dict[bytes, int]
    ) -> Iterator[Step]:
        total = sum(names.values())
        yield Progress("entries", 0, total)
        for store_id, owner in owners.items():
            try:
                if not self._image.has_store(store_id):
                    entries.give_up_on(store_id)  # told with the tables
                    continue
                yield from _with_progress("entries", entries.check_store(store_id), total)
            except engine.EngineError as exc:
                entries.give_up_on(store_id)
                yield Finding(
                    "structure",
                    f"LMDB cannot read store {store_id} to its end: {exc}",
                    owner.name,
                    owner.uri,
                    trash_id=owner.trash_id or None,
                )
                self._image.renew()
        yield Progress("entries", total, total)

    def _journal(self, entries: EntriesCheck) -> Iterator[Step]:
        total = self._image.count(JOURNAL)
        yield Progress("journal", 0, total)
        contents = self._contents
        checked = entries.check_journal(contents.catalog, is_whole=not contents.unreadable)
        steps = self._guarded(checked, "the journal")
        yield from _with_progress("journal", steps, total)
        if not contents.unreadable:
            dropped = contents.being_dropped()
            yield from self._guarded(entries.check_other_deleted(dropped), "table 'deleted'")
        yield Progress("journal", total, total)

    def _guarded(self, steps: Iterable[T], what: str) -> Iterator[T | Finding]:
        """The steps, as far as LMDB lets them come."""
        try:
            yield from steps
        except engine.EngineError as exc:
            yield Finding("structure", f"LMDB cannot read {what} to the end: {exc}")
            self._image.renew()


def _with_progress(
    part: Literal["entries", "journal"], steps: Iterable[Finding | int], total: int
) -> Iterator[Step]:
    for step in steps:
        # What is logged only is not part of the total.
        yield Progress(part, min(step, total), total) if isinstance(step, int) else step

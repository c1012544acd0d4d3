"""What happens to assets and to whole stores: arrival and departure, clear, restore, move, drop.

Rule: works within the transaction of the job that asks for it, as apply.py does.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from assetstore.errors import Conflict, InvalidRequest
from assetstore.messages import AssetRef
from assetstored import jobs
from assetstored.catalog import CatalogWriter, check_active
from assetstored.journal import JournalWriter, details
from assetstored.overlay import Overlay
from assetstored.tables import (
    DELETED,
    META,
    TRASH,
    AcceptedManifest,
    CatalogRow,
    Counters,
    DeletedRow,
    Reason,
    TrashRow,
    id_key,
    read_row,
    seal_row,
)

#: A store up to this size is dropped at once; freeing that many pages takes about 1 ms.
_DROP_AT_ONCE_BYTES = 16 << 20

#: The journal's asset id for what is about none.
NO_ASSET: Final = 0


class Lifecycle:
    """Changes of assets and of their stores within one transaction."""

    def __init__(
        self,
        overlay: Overlay,
        journal: JournalWriter,
        counters: Counters,
        now_us: int,
        rows: dict[int, CatalogRow] | None = None,
    ) -> None:
        self._overlay = overlay
        self._journal = journal
        self._counters = counters
        self._now = now_us
        self._catalog = CatalogWriter(overlay)
        self._rows = {} if rows is None else rows
        self.catalog_changed = False

    def take_back(self) -> None:
        """The overlay has taken back what a job did: what was read since may be wrong."""
        self._rows.clear()

    def clear(self, asset_id: int) -> tuple[int | None, int]:
        """All entries go to the trash together; returns the revision, and how many they were."""
        row = self.active(asset_id)
        entries = self._overlay.measure(row.store_id)[0] if row.store_id else 0
        if not entries:
            return None, 0
        self._to_trash(asset_id, row.store_id, "cleared")
        revision = self._replace_store(asset_id, row, 0, "clear", entries=entries)
        return revision, entries

    # --- the manifest

    def apply_slice(self, job: jobs.ApplySlice) -> None:
        """Let assets leave, arrive and change groups."""
        accepted = self._accepted()
        if accepted is not None and accepted.fingerprint:
            # In the same commit as the first change: from here on the active assets are not those
            # of that file any more, however this ends.
            self._write_accepted(msgspec.structs.replace(accepted, fingerprint=b""))
        for ref in job.slice.deactivate:
            self._deactivate(ref)
        for name, uri, group in job.slice.activate:
            self._activate(name, uri, group)
        for name, uri, group in job.slice.regroup:
            found = self._catalog.find(AssetRef(name, uri))
            if found is not None:
                self._write(found[0], msgspec.structs.replace(self._row(found[0]), group=group))

    def _deactivate(self, ref: AssetRef) -> None:
        found = self._catalog.find(ref)
        if found is None:
            return
        asset_id, row = found[0], self._row(found[0])
        if row.state != "active":
            return
        self._counters.active -= 1
        entries = self._overlay.measure(row.store_id)[0] if row.store_id else 0
        trash_id = self._to_trash(asset_id, row.store_id, "deactivated")
        inactive = msgspec.structs.replace(
            row, state="inactive", since=self._now, trash_id=trash_id
        )
        if row.store_id and not trash_id:
            self._replace_store(asset_id, inactive, 0, "deactivated", entries=0)
        else:
            self._journal.note(asset_id, "deactivated", value=details(entries=entries))
            self._write(asset_id, inactive)

    def _activate(self, name: str, uri: str, group: str | None) -> None:
        found = self._catalog.find(AssetRef(name, uri))
        if found is None:
            self._counters.asset_id += 1
            asset_id = self._counters.asset_id
            row = CatalogRow(name, uri, group, "active", self._now, 0, 0)
        else:
            asset_id, row = found[0], self._row(found[0])
            if row.state == "active":
                return
            if row.trash_id:
                self._delete_trash(row.trash_id)
            row = msgspec.structs.replace(
                row, state="active", group=group, since=self._now, trash_id=0
            )
        self._journal.note(asset_id, "activated", value=details(group=group))
        self._counters.active += 1
        self._write(asset_id, row)
        self._catalog.index(asset_id, row, is_new=found is None)

    def finish_manifest(self, job: jobs.FinishManifest) -> None:
        """Note that a manifest is accepted, or that it was read from another file than before."""
        accepted = self._accepted()
        if accepted is not None and (accepted.digest, accepted.path) == (job.digest, job.path):
            self._write_accepted(msgspec.structs.replace(accepted, fingerprint=job.fingerprint))
            return
        if job.writer != jobs.NOTHING:
            self._journal.writer = job.writer
        active = self._counters.active
        self._write_accepted(
            AcceptedManifest(job.digest, job.path, self._now, active, job.fingerprint)
        )
        value = details(digest=job.digest, path=job.path, assets=active)
        self._journal.note(NO_ASSET, "manifest", value=value)

    def _accepted(self) -> AcceptedManifest | None:
        return read_row(self._overlay, META, b"manifest", AcceptedManifest)

    def _write_accepted(self, row: AcceptedManifest) -> None:
        self._overlay.put(META, b"manifest", seal_row(META, b"manifest", row))

    # --- the trash

    def _to_trash(self, asset_id: int, store_id: int, reason: Reason) -> int:
        """Put a store into the trash; returns its trash id, or 0 where nothing waits there.

        An empty store has nothing to come back for: it is dropped by the next sweep.
        """
        if not store_id:
            return 0
        entries, size_bytes = self._overlay.measure(store_id)
        self._counters.trash_id += 1
        trash_id = self._counters.trash_id
        self._write_trash(
            trash_id,
            TrashRow(
                asset_id, store_id, reason, self._now, entries, size_bytes, dropping=not entries
            ),
        )
        return trash_id if entries else 0

    def restore(self, trash_id: int) -> tuple[int, TrashRow, CatalogRow]:
        """Give a store back; returns the revision, what was in the trash, and whose it is."""
        trash = self._trash(trash_id)
        if trash is None or trash.dropping:
            raise InvalidRequest(
                f"there is no store {trash_id} in the trash; see `assetstore trash list`"
            )
        row = self._row(trash.asset_id)
        if trash.reason == "deactivated":
            raise InvalidRequest(
                f"store {trash_id} waits for asset {row.name!r} (uri {row.uri!r}) to return: put "
                "it back into the manifest, or give its store to another with `assetstore mv`"
            )
        check_active(row)
        self._to_trash(trash.asset_id, row.store_id, "replaced")
        self._delete_trash(trash_id)
        revision = self._replace_store(
            trash.asset_id, row, trash.store_id, "restored", entries=trash.entries
        )
        return revision, trash, row

    def move(self, op: jobs.MoveStore) -> tuple[int, int]:
        """Give a store to another asset; returns the revision, and how many entries moved."""
        if op.source_id == op.target_id:
            raise InvalidRequest("source and target are the same asset")
        source, target = self._row(op.source_id), self.active(op.target_id)
        if not source.store_id:
            raise InvalidRequest(
                f"asset {source.name!r} (uri {source.uri!r}) has no store to move"
                + ("; it has been dropped" if source.state == "dropped" else "")
            )
        if target.store_id:
            entries, _ = self._overlay.measure(target.store_id)
            if entries and not op.replace:
                raise Conflict(
                    f"asset {target.name!r} (uri {target.uri!r}) already holds {entries:,} "
                    "entries; with --replace they go to the trash"
                )
            self._to_trash(op.target_id, target.store_id, "replaced")
        if source.trash_id:
            self._delete_trash(source.trash_id)
        entries, _ = self._overlay.measure(source.store_id)
        to, origin = ({"name": row.name, "uri": row.uri} for row in (target, source))
        left = msgspec.structs.replace(source, trash_id=0)
        self._replace_store(op.source_id, left, 0, "moved", entries=entries, to=to)
        revision = self._replace_store(
            op.target_id, target, source.store_id, "moved", entries=entries, **{"from": origin}
        )
        return revision, entries

    def condemn(self, trash_ids: list[int]) -> int:
        """Take stores off the way back; returns how many."""
        found = {trash_id: self._trash(trash_id) for trash_id in trash_ids}
        doomed = {
            trash_id: trash
            for trash_id, trash in found.items()
            if trash is not None and not trash.dropping
        }
        for trash_id, trash in doomed.items():
            asset_id, row = trash.asset_id, self._row(trash.asset_id)
            self._write_trash(trash_id, msgspec.structs.replace(trash, dropping=True))
            fate = {"entries": trash.entries, "reason": trash.reason}
            if row.trash_id == trash_id:
                dropped = msgspec.structs.replace(row, state="dropped", trash_id=0)
                self._replace_store(asset_id, dropped, 0, "dropped", **fate)
            else:
                self._journal.note(asset_id, "dropped", value=details(**fate))
        return len(doomed)

    def drop_slice(self, trash_id: int, *, budget_s: float) -> bool:
        """Remove some of a condemned store; returns whether anything is left."""
        trash = self._trash(trash_id)
        if trash is None or not trash.dropping:
            return False
        # From here on it is not whole: nobody may look for the past in it.
        mark = id_key(trash.store_id)
        row = DeletedRow(self._counters.revision, 0)
        self._overlay.put(DELETED, mark, seal_row(DELETED, mark, row))
        if not self._overlay.remove_some(DELETED, mark, budget_s=budget_s):
            return True
        gone = self._overlay.drop_some(
            trash.store_id, budget_s=budget_s, small_bytes=_DROP_AT_ONCE_BYTES
        )
        if gone:
            # In a commit of its own: LMDB takes the pages that one commit frees in the next but
            # one, and on a full disk there may be none in between.
            self._delete_trash(trash_id)
            self._overlay.remove(DELETED, mark)
        return not gone

    # --- rows

    def active(self, asset_id: int) -> CatalogRow:
        """The row of an asset; raises InactiveAsset."""
        # Resolved in a snapshot of the serving process, it may have left since.
        row = self._row(asset_id)
        check_active(row)
        return row

    def with_store(self, asset_id: int) -> CatalogRow:
        """As active; the first write of an asset makes its store."""
        row = self.active(asset_id)
        if not row.store_id:
            self._counters.store_id += 1
            row = msgspec.structs.replace(row, store_id=self._counters.store_id)
            self._overlay.create(row.store_id)
            self._write(asset_id, row)
        return row

    def _replace_store(
        self, asset_id: int, row: CatalogRow, store_id: int, kind: str, **fields: Any
    ) -> int:
        """Give the asset another store, or none; returns the revision."""
        revision = self._journal.note(
            asset_id,
            kind,
            value=details(**fields),
            previous=row.boundary,
            store_id=row.store_id,
        )
        self._write(asset_id, msgspec.structs.replace(row, store_id=store_id, boundary=revision))
        return revision

    def _row(self, asset_id: int) -> CatalogRow:
        row = self._rows.get(asset_id)
        if row is None:
            row = self._rows[asset_id] = self._catalog.row(asset_id)
        return row

    def _write(self, asset_id: int, row: CatalogRow) -> None:
        self._rows[asset_id] = row
        self._catalog.write(asset_id, row)
        self.catalog_changed = True

    def _trash(self, trash_id: int) -> TrashRow | None:
        return read_row(self._overlay, TRASH, id_key(trash_id), TrashRow)

    def _write_trash(self, trash_id: int, row: TrashRow) -> None:
        key = id_key(trash_id)
        self._overlay.put(TRASH, key, seal_row(TRASH, key, row))

    def _delete_trash(self, trash_id: int) -> None:
        self._overlay.remove(TRASH, id_key(trash_id))

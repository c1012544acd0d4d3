"""What a store should hold, answer and remember, in dicts and lists: a plain model of all of it.

Revisions are given out one by one, so the model knows each of them. What it refuses it raises, as
the client does. It has no clock, and never forgets.

Rule: nothing of the daemon is used here, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

import json
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from assetstore.errors import Conflict, InactiveAsset, InvalidRequest, UnknownAsset


class Held(NamedTuple):
    """An entry: what stands there, and since which change."""

    value: Any
    revision: int


Contents: TypeAlias = dict[str, Held]


class Happened(NamedTuple):
    """An event of the journal."""

    revision: int
    kind: str
    asset: str | None
    key: str | None
    value: Any
    detail: dict[str, Any] | None
    previous: int = 0


class Operation(NamedTuple):
    """A call of a store that changes something, by its name and arguments."""

    asset: str
    verb: str
    arguments: tuple[Any, ...] = ()
    options: Mapping[str, Any] = {}


@dataclass
class Database:
    """Entries that belong together, wherever they are: in use, or in the trash."""

    contents: Contents = field(default_factory=dict)
    #: The changes of each key, oldest first.
    changes: dict[str, list[Happened]] = field(default_factory=dict)
    #: Nobody can get at it any more, and from some moment on it is gone from the disk.
    is_condemned: bool = False


class Boundary(NamedTuple):
    """Where an asset was given another database; None before its first."""

    event: Happened
    database: Database | None
    before: Boundary | None


@dataclass
class Asset:
    """An asset that was known at some time."""

    name: str
    is_active: bool = False
    database: Database | None = None
    boundary: Boundary | None = None
    #: The contents after each change, by revision.
    past: list[tuple[int, Contents]] = field(default_factory=lambda: [(0, {})])

    @property
    def contents(self) -> Contents:
        """What it holds."""
        return {} if self.database is None else self.database.contents


class Trashed(NamedTuple):
    """A database in the trash."""

    asset: str
    reason: str
    database: Database


class Model:
    """All of the store."""

    def __init__(self, revision: int = 0) -> None:
        self.revision = revision
        self.assets: dict[str, Asset] = {}
        self.trash: dict[int, Trashed] = {}
        self.events: list[Happened] = []
        self._last_trash_id = 0

    # --- reading

    def active(self, name: str) -> Asset:
        """An asset that may be used; raises InactiveAsset or UnknownAsset."""
        asset = self.assets.get(name)
        if asset is None:
            raise UnknownAsset(name)
        if not asset.is_active:
            raise InactiveAsset(name)
        return asset

    def entry(self, name: str, key: str) -> Held | None:
        """What stands there."""
        return self.active(name).contents.get(key)

    def at(self, name: str, revision: int) -> Contents:
        """What an asset held after a change."""
        past = self.active(name).past
        return past[bisect(past, revision, key=lambda each: each[0]) - 1][1]

    def history(self, name: str, key: str) -> Iterator[Happened | Database]:
        """The events of a key, newest first. A condemned database stands where, when it is gone,
        the history ends."""
        asset = self.active(name)
        database, boundary = asset.database, asset.boundary
        before = self.revision + 1
        while True:
            first = 0 if boundary is None else boundary.event.revision
            if database is not None:
                if database.is_condemned:
                    yield database
                for event in reversed(database.changes.get(key, [])):
                    if first < event.revision < before:
                        yield event
            if boundary is None:
                return
            yield boundary.event
            before, database, boundary = first, boundary.database, boundary.before

    def may_be_compacted(self, name: str, revision: int) -> bool:
        """Whether what stood there after a change may be gone with a database."""
        asset = self.active(name)
        database, boundary = asset.database, asset.boundary
        while True:
            if database is not None and database.is_condemned:
                return True
            if boundary is None or boundary.event.revision <= revision:
                return False
            database, boundary = boundary.database, boundary.before

    def differences(
        self, name: str, key: str | None, to: int
    ) -> list[tuple[str, Held | None, Held | None]]:
        """What a rewind writes: keys, what stands there, and what stood there then."""
        now, then = self.active(name).contents, self.at(name, to)
        keys = sorted({*now, *then}) if key is None else [key]
        return [
            (each, now.get(each), then.get(each))
            for each in keys
            if text(value_of(now.get(each))) != text(value_of(then.get(each)))
        ]

    # --- changes of a client

    def change(self, *operations: Operation) -> list[Any]:
        """Carry all of them out, or raise and do nothing; what each call returns."""
        for operation in operations:
            self.active(operation.asset)
        take_back = self._kept({operation.asset for operation in operations})
        results = []
        for operation in operations:
            try:
                results.append(self._operate(operation))
            except InvalidRequest:
                take_back()
                raise
            except Conflict as exc:
                take_back()
                # What stands there, and not what an earlier operation would have left.
                exc.entry = self.active(operation.asset).contents.get(operation.arguments[0])
                raise
        return results

    def rewind(self, name: str, key: str | None, to: int) -> int | None:
        """Write again what stood there; the last revision, or None where nothing differed."""
        last = None
        for each, _, then in self.differences(name, key, to):
            last = self._note(self.active(name), "rewind", each, value_of(then)).revision
        return last

    def _operate(self, operation: Operation) -> Any:
        asset = self.active(operation.asset)
        if operation.verb == "clear":
            return self._clear(asset)
        key, *arguments = operation.arguments
        found = asset.contents.get(key)
        options = operation.options
        match operation.verb, arguments:
            case "set", [value]:
                _check(found, options.get("if_revision"))
                return self._note(asset, "set", key, value).revision
            case "create", [value]:
                _check(found, 0)
                return self._note(asset, "set", key, value).revision
            case "delete", []:
                _check(found, options.get("if_revision"))
                return found is not None and bool(self._note(asset, "delete", key, None))
            case "check", [if_revision]:
                _check(found, if_revision)
                return None
            case "advance", [value]:
                order = options.get("order", "value")
                applied = found is None or is_greater(value, found.value, order)
                is_greater(value, value, order)
                if applied:
                    self._note(asset, "advance", key, value)
                return [applied, *asset.contents[key]]
            case "increment", [by, default]:
                old = default if found is None else found.value
                if type(old) not in (int, float):
                    raise InvalidRequest("no number")
                return self._note(asset, "increment", key, old + by).value
            case "merge", [patch]:
                old = {} if found is None else found.value
                if not isinstance(old, dict):
                    raise InvalidRequest("no object")
                merged = laid_over(old, patch, options)
                if found is not None and text(merged, any_order=True) == text(old, any_order=True):
                    return old
                return self._note(asset, "merge", key, merged).value
        raise ValueError(operation)

    def _kept(self, names: set[str]) -> Callable[[], None]:
        """Takes back what operations on these assets have done since."""
        revision, count, last_trash_id = self.revision, len(self.events), self._last_trash_id
        trash = dict(self.trash)
        assets = [(asset, copy(asset), len(asset.past)) for asset in map(self.active, names)]
        databases = [(asset.database, asset.contents) for asset, _, _ in assets]

        def take_back() -> None:
            self.revision, self.trash, self._last_trash_id = revision, trash, last_trash_id
            del self.events[count:]
            for asset, before, length in assets:
                del asset.past[length:]
                asset.database, asset.boundary = before.database, before.boundary
            for database, contents in databases:
                if database is not None:
                    database.contents, database.is_condemned = contents, False
                    for key, changes in database.changes.items():
                        database.changes[key] = [e for e in changes if e.revision <= revision]

        return take_back

    def _clear(self, asset: Asset) -> int:
        count = len(asset.contents)
        if count:
            self._to_trash(asset, "cleared")
            self._replace(asset, None, "clear", entries=count)
        return count

    # --- what happens to assets and databases

    def activate(self, name: str) -> None:
        """The asset comes into the manifest, or back into it."""
        asset = self.assets.setdefault(name, Asset(name))
        asset.is_active = True
        waiting = [number for number, each in self.trash.items() if each.database is asset.database]
        for number in waiting:
            del self.trash[number]
        self._happen("activated", name, detail={"group": None})

    def deactivate(self, name: str) -> None:
        """The asset leaves the manifest."""
        asset = self.active(name)
        asset.is_active = False
        count = len(asset.contents)
        self._to_trash(asset, "deactivated")
        if asset.database is not None and not count:
            self._replace(asset, None, "deactivated", entries=0)
        else:
            self._happen("deactivated", name, detail={"entries": count})

    def accept_manifest(self) -> None:
        """All of a manifest is applied."""
        count = sum(asset.is_active for asset in self.assets.values())
        self._happen("manifest", None, detail={"assets": count})

    def restore(self, trash_id: int) -> list[Any]:
        """A database goes back; whose it was, and how many entries are back."""
        trashed = self.trash.get(trash_id)
        if trashed is None or trashed.reason == "deactivated":
            raise InvalidRequest(f"{trash_id} cannot be restored")
        asset = self.active(trashed.asset)
        self._to_trash(asset, "replaced")
        del self.trash[trash_id]
        count = len(trashed.database.contents)
        self._replace(asset, trashed.database, "restored", entries=count)
        return [asset.name, count]

    def move(self, source_name: str, target_name: str, *, replace: bool) -> int:
        """The database of source becomes that of target; how many entries moved."""
        source, target = self.assets.get(source_name), self.assets.get(target_name)
        if source is None:
            raise UnknownAsset(source_name)
        target = self.active(target_name)
        if source is target or source.database is None:
            raise InvalidRequest("nothing to move")
        if target.contents and not replace:
            raise Conflict("not empty")
        self._to_trash(target, "replaced")
        database = source.database
        for number in [n for n, each in self.trash.items() if each.database is database]:
            del self.trash[number]
        count = len(database.contents)
        # The assets of a model have their names for uris.
        to, origin = ({"name": each.name, "uri": each.name} for each in (target, source))
        self._replace(source, None, "moved", entries=count, to=to)
        self._replace(target, database, "moved", entries=count, **{"from": origin})
        return count

    def purge(self, trash_ids: list[int]) -> int:
        """Databases are dropped from the trash; how many."""
        doomed = {number: self.trash.pop(number) for number in trash_ids if number in self.trash}
        for trashed in doomed.values():
            trashed.database.is_condemned = True
            asset = self.assets[trashed.asset]
            detail = {"entries": len(trashed.database.contents), "reason": trashed.reason}
            if asset.database is trashed.database:
                self._replace(asset, None, "dropped", **detail)
            else:
                self._happen("dropped", asset.name, detail=detail)
        return len(doomed)

    def _to_trash(self, asset: Asset, reason: str) -> None:
        if asset.database is None:
            return
        self._last_trash_id += 1
        if asset.database.contents:
            self.trash[self._last_trash_id] = Trashed(asset.name, reason, asset.database)
        else:
            asset.database.is_condemned = True

    def _replace(self, asset: Asset, database: Database | None, kind: str, **detail: Any) -> None:
        event = self._happen(kind, asset.name, detail=detail)
        asset.boundary = Boundary(event, asset.database, asset.boundary)
        asset.database = database
        asset.past.append((event.revision, asset.contents))

    # --- the journal

    def _note(self, asset: Asset, kind: str, key: str, value: Any) -> Happened:
        """A change of a key; None is no value."""
        if asset.database is None:
            asset.database = Database()
        database = asset.database
        changes = database.changes.setdefault(key, [])
        previous = changes[-1].revision if changes else 0
        event = self._happen(kind, asset.name, key, value, previous=previous)
        changes.append(event)
        # A new one each time: what was is kept.
        database.contents = {each: held for each, held in asset.contents.items() if each != key}
        if value is not None:
            database.contents[key] = Held(value, event.revision)
        asset.past.append((event.revision, database.contents))
        return event

    def _happen(
        self,
        kind: str,
        asset: str | None,
        key: str | None = None,
        value: Any = None,
        *,
        detail: dict[str, Any] | None = None,
        previous: int = 0,
    ) -> Happened:
        self.revision += 1
        event = Happened(self.revision, kind, asset, key, value, detail, previous)
        self.events.append(event)
        return event


# --- values


def value_of(held: Held | None) -> Any:
    """The value of an entry, or None."""
    return None if held is None else held.value


def text(value: Any, *, any_order: bool = False) -> str:
    """Values of the same text are equal, and of equal types."""
    return json.dumps(value, sort_keys=any_order)


def is_greater(new: Any, old: Any, order: str) -> bool:
    """Whether new advances old; raises InvalidRequest where the two have no order."""
    try:
        if order == "time":
            left, right = datetime.fromisoformat(new), datetime.fromisoformat(old)
            return left > right
        if bool in (type(new), type(old)) or dict in (type(new), type(old)):
            raise TypeError("no order")
        return bool(new > old)
    except (TypeError, ValueError) as exc:
        raise InvalidRequest(str(exc)) from None


def laid_over(old: dict[str, Any], patch: dict[str, Any], options: Mapping[str, Any]) -> Any:
    """The merge of two objects."""
    merged = deepcopy(old)
    for path in options.get("remove", ()):
        *outer, name = [path] if isinstance(path, str) else path
        inner: Any = merged
        for step in outer:
            inner = inner.get(step) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            inner.pop(name, None)
    return _merged(merged, patch, options.get("how", "replace") == "max")


def _merged(old: dict[str, Any], patch: dict[str, Any], greatest: bool) -> dict[str, Any]:
    for name, new in patch.items():
        if isinstance(new, dict) and isinstance(old.get(name), dict):
            _merged(old[name], new, greatest)
        elif not greatest or name not in old or is_greater(new, old[name], "value"):
            old[name] = new
    return old


def _check(found: Held | None, if_revision: int | None) -> None:
    if if_revision is None or if_revision == (0 if found is None else found.revision):
        return
    raise Conflict("another revision")

"""A rewind: what differs from then is found in the snapshot, and written as one change.

Finding it may take long, so it is done in steps. What is changed meanwhile is noticed by the
writer, through conditions, and then it is found anew.

Rule: knows what a rewind is; history.py knows what was, and the writer what is.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TypeVar

import msgspec

from assetstore import messages as m
from assetstore.errors import Busy, Conflict, InvalidRequest, Refused, refusal
from assetstore.limits import MAX_REWIND_BYTES, MAX_REWIND_KEYS, check_key
from assetstored import history, jobs, records
from assetstored.border import Caller
from assetstored.changing import Changer
from assetstored.reader import Reader, Resolved

T = TypeVar("T")

#: How long a search goes on before others get their turn.
_TURN_S = 0.001

#: How often a rewind is found anew because somebody wrote meanwhile.
_ATTEMPTS = 20

_outcomes_decoder = msgspec.msgpack.Decoder(list[m.Outcome])


class DifferenceRaw(m.Message, frozen=True):
    """messages.Difference with entries that are encoded already."""

    key: str
    now: msgspec.Raw | None
    then: msgspec.Raw | None


class RewoundRaw(m.Answer, frozen=True, tag="rewound"):
    """messages.Rewound with differences of that kind."""

    revision: int | None
    differences: list[DifferenceRaw]


class Rewinder:
    """Finds differences, and has them written."""

    def __init__(self, reader: Reader, changer: Changer) -> None:
        self._reader = reader
        self._changer = changer

    async def entry_at(self, asset_id: int, key: str, at: int) -> msgspec.Raw | None:
        """The WireEntry of a key after a change, encoded, or None. Raises Compacted."""
        answer = None
        async for entry in in_turns(history.entry_at(self._reader, asset_id, key, at)):
            answer = entry
        return answer

    def revision_of(self, revision: int | None, time_us: int | None) -> int:
        """The revision that a request means by one of the two; raises InvalidRequest."""
        if (revision is None) == (time_us is None):
            raise InvalidRequest("give either a revision or a time")
        last = self._reader.counters().revision
        if time_us is not None:
            return history.revision_at(self._reader, time_us)
        assert revision is not None
        if revision > last:
            raise InvalidRequest(f"revision {revision:,} is to come; the last one is {last:,}")
        history.check_had(self._reader, revision, known_from=0)
        return revision

    async def rewind(
        self, request: m.Rewind, caller: Caller, check: Callable[[], None]
    ) -> RewoundRaw:
        """Carry it out, once; or with dry_run only say what differs.

        ``check`` raises where it may not be carried out, or not any more.
        """
        if not request.age_ms or request.dry_run:
            return await self._find_and_write(request, caller, check)
        if again := await self._again(request, caller):
            return again
        # Where nothing is done now, the first may have been carried out meanwhile.
        try:
            rewound = await self._find_and_write(request, caller, check)
        except Refused:
            if again := await self._again(request, caller):
                return again
            raise
        if rewound.revision is None and (again := await self._again(request, caller)):
            return again
        return rewound

    async def _find_and_write(
        self, request: m.Rewind, caller: Caller, check: Callable[[], None]
    ) -> RewoundRaw:
        check()
        asset = self._reader.resolve(request.asset)
        if request.key is not None:
            check_key(request.key)
        at = self.revision_of(request.revision, request.time)
        for _ in range(_ATTEMPTS):
            last = self._reader.counters().revision
            if request.expected is not None:
                await self._check_unchanged(asset, request.expected)
            differences = await self._differences(asset, request.key, at)
            if request.dry_run:
                return RewoundRaw(request.id, last, differences)
            if not differences:
                return RewoundRaw(request.id, None, [])
            operations = [_operation(asset.asset_id, each) for each in differences]
            if request.key is None or request.expected is not None:
                operations.insert(0, jobs.CheckUnchanged(asset.asset_id, last))
            try:
                outcomes = await self._change(request, operations, caller)
            except Conflict:
                if request.expected is not None:
                    raise
                continue
            return RewoundRaw(request.id, outcomes[-1].revision, differences)
        raise Busy(
            f"asset {asset.name!r} was changed {_ATTEMPTS} times while the rewind looked at it; "
            "nothing changed. Stop its writers, or rewind key by key"
        )

    async def _again(self, request: m.Rewind, caller: Caller) -> RewoundRaw | None:
        """The answer to the repeat of a rewind that was carried out, or None."""
        outcomes = await self._change(request, [], caller)
        revisions = [each.revision for each in outcomes if each.revision is not None]
        if not revisions:
            return None
        differences = []
        for revision in revisions:
            row = self._reader.journal_row(revision)
            if row is None or row.key is None:
                continue
            before = self._reader.journal_row(row.previous) if row.previous else None
            differences.append(
                DifferenceRaw(
                    row.key,
                    history.entry_of(row.previous, before) if before and before.value else None,
                    history.entry_of(revision, row) if row.value else None,
                )
            )
        return RewoundRaw(request.id, revisions[-1], differences)

    async def _differences(self, asset: Resolved, key: str | None, at: int) -> list[DifferenceRaw]:
        names = {key} if key is not None else await self._changed_keys(asset.asset_id, at)
        differences: list[DifferenceRaw] = []
        size = 0
        turn_ends = time.monotonic() + _TURN_S
        for name in names:
            if time.monotonic() > turn_ends:
                await asyncio.sleep(0)
                turn_ends = time.monotonic() + _TURN_S
            then = await self.entry_at(asset.asset_id, name, at)
            row = self._reader.row_of(asset.asset_id)
            record = self._reader.record(row.store_id, row.name, name) if row.store_id else None
            now = None if record is None else records.wire_entry(record)
            if _value_of(now) == _value_of(then):
                continue
            differences.append(DifferenceRaw(name, now, then))
            size += len(name) + sum(
                len(memoryview(each)) for each in (now, then) if each is not None
            )
            if len(differences) > MAX_REWIND_KEYS or size > MAX_REWIND_BYTES:
                raise InvalidRequest(
                    f"more than {MAX_REWIND_KEYS:,} keys or {MAX_REWIND_BYTES:,} bytes differ from "
                    f"revision {at:,}, which is the limit of one rewind; rewind key by key, or "
                    "see whether `assetstore trash list` still has the whole store"
                )
        return sorted(differences, key=lambda each: each.key)

    async def _changed_keys(self, asset_id: int, at: int) -> set[str]:
        names: set[str] = set()
        async for part in in_turns(history.keys_changed(self._reader, asset_id, at)):
            names.update(part)
        return names

    async def _check_unchanged(self, asset: Resolved, expected: int) -> None:
        if expected < self._reader.counters().compacted:
            raise Conflict(
                f"the journal does not tell any more whether asset {asset.name!r} was changed "
                f"after revision {expected}; nothing was rewound. Look again"
            )
        async for changed in in_turns(_changes_of(self._reader, asset.asset_id, expected)):
            if changed:
                raise Conflict(
                    f"asset {asset.name!r} was changed after revision {expected}; nothing was "
                    "rewound. Look again"
                )

    async def _change(
        self, request: m.Rewind, operations: list[jobs.AnyOperation], caller: Caller
    ) -> list[m.Outcome]:
        future: asyncio.Future[jobs.Result] = asyncio.get_running_loop().create_future()

        def done(result: jobs.Result) -> None:
            if not future.done():
                future.set_result(result)

        self._changer.submit_resolved(request, operations, caller, done)
        result = await future
        if result.code is not None:
            raise refusal(result.code, result.message, result.decoded())
        return _outcomes_decoder.decode(result.value)


async def in_turns(items: Iterator[T]) -> AsyncIterator[T]:
    """The items, with turns for others in between."""
    turn_ends = time.monotonic() + _TURN_S
    for item in items:
        yield item
        if time.monotonic() > turn_ends:
            await asyncio.sleep(0)
            turn_ends = time.monotonic() + _TURN_S


def _changes_of(reader: Reader, asset_id: int, after: int) -> Iterator[bool]:
    """Whether the asset was changed after a revision: False any number of times, or True."""
    while True:
        found = None
        # Begun anew for each part: a commit in between ends the snapshot.
        for number, (revision, row) in enumerate(reader.journal_rows(after + 1)):
            found = after = revision
            if row.asset_id == asset_id:
                yield True
                return
            if number == 500:
                break
        if found is None:
            return
        yield False


def _operation(asset_id: int, difference: DifferenceRaw) -> jobs.AnyOperation:
    at = 0 if difference.now is None else _entry_decoder.decode(difference.now).revision
    value = _value_of(difference.then)
    if value is None:
        return jobs.DeleteKey(asset_id, difference.key, at, "rewind")
    return jobs.SetKey(asset_id, difference.key, value, at, "rewind")


_entry_decoder = msgspec.msgpack.Decoder(m.WireEntry)


def _value_of(entry: msgspec.Raw | None) -> bytes | None:
    return None if entry is None else _entry_decoder.decode(entry).value

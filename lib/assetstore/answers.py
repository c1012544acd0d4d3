"""What the daemon's answers mean to a caller: entries, events, results and errors.

Rule: pure; no calls.
"""

from __future__ import annotations

from typing import Any

import msgspec

from assetstore import messages as m
from assetstore.entries import Advance, Entry, time_from_us
from assetstore.errors import AssetStoreError, Conflict, ProtocolError, refusal
from assetstore.events import Difference, Event, Origin, Rewound
from assetstore.values import decode_value


class _ConflictDetail(msgspec.Struct, frozen=True):
    """Of the condition that did not hold; of one about a whole store there is no key. A newer
    daemon may say more."""

    key: str | None = None
    entry: m.WireEntry | None = None


def entry_of(key: str, stored: m.WireEntry) -> Entry:
    """The entry of this key."""
    return Entry(
        key=key,
        value=decode_value(stored.value),
        revision=stored.revision,
        updated_at=time_from_us(stored.updated_at),
        updated_by=stored.updated_by,
    )


def event_of(event: m.WireEvent) -> Event:
    """The event; the value of a key, or the detail of what was done to an asset or the store."""
    content = None if event.value is None else decode_value(event.value)
    is_of_key = event.key is not None
    origin = None
    if event.origin is not None:
        origin = Origin(time_from_us(event.origin.updated_at), event.origin.updated_by)
    if not is_of_key and not isinstance(content, dict | None):
        raise ProtocolError(f"the detail of a {event.kind!r} is no JSON object")
    return Event(
        revision=event.revision,
        updated_at=time_from_us(event.updated_at),
        kind=event.kind,
        asset=None if event.name is event.uri is None else m.AssetRef(event.name, event.uri),
        key=event.key,
        value=content if is_of_key else None,
        detail=None if is_of_key else content,
        updated_by=event.updated_by,
        previous=event.previous,
        origin=origin,
    )


def rewound_of(answer: m.Rewound) -> Rewound:
    """What was rewound."""
    differences = [
        Difference(
            each.key,
            now=None if each.now is None else entry_of(each.key, each.now),
            then=None if each.then is None else entry_of(each.key, each.then),
        )
        for each in answer.differences
    ]
    return Rewound(answer.revision, differences)


def result_of(operation: m.AnyOperation, outcome: m.Outcome) -> Any:
    """What the call of a store that stands for this operation returns."""
    match operation:
        case m.SetKey():
            if outcome.revision is None:
                raise ProtocolError("the outcome of a set has no revision")
            return outcome.revision
        case m.DeleteKey():
            return outcome.revision is not None
        case m.CheckKey():
            return None
        case m.AdvanceKey(key=key):
            return Advance(outcome.revision is not None, _entry_after(key, outcome))
        case m.IncrementKey(key=key) | m.MergeKey(key=key):
            return _entry_after(key, outcome).value
    return outcome.count


def error_of(answer: m.Failed) -> AssetStoreError:
    """The refusal, with what it carries."""
    error = refusal(answer.code, answer.message, answer.detail)
    if isinstance(error, Conflict) and answer.detail is not None:
        try:
            detail = msgspec.convert(answer.detail, _ConflictDetail)
        except msgspec.ValidationError as exc:
            return ProtocolError(f"the detail of a conflict is none: {exc}")
        if detail.key is not None and detail.entry is not None:
            error.entry = entry_of(detail.key, detail.entry)
    return error


def _entry_after(key: str, outcome: m.Outcome) -> Entry:
    if outcome.entry is None:
        raise ProtocolError(f"the outcome of a change of {key!r} has no entry")
    return entry_of(key, outcome.entry)

"""What the daemon's answers mean to a caller: entries and errors.

Rule: pure; no calls.
"""

from __future__ import annotations

import msgspec

from assetstore.entries import Entry, time_from_us
from assetstore.errors import AssetStoreError, Conflict, ProtocolError, refusal
from assetstore.messages import Failed, Outcome, WireEntry
from assetstore.values import decode_value


class _ConflictDetail(msgspec.Struct, frozen=True):
    """Of the condition that did not hold. A newer daemon may say more."""

    operation: int
    key: str
    entry: WireEntry | None


def entry_of(key: str, stored: WireEntry) -> Entry:
    """The entry of this key."""
    return Entry(
        key=key,
        value=decode_value(stored.value),
        revision=stored.revision,
        updated_at=time_from_us(stored.updated_at),
        updated_by=stored.updated_by,
    )


def revision_of(outcome: Outcome) -> int:
    """The revision that an operation was given which always changes something."""
    if outcome.revision is None:
        raise ProtocolError("the outcome of a change has no revision")
    return outcome.revision


def error_of(answer: Failed) -> AssetStoreError:
    """The refusal, with what it carries."""
    error = refusal(answer.code, answer.message, answer.detail)
    if isinstance(error, Conflict) and answer.detail is not None:
        try:
            detail = msgspec.convert(answer.detail, _ConflictDetail)
        except msgspec.ValidationError as exc:
            return ProtocolError(f"the detail of a conflict is none: {exc}")
        if detail.entry is not None:
            error.entry = entry_of(detail.key, detail.entry)
    return error

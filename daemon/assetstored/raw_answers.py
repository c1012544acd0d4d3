"""Answers whose larger parts are encoded already: as they are stored, or as the writer made them.

Rule: on the wire each is exactly the message that it stands for.
"""

from __future__ import annotations

import msgspec

from assetstore import messages as m


class FoundRaw(m.Answer, frozen=True, tag="found"):
    """messages.Found with an entry that is encoded already."""

    entry: msgspec.Raw


class ItemPageRaw(m.Answer, frozen=True, tag="item_page"):
    """messages.ItemPage with entries that are encoded already."""

    items: list[tuple[str, msgspec.Raw]]
    more: bool


class FoundManyRaw(m.Answer, frozen=True, tag="found_many"):
    """messages.FoundMany with entries that are encoded already."""

    entries: list[msgspec.Raw | None]


class ChangedRaw(m.Answer, frozen=True, tag="changed"):
    """messages.Changed with outcomes that are encoded already."""

    outcomes: msgspec.Raw


class EventPageRaw(m.Answer, frozen=True, tag="event_page"):
    """messages.EventPage with the fields of events."""

    events: list[tuple[object, ...]]
    next: int | None

"""What was changed since a revision, asset by asset, as the pages of the journal tell it.

Rule: pure; who asks for the pages is exporting.py.
"""

from __future__ import annotations

from assetstore.errors import ProtocolError
from assetstore.messages import AssetRef, EventPage


class Moved(Exception):
    """What is asked for cannot be told as of that revision any more; of a later one it may."""


class Tracked:
    """Which keys were changed from a revision on, and what was done to whole assets."""

    def __init__(self, first: int = 1) -> None:
        #: All events before this revision are known.
        self.next = first
        self._keys: dict[AssetRef, set[str]] = {}
        self._whole: dict[AssetRef, list[tuple[int, str]]] = {}

    def learn(self, page: EventPage) -> None:
        """Take a page that begins where all is known up to."""
        for event in page.events:
            if event.name is None and event.uri is None:
                continue  # the whole store, which no key of an asset depends on
            ref = AssetRef(event.name, event.uri)
            if event.key is None:
                self._whole.setdefault(ref, []).append((event.revision, event.kind))
            else:
                self._keys.setdefault(ref, set()).add(event.key)
        if page.next is None or page.next <= self.next:
            raise ProtocolError(f"a page of events from {self.next} on leads to {page.next}")
        self.next = page.next

    def knows(self, ref: AssetRef) -> bool:
        """Whether anything was done to the asset or to its keys."""
        return ref in self._keys or ref in self._whole

    def keys_of(self, ref: AssetRef) -> set[str]:
        """The keys of the asset that were changed."""
        return self._keys.get(ref, set())

    def first_of_asset(self, ref: AssetRef) -> str | None:
        """What was done to the asset as a whole first, or None if nothing was."""
        whole = self._whole.get(ref)
        return whole[0][1] if whole else None

    def was_changed_as_a_whole(self, ref: AssetRef, since: int) -> bool:
        """Whether anything was done to the whole asset from a revision on."""
        return any(revision >= since for revision, _ in self._whole.get(ref, ()))

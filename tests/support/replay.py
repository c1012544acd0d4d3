"""What the assets hold after a revision, replayed from the journal: a model of few words.

It knows what tests of exports do: changes of keys, clear, restore of what was cleared or replaced
last, and moves.

Rule: nothing of the daemon is used here, so that both cannot be wrong in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from assetstore.events import Event

#: Key -> revision and value.
Contents = dict[str, tuple[int, Any]]


class Replay:
    """The assets, event by event."""

    def __init__(self) -> None:
        self.contents: dict[str, Contents] = {}
        self.active: set[str] = set()
        self._trash: dict[str, list[Contents]] = {}

    def upto(self, events: Iterable[Event], revision: int) -> dict[str, Contents]:
        """What active assets hold after this revision; events are all there ever were, in order."""
        for event in events:
            if event.revision <= revision and event.asset is not None:
                self._take(event, event.asset.name or "")
        return {name: self.contents.get(name, {}) for name in self.active}

    def _take(self, event: Event, name: str) -> None:
        held = self.contents.setdefault(name, {})
        if event.key is not None:
            if event.value is None:
                del held[event.key]
            else:
                held[event.key] = (event.revision, event.value)
            return
        match event.kind:
            case "activated":
                self.active.add(name)
            case "deactivated":
                self.active.remove(name)
            case "clear":
                self._put_aside(name)
            case "restored":
                back = self._trash[name].pop()
                self._put_aside(name)
                self.contents[name] = back
            case "moved":
                detail = event.detail or {}
                if "to" in detail:
                    target = detail["to"]["name"]
                    self._put_aside(target)
                    self.contents[target] = self.contents.pop(name)
            case kind:
                raise AssertionError(f"the model knows no {kind!r}")

    def _put_aside(self, name: str) -> None:
        held = self.contents.pop(name, {})
        if held:
            self._trash.setdefault(name, []).append(held)

"""What writers were promised, and what may therefore be in the store: the model of crash tests.

Each *part* of the store (an asset, or those of its keys that begin with a prefix) has one writer,
so what it may hold is decidable: what was acknowledged, with or without the one change that is
under way or whose outcome the writer was told is unknown. Nothing else.

A writer tells its story in events, one JSON array each:

    ["do", part, "set" | "delete" | "clear", key, value]    before it asks
    ["ok", result]       acknowledged: the revision, whether it was there, or the count
    ["unknown", error]   it may have happened
    ["no", error]        refused: it did not happen
    ["saw", part, {key: [value, revision]}]                 all that it read there

Rule: no store and no process here. The first contradiction is raised as BrokenPromise.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

#: Key -> value and revision; the revision is None where no answer told it.
State: TypeAlias = dict[str, tuple[Any, int | None]]

Seen: TypeAlias = dict[str, tuple[Any, int]]


class BrokenPromise(AssertionError):
    """The store holds something other than what was acknowledged."""


class Part(NamedTuple):
    """The keys of one writer in one asset."""

    asset: str
    prefix: str


class Change(NamedTuple):
    """One request."""

    part: Part
    verb: str
    key: str
    value: Any

    def applied_to(self, state: State, revision: int | None) -> State:
        """The state after it, as one step."""
        match self.verb:
            case "set":
                return {**state, self.key: (self.value, revision)}
            case "delete":
                return {key: held for key, held in state.items() if key != self.key}
            case "clear":
                return {}
            case _:
                raise ValueError(self.verb)


@dataclass
class Story:
    """One writer: what it has under way, and how far it has come."""

    under_way: Change | None = None
    #: Whether the store was looked at since: then the change may have been there already.
    looked_at: bool = False
    #: Killed: after the next look at the store, nothing of it can come any more.
    is_dead: bool = False
    last_revision: int = 0


@dataclass
class Ledger:
    """All promises. Feed it events; ask it whether what a store holds keeps them."""

    acknowledged: int = 0
    #: What writers were told could have happened or not.
    unknown: list[str] = field(default_factory=list)
    #: Each part's possible states; more than one only while an outcome is unknown.
    possible: dict[Part, list[State]] = field(default_factory=dict)
    #: What each revision stands for, acknowledged or seen: it must never stand for another thing.
    revisions: dict[int, tuple[str, str, str]] = field(default_factory=dict)
    #: What acknowledged clears have put into the trash, by asset.
    cleared: list[tuple[str, State]] = field(default_factory=list)
    stories: dict[str, Story] = field(default_factory=dict)

    def tell(self, writer: str, event: list[Any]) -> None:
        """Take the next event of a writer."""
        story = self.stories.setdefault(writer, Story())
        match event:
            case ["do", [asset, prefix], verb, key, value]:
                story.under_way = Change(Part(asset, prefix), verb, key, value)
                story.looked_at = False
                self.possible.setdefault(story.under_way.part, [{}])
            case ["ok", result]:
                self._acknowledge(story, result)
            case ["unknown", error]:
                change = _take(story)
                self.unknown.append(f"{change.verb} of {change.part}: {error}")
                states = self.possible[change.part]
                states += [change.applied_to(state, None) for state in states]
            case ["no", _]:
                _take(story)
            case ["saw", [asset, prefix], seen]:
                self._settle(Part(asset, prefix), {k: (v, r) for k, (v, r) in seen.items()}, [])
            case _:
                raise ValueError(event)

    def bury(self, writer: str) -> None:
        """The writer was killed; what it had under way may have happened."""
        self.stories.setdefault(writer, Story()).is_dead = True

    def check(self, contents: dict[str, Seen], revision: int) -> None:
        """Raise BrokenPromise unless a store that nobody serves holds what it must.

        ``contents`` is asset -> key -> value and revision, ``revision`` the store's last. What is
        seen is from then on what is there, though what is under way may yet be repeated.
        """
        changes: dict[Part, list[Change]] = {}
        for story in self.stories.values():
            if story.under_way is not None:
                changes.setdefault(story.under_way.part, []).append(story.under_way)
                story.looked_at = True
        for part in self.possible:
            entries = contents.get(part.asset, {})
            seen = {key: held for key, held in entries.items() if key.startswith(part.prefix)}
            self._settle(part, seen, changes.get(part, []))
        for story in self.stories.values():
            if story.is_dead:
                story.under_way = None
        prefixes = {(part.asset, part.prefix) for part in self.possible}
        for asset, entries in contents.items():
            for key in entries:
                if not any(asset == a and key.startswith(prefix) for a, prefix in prefixes):
                    raise BrokenPromise(f"nobody ever wrote {key!r} of {asset!r}")
        highest = max(self.revisions, default=0)
        if revision < highest:
            raise BrokenPromise(f"the store is at revision {revision}, {highest} was given out")

    def _acknowledge(self, story: Story, result: Any) -> None:
        self.acknowledged += 1
        looked_at = story.looked_at
        change = _take(story)
        states = self.possible[change.part]
        match change.verb:
            case "set":
                if result <= story.last_revision:
                    raise BrokenPromise(f"revision {result} after {story.last_revision}: {change}")
                story.last_revision = result
                self._note_revision(result, change.part.asset, change.key, change.value)
            case "delete":
                if not looked_at and result not in {change.key in state for state in states}:
                    raise BrokenPromise(f"{change} was answered {result}, of {states}")
            case "clear":
                if not looked_at and result not in {len(state) for state in states}:
                    raise BrokenPromise(f"{change} was answered {result}, of {states}")
                if not looked_at and len(states) == 1 and states[0]:
                    self.cleared.append((change.part.asset, states[0]))
        self.possible[change.part] = [change.applied_to(state, result) for state in states]

    def _settle(self, part: Part, seen: Seen, under_way: list[Change]) -> None:
        """What is seen must be possible, and is what is there."""
        states = self.possible.setdefault(part, [{}])
        for change in under_way:
            states = [*states, *(change.applied_to(state, None) for state in states)]
        if not any(is_shown(state, seen) for state in states):
            raise BrokenPromise(
                f"{part} holds\n  {seen}\nand may hold only\n  " + "\n  ".join(map(str, states))
            )
        for key, (value, revision) in seen.items():
            self._note_revision(revision, part.asset, key, value)
        self.possible[part] = [dict(seen)]

    def _note_revision(self, revision: int, asset: str, key: str, value: Any) -> None:
        meaning = (asset, key, json.dumps(value)[:60])
        other = self.revisions.setdefault(revision, meaning)
        if other != meaning:
            raise BrokenPromise(f"revision {revision} was {other}, and now is {meaning}")


def is_shown(state: State, seen: Seen) -> bool:
    """Whether seen is what state looks like: no key more or less, values and known revisions."""
    return state.keys() == seen.keys() and all(
        value == seen[key][0] and revision in (None, seen[key][1])
        for key, (value, revision) in state.items()
    )


def _take(story: Story) -> Change:
    assert story.under_way is not None, "an answer to nothing"
    change, story.under_way = story.under_way, None
    return change

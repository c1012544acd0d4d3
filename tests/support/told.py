"""What a daemon's clients were told, and so what a store has to hold: read from what went over
their sockets.

All changes have an order, that of their revisions, and each answer tells the revision of what it
shows. So what a store holds at a revision is known from the requests and their answers; what a
client was told of, by any answer, may not be lost; and of one change there is all or nothing.

Rule: no file of a store is known here, nor how it is kept.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from tests.support.inspect_store import Inspection
from tests.support.recording import Event, Received, Sent

from assetstore import messages as m
from assetstore.framing import FrameReader

#: Key -> value and revision.
Contents: TypeAlias = dict[str, tuple[Any, int]]

_LARGEST_FRAME = 1 << 26


@dataclass
class World:
    """What a store holds."""

    active: dict[str, Contents] = field(default_factory=dict)
    inactive: dict[str, Contents] = field(default_factory=dict)
    #: What was cleared or replaced, and not dropped: why, and what it was.
    aside: dict[str, list[tuple[str, Contents]]] = field(default_factory=dict)

    def copy(self) -> World:
        return World(
            {name: dict(held) for name, held in self.active.items()},
            dict(self.inactive),
            {name: list(held) for name, held in self.aside.items()},
        )

    def put_aside(self, name: str, reason: str) -> None:
        """The asset begins anew; an empty store is nothing to come back to."""
        if self.active[name]:
            self.aside.setdefault(name, []).append((reason, self.active[name]))
        self.active[name] = {}


class Done(NamedTuple):
    """A change that was acknowledged."""

    request: m.Change
    answer: m.Changed
    #: Of its first operation that had an effect, and of the last.
    first: int
    last: int


class Told:
    """What clients were told, up to each event of a recording."""

    def __init__(self, events: Iterable[Event]) -> None:
        self.changes: list[Done] = []
        #: The last revision that anybody was told of: one more than there are events.
        self.floors = [0]
        #: Changes that were received and answered until then.
        self.answered: list[int] = [0]
        #: By revision, what a change or the daemon itself has done.
        self._done: dict[int, tuple[m.AnyOperation, m.Outcome]] = {}
        self._events: dict[int, m.WireEvent] = {}
        self._requests: dict[tuple[str, int], m.AnyRequest] = {}
        self._known: set[bytes] = set()
        #: Of each change the first revision and the last.
        self._spans: set[tuple[int, int]] = set()
        self._readers: dict[tuple[str, type[Event]], FrameReader] = {}
        self.refused = 0
        for event in events:
            told = 0
            if isinstance(event, Received | Sent):
                told = self._hear(event)
            self.floors.append(max(self.floors[-1], told))
            self.answered.append(len(self.changes))
        self.last = self.floors[-1]
        self.worlds = self._worlds()
        self._sorted_spans = sorted(self._spans)

    # --- what was said

    def _hear(self, event: Received | Sent) -> int:
        """The last revision that the bytes tell of."""
        direction = (event.connection, type(event))
        is_new = direction not in self._readers
        reader = self._readers.setdefault(direction, FrameReader(_LARGEST_FRAME))
        reader.feed(event.data)
        told = 0
        for number, payload in enumerate(reader):
            if is_new and number == 0:
                continue  # hello and welcome
            if isinstance(event, Received):
                request = m.decode_request(payload)
                self._requests[event.connection, request.id] = request
            else:
                answer = m.decode_answer(payload)
                if answer.id:  # else it is a goodbye
                    told = max(told, self._answered(event.connection, answer))
        return told

    def _answered(self, connection: str, answer: m.AnyAnswer) -> int:
        request = self._requests.pop((connection, answer.id))
        match answer:
            case m.Changed():
                assert isinstance(request, m.Change)
                return self._changed(request, answer)
            case m.Rewound(revision=int(last)):
                assert isinstance(request, m.Rewind)
                if not request.dry_run:
                    self._spans.add((last - len(answer.differences) + 1, last))
                return last
            case m.Found():
                return answer.entry.revision
            case m.FoundMany():
                return max((entry.revision for entry in answer.entries if entry), default=0)
            case m.ItemPage():
                return max((entry.revision for _, entry in answer.items), default=0)
            case m.EventPage():
                self._events |= {event.revision: event for event in answer.events}
                return max((event.revision for event in answer.events), default=0)
            case m.StatusReport():
                revision = answer.report["revision"]
                assert isinstance(revision, int)
                return revision
            case m.Failed():
                self.refused += 1
        return 0

    def _changed(self, request: m.Change, answer: m.Changed) -> int:
        if request.request in self._known:
            return 0
        self._known.add(request.request)
        first, last = 0, 0
        for operation, outcome in zip(request.operations, answer.outcomes, strict=True):
            if outcome.revision is not None:
                self._done[outcome.revision] = operation, outcome
                # A move has two events, a purge one for each store.
                begins = outcome.revision
                if isinstance(operation, m.MoveStore):
                    begins -= 1
                elif isinstance(operation, m.PurgeStores):
                    begins -= outcome.count - 1
                first, last = first or begins, outcome.revision
        self.changes.append(Done(request, answer, first, last))
        if last:
            self._spans.add((first, last))
        return last

    # --- what there must be

    def _worlds(self) -> list[World]:
        """By revision, what the store holds; the last is what it held in the end."""
        world = World()
        worlds = [world]
        for revision in range(1, self.last + 1):
            world = world.copy()
            if revision in self._done:
                self._do(world, revision, *self._done[revision])
            # A purge and a rewind are told by their events, as is what the daemon does of itself.
            if revision in self._events:
                self._see(world, self._events[revision])
            worlds.append(world)
        unknown = set(range(1, self.last + 1)) - self._done.keys() - self._events.keys()
        assert not unknown, f"nobody has said what these are: {sorted(unknown)[:10]}"
        return worlds

    def _do(self, world: World, revision: int, operation: m.AnyOperation, out: m.Outcome) -> None:
        match operation:
            case m.SetKey():
                held = world.active[_name(operation.asset)]
                held[operation.key] = json.loads(operation.value), revision
            case m.DeleteKey():
                del world.active[_name(operation.asset)][operation.key]
            case m.AdvanceKey() | m.IncrementKey() | m.MergeKey():
                assert out.entry is not None
                held = world.active[_name(operation.asset)]
                held[operation.key] = json.loads(out.entry.value), revision
            case m.ClearStore():
                assert len(world.active[_name(operation.asset)]) == out.count
                world.put_aside(_name(operation.asset), "cleared")
            case m.RestoreStore():
                assert out.asset is not None
                name = _name(out.asset)
                # Who restores takes what was cleared last.
                at = max(n for n, (why, _) in enumerate(world.aside[name]) if why == "cleared")
                _, contents = world.aside[name].pop(at)
                assert len(contents) == out.count
                world.put_aside(name, "replaced")
                world.active[name] = dict(contents)
            case m.MoveStore():
                source, target = _name(operation.source), _name(operation.target)
                contents = world.active.get(source, world.inactive.get(source, {}))
                assert len(contents) == out.count
                if source in world.active:
                    world.active[source] = {}
                world.inactive.pop(source, None)
                world.put_aside(target, "replaced")
                world.active[target] = dict(contents)

    def _see(self, world: World, event: m.WireEvent) -> None:
        name = event.name or ""
        if event.key is not None:
            self._see_key(world.active[name], event.key, event)
            return
        match event.kind:
            case "activated":
                world.active[name] = dict(world.inactive.pop(name, {}))
            case "deactivated":
                world.inactive[name] = world.active.pop(name)
            case "dropped":
                reason = json.loads(event.value or b"")["reason"]
                if reason == "deactivated":
                    world.inactive.pop(name, None)
                else:
                    # The oldest goes first, whether it is swept or purged.
                    aside = world.aside[name]
                    aside.pop(next(n for n, (why, _) in enumerate(aside) if why == reason))

    def _see_key(self, held: Contents, key: str, event: m.WireEvent) -> None:
        now = None if event.value is None else (json.loads(event.value), event.revision)
        if event.revision in self._done:
            # What its client was told, a watcher was told too.
            assert held.get(key) == now
        elif now is None:
            del held[key]
        else:
            held[key] = now

    def problem_of(self, found: Inspection, floor: int) -> str | None:
        """What is wrong with a store of whose revision ``floor`` somebody was told, or None."""
        revision = found.revision
        if found.problems:
            return found.problems[0]
        if revision < floor:
            return f"revision {floor} was acknowledged, and {revision} is the last that is there"
        if revision > self.last:
            return f"it is at revision {revision}, and {self.last} was the last"
        at = bisect_right(self._sorted_spans, (revision, self.last + 1)) - 1
        if at >= 0 and self._sorted_spans[at][0] <= revision < self._sorted_spans[at][1]:
            return f"at revision {revision} there is half of the change {self._sorted_spans[at]}"
        world = self.worlds[revision]
        if found.active != world.active:
            return f"at revision {revision} it holds {_difference(found.active, world.active)}"
        waiting = [each for each in found.trash if not each.dropping]
        inactive = {each.name: each.contents for each in waiting if each.reason == "deactivated"}
        expected = {name: held for name, held in world.inactive.items() if held}
        if inactive != expected:
            return f"at revision {revision} waits for its asset {_difference(inactive, expected)}"
        aside: dict[str, list[tuple[str, Contents]]] = {}
        for each in waiting:
            if each.reason != "deactivated":
                aside.setdefault(each.name, []).append((each.reason, each.contents))
        if aside != {name: held for name, held in world.aside.items() if held}:
            return f"at revision {revision} the trash is not what was put there"
        return None


def _name(ref: m.AssetRef) -> str:
    assert ref.name is not None
    return ref.name


def _difference(found: dict[str, Contents], expected: dict[str, Contents]) -> str:
    for name in sorted(found.keys() | expected.keys()):
        if found.get(name) != expected.get(name):
            return f"{found.get(name)} in {name!r}, not {expected.get(name)}"[:400]
    return "the same"

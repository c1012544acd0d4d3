"""The store against a plain model of it: random calls of all kinds, and every answer is compared.

Through a client of a real daemon, which is restarted in between; nothing else writes meanwhile, so
the model knows what is answered, revisions included.

Rule: what is right, the model says (tests/support/model.py); here it is asked and compared.
"""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect
from tests.support.model import Database, Happened, Held, Model, Operation, text

import assetstore
from assetstore import (
    Advance,
    Compacted,
    Conflict,
    Entry,
    Event,
    InactiveAsset,
    Refused,
    WaitTimeout,
)

#: How many calls, with two or three restarts among them.
STEPS = amount(1_500, whole=3_000)

#: Of a key that is there so many changes are known, however old.
KEPT_CHANGES = 10

#: The last of them is in no manifest, ever.
NAMES = ["a", "b", "c", "d", "ä/ö", "e", "never"]

# Short ones, and ones beyond LMDB's 511 bytes that share their beginning with others.
KEYS = [
    *("k", "k1", "k2", "l", "\0", "\U0010ffff"),
    *("x" * n for n in (477, 478, 479, 480, 510, 511, 512)),
    *("ü" * 239 + tail for tail in ("", "a", "b", "ü", "ü" * 200, "ü" * 200 + "a")),
    *("y" * 478 + tail for tail in ("a", "b" * 34)),
]
PREFIXES = ["", "k", "x" * 478, "ü" * 239, "ü" * 240, "y" * 478 + "b"]

INSTANTS = [
    "2026-01-31T23:30:00Z",
    "2026-02-01T01:00:00+02:00",
    "2026-01-31T20:00:00-05:00",
    "2026-02-01T00:30:00.5+00:00",
]


class Walk:
    """A daemon and its model, changed step by step."""

    def __init__(
        self,
        daemon: Daemon,
        client: assetstore.Client,
        rng: random.Random,
        *,
        forgets: bool = False,
    ) -> None:
        self.daemon = daemon
        self.client = client
        self.random = rng
        self.model = Model()
        #: Whether the daemon keeps no more of the journal than it must.
        self.forgets = forgets
        self.done: Counter[str] = Counter()
        self.listed: set[str] = set()
        for name in sorted(NAMES[:-1]):
            self.list_in_manifest(name)

    def step(self) -> str:
        """One random call; returns what it was."""
        chances = {
            self.change: 55,
            self.transaction: 10,
            self.set_many: 2,
            self.update: 4,
            self.read: 8,
            self.history: 5,
            self.get_at: 6,
            self.rewind: 6,
            self.watch: 1,
            self.wait_for: 1,
            self.toggle: 0.3,
            self.restore: 1,
            self.move: 1,
            self.purge: 0.7,
        }
        (call,) = self.random.choices([*chances], [*chances.values()])
        self.done[call.__name__] += 1
        return f"{call.__name__} {call()}"

    # --- what both do

    def both(self, ask: Callable[[], Any], expect: Callable[[], Any]) -> None:
        """The daemon answers, or refuses, as the model does."""
        expected, found = _attempt(expect), _attempt(ask)
        if isinstance(expected, Refused):
            assert type(found) is type(expected), (found, expected)
            if isinstance(found, Conflict) and isinstance(expected, Conflict):
                assert plain(found.entry) == plain(expected.entry), found
            self.done[type(found).__name__] += 1
            return
        assert plain(found) == plain(expected), found

    # --- changes

    def change(self) -> str:
        operation = self.some_operation(transaction=False)
        store = self.client.store(operation.asset)
        self.both(
            lambda: getattr(store, operation.verb)(*operation.arguments, **operation.options),
            lambda: self.model.change(operation)[0],
        )
        return in_short(operation)

    def transaction(self) -> str:
        operations = [self.some_operation() for _ in range(self.random.randrange(1, 7))]
        before = self.model.revision

        def ask() -> list[Any]:
            with self.client.transaction() as tx:
                pending = [
                    getattr(tx.store(asset), verb)(*arguments, **options)
                    for asset, verb, arguments, options in operations
                ]
            return [[each.result() for each in pending], tx.revision]

        def expect() -> list[Any]:
            results = self.model.change(*operations)
            return [results, self.model.revision if self.model.revision > before else None]

        self.both(ask, expect)
        return ", ".join(map(in_short, operations))

    def set_many(self) -> str:
        name = self.some_name()
        values = {key: self.some_value() for key in self.random.sample(KEYS, 3)}
        store = self.client.store(name)
        self.both(
            lambda: store.set_many(values),
            lambda: self.model.change(
                *(Operation(name, "set", (key, value)) for key, value in values.items())
            )[-1],
        )
        return name

    def update(self) -> str:
        name, key, value = self.some_name(), self.some_key(), self.some_value()
        store = self.client.store(name)
        self.both(
            lambda: store.update(
                key, lambda old: [old, value] if old == "default" else value, "default"
            ),
            lambda: self.updated(name, key, value),
        )
        return name

    def updated(self, name: str, key: str, value: Any) -> Any:
        found = self.model.entry(name, key)
        if found is None or found.value == "default":
            value = ["default", value]
        self.model.change(Operation(name, "set", (key, value)))
        return value

    def rewind(self) -> str:
        name, to = self.some_name(), self.some_revision()
        key = self.some_key(name) if self.random.random() < 0.6 else None
        store = self.client.store(name)
        dry = _attempt(lambda: store.rewind(key, to=to, dry_run=True))
        if isinstance(dry, Compacted):
            self.compacted(name, to)
            return f"{name} {to} compacted"
        self.both(
            lambda: _raised(dry),
            lambda: [self.model.revision, self.model.differences(name, key, to)],
        )
        if isinstance(dry, Refused):
            return name
        # The revision that is expected: any, that of the dry run, and one that is long past.
        is_changed = self.model.at(name, to) != self.model.active(name).contents
        expected = self.random.choice([None, dry.revision, to if is_changed else None])
        rewound = _attempt(lambda: store.rewind(key, to=to, expected=expected))
        if isinstance(rewound, Compacted):
            # Dropped since the dry run.
            self.compacted(name, to)
        elif expected == to and is_changed:
            assert isinstance(rewound, Conflict), rewound
        else:
            differences = self.model.differences(name, key, to)
            assert plain(rewound) == plain([self.model.rewind(name, key, to), differences])
        return f"{name} {key and key[:9]!r} {to}"

    # --- reading

    def read(self) -> str:
        name, key = self.some_name(), self.some_key()
        store = self.client.store(name)
        self.both(lambda: store.entry(key), lambda: self.model.entry(name, key))
        wanted = [(self.some_name(), self.some_key()) for _ in range(4)]
        self.both(
            lambda: self.client.get_many(wanted),
            lambda: [self.model.entry(name, key) for name, key in wanted],
        )
        prefix = self.random.choice(PREFIXES)
        self.both(lambda: list(store.keys(prefix)), lambda: self.keys_of(name, prefix))
        self.both(lambda: store.count(prefix), lambda: len(self.keys_of(name, prefix)))
        return name

    def keys_of(self, name: str, prefix: str) -> list[str]:
        return [key for key in in_order(self.model.active(name).contents) if key.startswith(prefix)]

    def history(self) -> str:
        name = self.some_name()
        key = self.some_key(name)
        limit = self.random.choice([None, None, 1, 3])
        found = _attempt(lambda: list(self.client.store(name).history(key, limit)))
        expected = _attempt(lambda: list(self.model.history(name, key)))
        if isinstance(expected, Refused):
            assert type(found) is type(expected)
            return name
        events = [each for each in expected if not isinstance(each, Database)]
        if self.forgets:
            assert not isinstance(found, Refused), found
            self.check_history(name, key, found, events, limit)
            return f"{name} {key[:9]!r}"
        # It may end where a database is that waits to be dropped, or was.
        ends = [number for number, each in enumerate(expected) if isinstance(each, Database)]
        whole = [events[: end - before] for before, end in enumerate(ends)] + [events]
        assert plain(found) in [plain(each[:limit]) for each in whole]
        return f"{name} {key[:9]!r}"

    def check_history(
        self, name: str, key: str, found: list[Event], events: list[Happened], limit: int | None
    ) -> None:
        """It has the last changes of a key that is there, and nothing that did not happen."""
        asset = self.model.active(name)
        ever = [] if asset.database is None else asset.database.changes.get(key, [])
        # Where it is forgotten when a database came, its older changes follow.
        known = {event.revision: event for event in [*events, *ever]}
        boundary = asset.boundary
        while boundary is not None:
            if boundary.database is not None:
                changes = boundary.database.changes.get(key, [])
                known |= {event.revision: event for event in changes}
            boundary = boundary.before
        revisions = [event.revision for event in found]
        assert revisions == sorted(set(revisions), reverse=True)
        assert self.told(found) == self.told([known[revision] for revision in revisions])
        since = 0 if asset.boundary is None else asset.boundary.event.revision
        if key in asset.contents:
            last = [event.revision for event in kept_of(ever) if event.revision > since]
            assert last[::-1][:limit] == revisions[: len(last)]

    def get_at(self) -> str:
        name, at = self.some_name(), self.some_revision()
        key = self.some_key(name)
        found = _attempt(lambda: self.client.store(name).get(key, at=at))
        if isinstance(found, Compacted):
            self.compacted(name, at)
            return f"{name} {at} compacted"
        self.both(lambda: _raised(found), lambda: _value(self.model.at(name, at).get(key)))
        return f"{name} {key[:9]!r} {at}"

    def watch(self) -> str:
        since = self.random.randrange(max(1, self.model.revision - 50), self.model.revision + 1)
        name: str | None = self.random.choice([None, *self.model.assets])
        prefix = self.random.choice(PREFIXES)
        if name is None:
            prefix, watch = "", self.client.watch(since)
        else:
            watch = self.client.store(name).watch(prefix, since)
        expected = [
            event
            for event in self.model.events[since - 1 :]
            if name in (None, event.asset) and (event.key or prefix).startswith(prefix)
        ]
        found = _attempt(lambda: list(itertools.islice(watch, len(expected))))
        if not (self.forgets and isinstance(found, Compacted)):
            assert self.told(_raised(found)) == self.told(expected)
        return f"{name} {prefix[:10]!r} {since}"

    def wait_for(self) -> str:
        name, after = self.some_name(), self.some_revision()
        key = self.some_key(name)
        held = _attempt(lambda: self.model.entry(name, key))
        found = _attempt(lambda: self.client.store(name).wait_for(key, after=after, timeout=0))
        if isinstance(held, Held) and held.revision > after:
            assert plain(found) == plain(held)
        else:
            assert isinstance(found, type(held) if isinstance(held, Refused) else WaitTimeout)
        return name

    # --- what operators do

    def toggle(self) -> str:
        # One that is inactive comes back soon: most calls are for those that are not.
        missing = [name for name in NAMES[:-1] if name not in self.listed]
        chosen = missing if self.random.random() < len(missing) / 3 else sorted(self.listed)
        name = self.random.choice(chosen)
        if name in self.listed:
            self.listed.remove(name)
            self.model.deactivate(name)
        else:
            self.list_in_manifest(name)
        self.daemon.set_manifest(*sorted(self.listed))
        self.client.reload_manifest()
        self.model.accept_manifest()
        return name

    def list_in_manifest(self, name: str) -> None:
        self.listed.add(name)
        self.model.activate(name)

    def restore(self) -> str:
        trash_id = self.random.choice([*self.model.trash, 10**6])
        self.both(lambda: self.restored(trash_id), lambda: self.model.restore(trash_id))
        return str(trash_id)

    def restored(self, trash_id: int) -> list[Any]:
        restored = self.client.restore(trash_id)
        return [restored.name, restored.count]

    def move(self) -> str:
        source, target = self.some_name(), self.some_name()
        replace = self.random.random() < 0.7
        self.both(
            lambda: self.client.move(source, target, replace=replace),
            lambda: self.model.move(source, target, replace=replace),
        )
        return f"{source} {target}"

    def purge(self) -> str:
        trash_ids = [*self.random.sample([*self.model.trash], min(2, len(self.model.trash))), 10**6]
        self.both(lambda: self.client.purge(trash_ids), lambda: self.model.purge(trash_ids))
        return str(trash_ids)

    # --- all of it

    def compare(self) -> None:
        """Everything that can be seen is as the model has it."""
        for name, asset in self.model.assets.items():
            store = self.client.store(name)
            if asset.is_active:
                found = {entry.key: entry for entry in store.entries()}
                assert plain(found) == plain(
                    {k: asset.contents[k] for k in in_order(asset.contents)}
                )
            else:
                with pytest.raises(InactiveAsset):
                    store.count()
        trash = {item.id: (item.name, item.reason, item.entries) for item in self.client.trash()}
        assert trash == {
            number: (each.asset, each.reason, len(each.database.contents))
            for number, each in self.model.trash.items()
        }
        log = list(self.client.log())[::-1]
        self.compare_log(log)
        self.compare_times(log)

    def compare_log(self, log: list[Event]) -> None:
        """It is whole, or so it is from the oldest revision on and for the last of each key."""
        revisions = [event.revision for event in log]
        kept = set(range(1, self.model.revision + 1))
        if self.forgets:
            kept = set(range(self.oldest(), self.model.revision + 1))
            for asset in self.model.assets.values():
                for key in asset.contents:
                    assert asset.database is not None
                    kept.update(event.revision for event in kept_of(asset.database.changes[key]))
        assert kept <= set(revisions)
        assert revisions == sorted(set(revisions))
        events = [self.model.events[revision - 1] for revision in revisions]
        assert self.told(log) == self.told(events)

    def told(self, events: Sequence[Event | Happened]) -> list[str]:
        """What events say, as texts."""
        parts = map(_parts, events)
        # The change before a forgotten one may be none that is known.
        return [text(each[:-1] if self.forgets else each) for each in parts]

    def oldest(self) -> int:
        """The revision from which on the journal is whole."""
        try:
            next(self.client.watch(since=1))
        except Compacted as exc:
            return int(exc.detail["oldest"])
        return 1

    def compacted(self, name: str, revision: int) -> None:
        """What stood there after a revision may be unknown."""
        assert self.forgets or self.model.may_be_compacted(name, revision)
        self.done["Compacted"] += 1

    def compare_times(self, log: list[Event]) -> None:
        """What stood there at a time is what stood there after the last change until then."""
        for event in self.random.sample(log, min(5, len(log))):
            last = max(each.revision for each in log if each.updated_at <= event.updated_at)
            if last < self.oldest():
                continue
            name = self.random.choice(sorted(self.listed))
            key = self.some_key(name)
            try:
                found = self.client.store(name).get(key, at=event.updated_at)
            except Compacted:
                self.compacted(name, last)
            else:
                assert plain(found) == plain(_value(self.model.at(name, last).get(key)))

    # --- luck

    def some_name(self) -> str:
        return self.random.choices(NAMES, [10] * (len(NAMES) - 1) + [1])[0]

    def some_key(self, name: str | None = None) -> str:
        """One of all, or one that this asset has or had more likely than others."""
        known = [
            event.key for event in self.model.events[-100:] if event.asset == name and event.key
        ]
        return self.random.choice(known if known and self.random.random() < 0.7 else KEYS)

    def some_revision(self) -> int:
        last = self.model.revision
        return self.random.choice([self.random.randrange(last + 1), max(0, last - 20), last])

    def some_value(self) -> Any:
        rng = self.random
        # Small ones within a page, and ones that take overflow pages of their own.
        length = rng.choice([0, 1, 40, 2_000, 2_047, 4_080, 9_000])
        return rng.choice(
            [
                rng.randrange(100),
                rng.randrange(10**40),
                rng.random(),
                float(rng.randrange(100)),
                rng.random() < 0.5,
                "v" * length,
                rng.choice(INSTANTS),
                [rng.randrange(10), rng.choice("ab")],
                {"a": rng.randrange(10), "b": {"c": rng.randrange(10)}},
                {},
            ]
        )

    def some_operation(self, *, transaction: bool = True) -> Operation:
        """A change, more often than not of a key that holds what it is for."""
        rng = self.random
        name, key = self.some_name(), self.some_key()
        weights = {"set": 25, "create": 6, "delete": 12, "clear": 2, "advance": 15}
        weights |= {"increment": 15, "merge": 15, "check": 10 if transaction else 0}
        (verb,) = rng.choices([*weights], [*weights.values()])
        contents = self.model.assets[name].contents if name in self.model.assets else {}
        fitting = {"increment": (int, float), "merge": (dict,), "delete": (object,)}
        if verb in fitting and rng.random() < 0.8:
            key = rng.choice(
                [k for k, held in contents.items() if isinstance(held.value, fitting[verb])]
                or [key]
            )
        held = contents.get(key)
        arguments: tuple[Any, ...] = (key,)
        options: dict[str, Any] = {}
        match verb:
            case "set" | "delete":
                arguments = (key, self.some_value()) if verb == "set" else (key,)
                options = rng.choice([{}, {}, {"if_revision": self.some_condition(held)}])
            case "create":
                arguments = (key, self.some_value())
            case "clear":
                arguments = ()
            case "check":
                arguments = (key, self.some_condition(held))
            case "advance":
                value = self.some_value()
                if held is not None and rng.random() < 0.7:
                    value = self.some_value_like(held.value)
                arguments = (key, value)
                options = rng.choice([{}, {"order": "value"}])
                if isinstance(value, str) and (value in INSTANTS) and rng.random() < 0.7:
                    options = {"order": "time"}
            case "increment":
                arguments = (key, rng.choice([1, -3, 10**30, 0.5]), rng.choice([0, 7, 1.5]))
            case "merge":
                arguments = (key, self.some_patch())
                remove = rng.choice([[], [], ["a"], [["b", "c"], "d"], [("b",)]])
                options = rng.choice([{}, {"how": "max"}, {"remove": remove}])
        return Operation(name, verb, arguments, options)

    def some_condition(self, held: Held | None) -> int:
        there = 0 if held is None else held.revision
        return self.random.choice([there, there, there, 0, self.some_revision()])

    def some_value_like(self, value: Any) -> Any:
        """One that it may be compared with."""
        rng = self.random
        if isinstance(value, str):
            return rng.choice([*INSTANTS, value + "v", value[1:]])
        if isinstance(value, list):
            return [rng.randrange(10), rng.choice("ab")]
        return rng.choice([rng.randrange(100), rng.random() * 100, 10**41])

    def some_patch(self) -> dict[str, Any]:
        rng = self.random
        names = rng.sample(["a", "b", "c", "d"], rng.randrange(4))
        return {
            name: {"c": rng.randrange(10), "d": 1} if name == "b" else rng.randrange(10)
            for name in names
        }


def _attempt(call: Callable[[], Any]) -> Any:
    """What the call returns, or why it was refused."""
    try:
        return call()
    except (Refused, WaitTimeout) as exc:
        return exc


def _raised(outcome: Any) -> Any:
    if isinstance(outcome, Refused):
        raise outcome
    return outcome


def _value(held: Held | None) -> Any:
    return None if held is None else held.value


def kept_of(changes: list[Happened]) -> list[Happened]:
    """The changes of a key that is there which no journal forgets; what came before a deletion
    may have been forgotten while it was not there."""
    present = itertools.takewhile(lambda event: event.value is not None, reversed(changes))
    return list(itertools.islice(present, KEPT_CHANGES))[::-1]


def in_short(operation: Operation) -> str:
    """Which call it is, without its values."""
    key = "".join(operation.arguments[:1])[:9]
    return f"{operation.verb} {operation.asset} {key!r} {dict(operation.options)}"


def in_order(keys: Any) -> list[str]:
    """Keys as the store lists them."""
    return sorted(keys, key=str.encode)


def plain(found: Any) -> str:
    """What a client returns and what the model does, as texts that are equal if they are."""
    return text(_parts(found))


def _parts(found: Any) -> Any:
    match found:
        case Entry():
            return [found.value, found.revision]
        case Advance():
            return [found.applied, found.entry.value, found.entry.revision]
        case assetstore.Rewound():
            return [found.revision, _parts(found.differences)]
        case assetstore.Difference():
            return [found.key, _parts(found.now), _parts(found.then)]
        case Event():
            name = None if found.asset is None else found.asset.name
            detail = found.detail
            if found.kind == "manifest":
                assert detail is not None
                detail = {"assets": detail["assets"]}
            return [
                found.revision,
                found.kind,
                name,
                found.key,
                found.value,
                detail,
                0 if found.key is None else found.previous,
            ]
        case dict():
            return {key: _parts(value) for key, value in found.items()}
        case list() | tuple():
            return [_parts(value) for value in found]
    return found


@pytest.mark.parametrize(
    ("steps", "journal_max_age", "between_restarts"), [(STEPS, "30d", STEPS // 3), (800, "0s", 200)]
)
def test_any_sequence_of_calls_is_answered_as_a_plain_model_of_it_answers(
    make_daemon: Callable[..., Daemon],
    seed: int,
    steps: int,
    journal_max_age: str,
    between_restarts: int,
) -> None:
    rng = random.Random(seed)
    # The journal is trimmed when the daemon starts.
    daemon = make_daemon(journal_max_age=journal_max_age)
    daemon.set_manifest(*sorted(NAMES[:-1]))
    daemon.start()
    with daemon.client() as client:
        walk = Walk(daemon, client, rng, forgets=journal_max_age == "0s")
        walk.model.accept_manifest()
        walk.compare()
        for step in range(steps):
            print(step, walk.step())
            if step % 250 == 249:
                walk.compare()
            if step % between_restarts == between_restarts * 7 // 10:
                rng.choice([daemon.stop, daemon.kill])()
                daemon.start()
                walk.compare()
        walk.compare()
    print(json.dumps(walk.done))
    assert "Traceback" not in daemon.log_text()
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []

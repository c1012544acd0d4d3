"""The program of the linearizability tests: random calls on a few keys, noted with their times.

One note a call: [[[asset, key, verb, arguments, answer], ...], invoked_ns, answered_ns], with one
part for each key that the call is about, and answered_ns None where nobody knows its outcome; see
linearizable.py for the rest. What surely did not happen is not noted.

Options: "calls" that each member makes, and "broken", one of BROKEN, for a client that is.

Rule: knows what may be asked, and nothing of what may be answered.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

from tests.support.crew_member import TIMEOUT_S, Member, run

from assetstore import Conflict, NotConnected, OutcomeUnknown, Refused, Store

#: Asset and key. What a key holds is said by its name; the assets of the last are cleared as well.
PLAIN = [("orders", "plain-0"), ("orders", "plain-1"), ("customers", "plain-0")]
NUMBERS = [("orders", "number"), ("customers", "number")]
CURSORS = [("orders", "cursor"), ("customers", "cursor")]
FIELDS = [("customers", "fields")]
CLEARED = [("cleared", "plain-0"), ("cleared", "number")]
ASSETS = ("orders", "customers", "cleared")

#: What a broken client does: the controls.
BROKEN = ("drops an increment", "sends an increment as a new request", "reads from a cache")

#: Asset, key, verb, arguments, answer.
Part: TypeAlias = tuple[str, str, str, list[Any], Any]


class Recorder:
    """One member and its calls."""

    def __init__(self, member: Member) -> None:
        self._member = member
        self._random = member.random
        self._step = 0
        #: The last revision that this member has seen of each key: most conditions name it.
        self._seen: dict[tuple[str, str], int] = {}
        self._cached: dict[tuple[str, str], Any] = {}
        self._is_patient = member.options.get("timeout_s", TIMEOUT_S) == TIMEOUT_S

    def work(self) -> None:
        """Make the calls."""
        calls = {
            self._plain: 30,
            self._number: 25,
            self._cursor: 15,
            self._merge: 10,
            self._clear: 3,
            self._read_many: 6,
            self._transaction: 8,
            self._set_many: 3,
        }
        while self._step < self._member.options["calls"]:
            self._step += 1
            self._call(self._random.choices([*calls], [*calls.values()])[0])

    def _call(self, choose: Callable[[], tuple[list[Part], Callable[[], list[Any]]]]) -> None:
        """Make a call and note what came of it."""
        parts, do = choose()
        invoked_ns, answered_ns = time.monotonic_ns(), None
        try:
            answers = do()
            answered_ns = time.monotonic_ns()
        except OutcomeUnknown:
            answers = [None for _ in parts]
        except (NotConnected, Refused) as exc:
            answered_ns = time.monotonic_ns()
            refused = self._refused(parts, exc)
            if refused is None:
                return
            parts, answers = refused
        noted = [(*part[:4], answer) for part, answer in zip(parts, answers, strict=True)]
        self._member.note(noted, invoked_ns, answered_ns)
        if answered_ns is not None:
            self._member.acknowledged()

    def _refused(
        self, parts: list[Part], error: NotConnected | Refused
    ) -> tuple[list[Part], list[Any]] | None:
        """What is known of a call that did not happen: of a conflict, what was there instead."""
        if isinstance(error, Conflict):
            asset, key, verb, arguments, _ = parts[error.detail["operation"]]
            if verb in ("set", "delete", "check"):
                entry = self._note_seen((asset, key), error.entry)
                return [(asset, key, "check", arguments[-1:], None)], [{"conflict": entry}]
        if self._is_patient:
            raise error
        return None

    # --- what may be called: the parts without their answers, and the call, which returns these

    def _plain(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        return self._choose(PLAIN + CLEARED[:1], [self._get, self._entry, self._set, self._delete])

    def _number(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        increase = [self._increment, self._increment, self._update]
        return self._choose(NUMBERS + CLEARED[1:], [*increase, self._get, self._entry])

    def _cursor(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        return self._choose(CURSORS, [self._advance, self._advance, self._entry, self._delete])

    def _merge(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        return self._choose(FIELDS, [self._merge_fields, self._merge_fields, self._entry])

    def _choose(
        self,
        keys: list[tuple[str, str]],
        calls: list[Callable[[Store, tuple[str, str]], tuple[Part, Callable[[], Any]]]],
    ) -> tuple[list[Part], Callable[[], list[Any]]]:
        where = self._random.choice(keys)
        part, do = self._random.choice(calls)(self._store(where), where)
        return [part], lambda: [do()]

    def _get(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        def do() -> Any:
            if self._is_broken("reads from a cache") and where in self._cached:
                return self._cached[where]
            self._cached[where] = store.get(where[1])
            return self._cached[where]

        return (*where, "get", [], None), do

    def _entry(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        return (*where, "entry", [], None), lambda: self._note_seen(where, store.entry(where[1]))

    def _set(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        value, if_revision = self._value(), self._condition(where)

        def do() -> int:
            if if_revision == 0:
                return self._note_revision(where, store.create(where[1], value))
            revision = store.set(where[1], value, if_revision=if_revision)
            return self._note_revision(where, revision)

        return (*where, "set", [value, if_revision], None), do

    def _delete(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        if_revision = self._condition(where)
        part = (*where, "delete", [if_revision], None)
        return part, lambda: store.delete(where[1], if_revision=if_revision)

    def _increment(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        by = self._random.randrange(1, 1_000)

        def do() -> int | float:
            if self._is_broken("drops an increment"):
                return int(store.get(where[1], 0)) + by
            after = store.increment(where[1], by)
            if self._is_broken("sends an increment as a new request"):
                store.increment(where[1], by)
            return after

        return (*where, "increase", [by, 0], None), do

    def _update(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        by = self._random.randrange(1, 1_000)
        part = (*where, "increase", [by, 0], None)
        return part, lambda: store.update(where[1], lambda value: value + by, 0)

    def _advance(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        # Composite cursors, whose steps now and then go back.
        value = [self._step // 10, self._random.randrange(100)]

        def do() -> list[Any]:
            advance = store.advance(where[1], value)
            self._note_seen(where, advance.entry)
            return [advance.applied, advance.entry.value, advance.entry.revision]

        return (*where, "advance", [value], None), do

    def _merge_fields(self, store: Store, where: tuple[str, str]) -> tuple[Part, Callable[[], Any]]:
        names = self._random.sample(["a", "b", "c", "d"], 2)
        patch = {name: self._random.randrange(1_000) for name in names}
        remove = self._random.choice([[], [], ["a"]])
        how = "max" if self._random.random() < 0.5 else "replace"

        def do() -> Any:
            if how == "max":
                return store.merge(where[1], patch, remove=remove, how="max")
            return store.merge(where[1], patch, remove=remove)

        return (*where, "merge", [patch, remove, how], None), do

    # --- calls on several keys

    def _clear(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        parts: list[Part] = [(*where, "clear", [], None) for where in CLEARED]
        return parts, lambda: [self._store(CLEARED[0]).clear()] * len(parts)

    def _set_many(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        values = {key: self._value() for asset, key in PLAIN if asset == "orders"}
        store = self._store(PLAIN[0])
        parts: list[Part] = [("orders", key, "set", [v, None], None) for key, v in values.items()]

        def do() -> list[Any]:
            store.set_many(values)
            return [None for _ in parts]

        return parts, do

    def _read_many(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        where = self._random.sample([*PLAIN, *NUMBERS, *CURSORS], 3)
        parts: list[Part] = [(*each, "entry", [], None) for each in where]

        def do() -> list[Any]:
            found = self._member.client.get_many(where)
            return [self._note_seen(*pair) for pair in zip(where, found, strict=True)]

        return parts, do

    def _transaction(self) -> tuple[list[Part], Callable[[], list[Any]]]:
        plain, other = self._random.sample(PLAIN, 2)
        number = self._random.choice(NUMBERS)
        value, by = self._value(), self._random.randrange(1, 1_000)
        if_revision = self._condition(plain)
        checked = self._seen.get(other, 0)

        def do() -> list[Any]:
            with self._member.client.transaction() as tx:
                tx.store(other[0]).check(other[1], checked)
                set_ = tx.store(plain[0]).set(plain[1], value, if_revision=if_revision)
                increased = tx.store(number[0]).increment(number[1], by)
            return [None, self._note_revision(plain, set_.result()), increased.result()]

        parts: list[Part] = [
            (*other, "check", [checked], None),
            (*plain, "set", [value, if_revision], None),
            (*number, "increase", [by, 0], None),
        ]
        return parts, do

    # --- what it goes by

    def _store(self, where: tuple[str, str]) -> Store:
        return self._member.client.store(where[0])

    def _value(self) -> str:
        """One that nobody else ever writes."""
        return f"{self._member.name}-{self._step}"

    def _condition(self, where: tuple[str, str]) -> int | None:
        return self._random.choice([None, None, 0, self._seen.get(where, 0)])

    def _note_seen(self, where: tuple[str, str], entry: Any) -> list[Any] | None:
        self._seen[where] = 0 if entry is None else entry.revision
        return None if entry is None else [entry.value, entry.revision]

    def _note_revision(self, where: tuple[str, str], revision: int) -> int:
        self._seen[where] = revision
        return revision

    def _is_broken(self, how: str) -> bool:
        return self._member.options.get("broken") == how and self._random.random() < 0.5


if __name__ == "__main__":
    run(lambda member: Recorder(member).work(), sys.argv[1:])

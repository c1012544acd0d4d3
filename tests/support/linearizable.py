"""Whether the answers about one key could have come from one copy of it, changed step by step.

A history is linearizable if each call can be given a moment between its invocation and its answer
such that the calls, done one by one in the order of these moments, are answered as they were (Wing
and Gong 1993; remembering what was tried is Lowe's). Histories of different keys are linearizable
together if each is by itself, so each key is checked alone. What that leaves unchecked is whatever
speaks of several keys: that a transaction, a clear or a get_many is one moment for all its keys.

Rule: recorded calls only; no client and no clock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

#: How many configurations a search may try: seconds, and far more than a sound history needs.
MAX_CONFIGURATIONS = 200_000


class NotLinearizable(AssertionError):
    """No order of the calls explains their answers."""


class TooHard(Exception):
    """The search was given up: the history is neither accepted nor refused."""


class Call(NamedTuple):
    """One call on the key, and what came of it.

    ======== ========================== ==============================================
    verb     arguments                  answer
    ======== ========================== ==============================================
    get                                 the value, or None
    entry                               [value, revision], or None
    set      value, if_revision         the revision, or {"conflict": what entry says};
                                        None where nobody told the revision
    delete   if_revision                whether it was there, or {"conflict": ...}
    check    if_revision                None, or {"conflict": ...}
    advance  value                      [applied, value, revision]
    increase by, default                the new value: of increment, and of update as well
    merge    patch, remove, how         the value after
    clear                               not looked at
    ======== ========================== ==============================================

    Times are of one clock. ``answered_ns`` is None for a call whose outcome nobody knows: it may
    have happened at any time after its invocation, or never.
    """

    verb: str
    arguments: list[Any]
    invoked_ns: int
    answered_ns: int | None
    answer: Any


class State(NamedTuple):
    """The key between two calls: its value in JSON text, or None where it is absent.

    Not every answer tells the revision of the last change: it is ``low`` if ``exact``, else at
    least that.
    """

    value: str | None
    low: int
    exact: bool


ABSENT = State(None, 0, True)


class _Configuration(NamedTuple):
    """How far a search has come: all answered calls before ``first`` are done."""

    first: int
    #: Those from first on that are done, as bits.
    done: int
    #: The calls without an answer that have happened, as bits.
    happened: int
    state: State


def check(calls: Iterable[Call], limit: int = MAX_CONFIGURATIONS) -> None:
    """Raise NotLinearizable unless the calls, all on one key that began absent, are linearizable.

    Raises TooHard after so many configurations.
    """
    ordered = sorted(calls, key=lambda call: call.invoked_ns)
    answered = [call for call in ordered if call.answered_ns is not None]
    unanswered = [call for call in ordered if call.answered_ns is None]
    start = _Configuration(0, 0, 0, ABSENT)
    tried = {start}
    stack = [start]
    deepest = start
    while stack:
        here = stack.pop()
        deepest = max(here, deepest, key=lambda each: (each.first, each.done.bit_count()))
        if here.first == len(answered):
            return
        if len(tried) > limit:
            raise TooHard(f"{len(answered)} calls, {len(unanswered)} without an answer: {here}")
        for there in _after(here, answered, unanswered):
            if there not in tried:
                tried.add(there)
                stack.append(there)
    raise NotLinearizable(_explain(deepest, answered))


def _after(
    here: _Configuration, answered: list[Call], unanswered: list[Call]
) -> list[_Configuration]:
    """Where one more call may lead, the most likely last."""
    found = []
    indexes, end_ns = _next(here, answered)
    for index, call in enumerate(unanswered):
        if not here.happened >> index & 1 and call.invoked_ns <= end_ns:
            state = effect(here.state, call)
            if state is not None:
                found.append(here._replace(happened=here.happened | 1 << index, state=state))
    for index in sorted(indexes, key=lambda index: -(answered[index].answered_ns or 0)):
        state = after(here.state, answered[index])
        if state is None:
            continue
        there = _with_done(here, index, state)
        if state == here.state and _changed_nothing(answered[index]):
            # Whatever order explains the others explains them after this one too.
            return [there]
        found.append(there)
    return found


def _next(here: _Configuration, answered: list[Call]) -> tuple[list[int], int]:
    """The calls that may come next: each was invoked before any other that is left was answered."""
    indexes: list[int] = []
    end_ns = 1 << 63
    for index in range(here.first, len(answered)):
        call = answered[index]
        if call.invoked_ns > end_ns:
            break
        if not here.done >> (index - here.first) & 1:
            assert call.answered_ns is not None
            indexes.append(index)
            end_ns = min(end_ns, call.answered_ns)
    return indexes, end_ns


def _changed_nothing(call: Call) -> bool:
    """Whether its answer says that it did not, whenever it happened."""
    match call.verb, call.answer:
        case (("get" | "entry" | "check"), _):
            return True
        case (("set" | "delete"), {"conflict": _}):
            return True
        case "delete", False:
            return True
        case "advance", [False, *_]:
            return True
    return False


def _with_done(here: _Configuration, index: int, state: State) -> _Configuration:
    first, done = here.first, here.done | 1 << (index - here.first)
    while done & 1:
        first, done = first + 1, done >> 1
    return _Configuration(first, done, here.happened, state)


def _explain(deepest: _Configuration, answered: list[Call]) -> str:
    indexes, _ = _next(deepest, answered)
    lines = [f"after {deepest.first} of {len(answered)} calls the key is {deepest.state}, and then"]
    lines += [f"  {answered[index]}" for index in indexes]
    return "\n".join(lines)


# --- the model of a key


def after(state: State, call: Call) -> State | None:
    """The key after an answered call, or None if it would have been answered otherwise."""
    match call.verb, call.arguments, call.answer:
        case (("set" | "delete" | "check"), [*_, if_revision], {"conflict": entry}):
            if if_revision is None or (entry[1] if entry else 0) == if_revision:
                return None
            return _seen(state, entry)
        case "get", _, value:
            return state if state.value == (None if value is None else _text(value)) else None
        case "entry", _, entry:
            return _seen(state, entry)
        case "check", [if_revision], _:
            return _at(state, if_revision)
        case "set", [value, if_revision], int(revision):
            before = _at(state, if_revision)
            return before and _written(before, value, revision)
        case "set", _, None:
            return effect(state, call)
        case "delete", [if_revision], bool(existed):
            before = _at(state, if_revision)
            if before is None or existed != (before.value is not None):
                return None
            return _changed(before, None) if existed else before
        case "advance", [value], [applied, then, revision]:
            if applied != _advances(state, value):
                return None
            if not applied:
                return _seen(state, [then, revision])
            return _written(state, value, revision) if then == value else None
        case (("increase" | "merge"), _, answer):
            changed = effect(state, call)
            return changed if changed and changed.value == _text(answer) else None
        case "clear", _, _:
            return effect(state, call) or state
    raise ValueError(call)


def effect(state: State, call: Call) -> State | None:
    """The key after a call that nothing is known of; None if it would not have changed it."""
    old = None if state.value is None else json.loads(state.value)
    match call.verb, call.arguments:
        case "set", [value, if_revision]:
            before = _at(state, if_revision)
            return before and _changed(before, value)
        case "delete", [if_revision]:
            before = _at(state, if_revision)
            return _changed(before, None) if before and before.value is not None else None
        case "advance", [value]:
            return _changed(state, value) if _advances(state, value) else None
        case "increase", [by, default]:
            return _changed(state, (default if old is None else old) + by)
        case "merge", [patch, remove, how]:
            merged = {name: held for name, held in (old or {}).items() if name not in remove}
            for name, new in patch.items():
                if how == "replace" or name not in merged or new > merged[name]:
                    merged[name] = new
            # A merge that changes nothing may have been given a revision, or not.
            return _changed(state, merged) if merged != old else state._replace(exact=False)
        case "clear", []:
            return None if state.value is None else _changed(state, None)
        case (("get" | "entry" | "check"), _):
            return None
    raise ValueError(call)


#: [value, revision], or None for an absent key.
_Entry: TypeAlias = list[Any] | None


def _seen(state: State, entry: _Entry) -> State | None:
    """The state, if this may be what is there."""
    if entry is None:
        return state if state.value is None else None
    value, revision = entry
    if state.value != _text(value) or revision < state.low:
        return None
    if state.exact:
        return state if revision == state.low else None
    return state._replace(low=revision, exact=True)


def _at(state: State, if_revision: int | None) -> State | None:
    """The state, if the condition may hold in it."""
    if if_revision is None:
        return state
    if if_revision == 0:
        return state if state.value is None else None
    return None if state.value is None else _seen(state, [json.loads(state.value), if_revision])


def _written(state: State, value: Any, revision: int) -> State | None:
    return State(_text(value), revision, True) if revision > state.low else None


def _changed(state: State, value: Any) -> State:
    """With a revision that nobody was told: a greater one."""
    return State(None if value is None else _text(value), state.low + 1, False)


def _advances(state: State, value: Any) -> bool:
    return state.value is None or bool(value > json.loads(state.value))


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)

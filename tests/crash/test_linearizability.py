"""Random calls of many clients at once, with kills: each key behaves as one copy of it would.

What is checked: every answer about a key, of every call, against every order of the calls that
their times allow; also where no answer came. And that revisions are in the order of time, over all
keys together.
What is not: that a transaction, a clear and a get_many is one moment for all its keys; that is in
test_transactions.py. And the journal: history, watch and rewind are in test_watchers.py and
tests/property/test_store_model.py.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import recorder
from tests.support.crew import DEADLINE_S, Crew
from tests.support.daemon import Daemon
from tests.support.linearizable import Call, NotLinearizable, check
from tests.support.outages import kill_until_done

pytestmark = pytest.mark.crash

#: Some wait as long as it takes. Some give up before a daemon is back, and never know.
PATIENT = 3
IMPATIENT = 1
IMPATIENCE_S = 0.15
THREADS = 3
CALLS = 200

History = dict[tuple[str, str], list[Call]]


@pytest.fixture
def ready(make_daemon: Callable[..., Daemon]) -> Daemon:
    """A daemon with the assets of the recorders."""
    daemon = make_daemon()
    daemon.set_manifest(*recorder.ASSETS)
    return daemon.start()


def recorded(crew: Crew) -> History:
    """What the crew has called, by key."""
    history = defaultdict(list)
    for _, (parts, invoked_ns, answered_ns) in crew.notes():
        for asset, key, verb, arguments, answer in parts:
            call = Call(verb, arguments, invoked_ns, answered_ns, answer)
            history[asset, key].append(call)
    return history


def check_all(history: History) -> None:
    for where, calls in history.items():
        try:
            check(calls)
        except NotLinearizable as exc:
            raise NotLinearizable(f"{where}: {exc}") from None


def check_revisions(history: History) -> None:
    """Of two writes of any keys the later has the greater revision; none has that of another."""
    writes = [
        (call.answer, call)
        for calls in history.values()
        for call in calls
        if call.verb == "set" and isinstance(call.answer, int)
    ]
    assert len({revision for revision, _ in writes}) == len(writes)
    earliest_answer_ns = 1 << 63
    for _, call in sorted(writes, reverse=True):
        assert call.answered_ns is not None
        assert call.invoked_ns <= earliest_answer_ns, f"a greater one was given before {call}"
        earliest_answer_ns = min(earliest_answer_ns, call.answered_ns)


def test_every_key_behaves_as_one_copy_while_the_daemon_is_killed_again_and_again(
    ready: Daemon, tmp_path: Path, seed: int
) -> None:
    total = (PATIENT + IMPATIENT) * THREADS * CALLS
    with Crew(ready.socket, tmp_path / "calls", seed) as crew:
        for number in range(PATIENT):
            members = [f"patient-{number}-{thread}" for thread in range(THREADS)]
            crew.launch("recorder", *members, calls=CALLS)
        for number in range(IMPATIENT):
            members = [f"impatient-{number}-{thread}" for thread in range(THREADS)]
            crew.launch("recorder", *members, calls=CALLS, timeout_s=IMPATIENCE_S)
        kills = kill_until_done(ready, crew, random.Random(seed), every=total // 10)
        history = recorded(crew)

    calls = [call for calls in history.values() for call in calls]
    unknown = [call for call in calls if call.answered_ns is None]
    print(f"{len(calls):,} calls, {len(unknown)} of unknown outcome, {dict(kills)}")
    check_all(history)
    check_revisions(history)
    assert kills.total() >= 3
    assert "Traceback" not in ready.log_text()


@pytest.mark.parametrize("broken", recorder.BROKEN)
def test_a_store_that_is_broken_would_be_noticed(
    ready: Daemon, tmp_path: Path, seed: int, broken: str
) -> None:
    with Crew(ready.socket, tmp_path / "calls", seed) as crew:
        crew.launch("recorder", "sound-0", "sound-1", calls=200)
        crew.launch("recorder", "broken-0", "broken-1", calls=200, broken=broken)
        assert not crew.is_at_work(1 << 30, DEADLINE_S)
        history = recorded(crew)

    with pytest.raises(NotLinearizable):
        check_all(history)


def test_a_greater_revision_that_was_given_earlier_would_be_noticed() -> None:
    earlier = Call("set", ["a", None], 1, 2, 11)
    later = Call("set", ["b", None], 3, 4, 10)

    check_revisions({("orders", "a"): [earlier], ("orders", "b"): [later._replace(answer=12)]})
    with pytest.raises(AssertionError, match="a greater one was given before"):
        check_revisions({("orders", "a"): [earlier], ("orders", "b"): [later]})

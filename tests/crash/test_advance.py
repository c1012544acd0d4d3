"""Many processes advance the same keys, in no order, while the daemon is killed: none goes back.

Rule: what is asked is what each was answered, and what the journal says of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support import advancing
from tests.support.crew import Crew
from tests.support.daemon import Daemon
from tests.support.outages import kill_until_done

pytestmark = pytest.mark.crash

PROCESSES = 8
VALUES = 40


class Answer(NamedTuple):
    """What a member was told of one advance; values by their place in the order."""

    asked: int
    applied: bool
    holds: int
    revision: int


def check_observer(answers: list[Answer]) -> None:
    """Of what one member saw nothing went back, and nothing was refused that was greater."""
    for answer in answers:
        assert answer.applied == (answer.holds == answer.asked), answer
        assert answer.holds >= answer.asked, answer
    assert [answer.holds for answer in answers] == sorted(answer.holds for answer in answers)
    assert [answer.revision for answer in answers] == sorted(answer.revision for answer in answers)


def test_what_many_advance_in_no_order_only_goes_up_and_ends_at_the_greatest(
    make_daemon: Callable[..., Daemon], tmp_path: Path, seed: int
) -> None:
    daemon = make_daemon().start()
    total = PROCESSES * VALUES * len(advancing.KEYS)
    with Crew(daemon.socket, tmp_path / "advances", seed) as crew:
        for number in range(PROCESSES):
            crew.launch("advancing", str(number), members=PROCESSES, values=VALUES)
        kills = kill_until_done(daemon, crew, random.Random(seed), every=total // 5)
        notes = list(crew.notes())

    print(f"{len(notes):,} advances, {dict(kills)}")
    assert kills.total() >= 2
    assert len(notes) == total
    with daemon.client() as client:
        store = client.store(advancing.ASSET)
        for key in advancing.KEYS:
            numbers = range(PROCESSES * VALUES)
            place: dict[Any, int] = {str(advancing.value_of(key, n)): n for n in numbers}
            answers: dict[str, list[Answer]] = {}
            for member, (its_key, asked, applied, holds, revision) in notes:
                if its_key == key:
                    answer = Answer(place[str(asked)], applied, place[str(holds)], revision)
                    answers.setdefault(member, []).append(answer)
            for of_member in answers.values():
                check_observer(of_member)

            applied_to = [
                (answer.revision, answer.asked)
                for of_member in answers.values()
                for answer in of_member
                if answer.applied
            ]
            # The order of revisions is that of values.
            assert sorted(applied_to) == sorted(applied_to, key=lambda each: each[1])
            events = reversed(list(store.history(key)))
            assert [(event.revision, place[str(event.value)]) for event in events] == sorted(
                applied_to
            )
            assert store.get(key) == advancing.value_of(key, max(numbers))
            # Enough that an order can be seen, and not all of them.
            assert 5 < len(applied_to) < PROCESSES * VALUES
    assert "Traceback" not in daemon.log_text()


def test_an_advance_that_went_back_would_be_noticed() -> None:
    first = Answer(asked=5, applied=True, holds=5, revision=10)
    check_observer([first, Answer(asked=4, applied=False, holds=5, revision=10)])
    for second in (
        Answer(asked=4, applied=True, holds=4, revision=11),
        Answer(asked=6, applied=False, holds=5, revision=10),
        Answer(asked=3, applied=False, holds=4, revision=11),
        Answer(asked=6, applied=True, holds=6, revision=9),
    ):
        with pytest.raises(AssertionError):
            check_observer([first, second])

"""How long to stand back when several want the same key at once."""

from __future__ import annotations

import pytest

from assetstore.contest import LONGEST_PAUSE_S, Contest
from assetstore.errors import Conflict

CONFLICT = Conflict("the key stands at another revision")


def pauses(luck: float, number: int = 10, left_s: float = 100.0) -> list[float]:
    contest = Contest(random=lambda: luck)
    return [contest.pause_after(CONFLICT, left_s) for _ in range(number)]


def test_after_the_first_conflict_there_is_no_pause() -> None:
    assert pauses(luck=1.0)[0] == 0


def test_pauses_are_left_to_chance_below_a_bound_that_doubles_to_its_longest() -> None:
    assert pauses(luck=1.0)[1:] == [0.002, 0.004, 0.008, 0.016, *[LONGEST_PAUSE_S] * 5]
    assert pauses(luck=0.25)[1:4] == [0.0005, 0.001, 0.002]


def test_a_pause_leaves_time_for_another_try() -> None:
    assert max(pauses(luck=1.0, left_s=0.01)) == 0.005


@pytest.mark.parametrize("left_s", [0.0, -1.0])
def test_in_the_end_the_last_conflict_is_raised(left_s: float) -> None:
    with pytest.raises(Conflict) as caught:
        Contest().pause_after(CONFLICT, left_s)

    assert caught.value is CONFLICT

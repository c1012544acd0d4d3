"""When a batch waits for more, and when it does not."""

from __future__ import annotations

import random

from assetstored.gathering import Gathering

#: A sync takes so long, and it is waited for half of that.
SYNC_S = 0.001


def after(*batches: set[int]) -> Gathering:
    """What has seen these clients being served, batch by batch."""
    gathering = Gathering()
    for clients in batches:
        gathering.synced(clients, SYNC_S)
    return gathering


def waited_s(gathering: Gathering, count: int) -> float:
    """How long a batch of so many waits if nobody else comes."""
    now = 0.0
    while gathering.waits(count, now):
        now += SYNC_S / 100
    return now


def test_who_is_alone_never_waits() -> None:
    gathering = after({1}, {1})

    assert [waited_s(gathering, 1) for _ in range(100)] == [0.0] * 100


def test_nobody_waits_before_anything_was_synced() -> None:
    assert waited_s(Gathering(), 1) == 0.0


def test_two_that_take_turns_wait_for_each_other() -> None:
    gathering = after({1}, {2})

    assert gathering.waits(1, 0.0)
    assert gathering.waits(1, 0.1 * SYNC_S)
    assert not gathering.waits(2, 0.2 * SYNC_S)
    assert gathering.waits(1, 1.0)


def test_it_is_waited_for_half_a_sync_at_most() -> None:
    assert 0.49 <= waited_s(after({1}, {2}), 1) / SYNC_S <= 0.51


def test_after_a_disk_that_has_stood_still_it_is_waited_for_a_moment_only() -> None:
    gathering = Gathering()
    for client in (1, 2):
        gathering.synced({client}, 5.0)

    assert 0.0 < waited_s(gathering, 1) < 0.002


def test_where_nobody_comes_it_is_waited_less_and_less_often() -> None:
    gathering = after({1}, {2})

    waits = [waited_s(gathering, 1) > 0 for _ in range(1_000)]

    assert waits[0]
    assert 15 <= sum(waits) <= 25


def test_somebody_who_comes_makes_it_worth_waiting_again() -> None:
    gathering = after({1}, {2})
    for _ in range(200):
        waited_s(gathering, 1)
    while not gathering.waits(1, 0.0):
        pass

    assert not gathering.waits(2, 1.0)
    assert gathering.waits(1, 2.0)


def test_a_batch_that_is_large_is_begun_at_once_however_many_more_there_are() -> None:
    assert waited_s(after(set(range(30)), set(range(30, 60))), 16) == 0.0
    assert waited_s(after(set(range(30)), set(range(30, 60))), 15) > 0.0


def test_where_others_were_served_during_the_sync_nobody_waits() -> None:
    gathering = after({1}, {2})
    gathering.synced_aside()

    assert waited_s(gathering, 1) == 0.0


def test_whatever_happens_no_batch_waits_longer_than_half_a_sync(seed: int) -> None:
    rng = random.Random(seed)
    gathering = Gathering()
    for _ in range(2_000):
        if rng.random() < 0.1:
            gathering.synced_aside()
        else:
            gathering.synced({rng.randrange(40) for _ in range(rng.randrange(1, 20))}, SYNC_S)
        count, now = rng.randrange(1, 20), 0.0
        while gathering.waits(count, now):
            now += SYNC_S / 10
            count += rng.random() < 0.1
        assert now <= 0.61 * SYNC_S

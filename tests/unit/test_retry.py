"""What is tried again, how long between, and what the caller gets in the end."""

from __future__ import annotations

import typing

import pytest

from assetstore import messages as m
from assetstore.errors import (
    AssetStoreError,
    Busy,
    DeadlineExceeded,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    StoreFull,
    UnknownAsset,
)
from assetstore.retry import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    READS,
    REPEATABLE,
    Attempts,
    ClientClosed,
    NoTimeLeft,
    check_timeout,
)

KINDS: list[type[m.Request]] = list(typing.get_args(m.AnyRequest))
CHANGES = sorted(set(KINDS) - REPEATABLE, key=lambda kind: kind.__name__)

PLENTY_S = 100.0


def attempts(kind: type[m.Request] = m.Get, luck: float = 1.0) -> Attempts:
    return Attempts(kind, "/run/s.sock", 5.0, random=lambda: luck)


def final_error(attempts: Attempts, error: AssetStoreError, left_s: float) -> AssetStoreError:
    with pytest.raises(AssetStoreError) as caught:
        attempts.pause_after(error, left_s)
    return caught.value


def test_reads_and_set_may_be_repeated_after_they_were_sent_and_nothing_else() -> None:
    assert {m.Get, m.Keys, m.Items, m.Count, m.Resolve, m.Assets, m.Status, m.ListTrash} == READS
    assert READS | {m.Set} == REPEATABLE
    assert [kind.__name__ for kind in CHANGES] == [
        "AcceptManifest", "Clear", "Delete", "Move", "PurgeTrash", "ReloadManifest",
        "RestoreTrash", "Sweep",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("error", [NotConnected("no such file"), Busy("too many")])
def test_what_was_not_sent_or_not_taken_is_always_tried_again(
    kind: type[m.Request], error: AssetStoreError
) -> None:
    assert attempts(kind).pause_after(error, PLENTY_S) > 0


@pytest.mark.parametrize("kind", sorted(REPEATABLE, key=str), ids=lambda kind: kind.__name__)
def test_what_may_happen_twice_is_tried_again_after_it_was_sent(kind: type[m.Request]) -> None:
    assert attempts(kind).pause_after(OutcomeUnknown("lost"), PLENTY_S) > 0


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_other_changes_are_not_and_the_caller_is_told_so(kind: type[m.Request]) -> None:
    error = final_error(attempts(kind), OutcomeUnknown("the connection was lost"), PLENTY_S)

    assert type(error) is OutcomeUnknown
    assert "the connection was lost" in str(error)
    assert "may have happened or not" in str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "error",
    [UnknownAsset("x"), InactiveAsset("x"), InvalidRequest("x"), StoreFull("x"), Forbidden("x")],
)
def test_a_refusal_reaches_the_caller_as_it_is(
    kind: type[m.Request], error: AssetStoreError
) -> None:
    assert final_error(attempts(kind), error, PLENTY_S) is error


def test_a_client_that_was_closed_stays_closed() -> None:
    closed = ClientClosed("this client is closed")

    assert final_error(attempts(), closed, PLENTY_S) is closed


def test_pauses_begin_at_10_ms_and_double_up_to_a_quarter_of_a_second() -> None:
    longest = attempts(luck=1.0)
    pauses = [longest.pause_after(NotConnected("x"), PLENTY_S) for _ in range(8)]

    assert pauses == [0.010, 0.020, 0.040, 0.080, 0.160, 0.250, 0.250, 0.250]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE_S, LONGEST_PAUSE_S)


def test_half_of_a_pause_is_left_to_chance_so_that_a_fleet_does_not_knock_in_step() -> None:
    shortest, longest = attempts(luck=0.0), attempts(luck=1.0)
    for _ in range(8):
        short = shortest.pause_after(NotConnected("x"), PLENTY_S)
        assert short == longest.pause_after(NotConnected("x"), PLENTY_S) / 2


def test_near_the_end_pauses_shrink_so_that_there_is_a_last_attempt_just_before_it() -> None:
    tries = attempts()
    for _ in range(10):
        tries.pause_after(NotConnected("x"), PLENTY_S)

    assert tries.pause_after(NotConnected("x"), 0.1) == 0.05
    assert tries.pause_after(NotConnected("x"), 0.03) == 0.015


def test_with_too_little_time_left_for_an_answer_nothing_is_sent_any_more() -> None:
    busy = Busy("too many")

    assert final_error(attempts(m.Delete), busy, 0.015) is busy


# --- out of time


@pytest.mark.parametrize("left_s", [0.0, -1.0])
def test_never_sent_means_not_connected_with_socket_reason_and_remedy(left_s: float) -> None:
    error = final_error(attempts(m.Delete), NotConnected("Connection refused"), left_s)

    assert type(error) is NotConnected
    for part in (
        "/run/s.sock",
        "Connection refused",
        "within 5 s",
        "Nothing happened",
        "systemctl status assetstored.socket",
        "ASSETSTORE_SOCKET",
    ):
        assert part in str(error)


def test_sent_means_deadline_exceeded_even_if_the_last_attempt_was_not_sent() -> None:
    tries = attempts(m.Set)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, NotConnected("Connection refused"), 0.0)

    assert type(error) is DeadlineExceeded
    assert "set was sent to /run/s.sock and not answered within 5 s" in str(error)
    assert "it may have happened or not" in str(error)


def test_of_a_read_nobody_cares_whether_it_happened() -> None:
    error = final_error(attempts(m.Get), DeadlineExceeded("no answer came in time"), 0.0)

    assert type(error) is DeadlineExceeded
    assert "may have happened" not in str(error)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_deadline_that_passed_is_the_end_whatever_the_request(kind: type[m.Request]) -> None:
    error = final_error(attempts(kind), DeadlineExceeded("no answer came in time"), PLENTY_S)

    assert type(error) is DeadlineExceeded


def test_busy_to_the_end_is_what_the_caller_gets() -> None:
    busy = Busy("512 requests are queued")

    assert final_error(attempts(m.Delete), busy, 0.0) is busy


def test_that_time_ran_out_does_not_hide_what_took_it() -> None:
    busy = Busy("512 requests are queued")
    tries = attempts(m.Delete)
    tries.pause_after(busy, PLENTY_S)

    assert final_error(tries, NoTimeLeft("no time was left"), 0.0) is busy
    assert "no time was left" in str(final_error(attempts(), NoTimeLeft("no time was left"), 0.0))


def test_busy_after_a_set_was_sent_does_not_hide_that_it_may_have_happened() -> None:
    tries = attempts(m.Set)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, Busy("stopping"), 0.0)

    assert type(error) is DeadlineExceeded


def test_a_set_that_is_refused_when_it_is_repeated_may_have_happened_before() -> None:
    tries = attempts(m.Set)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, StoreFull("no space left"), PLENTY_S)

    assert type(error) is OutcomeUnknown
    assert "no space left" in str(error)
    assert "the first may have happened" in str(error)
    assert isinstance(error.__cause__, StoreFull)


def test_a_read_that_is_refused_when_it_is_repeated_is_refused() -> None:
    tries = attempts(m.Get)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)
    refusal = UnknownAsset("gone")

    assert final_error(tries, refusal, PLENTY_S) is refusal


# --- timeouts


@pytest.mark.parametrize("timeout_s", [0.001, 1, 5.0, 86_400])
def test_a_timeout_is_any_time_up_to_a_day(timeout_s: float) -> None:
    assert check_timeout(timeout_s) == timeout_s


@pytest.mark.parametrize("timeout_s", [0, -1, 86_401, float("inf"), float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(InvalidRequest, match="timeout is"):
        check_timeout(timeout_s)


@pytest.mark.parametrize("timeout_s", [None, "5", True])
def test_a_timeout_is_a_number(timeout_s: object) -> None:
    with pytest.raises(TypeError, match="timeout must be a number of seconds"):
        check_timeout(timeout_s)  # type: ignore[arg-type]

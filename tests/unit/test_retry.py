"""What is tried again, how long between, and what the caller gets in the end."""

from __future__ import annotations

import typing

import pytest

from assetstore import messages as m
from assetstore.errors import (
    AssetStoreError,
    Busy,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    Refused,
    StoreFull,
    UnknownAsset,
)
from assetstore.retry import (
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    READS,
    REMEMBERED,
    Attempts,
    ClientClosed,
    NoTimeLeft,
    check_timeout,
)

KINDS: list[type[m.Request]] = list(typing.get_args(m.AnyRequest))
CHANGES = sorted(set(KINDS) - READS, key=lambda kind: kind.__name__)
OPERATORS = [m.Sweep, m.ReloadManifest, m.AcceptManifest]

PLENTY_S = 100.0

#: Of a change: its id, its age, and the rest.
FIELDS = (b"sixteen bytes id", 0, ["operations"])


def attempts(kind: type[m.Request] = m.Get, luck: float = 1.0) -> Attempts:
    return Attempts(kind, "/run/s.sock", 5.0, random=lambda: luck)


def final_error(attempts: Attempts, error: AssetStoreError, left_s: float) -> AssetStoreError:
    with pytest.raises(AssetStoreError) as caught:
        attempts.pause_after(error, left_s)
    return caught.value


def test_every_request_is_a_read_or_remembered_or_an_operators() -> None:
    assert {
        *(m.Get, m.GetAt, m.GetMany, m.History, m.Events, m.Log, m.Keys, m.Items, m.Count),
        *(m.Resolve, m.Assets, m.Status, m.ListTrash, m.Checkpoint, m.Metrics),
    } == READS
    assert {m.Change, m.Rewind} == REMEMBERED
    assert set(CHANGES) == {*REMEMBERED, *OPERATORS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("error", [NotConnected("no such file"), Busy("too many")])
def test_what_was_not_sent_or_not_taken_is_always_tried_again(
    kind: type[m.Request], error: AssetStoreError
) -> None:
    assert attempts(kind).pause_after(error, PLENTY_S) > 0


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_request_is_tried_again_after_it_was_sent(kind: type[m.Request]) -> None:
    assert attempts(kind).pause_after(OutcomeUnknown("lost"), PLENTY_S) > 0


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_client_that_is_closed_meanwhile_does_not_hide_that_a_change_was_sent(
    kind: type[m.Request],
) -> None:
    tries = attempts(kind)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, ClientClosed("this client is closed"), PLENTY_S)

    assert type(error) is (ClientClosed if kind in READS else OutcomeUnknown)


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

    assert final_error(attempts(m.Change), busy, 0.015) is busy


# --- out of time


@pytest.mark.parametrize("left_s", [0.0, -1.0])
def test_never_sent_means_not_connected_with_socket_reason_and_remedy(left_s: float) -> None:
    error = final_error(attempts(m.Change), NotConnected("Connection refused"), left_s)

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
    tries = attempts(m.Change)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, NotConnected("Connection refused"), 0.0)

    assert type(error) is DeadlineExceeded
    assert "change was sent to /run/s.sock and not answered within 5 s" in str(error)
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

    assert final_error(attempts(m.Change), busy, 0.0) is busy


def test_that_time_ran_out_does_not_hide_what_took_it() -> None:
    busy = Busy("512 requests are queued")
    tries = attempts(m.Change)
    tries.pause_after(busy, PLENTY_S)

    assert final_error(tries, NoTimeLeft("no time was left"), 0.0) is busy
    assert "no time was left" in str(final_error(attempts(), NoTimeLeft("no time was left"), 0.0))


def test_busy_after_a_change_was_sent_does_not_hide_that_it_may_have_happened() -> None:
    tries = attempts(m.Change)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, Busy("stopping"), 0.0)

    assert type(error) is DeadlineExceeded


@pytest.mark.parametrize("kind", sorted(REMEMBERED, key=str), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("refusal", [Conflict("x"), StoreFull("x"), UnknownAsset("x")])
def test_a_refusal_in_answer_to_a_repeat_is_true_of_a_change_that_is_remembered(
    kind: type[m.Request], refusal: Refused
) -> None:
    tries = attempts(kind)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    with pytest.raises(type(refusal)) as caught:
        tries.pause_after(refusal, PLENTY_S, was_answered=True)

    assert caught.value is refusal


@pytest.mark.parametrize("kind", OPERATORS, ids=lambda kind: kind.__name__)
def test_what_is_not_remembered_may_have_happened_when_its_repeat_is_refused(
    kind: type[m.Request],
) -> None:
    tries = attempts(kind)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    with pytest.raises(OutcomeUnknown, match=r"no manifest is held.*the first may have") as caught:
        tries.pause_after(Conflict("no manifest is held"), PLENTY_S, was_answered=True)

    assert isinstance(caught.value.__cause__, Conflict)


@pytest.mark.parametrize("kind", CHANGES, ids=lambda kind: kind.__name__)
def test_a_repeat_that_could_not_be_sent_says_nothing_of_the_first(kind: type[m.Request]) -> None:
    tries = attempts(kind)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)

    error = final_error(tries, Forbidden("this user may not connect"), PLENTY_S)

    assert type(error) is OutcomeUnknown
    assert "this user may not connect" in str(error)
    assert "the first may have happened" in str(error)


def test_a_change_that_the_daemon_cannot_remember_any_more_has_an_unknown_outcome() -> None:
    tries = attempts(m.Change)
    tries.pause_after(OutcomeUnknown("the connection was lost"), PLENTY_S)
    forgotten = Refused("the first may have been carried out", code="forgotten")

    with pytest.raises(OutcomeUnknown, match=r"change was sent .* the first may have") as caught:
        tries.pause_after(forgotten, PLENTY_S, was_answered=True)

    assert type(caught.value) is OutcomeUnknown


# --- how old a repeat is


def test_a_repeat_carries_how_much_time_was_left_when_it_was_sent_first() -> None:
    tries = attempts(m.Change)
    tries.pause_after(NotConnected("no such file"), 4.0)
    assert tries.begin(FIELDS, 3.5) == FIELDS

    tries.pause_after(OutcomeUnknown("the connection was lost"), 3.0)
    assert tries.begin(FIELDS, 2.5) == (FIELDS[0], 3.5, FIELDS[2])

    tries.pause_after(OutcomeUnknown("the connection was lost"), 2.0)
    assert tries.begin(FIELDS, 1.5) == (FIELDS[0], 3.5, FIELDS[2])


def test_a_change_that_was_sent_at_once_is_as_old_as_its_call() -> None:
    tries = attempts(m.Rewind)
    tries.pause_after(OutcomeUnknown("the connection was lost"), 4.0)

    assert tries.begin(FIELDS, 3.5) == (FIELDS[0], 5.0, FIELDS[2])


@pytest.mark.parametrize("error", [Busy("stopping"), NotConnected("goodbye")])
def test_what_was_not_carried_out_is_no_older_for_being_sent_again(error: AssetStoreError) -> None:
    tries = attempts(m.Change)
    tries.pause_after(error, 4.0)

    assert tries.begin(FIELDS, 3.5) is FIELDS


def test_a_read_has_no_age() -> None:
    tries = attempts(m.Get)
    tries.pause_after(OutcomeUnknown("the connection was lost"), 4.0)

    assert tries.begin(("asset", "key"), 3.5) == ("asset", "key")


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

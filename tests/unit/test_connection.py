"""What goes wrong between client and daemon, and what the caller sees of it.

Both clients must see the same: every test runs with both, against a peer that misbehaves to order.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.support.peer import Peer, Talk, answer, serve
from tests.support.users import NOBODY, run_as

import assetstore
from assetstore import messages as m
from assetstore.entries import Entry, RecordedWriter, time_from_us
from assetstore.errors import (
    Busy,
    Conflict,
    DeadlineExceeded,
    Forbidden,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    UnknownAsset,
)
from assetstore.framing import frame

#: Long enough for a busy machine, where the outcome does not depend on it.
PLENTY_S = 20.0

#: For tests that wait for a timeout to end, where nothing has to happen before.
SOON_S = 0.3

#: The same, where a connection must have been made before.
CONNECTED_S = 1.0

Call = Callable[..., Any]

ENTRY = m.WireEntry(1, 1, RecordedWriter("worker", None, None, None, None, 0, 0, 1), b'"late"')


def call_blocking(path: str, verb: str, *arguments: Any, timeout: float = PLENTY_S) -> Any:
    with assetstore.connect(path, timeout=timeout) as client:
        return getattr(client.store("orders"), verb)(*arguments)


def call_asynchronously(path: str, verb: str, *arguments: Any, timeout: float = PLENTY_S) -> Any:
    async def run() -> Any:
        async with assetstore.AsyncClient(path, timeout=timeout) as client:
            return await getattr(client.store("orders"), verb)(*arguments)

    return asyncio.run(run())


def calls_blocking(path: str, *steps: Any, timeout: float = PLENTY_S) -> list[Any]:
    """The results or errors of the calls of one client; what is no call is done between them."""
    results: list[Any] = []
    with assetstore.connect(path, timeout=timeout) as client:
        for step in steps:
            if callable(step):
                step()
                continue
            verb, *arguments = step
            try:
                results.append(getattr(client.store("orders"), verb)(*arguments))
            except assetstore.AssetStoreError as exc:
                results.append(exc)
    return results


def calls_asynchronously(path: str, *steps: Any, timeout: float = PLENTY_S) -> list[Any]:
    async def run() -> list[Any]:
        results: list[Any] = []
        async with assetstore.AsyncClient(path, timeout=timeout) as client:
            for step in steps:
                if callable(step):
                    # Holds up the loop, which therefore does not notice what happens meanwhile.
                    step()
                    continue
                verb, *arguments = step
                try:
                    results.append(await getattr(client.store("orders"), verb)(*arguments))
                except assetstore.AssetStoreError as exc:
                    results.append(exc)
        return results

    return asyncio.run(run())


@pytest.fixture(params=[call_blocking, call_asynchronously], ids=["blocking", "asynchronous"])
def call(request: pytest.FixtureRequest) -> Call:
    """One call of a new client."""
    made: Call = request.param
    return made


@pytest.fixture(params=[calls_blocking, calls_asynchronously], ids=["blocking", "asynchronous"])
def calls(request: pytest.FixtureRequest) -> Call:
    """Several calls of one client."""
    made: Call = request.param
    return made


# --- scripts


def hang_up(talk: Talk) -> None:
    """Close before the hello is answered."""


def hang_up_after_the_request(talk: Talk) -> None:
    talk.welcome()
    talk.hear()


def say_nothing(talk: Talk) -> None:
    talk.hear_bytes()
    talk.hear_bytes()


def take_and_say_nothing(talk: Talk) -> None:
    talk.welcome()
    for _ in talk.requests():
        pass


def speak_version_2(talk: Talk) -> None:
    talk.welcome(version=2)


def refuse_the_connection(code: str, message: str = "because") -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.say(m.Failed(0, code, message, None))
        talk.hear_bytes()

    return script


def refuse_requests(code: str, times: int) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.welcome()
        for number, request in enumerate(talk.requests()):
            if number < times:
                talk.say(m.Failed(request.id, code, "because", None))
            else:
                talk.say(answer(request))

    return script


def goodbye_to_the_request(talk: Talk) -> None:
    talk.welcome()
    talk.hear()
    talk.say(m.Failed(0, "busy", "the daemon is stopping", None))


def answer_with(make: Callable[[Any], bytes]) -> Callable[[Talk], None]:
    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            talk.say_bytes(make(request))

    return script


# --- before the request is sent


@pytest.mark.parametrize(
    "trouble",
    [
        pytest.param(hang_up, id="hangs up"),
        pytest.param(refuse_the_connection("busy"), id="has too many connections"),
    ],
)
@pytest.mark.parametrize("verb", ["get", "delete"])
def test_a_connection_that_is_not_welcomed_is_tried_again(
    call: Call, trouble: Callable[[Talk], None], verb: str
) -> None:
    with Peer(trouble, trouble, trouble, serve) as peer:
        call(peer.path, verb, "k")

        assert peer.connections == 4


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("forbidden", Forbidden),
        ("invalid_request", InvalidRequest),
        ("quota", Refused),
        ("protocol_error", ProtocolError),
    ],
)
def test_a_connection_that_is_refused_for_good_is_not(
    call: Call, code: str, error: type[Exception]
) -> None:
    with Peer(refuse_the_connection(code)) as peer:
        with pytest.raises(error, match="because"):
            call(peer.path, "get", "k")

        assert peer.connections == 1


def test_without_a_daemon_the_error_says_which_socket_why_and_what_to_do(
    call: Call, tmp_path: Path
) -> None:
    path = "/nonexistent/assetstored.sock"

    start = time.monotonic()
    with pytest.raises(NotConnected) as caught:
        call(path, "set", "k", 1, timeout=SOON_S)

    assert time.monotonic() - start >= SOON_S * 0.9
    for part in (path, "No such file or directory", f"within {SOON_S:g} s", "systemctl status"):
        assert part in str(caught.value)


def test_a_socket_on_which_nobody_listens_is_not_connected(call: Call) -> None:
    with tempfile.TemporaryDirectory(prefix="assetstore-") as directory:
        path = os.path.join(directory, "s")
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)

        with pytest.raises(NotConnected, match="Connection refused"):
            call(path, "get", "k", timeout=SOON_S)


def test_a_listener_that_never_answers_the_hello_is_not_connected(call: Call) -> None:
    with Peer(say_nothing) as peer, pytest.raises(NotConnected, match="did not answer the hello"):
        call(peer.path, "delete", "k", timeout=SOON_S)


def test_a_full_backlog_is_not_connected_and_does_not_block(call: Call) -> None:
    peer = Peer(serve).listen(backlog=0)
    crowd = []
    try:
        while True:
            sock = socket.socket(socket.AF_UNIX)
            crowd.append(sock)
            sock.setblocking(False)
            try:
                sock.connect(peer.path)
            except BlockingIOError:
                break

        with pytest.raises(NotConnected, match="backlog"):
            call(peer.path, "get", "k", timeout=SOON_S)
    finally:
        for sock in crowd:
            sock.close()
        peer.close()


def test_a_daemon_that_comes_up_late_is_found_within_the_timeout(call: Call) -> None:
    peer = Peer(serve)
    with ThreadPoolExecutor(1) as pool:
        pending = pool.submit(call, peer.path, "set", "k", 1)
        with peer:
            assert pending.result() == 1


def test_a_backlog_that_is_worked_off_late_is_waited_for(call: Call) -> None:
    peer = Peer(serve).listen(backlog=0)
    with ThreadPoolExecutor(3) as pool:
        pending = [pool.submit(call, peer.path, "set", "k", 1) for _ in range(3)]
        peer.serve()
        assert [each.result() for each in pending] == [1, 1, 1]
    peer.close()


def test_a_welcome_of_another_version_is_a_protocol_error(call: Call) -> None:
    with (
        Peer(speak_version_2) as peer,
        pytest.raises(ProtocolError, match=r"peer/1\) speaks protocol version 2, this client"),
    ):
        call(peer.path, "get", "k")


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_user_who_may_not_connect_is_told_at_once_which_group_may(call: Call) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    with Peer(serve) as peer:
        os.chmod(os.path.dirname(peer.path), 0o755)
        os.chmod(peer.path, 0o660)
        group = Path(peer.path).group()

        error = run_as(NOBODY, lambda: call(peer.path, "get", "k"))

        assert (
            f"Forbidden: this user may not connect to {peer.path}: join the group {group}" in error
        )


def test_the_hello_carries_the_writer_and_the_request_its_time(call: Call) -> None:
    heard: list[Any] = []

    def script(talk: Talk) -> None:
        heard.append(talk.welcome())
        for request in talk.requests():
            heard.append(request)
            talk.say(answer(request))

    with Peer(script) as peer:
        call(peer.path, "delete", "k", timeout=5.0)

    hello, request = heard
    assert hello.version == 1
    assert hello.writer == assetstore.Writer(kind="worker")
    assert hello.client == f"assetstore-python/{assetstore.__version__}"
    operation = m.DeleteKey(m.AssetRef(name="orders"), "k", None)
    assert request == m.Change(1, request.timeout_ms, request.request, 0, [operation])
    assert len(request.request) == 16
    assert 0 < request.timeout_ms <= 5_000


# --- after the request is sent


@pytest.mark.parametrize(
    ("verb", "arguments"),
    [("get", ("k",)), ("entry", ("k",)), ("count", ()), ("set", ("k", 1)), ("delete", ("k",))],
)
def test_everything_is_repeated_when_the_connection_is_lost(
    call: Call, verb: str, arguments: tuple[Any, ...]
) -> None:
    with Peer(hang_up_after_the_request, hang_up_after_the_request, serve) as peer:
        call(peer.path, verb, *arguments)

        assert peer.connections == 3


def test_a_change_is_repeated_with_its_id_and_its_age(call: Call) -> None:
    heard: list[m.Change] = []

    def hear_and_hang_up(talk: Talk) -> None:
        talk.welcome()
        heard.append(talk.hear())

    def hear_and_answer(talk: Talk) -> None:
        talk.welcome()
        heard.append(talk.hear())
        talk.say(answer(heard[-1]))
        talk.hear_bytes()

    began = time.monotonic()
    with Peer(hang_up, hear_and_hang_up, hear_and_hang_up, hear_and_answer) as peer:
        assert call(peer.path, "set", "k", 1) == 1
    took_ms = (time.monotonic() - began) * 1000

    first, second, third = heard
    assert first.request == second.request == third.request
    assert first.operations == second.operations == third.operations
    # The connection that was not welcomed did not count.
    assert first.age_ms == 0
    # A repeat waits for a pause of 5 ms at least.
    assert 5 <= second.age_ms < third.age_ms <= took_ms + 1


def test_two_changes_never_have_the_same_id(calls: Call) -> None:
    heard: list[bytes] = []

    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            heard.append(request.request)
            talk.say(answer(request))

    with Peer(script) as peer:
        calls(peer.path, *[("set", "k", 1)] * 10)
        calls(peer.path, *[("delete", "k")] * 10)

    assert len(set(heard)) == 20


def test_a_repeat_that_the_daemon_cannot_tell_from_the_first_has_an_unknown_outcome(
    call: Call,
) -> None:
    def forget(talk: Talk) -> None:
        talk.welcome()
        talk.say(m.Failed(talk.hear().id, "forgotten", "it may have been carried out", None))
        talk.hear_bytes()

    with Peer(hang_up_after_the_request, forget) as peer:
        with pytest.raises(OutcomeUnknown, match=r"change was sent .* may have been") as caught:
            call(peer.path, "set", "k", 1)

        assert type(caught.value) is OutcomeUnknown
        assert peer.connections == 2


def test_a_refusal_of_a_repeat_is_the_truth_and_raised_as_it_is(call: Call) -> None:
    with (
        Peer(hang_up_after_the_request, refuse_requests("unknown_asset", times=1)) as peer,
        pytest.raises(UnknownAsset),
    ):
        call(peer.path, "set", "k", 1)


def test_a_conflict_carries_the_entry_as_it_stands(call: Call) -> None:
    stored = [7, 5, ["task", "d", "r", "t", -1, 1, 2, 3], b'{"a":1}']

    def script(talk: Talk) -> None:
        talk.welcome()
        detail = {"operation": 0, "key": "k", "entry": stored, "more": "of a newer daemon"}
        talk.say(m.Failed(talk.hear().id, "conflict", "because", detail))
        talk.hear_bytes()

    with Peer(script) as peer, pytest.raises(Conflict) as caught:
        call(peer.path, "create", "k", 1)

    assert caught.value.entry == Entry(
        "k",
        {"a": 1},
        7,
        time_from_us(5),
        RecordedWriter("task", "d", "r", "t", -1, 1, 2, 3),
    )


@pytest.mark.parametrize("detail", [None, {"operation": 3, "key": "k", "entry": None}])
def test_a_conflict_without_an_entry_has_none(call: Call, detail: Any) -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        talk.say(m.Failed(talk.hear().id, "conflict", "because", detail))
        talk.hear_bytes()

    with Peer(script) as peer, pytest.raises(Conflict, match="because") as caught:
        call(peer.path, "create", "k", 1)

    assert caught.value.entry is None
    assert caught.value.detail == detail


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_a_goodbye_means_that_nothing_happened_so_everything_is_repeated(
    call: Call, verb: str
) -> None:
    with Peer(goodbye_to_the_request, serve) as peer:
        call(peer.path, verb, "k")

        assert peer.connections == 2


@pytest.mark.parametrize("verb", ["get", "delete"])
def test_busy_is_repeated_on_the_same_connection(call: Call, verb: str) -> None:
    with Peer(refuse_requests("busy", times=3)) as peer:
        call(peer.path, verb, "k")

        assert peer.connections == 1


def test_busy_to_the_end_is_busy(call: Call) -> None:
    with Peer(refuse_requests("busy", times=10**6)) as peer:
        for _ in range(5):
            # On a machine too busy to answer the last attempt, that one was sent.
            with pytest.raises((Busy, DeadlineExceeded)) as caught:
                call(peer.path, "delete", "k", timeout=CONNECTED_S)
            if type(caught.value) is Busy:
                break
    assert type(caught.value) is Busy
    assert "because" in str(caught.value)


def test_a_refusal_is_raised_at_once_and_the_connection_goes_on(calls: Call) -> None:
    with Peer(refuse_requests("unknown_asset", times=1)) as peer:
        refused, revision = calls(peer.path, ("get", "k"), ("set", "k", 1))

        assert type(refused) is UnknownAsset
        assert revision == 1
        assert peer.connections == 1


@pytest.mark.parametrize(
    ("verb", "tag", "arguments"),
    [("get", "get", ("k",)), ("set", "change", ("k", 1)), ("clear", "change", ())],
)
def test_no_answer_is_deadline_exceeded_when_the_time_is_up_and_not_much_later(
    call: Call, verb: str, tag: str, arguments: tuple[Any, ...]
) -> None:
    with Peer(take_and_say_nothing) as peer:
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=f"{tag} was sent to {peer.path}"):
            call(peer.path, verb, *arguments, timeout=CONNECTED_S)

        assert CONNECTED_S * 0.9 < time.monotonic() - start < CONNECTED_S + 5.0
        assert peer.connections == 1


def test_an_answer_that_comes_too_late_does_not_meet_the_next_request(calls: Call) -> None:
    def answer_the_first_after_the_second_was_asked(talk: Talk) -> None:
        talk.welcome()
        first = talk.hear()
        second = talk.hear()
        talk.say(m.Found(first.id, ENTRY))
        talk.say(answer(second))
        talk.hear_bytes()

    with Peer(answer_the_first_after_the_second_was_asked, serve) as peer:
        first, second = calls(
            peer.path, ("get", "k", "absent"), ("get", "k", "absent"), timeout=CONNECTED_S
        )

        assert isinstance(first, DeadlineExceeded)
        assert second == "absent"


def test_an_answer_in_many_pieces_is_put_together(call: Call) -> None:
    def script(talk: Talk) -> None:
        talk.welcome()
        request = talk.hear()
        for byte in frame(m.encode(answer(request))):
            talk.say_bytes(bytes([byte]))
        talk.hear_bytes()

    with Peer(script) as peer:
        assert call(peer.path, "delete", "k") is True


# --- against the protocol


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda request: frame(b"\xc1"), id="junk in a frame"),
        pytest.param(lambda request: b"\x00\x00\x00\x00", id="an empty frame"),
        pytest.param(lambda request: b"\xff\xff\xff\xff", id="a frame of 4 GiB"),
        pytest.param(lambda request: b"HTTP/1.1 400 Bad Request\r\n\r\n", id="HTTP"),
        pytest.param(
            lambda request: frame(m.encode(m.Absent(request.id + 7))), id="an id nobody asked"
        ),
        pytest.param(
            lambda request: frame(m.encode(m.KeyPage(request.id, [], False))),
            id="an answer of another kind",
        ),
        pytest.param(
            lambda request: frame(m.encode(m.Failed(0, "protocol_error", "x", None))),
            id="a complaint about us",
        ),
    ],
)
def test_a_daemon_that_breaks_the_protocol_loses_its_connection_for_good(
    calls: Call, make: Callable[[Any], bytes]
) -> None:
    with Peer(answer_with(make), serve) as peer:
        first, second = calls(peer.path, ("get", "k", "absent"), ("get", "k", "absent"))

        assert type(first) is ProtocolError
        assert second == "absent"
        assert peer.connections == 2


def changed(*outcomes: m.Outcome) -> Callable[[Any], bytes]:
    return lambda request: frame(m.encode(m.Changed(request.id, list(outcomes))))


@pytest.mark.parametrize(
    ("verb", "arguments", "make"),
    [
        pytest.param("set", ("k", 1), changed(), id="no outcome"),
        pytest.param(
            "set", ("k", 1), changed(*[m.Outcome(1, 1, None, None)] * 2), id="two outcomes of one"
        ),
        pytest.param(
            "set", ("k", 1), changed(m.Outcome(None, 0, None, None)), id="a set without a revision"
        ),
        pytest.param(
            "advance", ("k", 1), changed(m.Outcome(1, 1, None, None)), id="an advance to nothing"
        ),
        pytest.param(
            "get_many",
            (["a", "b"],),
            lambda request: frame(m.encode(m.FoundMany(request.id, [ENTRY]))),
            id="one entry for two keys",
        ),
    ],
)
def test_answers_that_do_not_fit_the_question_are_protocol_errors(
    call: Call, verb: str, arguments: tuple[Any, ...], make: Callable[[Any], bytes]
) -> None:
    with Peer(answer_with(make)) as peer, pytest.raises(ProtocolError):
        call(peer.path, verb, *arguments)


def test_a_refusal_that_cannot_be_read_is_a_protocol_error_when_the_time_is_up(
    call: Call,
) -> None:
    def conflict_of_nothing(request: Any) -> bytes:
        return frame(m.encode(m.Failed(request.id, "conflict", "x", {"entry": "none"})))

    with Peer(answer_with(conflict_of_nothing)) as peer, pytest.raises(ProtocolError):
        call(peer.path, "set", "k", 1, timeout=CONNECTED_S)


def test_a_welcome_that_is_none_is_a_protocol_error(call: Call) -> None:
    with (
        Peer(lambda talk: talk.say_bytes(b"220 smtp.example.com ESMTP\r\n")) as peer,
        pytest.raises(ProtocolError),
    ):
        call(peer.path, "get", "k")


# --- sizes


def test_a_value_beyond_the_daemons_limit_is_refused_before_it_is_sent(calls: Call) -> None:
    heard: list[Any] = []

    def script(talk: Talk) -> None:
        talk.welcome(limits=m.Limits(100, 1_000))
        for request in talk.requests():
            heard.append(request)
            talk.say(answer(request))

    with Peer(script) as peer:
        fits, large, again = calls(
            peer.path, ("set", "k", "x" * 98), ("set", "k", "x" * 99), ("set", "k", 1)
        )

        assert (fits, again) == (1, 1)
        assert isinstance(large, InvalidRequest)
        assert "101 bytes of JSON; the limit is 100" in str(large)
        assert [len(request.operations[0].value) for request in heard] == [100, 1]
        assert peer.connections == 1


@pytest.mark.parametrize(
    ("verb", "arguments"), [("advance", ("k", "x" * 99)), ("merge", ("k", {"a": "x" * 99}))]
)
def test_so_is_one_to_advance_to_or_to_merge(
    call: Call, verb: str, arguments: tuple[Any, ...]
) -> None:
    def script(talk: Talk) -> None:
        talk.welcome(limits=m.Limits(100, 1_000))
        assert talk.hear_bytes() is None

    with Peer(script) as peer, pytest.raises(InvalidRequest, match="the limit is 100 "):
        call(peer.path, verb, *arguments)


def test_a_daemon_that_does_not_read_is_not_connected_because_half_a_request_is_none(
    call: Call,
) -> None:
    blocked = threading.Event()

    def script(talk: Talk) -> None:
        talk.welcome(limits=m.Limits(2**24, 2**24))
        blocked.wait(PLENTY_S)

    with Peer(script) as peer:
        try:
            with pytest.raises((NotConnected, DeadlineExceeded)) as caught:
                call(peer.path, "set", "k", "x" * 2**23, timeout=CONNECTED_S)
        finally:
            blocked.set()

        if call is call_blocking:
            assert "does not read what is sent to it" in str(caught.value)


def test_a_large_request_to_a_slow_reader_gets_there(call: Call) -> None:
    heard: list[int] = []

    def script(talk: Talk) -> None:
        talk.welcome()
        for request in talk.requests():
            heard.append(len(request.operations[0].value))
            talk.say(answer(request))

    with Peer(script) as peer:
        call(peer.path, "set", "k", "x" * 1_000_000)

    assert heard == [1_000_002]


# --- connections that wait for their next use


def test_a_connection_that_died_while_idle_is_replaced_without_an_error(calls: Call) -> None:
    def one_request(talk: Talk) -> None:
        talk.welcome()
        talk.say(answer(talk.hear()))

    with Peer(one_request, one_request, serve) as peer:
        done = calls(
            peer.path,
            ("delete", "k"),
            peer.wait_until_hung_up,
            ("delete", "k"),
            peer.wait_until_hung_up,
            ("delete", "k"),
        )

        assert done == [True, True, True]
        assert peer.connections == 3


def test_calls_one_after_the_other_use_one_connection(calls: Call) -> None:
    with Peer(serve) as peer:
        calls(peer.path, *[("get", "k")] * 50)

        assert peer.connections == 1


def test_a_closed_client_says_so_and_may_be_closed_again() -> None:
    with Peer(serve) as peer:
        client = assetstore.connect(peer.path, timeout=PLENTY_S)
        store = client.store("orders")
        store.set("k", 1)
        client.close()
        client.close()

        with pytest.raises(NotConnected, match="this client is closed"):
            store.get("k")


def test_a_closed_asynchronous_client_says_so_and_may_be_closed_again() -> None:
    async def run(path: str) -> None:
        client = assetstore.AsyncClient(path, timeout=PLENTY_S)
        store = client.store("orders")
        await store.set("k", 1)
        await client.close()
        await client.close()

        with pytest.raises(NotConnected, match="this client is closed"):
            await store.get("k")

    with Peer(serve) as peer:
        asyncio.run(run(peer.path))

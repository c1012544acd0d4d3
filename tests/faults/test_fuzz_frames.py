"""Whatever bytes come: the decoders say what they are or raise ProtocolError, and the daemon lives.

Rule: random, with a seed that is printed; which bytes are refused, and how, is tested elsewhere.
"""

from __future__ import annotations

import contextlib
import random
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
from tests.support.amount import amount
from tests.support.fuzzed import FRAMES_EACH, payload, request, stream
from tests.support.service import Service, serving
from tests.support.wire import HELLO, Wire

from assetstore import messages as m
from assetstore.errors import ProtocolError
from assetstore.framing import FrameReader, frame

IN_PROCESS = amount(10_000, whole=1_000_000)
LIVE_CONNECTIONS = amount(600, whole=10_000)
LIVE_REQUESTS = amount(1_000, whole=50_000)
AT_ONCE = 200

LIMIT = 1 << 20

DECODERS: list[Callable[[bytes], object]] = [
    m.decode_hello,
    m.decode_welcome,
    m.decode_request,
    m.decode_answer,
]


Tally = Callable[..., None]


def test_any_payload_is_a_message_or_a_protocol_error_and_nothing_else(
    seed: int, tally: Tally
) -> None:
    rng = random.Random(seed)
    understood = 0
    for _ in range(IN_PROCESS):
        data = payload(rng)
        for decode in DECODERS:
            try:
                message = decode(data)
            except ProtocolError:
                continue
            understood += 1
            # What is understood can be said again, and means the same.
            said = m.encode(message)
            assert m.encode(decode(said)) == said

    assert understood > IN_PROCESS / 100
    tally(
        "Hostile clients",
        messages_decoded=IN_PROCESS * len(DECODERS),
        understood=understood,
        other_than_the_designed_exception=0,
    )


def test_any_stream_is_frames_or_a_protocol_error_and_nothing_else(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(IN_PROCESS // FRAMES_EACH):
        reader = FrameReader(LIMIT)
        reader.feed(stream(rng))
        with contextlib.suppress(ProtocolError):
            for data in reader:
                for decode in DECODERS:
                    with contextlib.suppress(ProtocolError):
                        decode(data)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service, service.undisturbed():
        yield service


def test_the_daemon_goes_on_serving_whatever_it_is_sent(
    service: Service, seed: int, tally: Tally
) -> None:
    rng = random.Random(seed)
    refused = 0
    for number in range(LIVE_CONNECTIONS):
        with Wire(service.socket) as wire:
            wire.send_while_it_reads(frame(m.encode(HELLO)) if number % 10 else b"")
            wire.send_while_it_reads(stream(rng))
            with contextlib.suppress(OSError):
                wire.socket.shutdown(socket.SHUT_WR)
            answers = [msgspec.msgpack.decode(each) for each in wire.rest()]
            refused += bool(answers) and answers[-1][:3] == ["failed", 0, "protocol_error"]
            assert not [answer for answer in answers if answer[2:3] == ["server_fault"]], answers

    assert refused > LIVE_CONNECTIONS / 2
    with Wire(service.socket).greet() as wire:
        assert isinstance(wire.ask(m.Status(1, None)), m.StatusReport)
    tally(
        "Hostile clients",
        connections=LIVE_CONNECTIONS,
        frames=LIVE_CONNECTIONS * FRAMES_EACH,
        refused_with_a_reason=refused,
        server_faults=0,
    )


def test_the_daemon_carries_out_or_refuses_whatever_it_understands(
    service: Service, seed: int, tally: Tally
) -> None:
    rng = random.Random(seed)
    with Wire(service.socket).greet() as wire, ThreadPoolExecutor(1) as sender:
        for _ in range(LIVE_REQUESTS // AT_ONCE):
            part = [request(rng, id) for id in range(1, AT_ONCE + 1)]
            # Beside the answers: it does not read on from who does not read.
            sent = sender.submit(wire.send_messages, *part)
            answers = [wire.answer() for _ in part]
            sent.result()

            assert sorted(answer.id for answer in answers) == list(range(1, AT_ONCE + 1))
            faults = [each for each in answers if getattr(each, "code", None) == "server_fault"]
            assert faults == [], part
    tally("Hostile clients", valid_requests_at_random=LIVE_REQUESTS, server_faults=0)

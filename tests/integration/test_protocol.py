"""The real daemon keeps to docs/protocol.md: its golden frames, its promises, its refusals.

Rule: bytes and messages on a raw connection; what the Python client makes of them is tested
elsewhere.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.daemon import Daemon
from tests.support.golden import TO_CLIENT, TO_DAEMON, Golden, document_blocks, frames
from tests.support.service import Service, serving
from tests.support.waiting import wait_until
from tests.support.wire import HELLO, Wire, change, set_key

from assetstore import messages as m
from assetstore.entries import Writer
from assetstore.framing import HEADER_BYTES, frame

ORDERS = m.AssetRef(name="orders")

#: Answers that end when it is time, too.
PAGES = ("event_page", "key_page", "item_page")

#: Used by a client that knows nothing but the document.
FOREIGN_WORKER = """
import sys
client = Client(sys.argv[1])
client.set("orders", "größe/😀", {"rows": [1461, None, -0.5, 10**30], "done": True})
try:
    client.get("unknown", "k")
except RuntimeError as exc:
    code = exc.args[0][2]
print(json.dumps([
    client.welcome[0],
    client.get("orders", "größe/😀"),
    client.get("orders", "nothing", "default"),
    client.delete("orders", "größe/😀"),
    client.delete("orders", "größe/😀"),
    client.get("orders", "größe/😀"),
    code,
]))
"""

#: The same, whose connection breaks between a change and its answer.
FOREIGN_WORKER_WHOSE_ANSWERS_ARE_LOST = """
import sys

class Unlucky(Client):
    lost = False

    def receive(self, *wanted):
        message = super().receive(*wanted)
        if message[0] == "changed":
            self.lost = not self.lost
            if self.lost:
                raise ConnectionError("the answer was lost")
        return message

client = Unlucky(sys.argv[1])
add_one = ["increment", ["orders", None], "runs", b"1", b"0"]
counts = [json.loads(client.change(add_one)[0][2][3]) for _ in range(10)]
print(json.dumps([counts, client.get("orders", "runs")]))
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service:
        yield service


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    with Wire(service.socket).greet() as wire:
        wire.ask(change(1, m.ClearStore(ORDERS)))
        yield wire


def refused(answer: m.AnyAnswer) -> str:
    """The code of a refusal of the connection itself."""
    assert isinstance(answer, m.Failed)
    assert answer.id == 0
    return answer.code


# --- the document


def test_the_daemon_gives_the_golden_answers_to_the_golden_requests(
    make_daemon: Callable[..., Daemon],
) -> None:
    golden = frames()
    (manifest,) = document_blocks("json")
    daemon = make_daemon()
    daemon.manifest.write_text(manifest)
    daemon.start()
    answers = {each.answers: each for each in golden if each.answers}
    with ExitStack() as stack:
        wires: list[Wire] = []
        for asked in golden:
            if asked.direction == TO_DAEMON:
                if asked.tag == "hello":
                    wires.append(stack.enter_context(Wire(daemon.socket)))
                payload = answer_to(asked, answers[asked.name], wires[-1])
                check_golden(answers[asked.name], payload, daemon.manifest)
        assert wires[1].rest() == []
        daemon.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        (goodbye,) = [each for each in golden if each.direction == TO_CLIENT and not each.answers]
        assert [frame(payload) for payload in wires[0].rest()] == [goodbye.bytes]


def answer_to(asked: Golden, golden: Golden, wire: Wire) -> bytes:
    """What the daemon says; a page that it ended early, being busy, is asked for again."""

    def whole() -> bytes | None:
        payload = wire.ask_bytes(asked.bytes)
        tag, _, *fields = msgspec.msgpack.decode(payload)
        is_short = tag in PAGES and len(fields[0]) < len(golden.array[2])
        return None if is_short else payload

    answer = wait_until(whole, 10.0, f"a whole page for {asked.name}")
    assert answer is not None
    return answer


def check_golden(golden: Golden, payload: bytes, manifest: Path) -> None:
    """The same bytes; or, in the fields that are said to vary, at least the same shape."""
    if not golden.varies:
        assert frame(payload).hex() == golden.hex, golden.name
        return
    tag, *fields = msgspec.msgpack.decode(payload)
    assert tag == golden.tag
    for name, expected, actual in zip(golden.fields, golden.array[1:], fields, strict=True):
        if name in golden.varies:
            assert_alike(expected, actual, f"{golden.name}: {name}", manifest)
        else:
            assert actual == expected


def assert_alike(expected: Any, actual: Any, place: str, manifest: Path) -> None:
    """Of the same types and lengths, and JSON the same; a map may say more."""
    if isinstance(expected, bytes):
        path = json.dumps(str(manifest)).encode()
        assert actual == expected.replace(b'"/etc/assetstore/manifest.json"', path), place
    elif isinstance(expected, dict):
        for key, inner in expected.items():
            assert_alike(inner, actual[key], f"{place}[{key!r}]", manifest)
    elif isinstance(expected, list):
        assert len(actual) == len(expected), place
        for position, (inner, its) in enumerate(zip(expected, actual, strict=True)):
            assert_alike(inner, its, f"{place}[{position}]", manifest)
    else:
        assert type(actual) is type(expected), f"{place}: {actual!r}"


def test_the_client_of_the_document_works_on_the_standard_library_alone(
    service: Service, tmp_path: Path
) -> None:
    value = {"rows": [1461, None, -0.5, 10**30], "done": True}
    assert run_foreign(FOREIGN_WORKER, service.socket, tmp_path) == [
        "welcome", value, "default", True, False, None, "unknown_asset"
    ]  # fmt: skip


def test_a_change_of_the_documents_client_is_carried_out_once_when_its_answer_is_lost(
    service: Service, tmp_path: Path
) -> None:
    counts, standing = run_foreign(FOREIGN_WORKER_WHOSE_ANSWERS_ARE_LOST, service.socket, tmp_path)

    assert counts == list(range(1, 11))
    assert standing == 10


def run_foreign(work: str, socket_path: Path, tmp_path: Path) -> Any:
    """What a program prints that begins with the client of the document."""
    (client,) = document_blocks("python")
    script = tmp_path / "client.py"
    script.write_text(client + work)

    # -I -S: no package that is installed can be imported.
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(script), str(socket_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.stderr == ""
    return json.loads(done.stdout)


# --- hello


def test_requests_may_follow_the_hello_at_once(service: Service) -> None:
    with Wire(service.socket) as wire:
        wire.send_messages(HELLO, m.Get(1, None, ORDERS, "k"), m.Get(2, None, ORDERS, "k"))

        welcome = m.decode_welcome(wire.receive())
        assert isinstance(welcome, m.Welcome)
        # To the user of the daemon, who may import; test_export.py has the limit of others.
        assert welcome.limits == m.Limits(1024 * 1024, 8 * 1024 * 1024 + 64 * 1024)
        assert [wire.answer(), wire.answer()] == [m.Absent(1), m.Absent(2)]


@pytest.mark.parametrize("version", [0, 2, 255, 2**64 - 1, -1])
def test_another_version_is_refused(service: Service, version: int) -> None:
    with Wire(service.socket) as wire:
        wire.send_messages(m.Hello(version, Writer(), "test"))

        (answer,) = wire.end()
        assert refused(answer) == "protocol_error"
        assert f"version {version}" in answer.message  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "writer",
    [
        Writer("task"),
        Writer("task", "d", "r", "t"),
        Writer("api", dag_id="d"),
        Writer("watcher", map_index=0),
        Writer("worker", dag_id="d" * 1_501),
    ],
)
def test_a_writer_that_does_not_fit_its_kind_is_refused(service: Service, writer: Writer) -> None:
    with Wire(service.socket) as wire:
        wire.send_messages(m.Hello(1, writer, "test"), set_key(1, ORDERS, "k", b"1"))

        (answer,) = wire.end()
        assert refused(answer) == "invalid_request"


def test_a_request_before_the_hello_is_refused(service: Service) -> None:
    with Wire(service.socket) as wire:
        wire.send_messages(set_key(1, ORDERS, "k", b"1"), HELLO)

        (answer,) = wire.end()
        assert refused(answer) == "protocol_error"


def test_a_second_hello_is_refused(wire: Wire) -> None:
    wire.send_messages(HELLO)

    (answer,) = wire.end()
    assert refused(answer) == "protocol_error"


def test_a_hello_is_65536_bytes_at_most(service: Service) -> None:
    longest = 65_536 - len(m.encode(m.Hello(1, Writer(), "x" * 65_000))) + 65_000
    with Wire(service.socket) as wire:
        payload = wire.ask_bytes(frame(m.encode(m.Hello(1, Writer(), "x" * longest))))
        assert isinstance(m.decode_welcome(payload), m.Welcome)

    with Wire(service.socket) as wire:
        # Refused by its header: of the rest not a byte is waited for.
        (answer,) = wire.send((65_537).to_bytes(HEADER_BYTES, "big")).end()
        assert refused(answer) == "protocol_error"


# --- requests and answers


def test_a_change_that_is_acknowledged_is_seen_by_every_later_read(service: Service) -> None:
    with Wire(service.socket).greet() as one, Wire(service.socket).greet() as other:
        for number in range(50):
            one.ask(set_key(number + 1, ORDERS, "k", b"%d" % number))

            found = other.ask(m.Get(number + 1, None, ORDERS, "k"))
            assert isinstance(found, m.Found)
            assert found.entry.value == b"%d" % number


def test_each_of_many_requests_under_way_is_answered_once(wire: Wire) -> None:
    asked = [
        set_key(id, ORDERS, f"k{id}", b"1") if id % 2 else m.Get(id, None, ORDERS, "none")
        for id in range(1, 1_001)
    ]

    answers = []
    for start in range(0, len(asked), 100):
        wire.send_messages(*asked[start : start + 100])
        answers += [wire.answer() for _ in range(100)]

    assert sorted(answer.id for answer in answers) == list(range(1, 1_001))
    assert {type(answer) for answer in answers} == {m.Changed, m.Absent}


def test_two_requests_under_way_with_one_id_are_both_carried_out(wire: Wire) -> None:
    wire.send_messages(
        set_key(7, ORDERS, "a", b"1"),
        set_key(7, ORDERS, "b", b"2"),
        m.Get(7, None, ORDERS, "none"),
    )

    answers = [wire.answer() for _ in range(3)]
    assert sorted(type(answer).__name__ for answer in answers) == ["Absent", "Changed", "Changed"]
    assert wire.keys(ORDERS) == ["a", "b"]


def test_a_change_that_waits_longer_than_its_timeout_is_not_carried_out(wire: Wire) -> None:
    answer = wire.ask(set_key(1, ORDERS, "k", b"1", timeout_ms=0))

    assert isinstance(answer, m.Failed)
    assert answer.code == "busy"
    assert wire.ask(m.Get(2, None, ORDERS, "k")) == m.Absent(2)


def test_reads_and_long_timeouts_are_none_the_worse_for_a_timeout(wire: Wire) -> None:
    assert wire.ask(m.Get(1, 0, ORDERS, "k")) == m.Absent(1)
    assert isinstance(wire.ask(set_key(2, ORDERS, "k", b"1", timeout_ms=2**63 - 1)), m.Changed)


def test_the_longest_request_is_read_and_a_longer_one_ends_the_connection(wire: Wire) -> None:
    limit = 8 * 1024 * 1024 + 64 * 1024
    empty = len(m.encode(set_key(1, ORDERS, "k", b"x" * 100_000))) - 100_000
    longest = frame(m.encode(set_key(1, ORDERS, "k", b"x" * (limit - empty))))
    assert len(longest) == HEADER_BYTES + limit

    answer = m.decode_answer(wire.ask_bytes(longest))
    assert isinstance(answer, m.Failed)
    assert (answer.id, answer.code) == (1, "invalid_request")

    (answer,) = wire.send((limit + 1).to_bytes(HEADER_BYTES, "big")).end()
    assert refused(answer) == "protocol_error"


# --- the end of a connection


def test_a_client_that_sends_no_more_gets_all_its_answers_and_then_the_end(wire: Wire) -> None:
    wire.send_messages(*[set_key(id, ORDERS, f"k{id}", b"1") for id in range(1, 101)])
    wire.send(b"\0\0")  # a frame that was begun

    wire.socket.shutdown(socket.SHUT_WR)

    assert sorted(answer.id for answer in wire.end()) == list(range(1, 101))


def test_a_client_that_sends_no_more_may_take_its_time_to_read(
    service: Service, wire: Wire
) -> None:
    value = b'"' + b"x" * 1_000_000 + b'"'
    wire.ask(set_key(1, ORDERS, "k", value))

    for size in range(1, 5):
        with Wire(service.socket).greet() as other:
            other.send_messages(*[m.Get(id, None, ORDERS, "k") for id in range(size)])
            other.socket.shutdown(socket.SHUT_WR)
            found = other.end()
            assert [each.entry.value for each in found] == [value] * size  # type: ignore[union-attr]

    assert "Traceback" not in service.daemon.log_text()


def test_what_has_no_answer_before_the_goodbye_was_not_carried_out(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon().start()
    with Wire(daemon.socket).greet() as wire:
        wire.send_messages(*[set_key(id, ORDERS, f"{id:04}", b"1") for id in range(1, 501)])
        first = wire.answer()
        daemon.process.send_signal(signal.SIGTERM)  # type: ignore[union-attr]
        *answers, goodbye = [first, *wire.end()]

    assert refused(goodbye) == "busy"
    assert {type(answer) for answer in answers} == {m.Changed}
    daemon.wait()
    daemon.start()
    with daemon.client() as client:
        kept = sorted(client.store("orders").keys())
    assert kept == sorted(f"{answer.id:04}" for answer in answers)

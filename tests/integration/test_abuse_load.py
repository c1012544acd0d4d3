"""Clients that ask for as much as they can get: of the processor, of memory, of the disk.

Rule: all that is asked here is allowed. What is tested is who pays for it.
"""

from __future__ import annotations

import contextlib
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.service import Service, serving
from tests.support.wire import Wire, set_key

from assetstore import messages as m
from assetstore.framing import frame

ORDERS = m.AssetRef(name="orders")
UNKNOWN = m.AssetRef(name="unknown")

KEYS = 6_000
HOGS = 8

MIB = 1 << 20

#: max_inflight_bytes, as it is by default.
BUDGET_BYTES = 64 * MIB

LARGE = b'"' + b"x" * 1_000_000 + b'"'


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service:
        with Wire(service.socket).greet() as wire:
            fill(wire, [f"p/{n:05}" for n in range(KEYS)])
            # Beyond 511 bytes with one beginning: a listing has to sort these itself.
            fill(wire, ["q" * 500 + f"{n:012}" for n in range(1_000)])
            wire.ask(set_key(1, ORDERS, "large", LARGE))
        yield service


def fill(wire: Wire, keys: list[str]) -> None:
    for start in range(0, len(keys), 500):
        part = keys[start : start + 500]
        wire.send_messages(*[set_key(id, ORDERS, key, b'"v"') for id, key in enumerate(part, 1)])
        assert {type(wire.answer()) for _ in part} == {m.Changed}


def hog(service: Service, request: Callable[[int], m.Request], count: int) -> Counter[str]:
    """Many connections with that many requests each under way at once; what was answered."""
    blob = b"".join(frame(m.encode(request(id))) for id in range(1, count + 1))

    def run(_: int) -> Counter[str]:
        with Wire(service.socket).greet() as wire, ThreadPoolExecutor(1) as sender:
            sent = sender.submit(wire.send, blob)
            answers = [wire.answer() for _ in range(count)]
            sent.result()
        assert sorted(answer.id for answer in answers) == list(range(1, count + 1))
        return Counter(
            answer.code if isinstance(answer, m.Failed) else type(answer).__name__
            for answer in answers
        )

    with ThreadPoolExecutor(HOGS) as hogs:
        return sum(hogs.map(run, range(HOGS)), Counter())


# --- the processor


HOGGING: dict[str, tuple[Callable[[int], m.Request], int]] = {
    "gets": (lambda id: m.Get(id, None, ORDERS, "p/00001"), 300),
    "pages of 1,000 keys": (lambda id: m.Keys(id, None, ORDERS, "p", None, 1_000), 20),
    "pages of 1,000 entries": (lambda id: m.Items(id, None, ORDERS, "p", None, 1_000), 10),
    "counts": (lambda id: m.Count(id, None, ORDERS, "p", None), 20),
    "long keys that begin alike": (lambda id: m.Keys(id, None, ORDERS, "q", None, 10), 8),
    "references": (lambda id: m.Resolve(id, None, [ORDERS, UNKNOWN] * 50), 40),
    "assets": (lambda id: m.Assets(id, None, 0, 1_000), 64),
    "status": (lambda id: m.Status(id, None), 64),
    "reloads": (lambda id: m.ReloadManifest(id, None), 128),
    "sweeps": (lambda id: m.Sweep(id, None, 0, True), 64),
}


@pytest.mark.parametrize("what", HOGGING)
def test_clients_that_ask_for_much_leave_others_their_service(service: Service, what: str) -> None:
    request, count = HOGGING[what]
    with service.undisturbed():
        answered = hog(service, request, count)

    assert len(answered) == 1
    assert sum(answered.values()) == HOGS * count


HARD_TO_JUDGE = {
    "an integer of many digits among others": b"[" + b"1," * 500_000 + b"9" * 5_000 + b"]",
    "many empty lists": b"[" + b"[]," * 340_000 + b"[]]",
    "a list nested 500,000 deep": b"[" * 500_000,
    "brackets and quotes in strings": b'["' + b'\\"[' * 300_000 + b'"' + b",[]" * 300 + b"]",
    "many short strings": b"[" + b'"",' * 340_000 + b'""]',
    "one key many times": b"{" + b'"a":1,' * 170_000 + b'"a":1}',
}


@pytest.mark.parametrize("what", HARD_TO_JUDGE)
def test_values_that_are_hard_to_judge_leave_others_their_service(
    service: Service, what: str
) -> None:
    with service.undisturbed(more_bytes=BUDGET_BYTES):
        hog(service, lambda id: set_key(id, UNKNOWN, "k", HARD_TO_JUDGE[what]), 1)


# --- memory


def test_a_thousand_requests_of_a_mebibyte_that_never_end_stay_within_the_budget(
    service: Service,
) -> None:
    half = frame(m.encode(set_key(1, ORDERS, "half", LARGE)))[:500_000]
    with (
        service.undisturbed(more_bytes=BUDGET_BYTES + 1_000 * 64 * 1024),
        contextlib.ExitStack() as stack,
    ):
        wires = [stack.enter_context(Wire(service.socket).greet()) for _ in range(1_000)]
        for wire in wires:
            wire.socket.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                wire.socket.send(half)
        # All that it would read at first has been, for it reads in turn.
        with Wire(service.socket).greet() as last:
            assert last.ask(m.Get(1, None, ORDERS, "half")) == m.Absent(1)


def test_answers_that_are_not_read_stay_within_the_budget_and_cost_no_reader_its_own(
    service: Service,
) -> None:
    with (
        service.undisturbed(more_bytes=BUDGET_BYTES + 300 * 64 * 1024),
        contextlib.ExitStack() as stack,
    ):
        for _ in range(300):
            wire = stack.enter_context(Wire(service.socket).greet())
            wire.send_messages(*[m.Get(id, None, ORDERS, "large") for id in range(1, 6)])
            wire.wait_until_read()

        with service.daemon.client() as client:
            for _ in range(10):
                assert len(client.store("orders").get("large")) == 1_000_000

    assert "does not read its answers" in service.daemon.log_text()


def test_pages_that_are_asked_for_and_not_read_stay_within_the_budget(service: Service) -> None:
    with (
        service.undisturbed(more_bytes=BUDGET_BYTES + 150 * 64 * 1024),
        contextlib.ExitStack() as stack,
    ):
        wires = [stack.enter_context(Wire(service.socket).greet()) for _ in range(150)]
        for wire in wires:
            wire.send_messages(*[m.Items(id, None, ORDERS, "", None, 1_000) for id in range(1, 65)])
        for wire in wires:
            wire.socket.shutdown(socket.SHUT_WR)
        # One of them reads in the end, and gets all.
        assert sorted(answer.id for answer in wires[-1].end()) == list(range(1, 65))


def test_large_values_under_way_stay_within_the_budget(service: Service) -> None:
    value = HARD_TO_JUDGE["many short strings"]
    sets = b"".join(frame(m.encode(set_key(id, UNKNOWN, "k", value))) for id in range(1, 5))
    with service.undisturbed(more_bytes=BUDGET_BYTES), contextlib.ExitStack() as stack:
        wires = [stack.enter_context(Wire(service.socket).greet()) for _ in range(40)]
        with ThreadPoolExecutor(len(wires)) as senders:
            sent = [senders.submit(wire.send, sets) for wire in wires]
            answered = Counter(
                answer.code  # type: ignore[union-attr]
                for wire in wires
                for answer in [wire.answer() for _ in range(4)]
            )
            assert all(each.result() for each in sent)

    assert set(answered) <= {"unknown_asset", "busy"}


# --- the disk


def test_clients_that_write_much_leave_others_their_writes(service: Service) -> None:
    with service.undisturbed(operation="set", longest_s=5.0, more_bytes=2 * BUDGET_BYTES):
        answered = hog(service, lambda id: set_key(id, ORDERS, f"w{id}", LARGE), 10)

    assert answered["Changed"] > 0
    assert set(answered) <= {"Changed", "busy"}


def test_a_reload_is_not_held_up_by_others_that_ask_for_one_all_the_time(service: Service) -> None:
    with service.undisturbed(), ThreadPoolExecutor(1) as aside:
        hogging = aside.submit(hog, service, lambda id: m.ReloadManifest(id, None), 128)
        with service.daemon.client(timeout=5.0) as client:
            while not hogging.done():
                assert client.reload_manifest()["manifest"]["state"] == "accepted"
        assert hogging.result() == {"StatusReport": HOGS * 128}

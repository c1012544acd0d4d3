"""Hostile clients of every kind, at once and one by one, beside one that behaves.

Rule: judges by what others notice: their answers and waits, the daemon's memory and descriptors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from tests.support.amount import amount
from tests.support.hostile import KINDS, hostile
from tests.support.service import Service, serving
from tests.support.waiting import wait_until

#: What a kind is given: so many requests of the bystander, which waits for each.
REQUESTS = amount(100, whole=2_000)

#: The longest that anybody may wait: a set for the disk as well, of which other tests have their
#: share.
LONGEST_S = 5.0

#: max_inflight_bytes, and what each of max_connections may leave unread: those that a crowd has
#: closed are among them until the daemon gets to them.
BUDGET_BYTES = (64 << 20) + 4_096 * 64 * 1024

Tally = Callable[..., None]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service:
        with service.daemon.client() as client:
            client.store("orders").set_many({f"p/{n:04}": "v" * 200 for n in range(1_000)})
        yield service


@pytest.mark.parametrize("operation", ["get", "set"])
@pytest.mark.parametrize("kinds", [*([kind] for kind in KINDS), list(KINDS)], ids="-".join)
def test_others_are_served_beside_hostile_clients(
    service: Service, kinds: list[str], operation: str, seed: int, tally: Tally
) -> None:
    with service.undisturbed(operation=operation, at_least=REQUESTS, longest_s=LONGEST_S) as quiet:
        pass
    with (
        service.undisturbed(
            operation=operation,
            at_least=REQUESTS,
            longest_s=LONGEST_S,
            more_bytes=BUDGET_BYTES,
        ) as beside,
        ExitStack() as stack,
    ):
        crowds = [
            stack.enter_context(hostile(service.socket, kind, seed + number))
            for number, kind in enumerate(kinds)
        ]
        service.wait_until_asked()

    assert all(crowd.connections for crowd in crowds)
    tally(
        "Hostile clients",
        connections=sum(crowd.connections for crowd in crowds),
        frames=sum(crowd.frames for crowd in crowds),
        errors_of_others=0,
        p99_beside_quiet=f"{beside.seen.p99_s / quiet.seen.p99_s:.1f} x",
        longest_wait=f"{beside.seen.longest_s * 1e3:.0f} ms",
        memory_grew_by=f"{beside.grown_bytes >> 20} MiB",
    )


def test_what_hostile_clients_held_is_free_when_they_are_gone(service: Service, seed: int) -> None:
    before = service.descriptors()
    with ExitStack() as stack:
        for number, kind in enumerate(KINDS):
            stack.enter_context(hostile(service.socket, kind, seed + number))
        wait_until(lambda: service.descriptors() > before + 200, 30.0, "connections to be held")

    wait_until(lambda: service.descriptors() <= before, 30.0, f"descriptors to be {before}")
    with service.daemon.client() as client:
        assert client.status()["connections"] <= 3

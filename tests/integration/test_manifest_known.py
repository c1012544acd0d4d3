"""The manifest file that was applied last is known at a start and a reload, and not compared again.

Whatever happened meanwhile, the state is what a comparison would have found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.endings import wait_until_deserted
from tests.support.waiting import wait_until

from assetstore import Client
from assetstored.changes import Verdict
from assetstored.proposer import propose

MakeDaemon = Callable[..., Daemon]

KNOWN = "is the file that was applied last"


def started(make_daemon: MakeDaemon, *assets: str, **config: object) -> Daemon:
    """A daemon that serves these assets, and logs all it can."""
    daemon = make_daemon(log_level="debug", **config)
    daemon.set_manifest(*assets)
    return daemon.start()


def active(client: Client) -> set[str]:
    return {info.name for info in client.assets() if info.state == "active"}


def compared(daemon: Daemon) -> Verdict:
    """What a whole comparison finds now."""

    async def main() -> Verdict:
        found = await propose(
            str(daemon.data_dir), str(daemon.manifest), max_deactivate_fraction=0.5
        )
        with found:
            return found.verdict

    return asyncio.run(main())


@contextmanager
def logged(daemon: Daemon, *, known: bool) -> Iterator[None]:
    """What happens within knows the file, or compares it."""
    before = len(daemon.log_text())
    yield
    assert (KNOWN in daemon.log_text()[before:]) == known


def test_a_start_with_the_file_of_before_does_not_compare_it_again(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a", "b")
    before = daemon.status()["manifest"]
    assert KNOWN not in daemon.log_text()

    with logged(daemon, known=True):
        daemon.restart()

    assert daemon.status()["manifest"] == before
    assert before["state"] == "accepted"


def test_a_reload_of_the_same_file_does_not_compare_it_either(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a")

    with logged(daemon, known=True), daemon.client() as client:
        assert client.reload_manifest()["manifest"]["state"] == "accepted"


def test_a_manifest_that_changed_while_the_daemon_was_down_is_applied(
    make_daemon: MakeDaemon,
) -> None:
    daemon = started(make_daemon, "a", "b", "c")
    daemon.stop()
    daemon.set_manifest("b", "c", "d")

    with logged(daemon, known=False):
        daemon.start()

    with daemon.client() as client:
        assert active(client) == {"b", "c", "d"}
    with logged(daemon, known=True):
        daemon.restart()


def test_a_file_that_says_the_same_in_other_words_is_compared_once(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a", "b")
    before = daemon.status()
    daemon.stop()
    daemon.manifest.write_text(json.dumps({"assets": ["b", "a"], "version": 1}, indent=2))

    with logged(daemon, known=False):
        daemon.start()

    assert daemon.status()["manifest"] == before["manifest"]
    assert daemon.status()["revision"] == before["revision"]
    with logged(daemon, known=True):
        daemon.restart()


def test_stores_that_come_and_go_do_not_make_the_manifest_another(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a", "b", "c", "d", "e", grace="0s", sweep_interval="24h")
    with daemon.client() as client:
        for name in "abcd":
            client.store(name)["k"] = name
        daemon.activate("a", "b", "c", "d")
        client.store("a").clear()
        (cleared,) = client.trash()
        client.restore(cleared.id)
        client.store("b").clear()
        client.move("a", "b")
        client.store("c").clear()
        client.purge([info.id for info in client.trash()])
        client.sweep()
        before = daemon.status()["manifest"]

        with logged(daemon, known=True):
            daemon.restart()

        assert daemon.status()["manifest"] == before
        assert active(client) == {"a", "b", "c", "d"}
        assert client.store("b")["k"] == "a"
        assert compared(daemon).state == "unchanged"


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_another_fraction_does_not_change_what_is_applied(
    make_daemon: MakeDaemon, fraction: float
) -> None:
    daemon = started(make_daemon, "a", "b", "c")
    daemon.config["max_deactivate_fraction"] = fraction

    with logged(daemon, known=True):
        daemon.restart()

    assert daemon.status()["manifest"]["state"] == "accepted"


def test_another_path_is_another_file_whatever_is_in_it(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a", "b")
    daemon.stop()
    daemon.manifest = daemon.manifest.rename(daemon.root / "other.json")

    with logged(daemon, known=False):
        daemon.start()

    assert daemon.status()["manifest"]["path"] == str(daemon.manifest)


def test_a_held_manifest_stays_held_and_the_applied_one_is_known_when_it_is_back(
    make_daemon: MakeDaemon,
) -> None:
    daemon = started(make_daemon, "a", "b", "c", "d")
    applied = daemon.manifest.read_bytes()
    held = daemon.activate("a")["manifest"]
    assert held["state"] == "held"

    with logged(daemon, known=False):
        daemon.restart()
        assert daemon.status()["manifest"] == held

    daemon.manifest.write_bytes(applied)
    with logged(daemon, known=True), daemon.client() as client:
        mended = client.reload_manifest()["manifest"]
    assert (mended["state"], mended["held"], mended["reason"]) == ("accepted", None, None)
    assert "4 assets active; 0 activated, 0 deactivated" in daemon.log_text()


def test_a_held_manifest_counts_at_the_next_start_if_the_configuration_lets_it(
    make_daemon: MakeDaemon,
) -> None:
    daemon = started(make_daemon, "a", "b", "c", "d")
    daemon.activate("a")
    daemon.config["max_deactivate_fraction"] = 1.0

    daemon.restart()

    with daemon.client() as client:
        assert active(client) == {"a"}


def test_a_broken_file_is_no_manifest_at_the_next_start_either(make_daemon: MakeDaemon) -> None:
    daemon = started(make_daemon, "a")
    daemon.manifest.write_text("broken")

    for _ in range(2):
        with logged(daemon, known=False):
            daemon.restart()
        assert daemon.status()["manifest"]["state"] == "invalid"


def test_a_manifest_that_was_applied_in_part_is_known_neither_as_it_nor_as_the_one_before(
    make_daemon: MakeDaemon,
) -> None:
    daemon = started(make_daemon, "a", "b")
    before = daemon.manifest.read_bytes()
    names = [f"asset-{i}" for i in range(20_000)]
    daemon.set_manifest("b", *names)
    # It is being applied before the first slice of it is committed.
    wait_until(lambda: daemon.status()["assets_active"] > 2, DEADLINE_S, "the first slice")
    assert daemon.status()["manifest"]["state"] == "applying"
    daemon.kill()
    wait_until_deserted(daemon.data_dir)
    half = daemon.manifest.read_bytes()
    daemon.manifest.write_bytes(before)
    assert compared(daemon).state in ("accepted", "held")

    daemon.config["max_deactivate_fraction"] = 1.0
    with logged(daemon, known=False):
        daemon.start()

    with daemon.client(timeout=30) as client:
        assert active(client) == {"a", "b"}
        daemon.manifest.write_bytes(half)
        with logged(daemon, known=False):
            client.reload_manifest()
        assert active(client) == {"b", *names}

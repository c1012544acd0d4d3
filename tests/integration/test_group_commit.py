"""Writes that wait share a commit, and share nothing else: not their failures, not their fate.

Rule: the processes that write and sync are stopped where something has to wait; they are never
replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from tests.support.daemon import Daemon
from tests.support.inspect_store import inspect
from tests.support.waiting import wait_until
from tests.support.wire import Wire, change, outcome, revision, set_key

import assetstore
from assetstore import messages as m

ORDERS = m.AssetRef("orders")
CUSTOMERS = m.AssetRef("customers")


def wait_until_queued(daemon: Daemon, count: int) -> None:
    wait_until(lambda: daemon.status()["queued"] >= count, 10.0, f"{count} changes to wait")


@pytest.fixture
def daemon(shared_daemon: Daemon, shared_client: assetstore.Client) -> Daemon:
    """The shared daemon, with empty stores; a test that stops its daemon makes one."""
    return shared_daemon


def set_(id: int, key: str, value: bytes = b"1", *, timeout_ms: int | None = None) -> m.Change:
    return set_key(id, ORDERS, key, value, timeout_ms=timeout_ms)


def test_writers_that_write_at_the_same_time_share_commits(daemon: Daemon) -> None:
    before = daemon.status()
    barrier = threading.Barrier(16)

    def write(number: int) -> None:
        with daemon.client() as client:
            barrier.wait()
            for round_ in range(40):
                client.store("orders").set(f"{number}/{round_}", round_)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    after = daemon.status()
    commits, batched = (after[key] - before[key] for key in ("commits", "batched"))
    assert batched == 16 * 40
    assert commits < batched / 2
    assert after["revision"] - before["revision"] == batched
    print(f"{batched} changes in {commits} commits")


def test_a_lone_writer_has_each_change_committed_at_once(
    daemon: Daemon, client: assetstore.Client
) -> None:
    before = daemon.status()
    for number in range(50):
        client.store("orders").set("watermark", number)

    after = daemon.status()
    assert after["commits"] - before["commits"] == after["batched"] - before["batched"] >= 50


def test_what_waits_while_the_disk_is_busy_shares_a_commit_in_the_order_in_which_it_came(
    daemon: Daemon, client: assetstore.Client
) -> None:
    with Wire(daemon.socket).greet() as first, Wire(daemon.socket).greet() as second:
        before = daemon.status()
        with daemon.disk_busy():
            first.send_messages(set_(1, "a"))
            wait_until_queued(daemon, 1)
            first.send_messages(*(set_(id, "a", b"%d" % id) for id in range(2, 52)))
            wait_until_queued(daemon, 51)
            second.send_messages(change(1, m.DeleteKey(ORDERS, "a", None)), set_(2, "b"))
            wait_until_queued(daemon, 53)
        answers = [first.answer() for _ in range(51)]
        deleted, written = second.answer(), second.answer()

    after = daemon.status()
    # Two where nothing else runs; a batch ends by time too, and on a busy machine that is early.
    assert 2 <= after["commits"] - before["commits"] < 10
    assert after["batched"] - before["batched"] == 53
    revisions = [revision(answer) for answer in answers]
    assert revisions == list(range(before["revision"] + 1, before["revision"] + 52))
    assert revision(deleted) == before["revision"] + 52
    assert revision(written) == before["revision"] + 53
    assert list(client.store("orders")) == ["b"]


def test_a_change_that_is_refused_takes_no_other_of_its_commit_with_it(
    daemon: Daemon, client: assetstore.Client
) -> None:
    client.store("customers").set("here", 1)
    with Wire(daemon.socket).greet() as wire:
        with daemon.disk_busy():
            wire.send_messages(set_(1, "first"))
            wait_until_queued(daemon, 1)
            wire.send_messages(
                set_(2, "before"),
                change(3, m.RestoreStore(1 << 40)),
                change(4, m.MoveStore(ORDERS, CUSTOMERS, False)),
                set_key(5, m.AssetRef("nobody"), "key", b"1"),
                set_(6, "not-json", b"{"),
                change(7, m.DeleteKey(ORDERS, "missing", None)),
                set_(8, "after"),
                change(9, m.ClearStore(CUSTOMERS)),
            )
            wait_until_queued(daemon, 7)
            before = daemon.status()["commits"]
        answers = {answer.id: answer for answer in (wire.answer() for _ in range(9))}

    # What is logged before the first that is not, and then all the rest.
    assert daemon.status()["commits"] - before == 3
    codes = {id: each.code for id, each in answers.items() if isinstance(each, m.Failed)}
    assert codes == {
        3: "invalid_request",
        4: "conflict",
        5: "unknown_asset",
        6: "invalid_request",
    }
    assert (outcome(answers[7]).revision, outcome(answers[7]).count) == (None, 0)
    assert outcome(answers[9]).count == 1
    assert set(client.store("orders")) == {"first", "before", "after"}


def test_of_changes_that_are_logged_together_the_refused_ones_take_no_other_with_them(
    daemon: Daemon, client: assetstore.Client
) -> None:
    client.store("orders").set("here", "text")
    with Wire(daemon.socket).greet() as wire:
        with daemon.disk_busy():
            wire.send_messages(set_(1, "first"))
            wait_until_queued(daemon, 1)
            before = daemon.status()["commits"]
            wire.send_messages(
                set_(2, "before"),
                change(
                    3, m.SetKey(ORDERS, "taken-back", b"1", None), m.CheckKey(ORDERS, "here", 0)
                ),
                change(4, m.IncrementKey(ORDERS, "here", b"1", b"0")),
                change(5, m.DeleteKey(ORDERS, "missing", None)),
                set_(6, "taken-back", b"2"),
                set_(7, "after"),
            )
            wait_until_queued(daemon, 7)
        answers = {answer.id: answer for answer in (wire.answer() for _ in range(7))}

    # A batch ends by time too. One by one it would be four.
    assert daemon.status()["commits"] - before in (2, 3)
    codes = {id: each.code for id, each in answers.items() if isinstance(each, m.Failed)}
    assert codes == {3: "conflict", 4: "invalid_request"}
    revisions = [revision(answers[id]) for id in (1, 2, 6, 7)]
    assert revisions == list(range(revisions[0], revisions[0] + 4))
    assert dict(client.store("orders").items()) == {
        "after": 1,
        "before": 1,
        "first": 1,
        "here": "text",
        "taken-back": 2,
    }


@pytest.mark.parametrize("between", ["a clear", "a long key"])
def test_a_large_and_then_a_small_value_of_one_key_in_one_commit_verify_clean(
    make_daemon: Callable[..., Daemon], between: str
) -> None:
    daemon = make_daemon().start()
    large, small, key = b'"%s"' % (b"x" * 9_000), b'"%s"' % (b"x" * 200), "k" * 512
    with daemon.client() as client:
        client.store("customers").set("here", 1)
    with Wire(daemon.socket).greet() as wire:
        with daemon.disk_busy():
            wire.send_messages(set_(1, "in-hand"))
            wait_until_queued(daemon, 1)
            wire.send_messages(
                set_(2, key, large),
                change(3, m.ClearStore(CUSTOMERS))
                if between == "a clear"
                else set_(3, "k" * 511 + "l"),
                set_(4, key, small),
            )
            wait_until_queued(daemon, 4)
            before = daemon.status()["commits"]
        answers = [wire.answer() for _ in range(4)]

    assert not [answer for answer in answers if isinstance(answer, m.Failed)]
    assert daemon.status()["commits"] - before == 2
    with daemon.client() as client:
        assert client.store("orders").get(key) == "x" * 200
    daemon.stop()
    assert inspect(daemon.data_dir).problems == []


def test_a_request_that_waited_longer_than_its_timeout_is_refused_and_not_carried_out(
    daemon: Daemon, client: assetstore.Client
) -> None:
    with Wire(daemon.socket).greet() as wire:
        with daemon.disk_busy():
            wire.send_messages(set_(1, "in-hand"))
            wait_until_queued(daemon, 1)
            wire.send_messages(
                set_(2, "too-late", timeout_ms=100),
                set_(3, "in-time", timeout_ms=60_000),
                set_(4, "patient"),
            )
            wait_until_queued(daemon, 4)
            # Another client's timeout shows that the time has passed; it began later.
            with (
                daemon.client(timeout=0.3) as impatient,
                pytest.raises(assetstore.DeadlineExceeded),
            ):
                impatient.store("orders").set("impatient", 1)
        answers = {answer.id: answer for answer in (wire.answer() for _ in range(4))}

    late = answers.pop(2)
    assert isinstance(late, m.Failed)
    assert late.code == "busy"
    assert "waited longer than its timeout" in late.message
    assert "nothing changed" in late.message
    assert all(isinstance(answer, m.Changed) for answer in answers.values())
    wait_until(lambda: daemon.status()["queued"] == 0, 5.0, "the queue to be empty")
    assert set(client.store("orders")) == {"in-hand", "in-time", "patient"}


#: Room for as few changes as the configuration allows.
LITTLE_ROOM = {"max_value_bytes": 500_000, "max_inflight_bytes": 1 << 20}


def test_more_than_may_wait_is_refused_as_busy_and_what_waits_is_carried_out(
    make_daemon: Callable[..., Daemon],
) -> None:
    value = b'"%s"' % (b"x" * 50_000)
    daemon = make_daemon(**LITTLE_ROOM)
    with daemon, daemon.client() as client:
        with Wire(daemon.socket).greet() as wire:
            with daemon.disk_busy():
                wire.send_messages(set_(1, "key-01"))
                wait_until_queued(daemon, 1)
                wire.send_messages(*(set_(id, f"key-{id:02}", value) for id in range(2, 42)))
                # Those that are refused are refused at once, while the others wait.
                busy = [wire.answer() for _ in range(30)]
                waiting = daemon.status()["queued"]
            written = [wire.answer() for _ in range(11)]

        assert all(isinstance(answer, m.Failed) for answer in busy)
        assert {answer.code for answer in busy if isinstance(answer, m.Failed)} == {"busy"}
        assert all(
            "max_inflight_bytes" in answer.message and "Nothing changed" in answer.message
            for answer in busy
            if isinstance(answer, m.Failed)
        )
        carried_out = [answer.id for answer in written if isinstance(answer, m.Changed)]
        # The one in hand, and as many as there is room for; in the order in which they came.
        assert carried_out == list(range(1, waiting + 1))
        # Each weighs its value twice: the journal has it too.
        assert waiting == 1 + LITTLE_ROOM["max_inflight_bytes"] // 100_200
        assert list(client.store("orders")) == [f"key-{id:02}" for id in carried_out]
        client.store("orders").set("later", 1)
    assert inspect(daemon.data_dir).problems == []


def test_a_client_is_not_told_of_busyness_that_passes_within_its_timeout(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(**LITTLE_ROOM)
    with daemon:
        done: list[int] = []

        def write(number: int) -> None:
            with daemon.client(timeout=20.0) as client:
                done.append(client.store("orders").set(f"key-{number}", "x" * 200_000))

        threads = [threading.Thread(target=write, args=(number,)) for number in range(20)]
        with daemon.disk_busy():
            for thread in threads:
                thread.start()
            # One is in hand, and each of the others weighs its value twice: the journal has it too.
            wait_until_queued(daemon, 3)
        for thread in threads:
            thread.join()

        assert len(set(done)) == 20
        with daemon.client() as client:
            assert client.store("orders").count() == 20


def test_reads_go_on_while_writes_wait(daemon: Daemon, client: assetstore.Client) -> None:
    client.store("orders").set("watermark", 1)
    with Wire(daemon.socket).greet() as wire, daemon.disk_busy():
        wire.send_messages(*(set_(id, "watermark", b"2") for id in range(1, 100)))
        wait_until_queued(daemon, 99)

        # What is not on disk yet is shown to nobody.
        for _ in range(100):
            assert client.store("orders").get("watermark") == 1

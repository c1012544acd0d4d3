"""Each snippet of docs/recipes.md does what the text around it says.

Rule: a snippet is run as it stands there, never retyped here; the tests supply the work in it.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise, takewhile
from pathlib import Path
from queue import SimpleQueue
from threading import Barrier, Thread
from typing import Any

import pytest
from tests.support.command import ASSETS, Terminal, reset, shared_daemon
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.recipes import (
    DOCUMENT,
    begin,
    headings,
    inline,
    run,
    run_in_processes,
    snippets,
)
from tests.support.waiting import wait_until

import assetstore
from assetstore import Client, Conflict, Entry, Store, Writer
from assetstore.limits import MAX_COMPUTED_BYTES


class Enough(Exception):
    """Ends a snippet that has no end."""


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with shared_daemon(tmp_path_factory.mktemp("recipes")) as daemon:
        yield daemon


@pytest.fixture
def client(
    serving: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[assetstore.Client]:
    """A client beside those of the snippets, and nothing in the stores."""
    monkeypatch.setenv("ASSETSTORE_SOCKET", str(serving.socket))
    monkeypatch.chdir(tmp_path)
    with serving.client() as client:
        yield client
    reset(serving)


@pytest.fixture
def orders(client: Client) -> Store:
    return client.store("orders")


@pytest.fixture
def customers(client: Client) -> Store:
    return client.store("customers")


class Running:
    """Work in a thread of its own."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._result: Future[object] = Future()
        self._thread = Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def wait(self) -> Any:
        """Return what it returned when it has ended, or raise what it raised."""
        return self._result.result(DEADLINE_S)

    def _run(self, work: Callable[[], object]) -> None:
        try:
            self._result.set_result(work())
        except BaseException as exc:
            self._result.set_exception(exc)


def in_terminal(commands: str, serving: Daemon, **env: str) -> Terminal:
    """A shell that runs these commands."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env |= {"PATH": path, "ASSETSTORE_SOCKET": str(serving.socket)}
    return Terminal(["sh", "-euc", commands], 80, env)


def values_of(store: Store, key: str) -> list[Any]:
    """All values that key has had in this test, newest first."""
    return [event.value for event in takewhile(lambda event: event.key, store.history(key))]


# --- the document


def test_every_recipe_is_run_here() -> None:
    here = Path(__file__).read_text()

    assert [heading for heading in headings() if f'snippets("{heading}")' not in here] == []


def test_the_limit_that_is_named_is_the_one_in_force() -> None:
    assert f"{MAX_COMPUTED_BYTES:,} bytes of JSON" in DOCUMENT.read_text()


# --- a safe watermark


def test_a_run_advances_the_watermark_and_hears_of_one_that_came_further(
    orders: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    [snippet] = snippets("A safe watermark")
    began_at = []

    def load(since: str) -> str:
        began_at.append(since)
        return "2026-01-30T00:00:00Z"

    def load_too_long(since: str) -> str:
        orders.advance("watermark", "2026-02-01T00:00:00Z", order="time")
        return "2026-01-31T00:00:00Z"

    run(snippet, load=load)

    assert began_at == ["1970-01-01T00:00:00Z"]
    assert orders["watermark"] == "2026-01-30T00:00:00Z"
    assert capsys.readouterr().out == ""

    run(snippet, load=load_too_long)

    assert orders["watermark"] == "2026-02-01T00:00:00Z"
    assert capsys.readouterr().out == (
        "not past 2026-02-01T00:00:00Z, where the watermark stands\n"
    )


def test_of_many_runs_at_once_none_sets_the_watermark_back(orders: Store, tmp_path: Path) -> None:
    [snippet] = snippets("A safe watermark")
    load = "def load(since):\n    return f'2026-01-{{(turn * 7 + {}) % 31 + 1:02}}T00:00:00Z'"

    run_in_processes(snippet, tmp_path, *map(load.format, range(4)), times=31)

    values = values_of(orders, "watermark")
    assert values[0] == "2026-01-31T00:00:00Z"
    assert values == sorted(values, reverse=True)


# --- two runs at once


def test_get_and_set_lose_what_another_run_writes_in_between(orders: Store) -> None:
    losing, _, _ = snippets("Two runs at once")
    read, write = losing.splitlines()
    one, other = begin(), begin()
    with one["client"], other["client"]:
        for line in (read, write):
            run(line, one, region="eu")
            run(line, other, region="us")

    assert orders["regions"] == ["us"]


def test_update_loses_nothing_of_what_many_runs_write(orders: Store, tmp_path: Path) -> None:
    _, updating, _ = snippets("Two runs at once")
    region = "region = f'{}-{{turn:02}}'"

    run_in_processes(updating, tmp_path, *map(region.format, range(4)), times=20)

    expected = sorted(f"{number}-{turn:02}" for number in range(4) for turn in range(20))
    assert orders["regions"] == expected


def test_of_two_who_revise_the_same_config_one_hears_what_the_other_made_it(orders: Store) -> None:
    _, _, revising = snippets("Two runs at once")
    orders["config"] = {"by": "nobody"}
    both_have_read = Barrier(2)
    said: list[tuple[str, Entry]] = []

    def say(what: str, entry: Entry) -> None:
        said.append((what, entry))

    def revise_as(name: str) -> Callable[[dict[str, str]], dict[str, str]]:
        def revise(config: dict[str, str]) -> dict[str, str]:
            both_have_read.wait(DEADLINE_S)
            return config | {"by": name}

        return revise

    running = [
        Running(partial(run, revising, revise=revise_as(name), print=say))
        for name in ("alice", "bob")
    ]
    for each in running:
        each.wait()

    assert said == [("not written; now it is", orders.entry("config"))]
    assert orders["config"]["by"] in ("alice", "bob")


# --- a shared counter


def test_no_count_is_lost_and_no_number_given_out_twice(orders: Store, tmp_path: Path) -> None:
    [snippet] = snippets("A shared counter")
    load = "def load(run):\n    print(run)\n    return 3"

    numbers = run_in_processes(snippet, tmp_path, *[load] * 4, times=25)

    assert sorted(map(int, numbers)) == list(range(1, 101))
    assert (orders["runs"], orders["rows"]) == (100, 300)


# --- several shards in one key


def test_shards_keep_their_cursors_in_one_key_and_none_goes_back(
    orders: Store, tmp_path: Path
) -> None:
    [snippet] = snippets("Several shards in one key")
    load = "shard = 's{0}'\ndef load(shard):\n    return (turn * 7 + {0}) % 20"

    run_in_processes(snippet, tmp_path, *map(load.format, range(4)), times=20)

    assert orders["cursors"] == dict.fromkeys(["s0", "s1", "s2", "s3"], 19)
    for value, before in pairwise(values_of(orders, "cursors")):
        assert all(value[shard] >= reached for shard, reached in before.items())
    assert run(snippet, shard="s4", load=lambda shard: 7)["done_up_to"] == 7


def test_a_field_is_taken_out_by_its_name(orders: Store) -> None:
    orders["cursors"] = {"eu": 1, "us": 2}
    run(inline("Several shards in one key", "orders.merge("))

    assert orders["cursors"] == {"us": 2}


# --- several things together


def test_a_watermark_and_its_count_are_written_together_and_read_together(
    orders: Store, customers: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    writing, reading = snippets("Several things together")
    orders["watermark"] = "2026-01-30"

    done = run(writing, load=lambda since: ("2026-01-31", 250))
    run(reading)

    assert orders["watermark"] == "2026-01-31"
    assert customers["orders"] == 250
    written, read = capsys.readouterr().out.splitlines()
    assert written == f"250 rows, written as revision {done['tx'].revision}"
    assert read == "2026-01-31 250"


def test_nothing_of_a_transaction_happens_if_the_watermark_has_moved(
    orders: Store, customers: Store
) -> None:
    writing, _ = snippets("Several things together")
    orders["watermark"] = "2026-01-30"

    def load(since: str) -> tuple[str, int]:
        orders["watermark"] = "2026-02-01"
        return "2026-01-31", 250

    with pytest.raises(Conflict) as caught:
        run(writing, load=load)

    assert caught.value.entry == orders.entry("watermark")
    assert list(orders.items()) == [("watermark", "2026-02-01")]
    assert list(customers) == []


# --- rewind after a bad run


@pytest.fixture
def bad_run(serving: Daemon, orders: Store, request: pytest.FixtureRequest) -> str:
    """The run id of what has changed the watermark, added a key and taken one away."""
    orders.set_many({"watermark": "2026-01-31", "source": "s3"})
    # The log has the runs of other tests too.
    run_id = str(request.node.name)
    with serving.client(writer=Writer(run_id=run_id)) as client:
        store = client.store("orders")
        store.set_many({"watermark": "2062-01-31", "extra": 1})
        store.delete("source")
    return run_id


def test_a_rewind_takes_back_what_a_bad_run_has_written(
    orders: Store, bad_run: str, capsys: pytest.CaptureFixture[str]
) -> None:
    [snippet] = snippets("Rewind after a bad run")

    run(snippet, bad_run=bad_run)

    assert dict(orders.items()) == {"watermark": "2026-01-31", "source": "s3"}
    was, *differences = capsys.readouterr().out.splitlines()
    assert was == "watermark was 2026-01-31"
    assert [line.split()[0] for line in differences] == ["extra", "source", "watermark"]
    assert values_of(orders, "watermark") == ["2026-01-31", "2062-01-31", "2026-01-31"]


def test_by_hand_a_rewind_shows_what_differs_and_asks(
    serving: Daemon, orders: Store, bad_run: str
) -> None:
    [commands] = snippets("Rewind after a bad run", "sh")
    before = min(event.revision for event in orders.log() if event.updated_by.run_id == bad_run) - 1

    with in_terminal(commands, serving, before=str(before)) as terminal:
        shown = terminal.read_until("[y/N]")
        assert dict(orders.items()) == {"watermark": "2062-01-31", "extra": 1}
        terminal.press("y\n")
        assert terminal.end().code == 0

    for key in ("extra", "source", "watermark"):
        assert key in shown
    assert dict(orders.items()) == {"watermark": "2026-01-31", "source": "s3"}


def test_a_rewind_of_something_else_than_was_shown_is_refused(orders: Store, bad_run: str) -> None:
    [snippet] = snippets("Rewind after a bad run")

    def show(what: object, *more: object) -> None:
        orders["extra"] = 2

    with pytest.raises(Conflict):
        run(snippet, bad_run=bad_run, print=show)

    assert dict(orders.items()) == {"watermark": "2062-01-31", "extra": 2}


# --- wait for an upstream asset


def test_a_worker_begins_when_the_upstream_asset_has_come_far_enough(orders: Store) -> None:
    waiting, _ = snippets("Wait for an upstream asset")
    loaded: list[str] = []
    running = Running(partial(run, waiting, load=loaded.append))

    for hour in ("22:00:00Z", "23:00:00Z"):
        orders.advance("watermark", f"2026-01-31T{hour}", order="time")
    orders.advance("watermark", "2026-02-01T02:30:00+02:00", order="time")
    running.wait()

    assert loaded == ["2026-02-01T02:30:00+02:00"]


def test_a_shell_waits_too(serving: Daemon, orders: Store) -> None:
    [command] = snippets("Wait for an upstream asset", "sh")

    with in_terminal(command, serving) as terminal:
        orders.advance("watermark", "2026-02-01T02:30:00+02:00", order="time")
        ended = terminal.end()

    assert (ended.code, ended.out) == (0, '"2026-02-01T02:30:00+02:00"\n')


def test_a_worker_runs_for_each_change_that_it_comes_to_know_of(orders: Store) -> None:
    _, waiting = snippets("Wait for an upstream asset")
    seen: SimpleQueue[int] = SimpleQueue()

    def load(value: int) -> None:
        if value == 3:
            raise Enough
        seen.put(value)

    running = Running(partial(run, waiting, load=load))
    for value in (1, 2):
        orders["watermark"] = value
        assert seen.get(timeout=DEADLINE_S) == value
    orders["watermark"] = 3
    with pytest.raises(Enough):
        running.wait()

    assert seen.empty()


# --- react to changes


def follow(*steps: tuple[str, Any, Callable[[], object]]) -> None:
    """Run the snippet; each step is what it must react to next, and what happens upon it then."""
    [snippet] = snippets("React to changes")
    expected = list(steps)

    def react(key: str, value: Any) -> None:
        assert expected, f"{key} = {value} is one too many"
        awaited_key, awaited_value, then = expected.pop(0)
        assert (key, value) == (awaited_key, awaited_value)
        then()

    with pytest.raises(Enough):
        Running(partial(run, snippet, react=react)).wait()
    assert expected == []


def die() -> None:
    raise Enough


def go_on() -> None:
    pass


def test_a_follower_sees_what_is_there_and_each_change_from_then_on(orders: Store) -> None:
    orders.set_many({"a": 1, "b": 2})

    follow(
        ("a", 1, lambda: orders.set("c", 3)),
        ("b", 2, go_on),
        ("c", 3, lambda: orders.delete("a")),
        ("a", None, die),
    )


def test_a_follower_goes_on_with_what_it_was_at_when_it_died(orders: Store) -> None:
    orders["a"] = 1
    follow(
        ("a", 1, lambda: orders.set_many({"b": 2, "c": 3})),
        ("b", 2, go_on),
        ("c", 3, die),
    )
    orders["d"] = 4

    follow(("c", 3, go_on), ("d", 4, die))


def test_a_follower_looks_at_everything_anew_when_the_asset_was_cleared(orders: Store) -> None:
    orders["a"] = 1

    def clear() -> None:
        orders.clear()
        orders["b"] = 2

    follow(("a", 1, clear), ("b", 2, die))


def test_a_follower_looks_at_everything_anew_when_the_journal_does_not_reach_back(
    make_daemon: Callable[..., Daemon], monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon = make_daemon(journal_max_age="0s")
    monkeypatch.setenv("ASSETSTORE_SOCKET", str(daemon.socket))
    with daemon, daemon.client() as client:
        store = client.store("orders")
        store["a"] = 1
        follow(("a", 1, lambda: store.set("b", 2)), ("b", 2, die))
        since = client.store("customers").get("orders_seen")
        store.delete("b")
        daemon.restart()
        wait_until(
            lambda: client.status()["journal_oldest"] > since, DEADLINE_S, "the journal to be short"
        )

        follow(("a", 1, die))


# --- exactly once with a database


def warehouse() -> list[tuple[str, int]]:
    with closing(sqlite3.connect("warehouse.sqlite")) as database:
        return database.execute("SELECT day, amount FROM rows ORDER BY day").fetchall()


def test_rows_are_there_once_however_many_runs_load_them(
    orders: Store, customers: Store, tmp_path: Path
) -> None:
    [snippet] = snippets("Exactly once with a database")
    source = [(f"2026-01-{day:02}", day) for day in range(1, 31)]
    customers.update(source)
    load = "def load(since):\n    return list(customers.items(after=since, limit=2))"

    run_in_processes(snippet, tmp_path, *[load] * 3, times=8)

    assert warehouse() == source
    assert orders["watermark"] == "2026-01-30"


def test_the_watermark_is_behind_the_database_after_a_death_and_never_ahead(
    serving: Daemon, orders: Store
) -> None:
    [snippet] = snippets("Exactly once with a database")
    names = begin()

    def die_at_work(since: str) -> None:
        raise Enough

    with names["client"]:
        with pytest.raises(Enough):
            run(snippet, names, load=die_at_work)
        names["database"].close()
        assert warehouse() == []
        assert "watermark" not in orders

        # As good as a death between the commit of the database and the advance.
        serving.activate("customers")
        with pytest.raises(assetstore.InactiveAsset):
            run(snippet, names, load=lambda since: [("2026-01-01", 1)])
        serving.activate(*ASSETS)
        assert warehouse() == [("2026-01-01", 1)]
        assert "watermark" not in orders

        run(snippet, names, load=lambda since: [])

    assert warehouse() == [("2026-01-01", 1)]
    assert orders["watermark"] == "2026-01-01"


# --- only one worker does it


def test_of_many_workers_one_does_each_partition(orders: Store, tmp_path: Path) -> None:
    [snippet] = snippets("Only one worker does it")
    months = [f"2026-{month:02}" for month in range(1, 13)]
    # Each begins elsewhere, and comes to what the others have claimed.
    work = [f"partitions = {months[at:] + months[:at]}\nload = print" for at in (0, 3, 6, 9)]

    done = run_in_processes(snippet, tmp_path, *work)

    assert sorted(done) == months
    assert dict(orders.items()) == {f"backfill/{month}": "done" for month in months}


def test_a_partition_is_taken_over_when_its_lease_is_over(orders: Store) -> None:
    [snippet] = snippets("Only one worker does it")
    said: list[str] = []
    names = begin()

    def take_over(partition: str) -> None:
        assert names["claim"](partition) is None
        names["LEASE"] = timedelta(0)
        claimed = names["claim"](partition)
        assert claimed == orders.entry("backfill/2026-01").revision  # type: ignore[union-attr]

    with names["client"]:
        run(snippet, names, partitions=["2026-01"], load=take_over, print=said.append)

    assert said == ["2026-01 took longer than its lease, and another worker took over"]
    assert orders["backfill/2026-01"] == "running"


def test_of_two_who_find_a_lease_that_is_over_one_takes_over(orders: Store) -> None:
    [snippet] = snippets("Only one worker does it")
    orders["backfill/2026-01"] = "running"
    both_have_looked = Barrier(2)

    class Over:
        """A lease that is over, as soon as two have looked."""

        def __radd__(self, time: datetime) -> datetime:
            both_have_looked.wait(DEADLINE_S)
            return time

    one, other = begin(), begin()
    with one["client"], other["client"]:
        for names in (one, other):
            run(snippet, names, partitions=[])
            names["LEASE"] = Over()
        running = [Running(partial(names["claim"], "2026-01")) for names in (one, other)]
        claims = [each.wait() for each in running]

    entry = orders.entry("backfill/2026-01")
    assert entry is not None
    assert sorted(claims, key=str) == [entry.revision, None]

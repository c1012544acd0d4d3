"""Exports and imports by the library: of one moment, lossless, and all or nothing.

Rule: what the command line makes of it is in test_cli_export.py.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self

import pytest
from tests.support.amount import amount
from tests.support.daemon import Daemon
from tests.support.exports import lines_of
from tests.support.replay import Replay
from tests.support.users import NOBODY, run_as
from tests.support.wire import HELLO, Wire

from assetstore import (
    AsyncClient,
    Busy,
    Client,
    Compacted,
    Entry,
    InactiveAsset,
    InvalidRequest,
    UnknownAsset,
    Writer,
)
from assetstore import messages as m
from assetstore.answers import entry_of
from assetstore.asynchronous import exporting as asynchronous_exporting
from assetstore.asynchronous import importing as asynchronous_importing
from assetstore.export_format import EntryLine, ExportInvalid, opened, read_line
from assetstore.exporting import export_to
from assetstore.importing import import_from
from assetstore.messages import AssetRef, SetKey, WireEntry
from assetstore.values import encode_value

ASSETS = ("a", "b", "c")
#: What is done to whole assets, as its events are called.
WHOLE = {"clear", "restored", "moved", "rewind"}
NAMED = ["a", "größe/😀", "x" * 512, "\n", '"', "\0", "k/1", "k/2", " "]


def exported(client: Client, *assets: str) -> bytes:
    file = io.BytesIO()
    export_to(client, file, assets or None)
    return file.getvalue()


def contents(data: bytes) -> dict[str, dict[str, Entry]]:
    """The entries of an export, by asset and key."""
    found: dict[str, dict[str, Entry]] = {}
    crc, name = 0, ""
    for number, line in enumerate(lines_of(data)[1:], 2):
        rest, crc = opened(line, number, crc)
        item = read_line(rest, number)
        if not isinstance(item, EntryLine):
            name = item.name
            found[name] = {}
            continue
        its = item.entry
        stored = WireEntry(item.revision, its.updated_at, its.updated_by, its.value)
        found[name][its.key] = entry_of(its.key, stored)
    return found


def held(client: Client, asset: str) -> dict[str, Entry]:
    return {entry.key: entry for entry in client.store(asset).entries()}


def without_revision(entries: dict[str, Entry]) -> dict[str, Any]:
    return {
        key: (encode_value(entry.value), entry.updated_at, entry.updated_by)
        for key, entry in entries.items()
    }


def in_order(entries: dict[str, Entry]) -> list[str]:
    return sorted(entries, key=lambda key: entries[key].revision)


@pytest.fixture
def two(make_daemon: Callable[..., Daemon]) -> tuple[Daemon, Daemon]:
    """Two daemons with the same assets."""
    one, other = make_daemon("one"), make_daemon("other")
    for daemon in (one, other):
        daemon.set_manifest(*ASSETS)
        daemon.start()
    return one, other


def random_value(rng: random.Random, depth: int = 0) -> Any:
    kinds: list[Callable[[], Any]] = [
        lambda: rng.randrange(-(10**40), 10**40),
        lambda: rng.choice([10**5_000, 0, -1, 2**63, 2**64]),
        lambda: rng.uniform(-1e300, 1e300),
        lambda: rng.choice([True, False, -0.0, 1.0, "", "é\u2028\n\0😀", "2026-01-31T00:00:00Z"]),
    ]
    if depth < 4:
        kinds += [
            lambda: [random_value(rng, depth + 1) for _ in range(rng.randrange(4))] + [None],
            lambda: {rng.choice(NAMED): random_value(rng, depth + 1) for _ in range(3)},
        ]
    return rng.choice(kinds)()


def write_at_random(daemon: Daemon, rng: random.Random, changes: int) -> None:
    """Entries of several writers, some of them changed again, deleted, cleared, moved."""
    for number in range(3):
        writer = Writer("task", "d\n", f"run-{number}", "é", number)
        with daemon.client(writer=writer) as client:
            for _ in range(changes):
                store = client.store(rng.choice(ASSETS))
                key = rng.choice([*NAMED, f"key-{rng.randrange(50)}"])
                if rng.random() < 0.9:
                    store.set(key, random_value(rng))
                else:
                    store.delete(key)
    with daemon.client() as client:
        if rng.random() < 0.3:
            client.store(rng.choice(ASSETS)).clear()
        if rng.random() < 0.3 and client.store("a"):
            client.move("a", "b", replace=True)


@pytest.mark.parametrize("replace", [False, True])
def test_a_random_store_comes_to_another_host_as_it_is(
    two: tuple[Daemon, Daemon], seed: int, replace: bool
) -> None:
    one, other = two
    rng = random.Random(seed)
    with one.client() as client, other.client() as there:
        for _ in range(amount(3, whole=30)):
            write_at_random(one, rng, 40)
            if replace:
                there.store("a").set("in the way", 1)
            data = exported(client)
            import_from(there, io.BytesIO(data), replace=replace)
            for name in ASSETS:
                ours, theirs = held(client, name), held(there, name)
                if not replace:
                    theirs = {key: entry for key, entry in theirs.items() if key in ours}
                assert without_revision(theirs) == without_revision(ours)
            assert contents(data) == {name: held(client, name) for name in ASSETS}

            revision = there.status()["revision"]
            again = import_from(there, io.BytesIO(data), replace=replace)
            assert there.status()["revision"] == revision
            assert not any(each.differs for each in again.assets)


def test_the_order_of_changes_is_kept(two: tuple[Daemon, Daemon], seed: int) -> None:
    one, other = two
    write_at_random(one, random.Random(seed), 40)
    with one.client() as client, other.client() as there:
        import_from(there, io.BytesIO(exported(client)))

        for name in ASSETS:
            assert in_order(held(there, name)) == in_order(held(client, name))


def test_values_are_kept_byte_for_byte(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    texts = [b'{ "a": 1.0 }', b"\n[1e2 ]\r\n", b'"\\u00e9\\/"', b"1" * 5_000, b"-0.0"]
    with one.client() as client, other.client() as there:
        for number, text in enumerate(texts):
            client._calls.change([SetKey(AssetRef("a"), f"k{number}", text, None)])
        data = exported(client)
        import_from(there, io.BytesIO(data))

        assert [line.split(b'"value')[1] for line in lines_of(exported(there))[2:7]] == [
            line.split(b'"value')[1] for line in lines_of(data)[2:7]
        ]


# --- one moment


class Chaos:
    """Threads that change everything, all the time, as fast as they can."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self._daemon = daemon
        self._seed = seed
        self._ended = threading.Event()
        #: What was done to whole assets, at least once.
        self.done: set[str] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(work, number))
            for number, work in enumerate([self._write, self._write, self._whole])
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _run(self, work: Callable[[Client, random.Random], None], number: int) -> None:
        rng = random.Random(self._seed + number)
        with self._daemon.client(timeout=30.0) as client:
            while not self._ended.is_set():
                # A rewind that never finds a quiet moment gives up, and what was cleared twice
                # since then is not known any more.
                with suppress(Busy, Compacted):
                    work(client, rng)

    def _write(self, client: Client, rng: random.Random) -> None:
        store = client.store(rng.choice(ASSETS))
        keys = [f"key-{rng.randrange(400):03d}" for _ in range(8)]
        if rng.random() < 0.6:
            store.set_many({key: "x" * rng.randrange(2_000) for key in keys})
        else:
            for key in keys:
                store.delete(key)

    def _whole(self, client: Client, rng: random.Random) -> None:
        self._ended.wait(rng.random() * 0.05)
        name, other = rng.sample(ASSETS, 2)
        what = rng.randrange(4)
        if what == 0:
            if not client.store(name).clear():
                return
        elif what == 1:
            ids = [store.id for store in client.trash() if store.name == name]
            if not ids:
                return
            client.restore(max(ids))
        elif what == 2:
            if not client.store(name):
                return  # after a clear there is no store to move
            client.move(name, other, replace=True)
        else:
            # Of a whole asset it would seldom find a quiet moment.
            last = client.status()["revision"]
            for key in client.store(name).keys(limit=5):
                rewound = client.store(name).rewind(key, to=max(last - rng.randrange(50), 1))
                if rewound.differences:
                    self.done.add("rewind")
            return
        self.done.add(("clear", "restored", "moved")[what])


def test_an_export_is_of_one_moment_whatever_is_changed_meanwhile(
    daemon: Daemon, seed: int
) -> None:
    daemon.activate(*ASSETS)
    with daemon.client(timeout=30.0) as client:
        for name in ASSETS:
            client.store(name).update({f"key-{n:03d}": "x" * 1_000 for n in range(400)})
        exports: list[tuple[int, bytes]] = []
        overtaken, enough = 0, amount(15, whole=300)
        with Chaos(daemon, seed) as chaos:
            end = time.monotonic() + amount(120, whole=2_400)
            # How many are overtaken, and what is done meanwhile, is luck and the load's.
            while overtaken < enough or len(exports) < 2 * enough or chaos.done < WHOLE:
                assert time.monotonic() < end, (overtaken, len(exports), chaos.done)
                file = io.BytesIO()
                revision = export_to(client, file).revision
                overtaken += client.status()["revision"] > revision
                exports.append((revision, file.getvalue()))
        events = list(client.log())[::-1]
    assert {"set", "delete", *WHOLE} <= {event.kind for event in events}
    for revision, data in exports:
        expected = Replay().upto(events, revision)
        found = {
            name: {key: (entry.revision, entry.value) for key, entry in entries.items()}
            for name, entries in contents(data).items()
        }
        assert found == expected, f"as of {revision}"


def test_a_manifest_that_changes_meanwhile_is_part_of_the_moment(daemon: Daemon) -> None:
    with daemon.client() as client:
        for name in ("orders", "customers"):
            client.store(name).set("k", name)
        daemon.activate("customers", "new")

        assert set(contents(exported(client))) == {"customers", "new"}
        with pytest.raises(InactiveAsset, match="'orders' has left the manifest"):
            exported(client, "orders")
        with pytest.raises(UnknownAsset, match="no asset 'nothing' is known"):
            exported(client, "new", "nothing")
        assert set(contents(exported(client, "customers", "customers"))) == {"customers"}


# --- what is refused


def whole_export(client: Client) -> bytes:
    client.store("a").update({"k": 1, "l": [2]})
    client.store("b").set("m", "x")
    return exported(client)


def test_nothing_is_changed_by_a_file_that_is_not_whole(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    with one.client() as client, other.client() as there:
        data = whole_export(client)
        before = there.status()["revision"]
        for at in range(0, len(data), 7):
            flipped = data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]
            for wrong in (data[:at], flipped):
                with pytest.raises(ExportInvalid):
                    import_from(there, io.BytesIO(wrong), replace=True)
        assert there.status()["revision"] == before


def test_an_asset_that_is_not_active_is_reported_before_anything_is_done(
    two: tuple[Daemon, Daemon],
) -> None:
    one, other = two
    with one.client() as client, other.client() as there:
        data = whole_export(client)
        other.activate("a", "c")
        with pytest.raises(UnknownAsset, match=r"1 of the 3 assets .*: 'b'\. Nothing was imported"):
            import_from(there, io.BytesIO(data))
        with pytest.raises(InactiveAsset):
            import_from(there, io.BytesIO(data), dry_run=True)
        assert not there.store("a")

        done = import_from(there, io.BytesIO(data), skip_missing=True)

        assert [(each.name, each.state, each.added) for each in done.assets] == [
            ("a", "active", 2),
            ("b", "inactive", 0),
            ("c", "active", 0),
        ]
        assert there.store("a").get("l") == [2]


def test_a_dry_run_says_what_would_be_done_and_does_nothing(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    with one.client() as client, other.client() as there:
        data = whole_export(client)
        import_from(there, io.BytesIO(data))
        there.store("a").set("l", "other")
        there.store("a").set("mine", 1)
        there.store("c").set("mine", 1)
        before = there.status()["revision"]

        def numbers(**options: Any) -> list[tuple[int, ...]]:
            done = import_from(there, io.BytesIO(data), **options)
            return [(e.added, e.changed, e.removed, e.unchanged) for e in done.assets]

        assert numbers(dry_run=True) == [(0, 1, 0, 1), (0, 0, 0, 1), (0, 0, 0, 0)]
        replacing = [(0, 1, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0)]
        assert numbers(dry_run=True, replace=True) == replacing
        assert there.status()["revision"] == before

        assert numbers(replace=True) == replacing
        assert contents(exported(there))["c"] == {}
        assert {(store.name, store.entries) for store in there.trash()} == {("a", 3), ("c", 1)}


def test_more_than_one_change_takes_is_imported_in_parts_only(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    with one.client(timeout=30) as client, other.client(timeout=30) as there:
        for start in range(0, 10_050, 1_000):
            client.store("a").set_many(
                {f"k{n}": n for n in range(start, min(start + 1_000, 10_050))}
            )
        data = exported(client)
        there.store("a").set("mine", 1)

        with pytest.raises(InvalidRequest, match=r"'a': more than 10,000 entries or 8,388,608"):
            import_from(there, io.BytesIO(data))
        assert len(there.store("a")) == 1
        done = import_from(there, io.BytesIO(data), in_parts=True, replace=True)

        assert (done.assets[0].added, done.assets[0].removed) == (10_050, 1)
        assert without_revision(held(there, "a")) == without_revision(held(client, "a"))


def test_8_mib_of_an_asset_are_one_change(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    with one.client(timeout=30) as client, other.client(timeout=30) as there:
        for number in range(7):
            client.store("a").set(f"k{number}", "x" * 1_048_574)
        data = exported(client)
        import_from(there, io.BytesIO(data))
        revisions = sorted(entry.revision for entry in held(there, "a").values())

        assert revisions == list(range(revisions[0], revisions[0] + 7))
        assert held(there, "a")["k6"].value == "x" * 1_048_574


def test_the_asynchronous_client_exports_and_imports_alike(two: tuple[Daemon, Daemon]) -> None:
    one, other = two
    told: list[tuple[int, int]] = []

    async def move(data: bytes) -> bytes:
        async with AsyncClient(other.socket) as there:
            done = await asynchronous_importing.import_from(
                there, io.BytesIO(data), progress=lambda *args: told.append(args)
            )
            assert done.assets[0].added == 2
            back = io.BytesIO()
            await asynchronous_exporting.export_to(there, back, ["a"])
            return back.getvalue()

    with one.client() as client:
        data = whole_export(client)
    back = asyncio.run(move(data))

    assert told[-1] == (6, 6)
    assert without_revision(contents(back)["a"]) == without_revision(contents(data)["a"])


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_anyone_who_may_connect_exports_and_only_operators_import(
    two: tuple[Daemon, Daemon],
) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to become another user")
    one, other = two
    for daemon in two:
        daemon.socket.parent.chmod(0o755)
        daemon.socket.chmod(0o666)
    with one.client() as client:
        data = whole_export(client)

    def export_and_import() -> None:
        with one.client() as client, other.client() as there:
            assert contents(exported(client)) == contents(data)
            import_from(there, io.BytesIO(data), dry_run=True)
            import_from(there, io.BytesIO(data))

    def ask_for_the_limits() -> None:
        with Wire(one.socket) as wire:
            wire.send_messages(HELLO)
            raise AssertionError(m.decode_welcome(wire.receive()))

    assert run_as(NOBODY, export_and_import).startswith(
        "Forbidden: uid 65534 may not import into asset "
    )
    with other.client() as there:
        assert not there.store("a")
    assert f"max_frame_bytes={(1 << 20) + (1 << 16)})" in run_as(NOBODY, ask_for_the_limits)


def test_a_value_that_the_other_daemon_does_not_take_is_refused_before_anything_is_done(
    make_daemon: Callable[..., Daemon],
) -> None:
    one, other = make_daemon("one"), make_daemon("other", max_value_bytes=1_000)
    one.start()
    other.start()
    with one.client() as client, other.client() as there:
        client.store("customers").set("k", 1)
        client.store("orders").set("k", "x" * 1_000)
        data = exported(client)
        with pytest.raises(InvalidRequest, match="1,002 bytes of JSON; the limit is 1,000"):
            import_from(there, io.BytesIO(data))
        assert not there.store("customers")

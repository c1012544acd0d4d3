"""The manifest against a real daemon: each way of changing it, each way of breaking it.

Whatever is done to the file, no entry is lost: every test that breaks it ends by showing so.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.daemon import DEADLINE_S, Daemon
from tests.support.waiting import wait_until

import assetstore
from assetstore import Client, InactiveAsset, Refused, UnknownAsset

MakeDaemon = Callable[..., Daemon]

ORDERS = {"name": "orders", "uri": "s3://data/orders/"}
GOOD = json.dumps({"version": 1, "assets": [ORDERS, "customers"]}).encode()


def manifest_of(daemon: Daemon) -> dict[str, Any]:
    """What status says of the manifest."""
    found: dict[str, Any] = daemon.status()["manifest"]
    return found


def active(client: Client) -> set[str]:
    return {info.name for info in client.assets() if info.state == "active"}


def wait_for_state(daemon: Daemon, state: str, reason: str = "") -> dict[str, Any]:
    """Return what status says of the manifest once it is in this state, for this reason."""

    def reached() -> dict[str, Any] | None:
        found = manifest_of(daemon)
        return found if found["state"] == state and reason in (found["reason"] or "") else None

    found = wait_until(reached, DEADLINE_S, f"the manifest to be {state}: {reason}")
    assert found is not None
    return found


def wait_for_active(client: Client, *names: str) -> None:
    """Return once these assets are active, and no others; nobody has asked for a reload."""
    wait_until(lambda: active(client) == set(names), DEADLINE_S, f"{names} to be active")


def serves(client: Client, name: str) -> bool:
    try:
        client.store(name).count()
    except UnknownAsset:
        return False
    return True


@contextmanager
def entries_survive(client: Client) -> Iterator[None]:
    """Writes entries, and shows at the end that they are all there, unchanged, and writable."""
    before = {}
    for name in ("orders", "customers"):
        store = client.store(name)
        store["watermark"] = f"of {name}"
        store["nested"] = {"a": [1, 2.5, None, "ü"]}
        before[name] = [store.entry(key) for key in store]
    yield
    for name, entries in before.items():
        store = client.store(name)
        assert [store.entry(key) for key in store] == entries
        store["after"] = "written"
        assert store.delete("after")


# --- every way to change it: noticed without being told


def test_a_rewrite_in_place_takes_effect(daemon: Daemon, client: Client) -> None:
    with entries_survive(client):
        daemon.manifest.write_text(json.dumps({"version": 1, "assets": [ORDERS, "customers", "c"]}))
        wait_for_active(client, "orders", "customers", "c")
        assert client.store("c").set("k", "v")


def test_a_rename_over_the_file_takes_effect(daemon: Daemon, client: Client) -> None:
    with entries_survive(client):
        for number in range(2):
            daemon.set_manifest(ORDERS, "customers", f"new-{number}")
            wait_for_active(client, "orders", "customers", f"new-{number}")


def test_an_editors_dance_takes_effect(daemon: Daemon, client: Client) -> None:
    with entries_survive(client):
        backup = daemon.manifest.with_suffix(".json~")
        daemon.manifest.rename(backup)
        daemon.manifest.write_text(json.dumps({"version": 1, "assets": [ORDERS, "customers", "c"]}))
        backup.unlink()
        wait_for_active(client, "orders", "customers", "c")


def test_a_config_maps_symlink_swap_takes_effect(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    mount = daemon.root / "mount"
    daemon.manifest = mount / "manifest.json"

    def publish(version: str, *assets: object) -> None:
        (mount / version).mkdir(parents=True)
        text = json.dumps({"version": 1, "assets": list(assets)})
        (mount / version / "manifest.json").write_text(text)
        (mount / "..data_tmp").symlink_to(version)
        (mount / "..data_tmp").replace(mount / "..data")

    publish("..1", ORDERS, "customers")
    daemon.manifest.symlink_to("..data/manifest.json")
    with daemon, daemon.client() as client, entries_survive(client):
        for number in range(2, 4):
            publish(f"..{number}", ORDERS, "customers", f"new-{number}")
            shutil.rmtree(mount / f"..{number - 1}")
            wait_for_active(client, "orders", "customers", f"new-{number}")


def test_a_toml_manifest_is_chosen_by_its_suffix(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon()
    daemon.manifest = daemon.root / "manifest.toml"
    daemon.manifest.write_text("version = 1\n[[assets]]\nname = 'orders'\ngroup = 'sales'\n")
    with daemon, daemon.client() as client:
        assert [(a.name, a.uri, a.group) for a in client.assets()] == [
            ("orders", "orders", "sales")
        ]

        daemon.manifest.write_text("version = 1\nassets = ['orders', 'customers']\n")

        wait_for_active(client, "orders", "customers")
        assert {info.group for info in client.assets()} == {None}


def test_sighup_reads_it_again_and_tells_systemd(daemon: Daemon, client: Client) -> None:
    daemon.set_manifest(ORDERS, "customers", "c")
    assert daemon.process is not None
    daemon.process.send_signal(signal.SIGHUP)

    daemon.wait_for("RELOADING=1")
    daemon.wait_for("READY=1")

    assert active(client) == {"orders", "customers", "c"}


def test_reload_returns_when_the_change_has_taken_effect(daemon: Daemon, client: Client) -> None:
    for number in range(3):
        daemon.set_manifest(ORDERS, "customers", f"new-{number}")

        status = client.reload_manifest()

        assert status["manifest"]["state"] == "accepted"
        assert status["manifest"]["digest"]
        assert active(client) == {"orders", "customers", f"new-{number}"}


def test_reload_returns_the_verdict_on_a_broken_file(daemon: Daemon, client: Client) -> None:
    daemon.manifest.write_text('{"version": 1,\n "assets": [\n  {"name": 7}\n]}')

    manifest = client.reload_manifest()["manifest"]

    assert manifest["state"] == "invalid"
    assert f"{daemon.manifest}, line 3: assets[0].name must be a string" in manifest["reason"]


# --- every way to break it: nothing changes, status says why, and mending it is enough


def truncated(path: Path) -> None:
    os.truncate(path, 0)


def half_written(path: Path) -> None:
    path.write_bytes(GOOD[: len(GOOD) // 2])


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_circle_of_links(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def a_link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to("gone.json")


def a_hundred_megabytes_of_nothing(path: Path) -> None:
    os.truncate(path, 100_000_000)


def a_hundred_megabytes_of_assets(path: Path) -> None:
    path.write_bytes(b'{"version":1,"assets":[' + b'{"name":"an asset"},' * 5_000_000 + b'"last"]}')


def text(content: str | bytes) -> Callable[[Path], object]:
    encoded = content if isinstance(content, bytes) else content.encode()
    return lambda path: path.write_bytes(encoded)


BROKEN = [
    ("deleted", lambda path: path.unlink(), "missing", "is not there"),
    ("a link to nothing", a_link_to_nothing, "missing", "symbolic link to gone.json"),
    ("a directory in its place", a_directory, "unreadable", "is a directory"),
    ("a FIFO in its place", a_fifo, "unreadable", "is a FIFO"),
    ("a circle of links", a_circle_of_links, "unreadable", "circle"),
    ("truncated", truncated, "invalid", "is empty"),
    ("only white space", text(" \n"), "invalid", "is empty"),
    ("half-written", half_written, "invalid", "ends in the middle"),
    ("invalid UTF-8", text(GOOD.replace(b"customers", b"c\xff")), "invalid", "not UTF-8"),
    ("UTF-16", text(GOOD.decode().encode("utf-16")), "invalid", "UTF-16"),
    ("a byte order mark", text(b"\xef\xbb\xbf" + GOOD), "invalid", "BOM"),
    ("100 MB of nothing", a_hundred_megabytes_of_nothing, "invalid", "100,000,000 bytes"),
    ("100 MB of assets", a_hundred_megabytes_of_assets, "invalid", "a manifest has 67,108,864"),
    ("a name twice", text('{"version":1,"assets":["a","a"]}'), "invalid", "the same name 'a'"),
    (
        "a uri twice",
        text('{"version":1,"assets":["a",{"name":"b","uri":"a"}]}'),
        "invalid",
        "the same uri 'a'",
    ),
    ("an unknown field", text('{"version":1,"assets":["a"],"x":1}'), "invalid", "field 'x'"),
    ("a wrong type", text('{"version":1,"assets":[1]}'), "invalid", "assets[0] must be"),
    ("a field twice", text('{"version":1,"assets":[],"assets":["a"]}'), "invalid", "twice"),
    ("another version", text('{"version":2,"assets":["a"]}'), "invalid", "version is 2"),
    ("an empty list", text('{"version":1,"assets":[]}'), "invalid", '"allow_empty": true'),
    ("[]", text("[]"), "invalid", "must be an object, not a list"),
    ("null", text("null"), "invalid", "must be an object, not null"),
    ("deep nesting", text("[" * 1_000_000), "invalid", "must be an object"),
]


@pytest.fixture(scope="module")
def shared_daemon(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all that breaks the file: each test leaves it mended."""
    daemon = Daemon(tmp_path_factory.mktemp("shared"))
    daemon.set_manifest(ORDERS, "customers")
    with daemon:
        yield daemon
    assert daemon.verify() == []


@pytest.mark.parametrize(
    ("damage", "state", "says"),
    [case[1:] for case in BROKEN],
    ids=[case[0] for case in BROKEN],
)
def test_a_broken_manifest_changes_nothing_until_it_is_mended(
    shared_daemon: Daemon, damage: Callable[[Path], object], state: str, says: str
) -> None:
    daemon = shared_daemon
    with daemon.client() as client, entries_survive(client):
        before = manifest_of(daemon)

        damage(daemon.manifest)

        found = wait_for_state(daemon, state, says)
        assert str(daemon.manifest) in found["reason"]
        assert (found["digest"], found["accepted_at"]) == (before["digest"], before["accepted_at"])
        assert active(client) == {"orders", "customers"}
        assert list(client.trash()) == []
        assert f"the manifest is {state}, the last accepted one stays: {found['reason']}" in (
            daemon.log_text()
        )

        if daemon.manifest.is_dir():
            daemon.manifest.rmdir()
        daemon.set_manifest(ORDERS, "customers")

        assert wait_for_state(daemon, "accepted")["reason"] is None
        assert active(client) == {"orders", "customers"}


def test_a_file_that_may_not_be_read_changes_nothing_until_it_may(make_daemon: MakeDaemon) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything; tests/unit/test_manifest_file.py has the case")
    with make_daemon() as daemon, daemon.client() as client, entries_survive(client):
        daemon.manifest.chmod(0)
        assert "may not read it" in wait_for_state(daemon, "unreadable")["reason"]
        assert active(client) == {"orders", "customers"}

        daemon.manifest.chmod(0o600)
        wait_for_state(daemon, "accepted")


def test_a_broken_file_is_logged_once_however_often_it_is_looked_at(
    daemon: Daemon, client: Client
) -> None:
    daemon.manifest.write_bytes(b"broken")
    wait_for_state(daemon, "invalid")

    for _ in range(3):
        client.reload_manifest()

    assert daemon.log_text().count("the manifest is invalid") == 1


@pytest.mark.parametrize(
    ("damage", "state"),
    [(lambda path: path.unlink(), "missing"), (truncated, "invalid"), (a_directory, "unreadable")],
    ids=["deleted", "truncated", "a directory"],
)
def test_the_last_accepted_manifest_counts_across_restarts(
    make_daemon: MakeDaemon, damage: Callable[[Path], object], state: str
) -> None:
    daemon = make_daemon().start()
    with daemon.client() as client, entries_survive(client):
        damage(daemon.manifest)

        daemon.restart()

        assert manifest_of(daemon)["state"] == state
        assert manifest_of(daemon)["digest"]
        assert active(client) == {"orders", "customers"}


def test_a_daemon_without_any_manifest_serves_nobody_until_one_comes(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon()
    daemon.manifest = daemon.root / "etc" / "manifest.json"
    with daemon, daemon.client() as client:
        assert manifest_of(daemon)["state"] == "missing"
        assert manifest_of(daemon)["digest"] is None
        with pytest.raises(UnknownAsset) as caught:
            client.store("orders").get("watermark", default="the beginning")
        assert not isinstance(caught.value, InactiveAsset)

        daemon.manifest.parent.mkdir()
        daemon.manifest.write_bytes(GOOD)

        wait_for_active(client, "orders", "customers")


def test_a_hundred_changes_a_second_lose_nothing_and_the_last_one_counts(
    daemon: Daemon, client: Client
) -> None:
    with entries_survive(client):
        start = time.monotonic()
        for number in range(200):
            if number % 3 == 0:
                daemon.manifest.write_bytes(GOOD[: number % len(GOOD)])
            elif number % 3 == 1:
                daemon.set_manifest(ORDERS, "customers", f"new-{number}")
            else:
                # "customers" flaps: out and in again, many times.
                daemon.set_manifest(ORDERS, f"new-{number}")
            assert client.store("orders")["watermark"] == "of orders"
            wait_until(
                lambda due=start + number / 100: time.monotonic() >= due,  # type: ignore[misc]
                DEADLINE_S,
                "the next hundredth of a second",
            )
        daemon.set_manifest(ORDERS, "customers", "last")

        wait_for_active(client, "orders", "customers", "last")
        assert wait_for_state(daemon, "accepted")["reason"] is None


# --- an asset leaves, and returns


def test_an_asset_that_leaves_is_closed_at_once(daemon: Daemon, client: Client) -> None:
    client.store("orders")["watermark"] = 1
    client.store("customers")["watermark"] = 2

    daemon.activate("customers")

    orders = client.store("orders")
    for refused in (
        lambda: orders.get("watermark"),
        lambda: orders.get("watermark", default="the beginning"),
        lambda: orders.set("watermark", 3),
        lambda: orders.delete("watermark"),
        lambda: orders.clear(),
        lambda: orders.entry("watermark"),
        lambda: list(orders.keys()),
        lambda: orders.count(),
    ):
        with pytest.raises(InactiveAsset):
            refused()
    assert client.store("customers")["watermark"] == 2


def test_what_leaves_waits_in_the_trash_as_it_is(daemon: Daemon, client: Client) -> None:
    client.store("orders")["a"] = 1
    client.store("orders")["b"] = 2

    daemon.activate("customers")

    [waiting] = client.trash()
    assert (waiting.name, waiting.uri, waiting.reason, waiting.entries) == (
        "orders",
        "s3://data/orders/",
        "deactivated",
        2,
    )


def test_an_asset_that_returns_within_grace_has_everything_back(
    daemon: Daemon, client: Client
) -> None:
    orders = client.store("orders")
    for number in range(50):
        orders[f"key-{number}"] = number
    before = [orders.entry(key) for key in orders]

    for _ in range(2):
        daemon.activate("customers")
        client.sweep()
        daemon.activate(ORDERS, "customers")

    assert [orders.entry(key) for key in orders] == before
    assert list(client.trash()) == []
    last = before[-1]
    assert last is not None
    assert orders.set("after", True) > last.revision


def test_what_left_comes_back_even_after_a_restart(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon().start()
    with daemon.client() as client:
        client.store("orders")["watermark"] = "kept"
        daemon.activate("customers")
        daemon.restart()
        with pytest.raises(InactiveAsset):
            client.store("orders").get("watermark")
        daemon.set_manifest(ORDERS, "customers")
        daemon.restart()

        assert client.store("orders")["watermark"] == "kept"


def test_a_change_while_the_daemon_was_down_counts_before_the_first_answer(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon().start()
    with daemon.client() as client:
        client.store("orders")["watermark"] = 1
        daemon.stop()
        daemon.set_manifest("customers", "new")
        daemon.start()

        with pytest.raises(InactiveAsset):
            client.store("orders").get("watermark")
        assert client.store("new").count() == 0


def test_with_grace_zero_the_next_sweep_drops_it(make_daemon: MakeDaemon) -> None:
    with make_daemon(grace="0s", sweep_interval="1h") as daemon, daemon.client() as client:
        client.store("orders")["watermark"] = 1
        daemon.activate("customers")
        assert [store.name for store in client.trash()] == ["orders"]

        assert [store.name for store in client.sweep()] == ["orders"]

        assert list(client.trash()) == []
        assert {info.name: info.state for info in client.assets()} == {
            "orders": "dropped",
            "customers": "active",
        }
        with pytest.raises(InactiveAsset):
            client.store("orders").get("watermark", default=None)


def test_with_grace_zero_the_sweep_needs_nobody_to_ask(make_daemon: MakeDaemon) -> None:
    with make_daemon(grace="0s", sweep_interval="1s") as daemon, daemon.client() as client:
        client.store("orders")["watermark"] = 1
        daemon.activate("customers")

        wait_until(lambda: not list(client.trash()), DEADLINE_S, "the sweep")


def test_an_asset_that_returns_after_the_drop_is_new_and_empty(make_daemon: MakeDaemon) -> None:
    with make_daemon(grace="0s", sweep_interval="1h") as daemon, daemon.client() as client:
        orders = client.store("orders")
        revision = orders.set("watermark", 1)
        daemon.activate("customers")
        client.sweep()

        daemon.activate(ORDERS, "customers")

        assert orders.get("watermark") is None
        assert orders.count() == 0
        assert orders.set("watermark", 2) > revision
        assert orders["watermark"] == 2


def test_a_sweep_within_grace_drops_nothing(daemon: Daemon, client: Client) -> None:
    client.store("orders")["watermark"] = 1
    daemon.activate("customers")

    assert client.sweep() == []
    assert client.sweep(dry_run=True) == []

    assert [store.name for store in client.trash()] == ["orders"]


def test_the_same_name_with_another_uri_is_another_asset(daemon: Daemon, client: Client) -> None:
    client.store("orders")["watermark"] = "old"

    daemon.activate({"name": "orders", "uri": "s3://elsewhere/"}, "customers")

    assert client.store("orders").get("watermark") is None
    client.store("orders")["watermark"] = "new"
    with pytest.raises(InactiveAsset):
        client.store(assetstore.Asset.ref(uri="s3://data/orders/")).get("watermark")
    daemon.activate(ORDERS, "customers")
    assert client.store("orders")["watermark"] == "old"


def test_two_assets_may_swap_their_uris(daemon: Daemon, client: Client) -> None:
    daemon.activate({"name": "a", "uri": "x"}, {"name": "b", "uri": "y"})
    client.store("a")["of"] = "a at x"
    client.store("b")["of"] = "b at y"

    daemon.activate({"name": "a", "uri": "y"}, {"name": "b", "uri": "x"})
    assert [client.store(name).get("of") for name in "ab"] == [None, None]

    daemon.activate({"name": "a", "uri": "x"}, {"name": "b", "uri": "y"})
    assert [client.store(name).get("of") for name in "ab"] == ["a at x", "b at y"]


def test_another_group_keeps_everything(daemon: Daemon, client: Client) -> None:
    with entries_survive(client):
        daemon.activate({**ORDERS, "group": "sales"}, "customers")

        assert {info.name: info.group for info in client.assets()} == {
            "orders": "sales",
            "customers": None,
        }


def test_an_empty_list_counts_with_allow_empty(daemon: Daemon, client: Client) -> None:
    client.store("orders")["watermark"] = 1

    status = daemon.activate(allow_empty=True)

    assert status["manifest"]["state"] == "accepted"
    assert active(client) == set()
    daemon.activate(ORDERS, "customers")
    assert client.store("orders")["watermark"] == 1


# --- too much at once is held


@pytest.fixture
def ten(make_daemon: MakeDaemon) -> Iterator[Daemon]:
    """A daemon with ten assets, each with a watermark."""
    daemon = make_daemon()
    daemon.set_manifest(*(f"a{i}" for i in range(10)))
    with daemon:
        with daemon.client() as client:
            for i in range(10):
                client.store(f"a{i}")["watermark"] = i
        yield daemon
    assert daemon.verify() == []


@pytest.fixture
def client_of_ten(ten: Daemon) -> Iterator[Client]:
    """A client of that daemon."""
    with ten.client() as client:
        yield client


def test_who_asks_for_an_asset_hears_that_the_manifest_file_is_not_in_force(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon()
    daemon.manifest.write_text('{"version": 1, "assets": [{"name": "orders"}, {"nmae": "oders"}]}')
    with daemon, daemon.client() as client:
        orders = client.store("orders")
        for call in (partial(orders.get, "watermark"), partial(orders.set, "watermark", 1)):
            with pytest.raises(UnknownAsset, match=r"not in force \(invalid\).*assetstore status"):
                call()

        daemon.set_manifest("orders")
        client.reload_manifest()
        orders.set("watermark", 1)
        with pytest.raises(UnknownAsset) as caught:
            client.store("oders").get("watermark")
        assert "not in force" not in str(caught.value)


def test_a_manifest_that_deactivates_more_than_half_is_held(
    ten: Daemon, client_of_ten: Client
) -> None:
    held = ten.activate("a0", "a1", "a2", "a3", "new")["manifest"]

    assert held["state"] == "held"
    assert "would deactivate 6 of 10 active assets" in held["reason"]
    assert "assetstore manifest accept" in held["reason"]
    assert (held["held"]["deactivates"], held["held"]["activates"], held["held"]["active"]) == (
        6,
        1,
        10,
    )
    assert "the manifest is held" in ten.log_text()
    assert [client_of_ten.store(f"a{i}")["watermark"] for i in range(10)] == list(range(10))
    assert not serves(client_of_ten, "new")


def test_half_of_the_assets_may_leave_without_being_held(
    ten: Daemon, client_of_ten: Client
) -> None:
    assert ten.activate("a0", "a1", "a2", "a3", "a4")["manifest"]["state"] == "accepted"
    assert active(client_of_ten) == {"a0", "a1", "a2", "a3", "a4"}


def test_two_assets_may_leave_whatever_their_share(daemon: Daemon) -> None:
    assert daemon.activate("other")["manifest"]["state"] == "accepted"


def test_what_is_held_takes_effect_once_it_is_accepted(ten: Daemon, client_of_ten: Client) -> None:
    digest = ten.activate("a0")["manifest"]["held"]["digest"]

    status = client_of_ten.accept_manifest(digest)["manifest"]

    assert (status["state"], status["held"], status["digest"]) == ("accepted", None, digest)
    assert active(client_of_ten) == {"a0"}
    assert client_of_ten.store("a0")["watermark"] == 0
    ten.activate(*(f"a{i}" for i in range(10)))
    assert [client_of_ten.store(f"a{i}")["watermark"] for i in range(10)] == list(range(10))


def test_only_the_digest_that_is_held_can_be_accepted(ten: Daemon, client_of_ten: Client) -> None:
    first = ten.activate("a0")["manifest"]["held"]["digest"]
    second = ten.activate("a1")["manifest"]["held"]["digest"]

    for digest in (first, "0" * 16, ""):
        with pytest.raises(Refused):
            client_of_ten.accept_manifest(digest)
    assert len(active(client_of_ten)) == 10

    client_of_ten.accept_manifest(second)
    assert active(client_of_ten) == {"a1"}


def test_there_is_nothing_to_accept_unless_something_is_held(
    daemon: Daemon, client: Client
) -> None:
    accepted_at = manifest_of(daemon)["accepted_at"]

    with pytest.raises(Refused, match="no manifest is held"):
        client.accept_manifest("digest of another")
    # As a repeat asks, whose first was answered into the void.
    client.accept_manifest(manifest_of(daemon)["digest"])

    assert manifest_of(daemon)["accepted_at"] == accepted_at


def test_a_held_manifest_stays_held_across_a_restart(make_daemon: MakeDaemon) -> None:
    daemon = make_daemon().start()
    with daemon.client() as client:
        daemon.activate("a", "b", "c", "d")
        digest = daemon.activate("a")["manifest"]["held"]["digest"]

        daemon.restart()

        assert manifest_of(daemon)["held"]["digest"] == digest
        assert active(client) == {"a", "b", "c", "d"}
        client.accept_manifest(digest)
        assert active(client) == {"a"}


def test_a_held_manifest_that_is_taken_back_leaves_no_trace(
    ten: Daemon, client_of_ten: Client
) -> None:
    held = ten.activate("a0")["manifest"]["held"]["digest"]

    status = ten.activate(*(f"a{i}" for i in range(10)))["manifest"]

    assert (status["state"], status["held"], status["reason"]) == ("accepted", None, None)
    with pytest.raises(Refused):
        client_of_ten.accept_manifest(held)


def test_an_empty_list_that_is_allowed_is_held_too(ten: Daemon, client_of_ten: Client) -> None:
    assert ten.activate(allow_empty=True)["manifest"]["state"] == "held"
    assert len(active(client_of_ten)) == 10


def test_the_hold_can_be_turned_off(make_daemon: MakeDaemon) -> None:
    with make_daemon(max_deactivate_fraction=1.0) as daemon, daemon.client() as client:
        daemon.activate(*(f"a{i}" for i in range(10)))

        assert daemon.activate("other")["manifest"]["state"] == "accepted"
        assert active(client) == {"other"}


# --- many assets


def test_before_anybody_is_served_a_manifest_is_applied_in_fewer_and_larger_slices(
    make_daemon: MakeDaemon,
) -> None:
    names = [f"asset-{i}" for i in range(1_000)]
    daemon = make_daemon()
    daemon.set_manifest(*names)
    with daemon, daemon.client(timeout=30) as client:

        def slices() -> int:
            return len({event.updated_at for event in client.log() if event.kind == "activated"})

        assert slices() == 2

        daemon.activate(*names, *(f"new-{i}" for i in range(1_000)))
        assert slices() == 2 + 20


def test_many_assets_leave_and_return_in_slices_without_losing_one(
    make_daemon: MakeDaemon,
) -> None:
    count = 3_000
    names = [f"asset-{i}" for i in range(count)]
    with make_daemon(max_deactivate_fraction=1.0) as daemon, daemon.client(timeout=30) as client:
        daemon.set_manifest(*names)
        client.reload_manifest()
        for i in range(0, count, 100):
            client.store(f"asset-{i}")["watermark"] = i

        daemon.set_manifest("other")
        client.reload_manifest()
        assert active(client) == {"other"}
        daemon.set_manifest(*names)
        client.reload_manifest()

        assert active(client) == set(names)
        for i in range(0, count, 100):
            assert client.store(f"asset-{i}")["watermark"] == i


def test_a_daemon_that_is_killed_while_it_applies_a_manifest_finishes_it_afterwards(
    make_daemon: MakeDaemon,
) -> None:
    names = [f"asset-{i}" for i in range(20_000)]
    daemon = make_daemon().start()
    with daemon.client(timeout=30) as client, entries_survive(client):
        daemon.set_manifest(ORDERS, "customers", *names)
        wait_until(
            lambda: manifest_of(daemon)["state"] == "applying", DEADLINE_S, "the first slice"
        )
        daemon.kill()

        daemon.start()

        assert manifest_of(daemon)["state"] == "accepted"
        assert active(client) == {"orders", "customers", *names}
    daemon.stop()
    assert daemon.verify() == []


def test_the_first_write_of_an_asset_does_not_wait_for_a_manifest_to_be_applied(
    make_daemon: MakeDaemon,
) -> None:
    old = [f"old-{i}" for i in range(5)]
    daemon = make_daemon()
    daemon.set_manifest(*old)
    with daemon, daemon.client(timeout=30) as client:
        daemon.set_manifest(*old, *(f"new-{i}" for i in range(20_000)))
        wait_until(
            lambda: manifest_of(daemon)["state"] == "applying", DEADLINE_S, "the first slice"
        )

        for name in old:
            client.store(name).set("k", 1)

        assert manifest_of(daemon)["state"] == "applying"


def test_no_descriptor_and_no_child_is_left_by_many_reloads(daemon: Daemon, client: Client) -> None:
    assert daemon.process is not None
    proc = Path(f"/proc/{daemon.process.pid}")
    client.reload_manifest()
    before = len(list((proc / "fd").iterdir()))

    for number in range(4):
        if number % 2:
            daemon.set_manifest(ORDERS, "customers", f"new-{number}")
        else:
            daemon.manifest.write_bytes(b"broken")
        client.reload_manifest()

    # The watcher may have one more check under way.
    wait_until(
        lambda: len(list((proc / "fd").iterdir())) <= before, DEADLINE_S, "descriptors closed"
    )

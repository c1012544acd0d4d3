"""What a worker sees: calls, values, limits, identity, errors and writer, with a real daemon."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.daemon import Daemon

import assetstore
from assetstore import (
    Asset,
    Client,
    Entry,
    InactiveAsset,
    InvalidRequest,
    RecordedWriter,
    Store,
    UnknownAsset,
    Writer,
)

ORDERS = Asset("orders", uri="s3://data/orders/")


# --- get, set, delete, clear


def test_what_was_set_is_what_get_returns(store: Store) -> None:
    store.set("watermark", "2024-01-01T00:00:00Z")

    assert store.get("watermark") == "2024-01-01T00:00:00Z"


def test_get_returns_the_default_where_the_key_is_absent(store: Store) -> None:
    assert store.get("watermark") is None
    assert store.get("watermark", "1970-01-01T00:00:00Z") == "1970-01-01T00:00:00Z"
    assert store.get("watermark", default=0) == 0


def test_get_does_not_return_the_default_where_the_key_is_there(store: Store) -> None:
    empty: list[Any] = [0, False, "", [], {}, 0.0]
    for value in empty:
        store.set("k", value)
        assert store.get("k", default="default") == value


def test_set_overwrites(store: Store) -> None:
    store.set("k", 1)
    store.set("k", [2])

    assert store.get("k") == [2]
    assert store.count() == 1


def test_set_returns_a_revision_that_grows_with_every_change_anywhere(
    shared_client: Client,
) -> None:
    revisions = [
        shared_client.store("orders").set("a", 1),
        shared_client.store("customers").set("a", 1),
        shared_client.store("orders").set("b", 1),
        shared_client.store("orders").set("a", 2),
    ]

    assert revisions == sorted(set(revisions))
    assert shared_client.status()["revision"] == revisions[-1]


def test_delete_says_whether_the_key_was_there(store: Store) -> None:
    store.set("k", 1)

    assert store.delete("k") is True
    assert store.delete("k") is False
    assert store.get("k", "absent") == "absent"


def test_deleting_what_is_not_there_changes_nothing(shared_client: Client, store: Store) -> None:
    before = shared_client.status()["revision"]

    store.delete("k")

    assert shared_client.status()["revision"] == before


def test_clear_removes_all_keys_at_once_and_returns_their_count(store: Store) -> None:
    for number in range(20):
        store.set(f"k{number}", number)

    assert store.clear() == 20
    assert list(store.keys()) == []
    assert store.clear() == 0


def test_what_was_cleared_can_be_had_back(client: Client) -> None:
    store = client.store(ORDERS)
    revision = store.set("k", "precious")
    store.clear()
    store.set("new", 1)

    [trashed] = [each for each in client.trash() if each.reason == "cleared"]
    assert (trashed.name, trashed.uri, trashed.entries) == ("orders", "s3://data/orders/", 1)
    assert trashed.drops_at - trashed.since == timedelta(days=7)
    restored = client.restore(trashed.id)

    assert (restored.name, restored.uri, restored.count) == ("orders", "s3://data/orders/", 1)
    entry = store.entry("k")
    assert entry is not None
    assert (entry.value, entry.revision) == ("precious", revision)
    assert store.get("new", "in the trash") == "in the trash"


def test_assets_do_not_see_each_others_keys(shared_client: Client) -> None:
    shared_client.store("orders").set("k", "orders")
    shared_client.store("customers").set("k", "customers")
    shared_client.store("orders").clear()

    assert shared_client.store("orders").get("k") is None
    assert shared_client.store("customers").get("k") == "customers"


def test_an_acknowledged_write_survives_kill_9(daemon: Daemon, client: Client) -> None:
    revision = client.store("orders").set("k", {"a": [1]})

    daemon.kill()
    daemon.start()

    entry = client.store("orders").entry("k")
    assert entry is not None
    assert (entry.value, entry.revision) == ({"a": [1]}, revision)
    assert client.store("orders").set("k", 2) > revision


# --- entries and writers


def test_an_entry_says_what_when_and_who(shared_daemon: Daemon) -> None:
    writer = Writer(kind="task", dag_id="d", run_id="r", task_id="t", map_index=-1)
    before = datetime.now(UTC)
    with shared_daemon.client(writer=writer) as client:
        revision = client.store(ORDERS).set("k", [1])
        entry = client.store(ORDERS).entry("k")
    after = datetime.now(UTC)

    assert entry == Entry(
        key="k",
        value=[1],
        revision=revision,
        updated_at=entry.updated_at if entry else before,
        updated_by=RecordedWriter(
            "task", "d", "r", "t", -1, uid=os.getuid(), gid=os.getgid(), pid=os.getpid()
        ),
    )
    assert entry is not None
    assert entry.updated_at.tzinfo is UTC
    assert before <= entry.updated_at <= after


def test_an_entry_that_is_not_there_is_none(store: Store) -> None:
    assert store.entry("k") is None


def test_a_writer_is_a_worker_unless_it_says_otherwise(store: Store) -> None:
    store.set("k", 1)
    entry = store.entry("k")

    assert entry is not None
    assert entry.updated_by.kind == "worker"


@pytest.mark.parametrize(
    "writer",
    [
        Writer(kind="worker", dag_id="d"),
        Writer(kind="watcher"),
        Writer(kind="api"),
        Writer(kind="cli"),
        Writer(kind="task", dag_id="d", run_id="r", task_id="t", map_index=7),
    ],
    ids=lambda writer: writer.kind,
)
def test_every_kind_of_writer_is_recorded_as_it_declared_itself(
    shared_daemon: Daemon, writer: Writer
) -> None:
    with shared_daemon.client(writer=writer) as client:
        client.store("orders").set("k", 1)
        entry = client.store("orders").entry("k")

    assert entry is not None
    recorded = entry.updated_by
    assert (recorded.kind, recorded.dag_id, recorded.map_index) == (
        writer.kind,
        writer.dag_id,
        writer.map_index,
    )


def test_a_writer_whose_fields_do_not_fit_its_kind_is_refused_where_it_is_written() -> None:
    with pytest.raises(InvalidRequest, match="'task' lacks run_id, task_id, map_index"):
        assetstore.connect("/run/x", writer=Writer(kind="task", dag_id="d"))
    with pytest.raises(TypeError, match=r"writer must be an assetstore\.Writer, not dict"):
        assetstore.connect("/run/x", writer={"kind": "task"})  # type: ignore[arg-type]


# --- listings


KEYS = ["a", "a/1", "a/10", "a/2", "b", "Z", "é", "z", "日本", "😀", " ", "a\0"]
IN_BYTE_ORDER = sorted(KEYS, key=str.encode)


@pytest.fixture
def listed(store: Store) -> Store:
    """A store with KEYS; the value of each is its number."""
    for number, key in enumerate(KEYS):
        store.set(key, number)
    return store


def test_keys_come_in_the_byte_order_of_their_utf8(listed: Store) -> None:
    assert list(listed.keys()) == IN_BYTE_ORDER


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/1", "é", "nothing", "a*", "日"])
def test_a_prefix_is_exact_and_no_wildcard(listed: Store, prefix: str) -> None:
    expected = [key for key in IN_BYTE_ORDER if key.startswith(prefix)]

    assert list(listed.keys(prefix)) == expected
    assert [key for key, _ in listed.items(prefix)] == expected
    assert listed.count(prefix) == len(expected)


@pytest.mark.parametrize("after", [None, "", "a", "a/10", "a/11", "z", "\U0010ffff"])
def test_a_listing_goes_on_after_any_key_whether_it_is_there_or_not(
    listed: Store, after: str | None
) -> None:
    expected = [key for key in IN_BYTE_ORDER if key.encode() > (after or "").encode()]

    assert list(listed.keys(after=after)) == expected
    assert [entry.key for entry in listed.entries(after=after)] == expected


@pytest.mark.parametrize("limit", [0, 1, 3, 100, None])
def test_a_limit_ends_a_listing(listed: Store, limit: int | None) -> None:
    assert list(listed.keys(limit=limit)) == IN_BYTE_ORDER[:limit]
    assert list(listed.keys("a", "a", limit)) == ["a\0", "a/1", "a/10", "a/2"][:limit]
    assert len(listed.keys(limit=limit)) == len(IN_BYTE_ORDER[:limit])


def test_items_are_keys_with_values_and_entries_have_the_rest(listed: Store) -> None:
    assert dict(listed.items()) == {key: number for number, key in enumerate(KEYS)}
    for entry in listed.entries("a/"):
        assert entry == listed.entry(entry.key)


def test_a_listing_longer_than_a_page_is_whole_and_in_order(store: Store) -> None:
    keys = [f"{number:05}" for number in range(2_345)]
    with_threads(store, keys)

    assert list(store.keys()) == keys
    assert list(store.keys("0", "00999", 1_100)) == keys[1_000:2_100]
    assert list(store.items()) == [(key, key) for key in keys]
    assert store.count() == 2_345


def test_a_listing_of_large_values_is_whole(store: Store) -> None:
    values = {f"k{number}": str(number) * 300_000 for number in range(7)}
    for key, value in values.items():
        store.set(key, value)

    assert dict(store.items()) == values


def with_threads(store: Store, keys: list[str]) -> None:
    """Set many keys, several at a time: each commit is shared by those that wait."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.set, keys, keys))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"prefix": 7}, TypeError),
        ({"prefix": None}, TypeError),
        ({"after": b"k"}, TypeError),
        ({"limit": "3"}, TypeError),
        ({"limit": True}, TypeError),
        ({"limit": 1.0}, TypeError),
        ({"limit": -1}, InvalidRequest),
        ({"prefix": "x" * 513}, InvalidRequest),
        ({"after": "x" * 513}, InvalidRequest),
    ],
)
def test_a_listing_that_makes_no_sense_is_refused_when_it_is_asked_for(
    store: Store, arguments: dict[str, Any], error: type[Exception]
) -> None:
    for listing in (store.keys, store.items, store.entries):
        with pytest.raises(error):
            listing(**arguments)


# --- values


@pytest.mark.parametrize(
    "value",
    [
        "", "x", "é日本😀\0\u2028", 0, -1, 2**63, 10**400, 10**5_000, True, False, 0.1, -0.0, 1e300,
        [], {},
        [None, [None]], {"a": None, "b": [1, 1.0, True, "1"]}, {"": {"é": []}},
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_value_comes_back_equal_and_of_the_same_type(store: Store, value: Any) -> None:
    store.set("k", value)
    back = store.get("k")

    assert back == value
    assert type(back) is type(value)


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (None, InvalidRequest, "^Cannot set value as None$"),
    (float("nan"), InvalidRequest, "value is nan"),
    ({"a": [1, 2, 3, float("inf")]}, InvalidRequest, r'value\["a"\]\[3\] is inf'),
    ("\ud800", InvalidRequest, "lone surrogate"),
    ((1, 2), TypeError, "tuple"),
    ({1, 2}, TypeError, "set"),
    (b"x", TypeError, "bytes"),
    (datetime(2024, 1, 1, tzinfo=UTC), TypeError, "datetime"),
    ({1: 2}, TypeError, "key of type int"),
    ({"a": [0, 1, 2, object()]}, TypeError, r'value\["a"\]\[3\] is of type object'),
    ("x" * 1_048_575, InvalidRequest, "1,048,577 bytes of JSON; the limit is 1,048,576"),
]


@pytest.mark.parametrize(("value", "error", "message"), REFUSED, ids=[str(n) for n in range(11)])
def test_a_value_that_is_refused_leaves_the_old_one(
    store: Store, value: Any, error: type[Exception], message: str
) -> None:
    revision = store.set("k", "old")

    with pytest.raises(error, match=message):
        store.set("k", value)

    entry = store.entry("k")
    assert entry is not None
    assert (entry.value, entry.revision) == ("old", revision)


def test_random_values_come_back_the_same_and_refused_ones_leave_the_old(
    store: Store, seed: int
) -> None:
    rng = random.Random(seed)

    def build(depth: int) -> Any:
        if depth == 0:
            return rng.choice(
                [0, -1, 2**70, 1.5, -0.0, "é\0", "", True, None, (1,), b"x", float("nan")]
            )
        inner = [build(rng.randrange(depth)) for _ in range(rng.randrange(4))]
        return inner if rng.random() < 0.5 else {f"k{n}": each for n, each in enumerate(inner)}

    expected: Any = "nothing yet"
    store.set("k", expected)
    for _ in range(150):
        value = build(rng.randrange(4))
        try:
            store.set("k", value)
        except (TypeError, ValueError):
            pass
        else:
            expected = value
        assert repr(store.get("k")) == repr(expected)


def test_a_value_of_exactly_the_limit_is_stored(store: Store) -> None:
    store.set("k", "x" * 1_048_574)

    assert len(store.get("k")) == 1_048_574


def test_the_limit_of_values_is_the_daemons_to_set(make_daemon: Callable[..., Daemon]) -> None:
    with make_daemon(max_value_bytes=10).start().client() as client:
        store = client.store("orders")
        store.set("k", "x" * 8)
        with pytest.raises(InvalidRequest, match=r"11 bytes of JSON; the limit is 10 \(max_value"):
            store.set("k", "x" * 9)


# --- keys and names


@pytest.mark.parametrize(
    "key",
    ["x", "x" * 512, "é" * 512, "😀" * 512, " ", "\0", "\n", "../x", "/", "a\0b", "\u202e"],
    ids=ascii,
)  # fmt: skip
def test_a_key_is_any_1_to_512_characters(store: Store, key: str) -> None:
    store.set(key, 1)

    assert store.get(key) == 1
    assert list(store.keys()) == [key]
    assert key in store
    assert store.delete(key) is True


def test_keys_that_only_look_alike_are_different(store: Store) -> None:
    for number, key in enumerate(["é", "e\u0301", "E\u0301", "e", "e ", "x" * 512, "x" * 511]):
        store.set(key, number)

    assert store.count() == 7
    assert [store.get("é"), store.get("e\u0301"), store.get("x" * 511)] == [0, 1, 6]


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        ("", InvalidRequest, "key is empty; it needs 1 to 512 characters"),
        ("x" * 513, InvalidRequest, "key is 513 characters long; the limit is 512"),
        ("\ud800", InvalidRequest, "key holds a lone surrogate"),
        (None, TypeError, "key must be a str, not NoneType"),
        (7, TypeError, "key must be a str, not int"),
        (b"k", TypeError, "key must be a str, not bytes"),
    ],
)
def test_another_key_is_refused_by_every_call(
    store: Store, key: Any, error: type[Exception], message: str
) -> None:
    for call in (store.get, store.delete, store.entry, lambda key: store.set(key, 1)):
        with pytest.raises(error, match=message):
            call(key)


NAMES = ["x" * 1_500, "é" * 1_500, "a\0b", "../x", " ", "😀" * 1_500]


@pytest.fixture(scope="module")
def daemon_of_names(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an asset of each of NAMES, whose uri ends with a dot instead."""
    daemon = Daemon(tmp_path_factory.mktemp("names"))
    daemon.set_manifest(*({"name": name, "uri": f"{name[:-1]}."} for name in NAMES))
    with daemon:
        yield daemon


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:4]))
def test_a_name_or_uri_is_any_1_to_1500_characters(daemon_of_names: Daemon, name: str) -> None:
    with daemon_of_names.client() as client:
        client.store(Asset(name, uri=f"{name[:-1]}.")).set("k", name)

        assert client.store(name).get("k") == name
        assert client.store(Asset.ref(uri=f"{name[:-1]}.")).get("k") == name


# --- identity and lifecycle


@pytest.mark.parametrize(
    "asset",
    [ORDERS, "orders", Asset.ref(name="orders"), Asset.ref(uri="s3://data/orders/")],
    ids=repr,
)
def test_an_asset_is_the_same_however_it_is_named(shared_client: Client, asset: object) -> None:
    shared_client.store(ORDERS).set("k", "here")

    assert shared_client.store(asset).get("k") == "here"


def test_an_object_of_another_library_names_an_asset_by_its_attributes(
    shared_client: Client,
) -> None:
    class AirflowAsset:
        name = "orders"
        uri = "s3://data/orders/"
        group = "asset"

    shared_client.store(AirflowAsset()).set("k", 1)

    assert shared_client.store(ORDERS).get("k") == 1


CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("get", ("k", "default")),
    ("set", ("k", 1)),
    ("delete", ("k",)),
    ("clear", ()),
    ("entry", ("k",)),
    ("count", ()),
    ("__contains__", ("k",)),
    ("__getitem__", ("k",)),
    ("__len__", ()),
]


@pytest.mark.parametrize(("call", "arguments"), CALLS)
@pytest.mark.parametrize(
    "asset",
    ["nobody", Asset.ref(uri="s3://nobody/"), Asset("orders"), Asset("x", uri="s3://data/orders/")],
    ids=repr,
)
def test_an_asset_that_was_never_known_is_unknown_to_every_call(
    shared_client: Client, asset: Any, call: str, arguments: tuple[Any, ...]
) -> None:
    with pytest.raises(UnknownAsset) as caught:
        getattr(shared_client.store(asset), call)(*arguments)

    assert type(caught.value) is UnknownAsset
    assert isinstance(caught.value, LookupError)
    assert caught.value.code == "unknown_asset"


@pytest.mark.parametrize(("call", "arguments"), CALLS)
def test_an_asset_that_has_left_the_manifest_is_inactive_to_every_call(
    forsaken_client: Client, call: str, arguments: tuple[Any, ...]
) -> None:
    store = forsaken_client.store(ORDERS)

    with pytest.raises(InactiveAsset) as caught:
        getattr(store, call)(*arguments)

    assert caught.value.code == "inactive_asset"
    assert "orders" in str(caught.value)


@pytest.mark.parametrize("listing", ["keys", "items", "entries", "values"])
def test_listings_of_an_asset_that_is_not_active_do_not_look_empty(
    shared_client: Client, listing: str
) -> None:
    with pytest.raises(UnknownAsset):
        list(getattr(shared_client.store("nobody"), listing)())


def test_an_asset_that_returns_within_grace_has_everything_back(
    daemon: Daemon, client: Client
) -> None:
    revision = client.store(ORDERS).set("k", "old")
    daemon.activate("customers")
    daemon.activate("customers", {"name": "orders", "uri": "s3://data/orders/"})

    entry = client.store(ORDERS).entry("k")

    assert entry is not None
    assert (entry.value, entry.revision) == ("old", revision)


def test_the_same_name_with_another_uri_is_another_asset_and_move_keeps_the_data(
    daemon: Daemon, client: Client
) -> None:
    client.store(ORDERS).set("k", 1)
    daemon.activate("customers", {"name": "orders", "uri": "s3://new/"})

    assert client.store("orders").get("k") is None
    with pytest.raises(InactiveAsset):
        client.store(ORDERS).get("k")

    assert client.move(ORDERS, Asset.ref(uri="s3://new/")) == 1
    assert client.store("orders").get("k") == 1


# --- catalog, trash and status


def test_the_catalog_lists_assets_with_their_state(daemon: Daemon, client: Client) -> None:
    client.store(ORDERS).set("k", 1)
    daemon.activate("customers", {"name": "new", "group": "g"})

    listed = {info.name: info for info in client.assets()}

    assert list(listed)[-1] == "new"
    assert {name: info.state for name, info in listed.items()} == {
        "orders": "inactive",
        "customers": "active",
        "new": "active",
    }
    assert listed["orders"].uri == "s3://data/orders/"
    assert listed["orders"].entries == 1
    assert listed["new"].group == "g"
    assert listed["orders"].since.tzinfo is UTC


def test_a_catalog_longer_than_a_page_is_whole(daemon: Daemon) -> None:
    names = [f"asset-{number:04}" for number in range(1_234)]
    daemon.activate("orders", "customers", *names)

    with daemon.client() as client:
        assert {info.name for info in client.assets()} == {"orders", "customers", *names}
        found = client.resolve(names)
        assert found == [assetstore.AssetRef(name, name) for name in names]


def test_references_are_resolved_to_name_and_uri(shared_client: Client) -> None:
    exact = assetstore.AssetRef("orders", "s3://data/orders/")

    assert shared_client.resolve(
        ["orders", ORDERS, Asset.ref(uri="s3://data/orders/"), "nobody"]
    ) == [
        exact,
        exact,
        exact,
        None,
    ]
    assert shared_client.resolve([]) == []


def test_status_tells_how_the_daemon_is(shared_daemon: Daemon, shared_client: Client) -> None:
    status = shared_client.status()

    assert status["health"] == "ok"
    assert status["version"] == assetstore.__version__
    assert status["socket"] == str(shared_daemon.socket)
    assert status["assets_active"] == 3
    assert status["manifest"]["state"] == "accepted"


def test_a_manifest_is_reloaded_and_a_held_one_accepted(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon()
    daemon.set_manifest("a", "b", "c", "d")
    with daemon.start().client() as client:
        daemon.set_manifest("a")
        held = client.reload_manifest()["manifest"]["held"]
        assert (held["activates"], held["deactivates"]) == (0, 3)
        assert client.store("b").count() == 0

        assert client.accept_manifest(held["digest"])["manifest"]["state"] == "accepted"
        with pytest.raises(InactiveAsset):
            client.store("b").count()


def test_trash_is_purged_for_good(client: Client) -> None:
    store = client.store(ORDERS)
    store.set("k", 1)
    store.clear()
    [trashed] = client.trash()
    assert trashed.size_bytes > 0

    assert client.purge([trashed.id, 999_999]) == 1
    assert list(client.trash()) == []
    assert client.purge([]) == 0


def test_a_sweep_drops_what_is_past_its_grace_and_says_what(
    make_daemon: Callable[..., Daemon],
) -> None:
    with make_daemon(grace="0s", sweep_interval="1h").start().client() as client:
        client.store("orders").set("k", 1)
        client.store("orders").clear()

        [would] = client.sweep(dry_run=True)
        assert list(client.trash()) == [would]
        [dropped] = client.sweep()

        assert (would.name, dropped.id) == ("orders", would.id)
        assert list(client.trash()) == []
        assert client.sweep() == []


@pytest.mark.parametrize("trash_id", [None, "1", 1.0, True])
def test_an_id_of_the_trash_is_an_int(shared_client: Client, trash_id: Any) -> None:
    with pytest.raises(TypeError, match="trash id must be an int"):
        shared_client.restore(trash_id)
    with pytest.raises(TypeError, match="trash id must be an int"):
        shared_client.purge([trash_id])


@pytest.mark.parametrize("trash_id", [-1, 2**63])
def test_an_id_that_no_trash_can_have_is_refused(shared_client: Client, trash_id: int) -> None:
    with pytest.raises(InvalidRequest, match="no id of the trash"):
        shared_client.restore(trash_id)


# --- connecting


def test_the_variable_names_the_socket(
    shared_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASSETSTORE_SOCKET", str(shared_daemon.socket))

    with assetstore.connect() as client:
        assert client.store("orders").set("k", 1) > 0


def test_the_daemon_of_the_user_is_found_without_being_named(
    shared_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime_dir = shared_daemon.socket.parent
    (runtime_dir / "assetstore").mkdir()
    (runtime_dir / "assetstore" / "assetstored.sock").symlink_to(shared_daemon.socket)
    monkeypatch.delenv("ASSETSTORE_SOCKET", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime_dir))

    with assetstore.connect() as client:
        assert client.status()["pid"] == shared_daemon.status()["pid"]


def test_a_client_connects_on_first_use(make_daemon: Callable[..., Daemon]) -> None:
    daemon = make_daemon()
    with daemon.client() as client:
        store = client.store("orders")
        daemon.start()

        assert store.set("k", 1) > 0


def test_a_restart_of_the_daemon_is_not_seen(daemon: Daemon, client: Client) -> None:
    store = client.store("orders")
    store.set("k", 1)

    daemon.restart()
    assert store.delete("k") is True

    daemon.kill()
    daemon.start()
    assert store.delete("k") is False

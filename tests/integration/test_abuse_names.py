"""Names and keys that are odd, or just within or beyond a limit, end to end.

Requests are made by hand where the Python client would refuse them first.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator

import pytest
from tests.support.daemon import Daemon
from tests.support.service import Service, serving
from tests.support.wire import Wire, change, outcome, set_key

from assetstore import Asset
from assetstore import messages as m

ORDERS = m.AssetRef(name="orders")

WIDEST = "\U0010ffff"

ODD_TEXTS = {
    "a space": " ",
    "a space behind": "orders ",
    "a space before": " orders",
    "upper case": "ORDERS",
    "a path upwards": "../orders",
    "the root": "/",
    "here": ".",
    "a NUL": "\0",
    "a NUL inside": "orders\0",
    "a newline": "or\nders",
    "an option": "--help",
    "a control sequence": "\x1b[2J\x1b]0;title\x07",
    "composed": unicodedata.normalize("NFC", "größe"),
    "decomposed": unicodedata.normalize("NFD", "größe"),
    "right to left": "\u202esredro",
    "Arabic": "طلبات",
    "a zero-width joiner": "or\u200dders",
    "a byte order mark": "\ufefforders",
    "an emoji": "😀",
    "a noncharacter": "\uffff",
    "the last code point": WIDEST,
    "a private sub-database": "s0000000001",
    "a wildcard": "%*?[o]",
    "a quote": "'\"`$(reboot)",
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service, service.undisturbed():
        yield service


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    with Wire(service.socket).greet() as wire:
        wire.ask(change(1, m.ClearStore(ORDERS)))
        yield wire


def code_of(answer: m.AnyAnswer) -> str:
    assert isinstance(answer, m.Failed), answer
    assert answer.id != 0
    return answer.code


# --- names


def test_assets_whose_names_look_alike_or_strange_are_assets_of_their_own(service: Service) -> None:
    names = [*ODD_TEXTS.values(), "x" * 1_500, "x" * 1_499 + "y", WIDEST * 1_500]
    names += ["x" * 511, "x" * 512, "x" * 510 + "\0"]
    service.daemon.activate("orders", "customers", *names)

    with service.daemon.client() as client:
        for number, name in enumerate(names):
            client.store(name).set("k", number)

        assert [client.store(name).get("k") for name in names] == list(range(len(names)))
        assert [list(client.store(Asset(name)).keys()) for name in names] == [["k"]] * len(names)
        listed = {info.name: info.entries for info in client.assets()}
        assert {name: listed[name] for name in names} == dict.fromkeys(names, 1)


@pytest.mark.parametrize(
    "ref",
    [
        m.AssetRef(name=""),
        m.AssetRef(uri=""),
        m.AssetRef(name="x" * 1_501),
        m.AssetRef(uri=WIDEST * 1_501),
        m.AssetRef(name="orders", uri=""),
        m.AssetRef(),
    ],
    ids=["empty name", "empty uri", "long name", "long uri", "empty uri of two", "nothing"],
)
def test_a_reference_that_names_nothing_is_an_invalid_request(wire: Wire, ref: m.AssetRef) -> None:
    for request in (
        m.Get(1, None, ref, "k"),
        set_key(1, ref, "k", b"1"),
        change(1, m.DeleteKey(ref, "k", None)),
        change(1, m.ClearStore(ref)),
        m.Keys(1, None, ref, "", None, 10),
        m.Items(1, None, ref, "", None, 10),
        m.Count(1, None, ref, "", None),
        m.Resolve(1, None, [ORDERS, ref]),
        change(1, m.MoveStore(ref, ORDERS, False)),
        change(1, m.MoveStore(ORDERS, ref, False)),
    ):
        assert code_of(wire.ask(request)) == "invalid_request"


@pytest.mark.parametrize("name", ["unknown", "orders\0\0", "Orders", "x" * 1_498])
def test_an_asset_that_is_not_in_the_manifest_is_unknown_to_every_request(
    wire: Wire, name: str
) -> None:
    ref = m.AssetRef(name=name)
    for request in (
        m.Get(1, None, ref, "k"),
        set_key(1, ref, "k", b"1"),
        change(1, m.DeleteKey(ref, "k", None)),
        change(1, m.ClearStore(ref)),
        m.Keys(1, None, ref, "", None, 10),
        m.Items(1, None, ref, "", None, 10),
        m.Count(1, None, ref, "", None),
        change(1, m.MoveStore(ref, ORDERS, False)),
        change(1, m.MoveStore(ORDERS, ref, False)),
    ):
        assert code_of(wire.ask(request)) == "unknown_asset"


def test_an_asset_that_leaves_and_returns_between_two_requests_of_a_connection(
    make_daemon: Callable[..., Daemon],
) -> None:
    daemon = make_daemon(grace="1h").start()
    get, put = m.Get(1, None, ORDERS, "k"), set_key(2, ORDERS, "k", b'"old"')
    with Wire(daemon.socket).greet() as wire:
        wire.ask(put)

        daemon.activate("customers")
        assert code_of(wire.ask(get)) == "inactive_asset"
        assert code_of(wire.ask(put)) == "inactive_asset"

        daemon.activate("customers", {"name": "orders", "uri": "s3://data/orders/"})
        assert wire.ask(get).entry.value == b'"old"'  # type: ignore[union-attr]

        daemon.activate("customers")
        (trash,) = wire.ask(m.ListTrash(3, None, 0, 10)).stores  # type: ignore[union-attr]
        assert outcome(wire.ask(change(4, m.PurgeStores([trash.id])))).count == 1
        assert code_of(wire.ask(get)) == "inactive_asset"

        daemon.activate("customers", {"name": "orders", "uri": "s3://data/orders/"})
        assert wire.ask(get) == m.Absent(1)
        assert wire.ask(m.Get(5, None, m.AssetRef(name="customers"), "k")) == m.Absent(5)


# --- keys


def test_any_characters_make_a_key(service: Service) -> None:
    keys = [*ODD_TEXTS.values(), "\0" * 512, WIDEST * 512, "k" * 512, "é" * 512]
    keys += ["k" * 511, "k" * 510 + "é", "\x7f" * 511, "\ufffd" * 512]
    with service.daemon.client() as client:
        store = client.store("orders")
        store.clear()
        for number, key in enumerate(keys):
            store.set(key, number)

        assert [store.get(key) for key in keys] == list(range(len(keys)))
        assert list(store.keys()) == sorted(keys, key=str.encode)
        assert [key for key in keys if not store.delete(key)] == []
        assert list(store.items()) == []


@pytest.mark.parametrize("key", ["", "k" * 513, WIDEST * 513, "\0" * 513])
def test_a_key_beyond_the_limits_is_an_invalid_request(wire: Wire, key: str) -> None:
    for request in (
        m.Get(1, None, ORDERS, key),
        set_key(1, ORDERS, key, b"1"),
        change(1, m.DeleteKey(ORDERS, key, None)),
        m.Keys(1, None, ORDERS, "", key, 10),
        m.Items(1, None, ORDERS, "", key, 10),
        m.Count(1, None, ORDERS, "", key),
    ):
        assert code_of(wire.ask(request)) == "invalid_request"
    if key:
        assert code_of(wire.ask(m.Keys(1, None, ORDERS, key, None, 10))) == "invalid_request"


def test_listings_are_right_around_the_place_where_long_keys_are_cut(
    service: Service, seed: int
) -> None:
    rng = random.Random(seed)
    stems = ["k" * 470, "k" * 477 + "é", "k" * 478, "😀" * 119, "😀" * 120, "k" * 476]
    keys = {
        (stem + "".join(rng.choices("\0ak~é😀" + WIDEST, k=rng.randrange(42))))[:512]
        for stem in stems
        for _ in range(40)
    } | {"a", "k" * 400, "z", WIDEST}
    ordered = sorted(keys, key=str.encode)
    with service.daemon.client() as client:
        store = client.store("orders")
        store.clear()
        for key in rng.sample(ordered, len(ordered)):
            store.set(key, key)
        raw = [key.encode() for key in ordered]

        for _ in range(60):
            whole = rng.choice(ordered)
            prefix = whole[: rng.randrange(len(whole) + 1)]
            after = rng.choice(
                [None, rng.choice(ordered), whole[: rng.randrange(1, len(whole) + 1)]]
            )
            low = (after or "").encode()
            expected = [
                key
                for key, its in zip(ordered, raw, strict=True)
                if its.startswith(prefix.encode()) and its > low
            ]

            assert list(store.keys(prefix, after=after)) == expected
            limit = rng.randrange(1, 50)
            found = store.items(prefix, after=after, limit=limit)
            assert list(found) == [(key, key) for key in expected[:limit]]
            assert store.count(prefix) == sum(its.startswith(prefix.encode()) for its in raw)


def test_pages_put_together_are_the_whole_however_small_they_are(wire: Wire) -> None:
    keys = sorted(["p" * 478 + chr(0x100 + n) * 20 for n in range(30)], key=str.encode)
    keys += [f"q{n:03}" for n in range(30)]
    wire.send_messages(*[set_key(n, ORDERS, key, b"1") for n, key in enumerate(keys, 1)])
    assert {type(wire.answer()) for _ in keys} == {m.Changed}
    for limit in (1, 7, 1_000, 2**31 - 1):
        pages: list[str] = []
        more = True
        while more:
            page = wire.ask(m.Keys(1, None, ORDERS, "", pages[-1] if pages else None, limit))
            assert isinstance(page, m.KeyPage)
            assert len(page.keys) <= limit
            pages += page.keys
            more = page.more

        assert pages == keys


def test_a_page_ends_early_when_it_is_long(wire: Wire) -> None:
    value = b'"' + b"x" * 99_998 + b'"'
    for number in range(10):
        wire.ask(set_key(1, ORDERS, f"k{number}", value))

    page = wire.ask(m.Items(1, None, ORDERS, "", None, 1_000))

    assert isinstance(page, m.ItemPage)
    # Fewer where the machine is busy, for it ends by time too.
    assert 1 <= len(page.items) <= 3
    assert page.more


def test_a_place_to_go_on_from_may_be_any_key_there_is_or_not(wire: Wire) -> None:
    for key in ("a", "b", "c"):
        wire.ask(set_key(1, ORDERS, key, b"1"))

    for after, expected in [("a", ["b", "c"]), ("a\0", ["b", "c"]), ("c", []), (WIDEST, [])]:
        assert wire.keys(ORDERS, after) == expected
    assert wire.ask(m.Assets(1, None, 2**63 - 1, 10)) == m.AssetPage(1, [], None)
    assert wire.ask(m.ListTrash(1, None, 2**63 - 1, 10)) == m.TrashPage(1, [], None)
    assert wire.ask(m.Sweep(1, None, 2**63 - 1, True)) == m.TrashPage(1, [], None)
    assert code_of(wire.ask(change(1, m.RestoreStore(2**63 - 1)))) == "invalid_request"
    assert outcome(wire.ask(change(1, m.PurgeStores([2**63 - 1, 0])))).count == 0


def test_more_references_than_a_resolve_takes_are_refused_not_dropped(wire: Wire) -> None:
    assert len(wire.ask(m.Resolve(1, None, [ORDERS] * 100)).assets) == 100  # type: ignore[union-attr]
    assert code_of(wire.ask(m.Resolve(1, None, [ORDERS] * 101))) == "invalid_request"

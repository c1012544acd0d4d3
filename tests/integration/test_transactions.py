"""Several changes as one, with a real daemon: all or nothing, and seen whole. With both clients."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.support.daemon import Daemon

from assetstore import Client, Conflict, InactiveAsset, InvalidRequest, UnknownAsset

ASSETS = ("orders", "customers", "invoices")

Step = Callable[[Any], object]


def carry_out(client: Any, *steps: Step) -> None:
    """One transaction of these steps."""
    with client.transaction() as tx:
        for step in steps:
            step(tx)


def set_in(name: str) -> Step:
    return lambda tx: tx.store(name).set("k", 1)


def test_changes_of_several_assets_happen_together(each_client: Any) -> None:
    each_client.store("orders").set("old", 1)
    each_client.store("customers").set("n", 5)

    with each_client.transaction() as tx:
        created = tx.store("orders").create("cursor", "2026-01-31")
        gone = tx.store("orders").delete("old")
        counted = tx.store("customers").increment("n", 2)
        advanced = tx.store("invoices").advance("cursor", 7)
        merged = tx.store("invoices").merge("m", {"a": 1})
        nothing = tx.store("invoices").delete("absent")

    assert each_client.store("orders").get("cursor") == "2026-01-31"
    assert each_client.store("orders").entry("cursor").revision == created.result()
    assert (gone.result(), counted.result(), nothing.result()) == (True, 7, False)
    assert (advanced.result().applied, advanced.result().entry.value) == (True, 7)
    assert merged.result() == {"a": 1}
    # One range of revisions, and nobody else's among them.
    assert tx.revision == created.result() + 4
    events = list(each_client.log(limit=5))
    assert [event.revision for event in events] == list(range(tx.revision, tx.revision - 5, -1))
    assert len({event.updated_at for event in events}) == 1


def test_later_operations_see_what_earlier_ones_did(each_client: Any) -> None:
    with each_client.transaction() as tx:
        store = tx.store("orders")
        store.set("n", 1)
        total = store.increment("n", 10)
        cleared = store.clear()
        again = store.create("n", "new")

    assert (total.result(), cleared.result()) == (11, 1)
    assert each_client.store("orders").get("n") == "new"
    assert each_client.store("orders").entry("n").revision == again.result()


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda tx: tx.store("customers").create("there", 1), id="create"),
        pytest.param(lambda tx: tx.store("customers").check("there", 0), id="check"),
        pytest.param(lambda tx: tx.store("customers").set("there", 2, if_revision=1), id="set"),
        pytest.param(lambda tx: tx.store("customers").delete("x", if_revision=1), id="delete"),
    ],
)
def test_one_condition_that_does_not_hold_fails_all_of_it(each_client: Any, spoil: Step) -> None:
    each_client.store("customers").set("there", 1)
    before = next(each_client.log(limit=1)).revision

    with pytest.raises(Conflict) as caught:
        carry_out(each_client, set_in("orders"), spoil, set_in("invoices"))

    assert caught.value.detail["operation"] == 1
    assert [each_client.store(name).count() for name in ASSETS] == [0, 1, 0]
    assert next(each_client.log(limit=1)).revision == before


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda tx: tx.store("unheard-of").set("k", 1), UnknownAsset),
        (lambda tx: tx.store("customers").increment("text"), InvalidRequest),
        (lambda tx: tx.store("customers").set("k", "x" * 2**20), InvalidRequest),
    ],
)
def test_one_change_that_is_refused_fails_all_of_it(
    each_client: Any, spoil: Step, error: type[Exception]
) -> None:
    each_client.store("customers").set("text", "seven")

    with pytest.raises(error):
        carry_out(each_client, set_in("orders"), spoil)

    assert each_client.store("orders").count() == 0


def test_an_exception_in_the_block_leaves_everything_as_it_was(each_client: Any) -> None:
    with pytest.raises(ZeroDivisionError), each_client.transaction() as tx:
        tx.store("orders").set("k", 1 // 0)

    assert each_client.store("orders").count() == 0


def test_a_check_alone_writes_nothing_and_guards_what_was_read(each_client: Any) -> None:
    store = each_client.store("orders")
    seen = store.set("config", "a")

    with each_client.transaction() as tx:
        tx.store("orders").check("config", seen)
        tx.store("orders").check("absent", 0)
    assert tx.revision is None

    store.set("config", "b")
    with pytest.raises(Conflict) as caught:
        carry_out(
            each_client, lambda tx: tx.store("orders").check("config", seen), set_in("customers")
        )
    assert caught.value.entry.value == "b"


def test_a_thousand_operations_are_one_transaction(each_client: Any) -> None:
    with each_client.transaction() as tx:
        for number in range(1_000):
            tx.store("orders").set(f"k{number:03}", number)

    assert each_client.store("orders").count() == 1_000
    assert each_client.store("orders").entry("k999").revision == tx.revision


def test_no_reader_sees_a_part_of_one(daemon: Daemon) -> None:
    daemon.activate("orders", "customers", "invoices")
    ended = threading.Event()
    torn: list[Any] = []
    seen: set[int] = set()

    def read() -> None:
        with daemon.client() as client:
            while not ended.is_set():
                entries = client.get_many([(name, "n") for name in ASSETS])
                values = {None if entry is None else entry.value for entry in entries}
                if len(values) > 1:
                    torn.append(values)
                seen.update(each for each in values if each is not None)

    readers = [threading.Thread(target=read) for _ in range(2)]
    with daemon.client() as client:
        for reader in readers:
            reader.start()
        for number in range(300):
            with client.transaction() as tx:
                for name in ASSETS:
                    tx.store(name).set("n", number)
        ended.set()
        for reader in readers:
            reader.join()

    assert torn == []
    assert len(seen) > 3


def test_a_transaction_that_was_acknowledged_survives_kill_9(daemon: Daemon) -> None:
    with daemon.client() as client:
        with client.transaction() as tx:
            tx.store("orders").set("k", 1)
            tx.store("customers").set("k", 2)

        daemon.kill()
        daemon.start()

        entries = client.get_many([("orders", "k"), ("customers", "k")])
        assert [entry and entry.value for entry in entries] == [1, 2]
        assert max(entry.revision for entry in entries if entry) == tx.revision


def test_all_of_it_is_refused_where_one_asset_is_inactive(daemon: Daemon) -> None:
    daemon.activate("orders")
    with daemon.client() as client:
        with pytest.raises(InactiveAsset):
            carry_out(client, set_in("orders"), set_in("customers"))

        assert client.store("orders").count() == 0


def test_a_mapping_is_updated_at_once_where_it_fits_and_in_parts_where_not(
    shared_client: Client,
) -> None:
    store = shared_client.store("orders")

    store.update({f"k{number:03}": number for number in range(1_000)})
    assert len({entry.updated_at for entry in store.entries()}) == 1

    # Three commits: more than 1,000 keys, and more than fits one frame.
    store.update({f"k{number:04}": "x" for number in range(1_500)})
    store.update((f"large{number}", "x" * 300_000) for number in range(9))
    store.update([("a", 1)], b=2)
    assert store.count("k0") == 1_500 - 500 + 100
    assert store.count("large") == 9
    assert store.get_many(["a", "b"]) == {"a": 1, "b": 2}
    with pytest.raises(InvalidRequest, match="the limit is 1,048,576"):
        store.update({"small": 1, "large": "x" * 2**20})
    assert "small" not in store


def test_of_many_who_pop_a_key_one_gets_its_value(daemon: Daemon) -> None:
    with daemon.client() as client:
        store = client.store("orders")
        popped: list[Any] = []

        def work() -> None:
            for number in range(30):
                if (value := store.pop(f"k{number}", None)) is not None:
                    popped.append(value)

        store.update({f"k{number}": number for number in range(30)})
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(popped) == list(range(30))


def test_of_many_who_pop_items_each_gets_another(daemon: Daemon) -> None:
    with daemon.client() as client:
        store = client.store("orders")
        store.update({f"k{number:02}": number for number in range(40)})
        popped: list[Any] = []

        def work() -> None:
            for _ in range(10):
                popped.append(store.popitem())

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(popped) == [(f"k{number:02}", number) for number in range(40)]


def test_set_default_is_one_step(daemon: Daemon) -> None:
    with daemon.client() as client:
        store = client.store("orders")
        start = threading.Barrier(8)
        found: list[int] = []

        def work(number: int) -> None:
            start.wait(20.0)
            found.append(store.setdefault("k", number))

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert found == [store["k"]] * 8
        assert store.setdefault("k") == found[0]
        with pytest.raises(InvalidRequest, match="Cannot set value as None"):
            store.setdefault("absent")

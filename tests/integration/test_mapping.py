"""The blocking store as a MutableMapping; the judge is the test suite of Python's own mappings.

That suite makes its mappings with tuples for values, which no store takes: ``_reference`` gives it
others. Its tests that write int keys or None are in a class for dicts alone, which is left out.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest

from assetstore import Client, InvalidRequest, Store

mapping_tests = pytest.importorskip(
    "test.mapping_tests", reason="this Python comes without its own tests"
)


class TestStoreAsMapping(mapping_tests.BasicTestMappingProtocol):  # type: ignore[misc, name-defined]
    """Python's tests of a mapping; there is one store, as there is one os.environ."""

    @pytest.fixture(autouse=True)
    def _take(self, store: Store) -> None:
        self.store = store

    def type2test(self) -> Store:
        """What ``dict()`` would be: the store, with nothing in it."""
        self.store.clear()
        return self.store

    def _reference(self) -> dict[str, Any]:
        return {"1": "2", "key1": "value1", "key2": "value2"}


# --- and what those do not ask


def test_a_store_is_a_mutable_mapping(store: Store) -> None:
    assert isinstance(store, MutableMapping)


def test_an_absent_key_is_a_key_error(store: Store) -> None:
    with pytest.raises(KeyError, match="absent"):
        store["absent"]
    with pytest.raises(KeyError, match="absent"):
        del store["absent"]


def test_brackets_set_get_and_delete(store: Store) -> None:
    store["k"] = {"a": [1]}
    assert store["k"] == {"a": [1]}

    store["k"] = 2
    assert (store["k"], len(store), list(store)) == (2, 1, ["k"])

    del store["k"]
    assert "k" not in store
    assert not store


@pytest.mark.parametrize("key", [7, None, b"k", ("k",)])
def test_what_is_no_str_is_not_in_the_store(store: Store, key: object) -> None:
    store["k"] = 1

    assert key not in store
    assert not store.keys().__contains__(key)


@pytest.mark.parametrize("key", ["", "x" * 513, "\ud800"])
def test_a_str_that_can_be_no_key_is_refused_by_in_as_by_get(store: Store, key: str) -> None:
    with pytest.raises(InvalidRequest):
        store.__contains__(key)
    with pytest.raises(InvalidRequest):
        store[key]


def test_a_key_that_begins_another_is_not_taken_for_it(store: Store) -> None:
    store["ab"] = 1

    assert "a" not in store
    assert "ab" in store
    assert "abc" not in store


def test_clear_and_get_keep_their_own_meaning(store: Store) -> None:
    store.update(a=1, b=2)

    assert store.get("c", default=3) == 3
    assert store.clear() == 2


def test_pop_popitem_and_setdefault_are_those_of_a_dict(store: Store) -> None:
    store.update(a=1, b=2)

    assert store.pop("a") == 1
    assert store.pop("a", "gone") == "gone"
    with pytest.raises(KeyError):
        store.pop("a")
    assert store.setdefault("c", 3) == 3
    assert store.setdefault("c", 4) == 3
    assert {store.popitem(), store.popitem()} == {("b", 2), ("c", 3)}
    with pytest.raises(KeyError):
        store.popitem()


def test_a_store_equals_a_mapping_of_the_same_content(store: Store, shared_client: Client) -> None:
    store.update(a=1, b=[2])
    other = shared_client.store("customers")

    assert store == {"a": 1, "b": [2]}
    assert store != {"a": 1}
    assert store != other
    other.update(store)
    assert store == other


def test_views_are_those_of_a_dict_and_see_what_changes(store: Store) -> None:
    keys: Any = store.keys()
    values: Any = store.values()
    items: Any = store.items()
    store.update(b=2, a=1)

    assert list(keys) == ["a", "b"]
    assert list(values) == [1, 2]
    assert list(items) == [("a", 1), ("b", 2)]
    assert (len(keys), len(values), len(items)) == (2, 2, 2)
    assert keys & {"a", "z"} == {"a"}
    assert keys | {"z"} == {"a", "b", "z"}
    assert keys == {"a", "b"}
    assert "a" in keys
    assert 1 in values
    assert 7 not in values
    assert ("a", 1) in items
    assert ("a", 2) not in items
    assert ("z", 1) not in items
    assert "a" not in items
    assert items == {("a", 1), ("b", 2)}


def test_a_view_of_some_keys_knows_no_others(store: Store) -> None:
    store.update({"a/1": 1, "a/2": 2, "b/1": 3})

    some = store.keys("a/")
    assert (len(some), "a/1" in some, "b/1" in some) == (2, True, False)
    later = store.keys(after="a/1")
    assert (len(later), "a/1" in later, "a/2" in later) == (2, False, True)
    first = store.keys(limit=1)
    assert (len(first), "a/1" in first, "a/2" in first) == (1, True, False)
    pairs = store.items("b/")
    assert (len(pairs), ("b/1", 3) in pairs, ("a/1", 1) in pairs) == (1, True, False)
    one = store.items(limit=1)
    assert (len(one), ("a/1", 1) in one, ("a/2", 2) in one) == (1, True, False)


def test_stores_and_views_show_what_they_are(store: Store) -> None:
    assert repr(store) == "<Store of 'orders' (s3://data/orders/)>"
    assert repr(store.keys("a", limit=3)) == f"{store!r}.keys(prefix='a', limit=3)"
    assert repr(store.items()) == f"{store!r}.items()"
    assert repr(store.values()) == f"{store!r}.values()"

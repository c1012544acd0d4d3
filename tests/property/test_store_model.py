"""The store against a plain model of it: random changes, and everything is compared."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.store import Store

from assetstore.errors import InactiveAsset, UnknownAsset
from assetstore.messages import AssetRef
from assetstored import engine, jobs

NAMES = ["a", "b", "c", "d", "ä/ö", "e"]

# Short ones, and ones beyond LMDB's 511 bytes that share their beginning with others.
KEYS = [
    "k",
    "k1",
    "k2",
    "l",
    "\0",
    "\U0010ffff",
    *("x" * n for n in (477, 478, 479, 480, 510, 511, 512)),
    *("ü" * 239 + tail for tail in ("", "a", "b", "ü", "ü" * 200, "ü" * 200 + "a")),
    *("y" * 478 + tail for tail in ("a", "b" * 34, "c")),
    *("z€" * 128 + c * n for c in "ab" for n in (1, 100, 256)),
]


class Model:
    """What the store should hold, in dicts."""

    def __init__(self) -> None:
        self.active: dict[str, dict[str, bytes]] = {}
        self.waiting: dict[str, dict[str, bytes]] = {}
        self.cleared: list[tuple[str, dict[str, bytes]]] = []
        self.known: set[str] = set()

    def apply(self, store: Store, rng: random.Random) -> str:
        """One random change, in the model and in the store; returns what it was."""
        name, key = rng.choice(NAMES), rng.choice(KEYS)
        action = rng.choices(
            ["put", "remove", "clear", "activate", "deactivate", "restore", "move", "drop"],
            [40, 15, 3, 12, 5, 4, 4, 3],
        )[0]
        getattr(self, action)(store, rng, name, key)
        return f"{action} {name!r} {key[:10]!r}"

    def put(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        # Small ones within a page, and ones that take overflow pages of their own.
        value = b'"%s"' % (b"v" * rng.choice([0, 1, 40, 2_000, 2_047, 4_080, 9_000]))
        if name in self.active:
            store.put(name, key, value)
            self.active[name][key] = value
        elif name in self.known:
            with pytest.raises(InactiveAsset):
                store.put(name, key, value)

    def remove(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        if name in self.active:
            assert store.remove(name, key) is (self.active[name].pop(key, None) is not None)

    def clear(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        if name in self.active:
            assert store.clear(name) == len(self.active[name])
            if self.active[name]:
                self.cleared.append((name, self.active[name]))
                self.active[name] = {}

    def activate(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        store.activate(name)
        self.known.add(name)
        if name not in self.active:
            self.active[name] = self.waiting.pop(name, {})

    def deactivate(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        store.deactivate(name)
        if name in self.active and (entries := self.active.pop(name)):
            self.waiting[name] = entries

    def restore(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        trash = [item for item in store.trash() if item[2] != "deactivated"]
        if not trash:
            return
        trash_id, owner, _, _ = rng.choice(trash)
        place = [item for item in self.cleared if item[0] == owner]
        if owner not in self.active:
            with pytest.raises(InactiveAsset):
                store.do(jobs.Restore(trash_id))
            return
        index = [item[0] for item in trash if item[1] == owner].index(trash_id)
        _, entries = place[index]
        assert store.do(jobs.Restore(trash_id)) == [owner, owner, len(entries)]
        self.cleared.remove(place[index])
        if self.active[owner]:
            self.cleared.append((owner, self.active[owner]))
        self.active[owner] = entries

    def move(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        target = rng.choice(NAMES)
        if target == name or target not in self.active or name not in self.known:
            return
        entries = self.active.get(name, self.waiting.get(name))
        if not entries:
            return
        job = jobs.Relink(store.asset_id(name), store.asset_id(target), replace=True)
        assert store.do(job) == len(entries)
        if self.active[target]:
            self.cleared.append((target, self.active[target]))
        self.active[target] = entries
        self.waiting.pop(name, None)
        if name in self.active:
            self.active[name] = {}

    def drop(self, store: Store, rng: random.Random, name: str, key: str) -> None:
        trash = store.trash()
        if not trash:
            return
        trash_id, owner, reason, _ = rng.choice(trash)
        if reason == "deactivated":
            del self.waiting[owner]
        else:
            same = [item[0] for item in trash if item[1] == owner and item[2] != "deactivated"]
            place = [item for item in self.cleared if item[0] == owner]
            self.cleared.remove(place[same.index(trash_id)])
        store.drop(trash_id)

    def compare(self, store: Store) -> None:
        """Everything that can be read is as the model has it."""
        for name in NAMES:
            if name in self.active:
                assert store.contents(name) == self.active[name]
                assert store.reader.count(AssetRef(name), "", None) == (
                    len(self.active[name]),
                    None,
                )
                for prefix in ("k", "x" * 478, "ü" * 239, "ü" * 240, "y" * 478 + "b"):
                    expected = sorted(
                        (k for k in self.active[name] if k.startswith(prefix)),
                        key=lambda k: k.encode(),
                    )
                    assert store.reader.keys(AssetRef(name), prefix, None, 100) == (expected, False)
                    assert store.reader.count(AssetRef(name), prefix, None)[0] == len(expected)
            else:
                with pytest.raises(InactiveAsset if name in self.known else UnknownAsset):
                    store.reader.keys(AssetRef(name), "", None, 1)
        waiting = sorted((n, "deactivated", len(e)) for n, e in self.waiting.items())
        cleared = sorted((n, len(e)) for n, e in self.cleared)
        trash = store.trash()
        assert sorted((n, r, e) for _, n, r, e in trash if r == "deactivated") == waiting
        assert sorted((n, e) for _, n, r, e in trash if r != "deactivated") == cleared


def test_any_sequence_of_changes_leaves_what_a_plain_model_of_it_holds(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    model = Model()
    store = Store(tmp_path)
    try:
        for step in range(1_500):
            done = model.apply(store, rng)
            if step % 50 == 0:
                model.compare(store)
            if step % 400 == 399:
                store.close()
                store.open()
            print(step, done)
        model.compare(store)
    finally:
        store.close()
    assert engine.verify(str(tmp_path)) == []

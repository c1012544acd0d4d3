"""Whatever happens to a store: while it has the fingerprint of a manifest, its active assets are
those of that manifest, so a comparison would find nothing to do."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tests.support.store import Store

from assetstore.errors import Refused
from assetstore.manifest import Manifest, ManifestAsset, difference
from assetstored import jobs, proposal

NAMES = "abcdefgh"


def random_manifest(rng: random.Random, number: int) -> Manifest:
    names = rng.sample(NAMES, rng.randrange(1, len(NAMES)))
    uris = rng.sample(NAMES, len(names)) if rng.random() < 0.3 else names
    pairs = zip(names, uris, strict=True)
    assets = [ManifestAsset(name, uri, rng.choice([None, "g"])) for name, uri in pairs]
    return Manifest(assets, f"digest {number}")


def active(store: Store) -> list[ManifestAsset]:
    return [ManifestAsset(*fields) for fields in store.reader.active_assets()]


def change_a_store(store: Store, rng: random.Random) -> None:
    """What clients and operators do to stores; much of it is refused."""
    name, other = rng.sample(NAMES, 2)
    try:
        match rng.randrange(5):
            case 0:
                store.put(name, "k", b"1")
            case 1:
                store.clear(name)
            case 2:
                operation = jobs.MoveStore(store.asset_id(name), store.asset_id(other), True)
                store.operate(operation)
            case 3 if store.trash():
                store.operate(jobs.RestoreStore(rng.choice(store.trash())[0]))
            case 4 if store.trash():
                store.drop(rng.choice(store.trash())[0])
    except Refused:
        pass


def test_a_fingerprint_stands_only_while_its_manifest_is_active(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposal, "SLICE_CHANGES", 3)
    rng = random.Random(seed)
    manifests: dict[bytes, Manifest] = {}
    finished = withdrawn = 0
    with Store(tmp_path) as store:
        store.activate(*NAMES)
        store.deactivate(*NAMES)
        for number in range(400):
            for _ in range(rng.randrange(4)):
                change_a_store(store, rng)
            if manifests and rng.random() < 0.3:
                mark = rng.choice(list(manifests))
            else:
                mark = b"mark %d" % number
                manifests[mark] = random_manifest(rng, number)
            found, parts = proposal.propose(manifests[mark], active(store), 1.0, None, mark)
            is_whole = True
            for part in parts:
                is_whole = rng.random() < 0.8
                if not is_whole:  # killed here
                    break
                store.do(jobs.ApplySlice(part))
            if is_whole:
                assert found.digest is not None
                store.do(jobs.FinishManifest(found.digest, "m.json", fingerprint=mark))
            elif rng.random() < 0.1:
                store.close()
                store.open()

            accepted = store.reader.accepted_manifest()
            if accepted is not None and accepted.fingerprint:
                finished += 1
                known = manifests[accepted.fingerprint]
                assert not difference(active(store), known.assets)
                assert accepted.assets == len(known.assets) == len(active(store))
            else:
                withdrawn += 1

    assert finished > 100
    assert withdrawn > 20

"""The manifest that is written from Airflow's assets: its text, its file, and its doubts."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from assetstore.airflow.manifest_file import manifest_text, write_manifest
from assetstore.airflow.reading import AirflowUnavailable, checked, settled
from assetstore.manifest import ManifestAsset, ManifestInvalid, parse

ORDERS = ManifestAsset("orders", "s3://data/orders/", "sales")
CUSTOMERS = ManifestAsset("customers", "customers")
ODD = ManifestAsset('nä"m\\e\n🎲', "x://\u2028", None)


def test_the_text_is_a_manifest_of_these_assets() -> None:
    manifest = parse(manifest_text([ORDERS, CUSTOMERS, ODD]), path="x.json")

    assert sorted(manifest.assets, key=str) == sorted([ORDERS, CUSTOMERS, ODD], key=str)


def test_the_order_of_the_assets_does_not_matter(seed: int) -> None:
    assets = [ManifestAsset(f"a{number}", f"u{number}") for number in range(100)]
    text = manifest_text(assets)

    random.Random(seed).shuffle(assets)

    assert manifest_text(assets) == text
    assert len(text.splitlines()) == 102


def test_a_new_file_can_be_read_by_the_daemon(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"

    written = write_manifest(str(file), [ORDERS])

    assert written.changed
    assert parse(file.read_bytes(), path="x.json").assets == [ORDERS]
    assert file.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_a_file_that_lists_the_same_is_left_alone_however_it_is_laid_out(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text('{"assets": ["customers", {"name": "b", "uri": "u"}], "version": 1}')
    before = file.stat()

    written = write_manifest(str(file), [ManifestAsset("b", "u"), CUSTOMERS])

    assert not written.changed
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("text", ["", "{", '{"version": 1, "assets": ["orders"]}'])
def test_a_file_that_lists_others_or_is_no_manifest_is_replaced(tmp_path: Path, text: str) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(text)
    file.chmod(0o640)

    assert write_manifest(str(file), [ORDERS]).changed

    assert parse(file.read_bytes(), path="x.json").assets == [ORDERS]
    assert file.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    file = tmp_path / "real.json"
    link = tmp_path / "manifest.json"
    link.symlink_to(file)

    write_manifest(str(link), [ORDERS])

    assert link.is_symlink()
    assert file.is_file()


def test_a_manifest_that_the_daemon_would_refuse_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text("as it was")

    with pytest.raises(ManifestInvalid, match="same uri"):
        write_manifest(str(file), [ManifestAsset("a", "u"), ManifestAsset("b", "u")])

    assert file.read_text() == "as it was"


def test_a_disk_that_is_full_leaves_the_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "manifest.json"
    write_manifest(str(file), [ORDERS])

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_manifest(str(file), [CUSTOMERS])

    assert parse(file.read_bytes(), path="x.json").assets == [ORDERS]
    assert os.listdir(tmp_path) == ["manifest.json"]


def test_no_assets_at_all_are_not_believed() -> None:
    with pytest.raises(AirflowUnavailable, match="no active assets"):
        checked([])

    assert checked([ORDERS, CUSTOMERS]) == [CUSTOMERS, ORDERS]


def readings(*lists: list[ManifestAsset]) -> Iterator[list[ManifestAsset]]:
    yield from lists


def test_what_two_readings_agree_on_counts() -> None:
    found = readings([ORDERS], [ORDERS, CUSTOMERS], [CUSTOMERS, ORDERS], [ORDERS])

    assert settled(lambda: next(found), 4) == [CUSTOMERS, ORDERS]


def test_assets_that_never_rest_are_not_written() -> None:
    found = readings([ORDERS], [CUSTOMERS], [ORDERS], [CUSTOMERS])

    with pytest.raises(AirflowUnavailable, match="changed all the time"):
        settled(lambda: next(found), 4)

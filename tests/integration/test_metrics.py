"""What the daemon tells a monitoring system: read by a real parser, and true."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.support.daemon import Daemon
from tests.support.tiny_disk import fill, tiny_disk
from tests.support.waiting import wait_until

from assetstore import Client, Conflict, UnknownAsset
from assetstored.key_ages import MAX_KEYS
from assetstored.meters import GETS_PER_SAMPLE

MakeDaemon = Callable[..., Daemon]


class Read(NamedTuple):
    """The metrics as the parser has them."""

    values: dict[tuple[str, tuple[tuple[str, str], ...]], float]
    types: dict[str, str]

    def __call__(self, name: str, **labels: str) -> float:
        return self.values[f"assetstore_{name}", tuple(sorted(labels.items()))]

    def all(self, name: str) -> list[dict[str, str]]:
        """The labels of all samples of this name."""
        return [dict(labels) for each, labels in self.values if each == f"assetstore_{name}"]


def read(text: str) -> Read:
    families = list(text_string_to_metric_families(text))
    samples = [sample for family in families for sample in family.samples]
    values = {(s.name, tuple(sorted(s.labels.items()))): s.value for s in samples}
    assert len(values) == len(samples), "a series is there twice"
    assert all(family.documentation for family in families)
    return Read(values, {family.name: family.type for family in families})


def test_the_numbers_are_true(daemon: Daemon, client: Client) -> None:
    before_s = time.time()
    before = read(client.metrics())
    store = client.store("orders")
    for number in range(20):
        store.set("k", number)
    for _ in range(2 * GETS_PER_SAMPLE):
        store.get("k")
    with pytest.raises(Conflict):
        store.create("k", 1)
    with pytest.raises(UnknownAsset):
        client.store("unknown").get("k")
    store.clear()

    after = read(client.metrics())

    def grown(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert grown("requests_total", kind="get") == 2 * GETS_PER_SAMPLE + 1
    assert grown("requests_total", kind="change") == 22
    assert grown("requests_total", kind="metrics") == 1
    assert grown("refusals_total", code="conflict") == 1
    assert grown("refusals_total", code="unknown_asset") == 1
    assert after("request_duration_seconds_count", kind="change") == 22
    assert after("request_duration_seconds_count", kind="get") in (2, 3)
    assert 0 < after("request_duration_seconds_sum", kind="change") < 60
    batched = grown("batch_jobs_sum", by="log") + grown("batch_jobs_sum", by="writer")
    # A conflict is a job of a batch too, unless it is alone in one, which is then not written.
    assert 21 <= batched <= 24
    assert after("log_sync_duration_seconds_count") == after("batch_jobs_count", by="log") > 0
    assert after("trash_stores") == 1
    assert after("trash_entries") == 1
    assert after("trash_bytes") > 0
    assert before_s - 1 < after("trash_oldest_timestamp_seconds") <= time.time()
    assert after("connections") == 1
    assert after("connections_accepted_total") >= 1
    assert after("manifest_state", state="accepted") == 1
    assert sum(after("manifest_state", **each) for each in after.all("manifest_state")) == 1
    assert before("start_time_seconds") == after("start_time_seconds") < time.time()
    status = client.status()
    assert after("revision") == status["revision"]
    assert after("data_file_bytes") == (daemon.data_dir / "data.mdb").stat().st_size
    assert after("log_bytes") == (daemon.data_dir / "data.wal").stat().st_size
    assert after("journal_events") == status["journal_events"]
    for process in ("serving", "writer", "syncer"):
        assert 1 << 20 < after("memory_bytes", process=process) < 1 << 30
    assert after("healthy") == (status["health"] == "ok")


def test_every_metric_is_listed_in_the_document_and_none_that_there_is_not(
    make_daemon: MakeDaemon, listed_metrics: set[str]
) -> None:
    with make_daemon(metrics_ages=["orders:k"]) as daemon, daemon.client() as client:
        client.store("orders").set("k", 1)
        client.store("customers").set("k", 1)
        client.store("customers").clear()
        client.store("orders").set("k", 2)
        wait_until(lambda: client.status()["last_sweep"], 10.0, "the first sweep")

        found = read(client.metrics())

    counters = {name for name, kind in found.types.items() if kind == "counter"}
    assert {name + "_total" * (name in counters) for name in found.types} == listed_metrics


@pytest.fixture
def listed_metrics() -> set[str]:
    """What docs/operations.md lists."""
    text = (Path(__file__).parents[2] / "docs/operations.md").read_text()
    _, _, table = text.partition("| metric | type | meaning |\n")
    cells = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines()[1:]]
    return {name.strip(" `") for cell in cells for name in cell.split(",")}


# --- ages


def test_the_ages_of_chosen_keys_follow_their_changes_and_the_manifest(
    make_daemon: MakeDaemon,
) -> None:
    daemon = make_daemon(metrics_ages=["o*:water*", "customers:state", r"o*:a\:b", "nobody:k"])
    daemon.set_manifest("orders", 'o"\\\n', "customers")
    with daemon, daemon.client() as client:
        begun = time.time()
        client.store("orders").set("watermark", 1)
        client.store("orders").set("other", 1)
        client.store('o"\\\n').set_many({"water-1": 1, "water-2": 2, "a:b": 3})

        first = read(client.metrics())

        assert {tuple(each.values()) for each in first.all("key_age_seconds")} == {
            ("orders", "watermark"),
            ('o"\\\n', "water-1"),
            ('o"\\\n', "water-2"),
            ('o"\\\n', "a:b"),
        }
        updated = first("key_updated_timestamp_seconds", asset="orders", key="watermark")
        assert begun - 0.001 <= updated <= time.time()
        assert 0 <= first("key_age_seconds", asset="orders", key="watermark") < 60
        assert first("key_ages_found", pattern="o*:water*") == 3
        assert first("key_ages_missing", pattern="o*:water*") == 0
        assert first("key_ages_missing", pattern="customers:state") == 1
        assert first("key_ages_missing", pattern=r"o*:a\:b") == 1
        assert first("key_ages_found", pattern="nobody:k") == 0
        assert first("key_ages_complete") == 1

        client.store("orders").set("watermark", 2)
        daemon.activate("orders", "customers", "orders-2")
        client.store("orders-2").set("watermark", 1)
        client.store("customers").set("state", 1)
        second = read(client.metrics())

        assert {tuple(each.values()) for each in second.all("key_age_seconds")} == {
            ("orders", "watermark"),
            ("orders-2", "watermark"),
            ("customers", "state"),
        }
        assert second("key_updated_timestamp_seconds", asset="orders", key="watermark") > updated
        assert second("key_ages_missing", pattern="customers:state") == 0


def test_more_keys_than_may_be_told_of_are_left_out_and_that_is_told(
    make_daemon: MakeDaemon,
) -> None:
    with make_daemon(metrics_ages=["orders:*"]) as daemon, daemon.client() as client:
        for start in range(0, MAX_KEYS + 1_000, 1_000):
            client.store("orders").set_many({f"k{start + n}": 1 for n in range(1_000)})

        found = read(client.metrics())

    assert len(found.all("key_age_seconds")) == MAX_KEYS
    assert found("key_ages_complete") == 0


def test_a_damaged_key_is_missing_and_the_rest_is_told(daemon: Daemon, tmp_path: Path) -> None:
    daemon.config["metrics_ages"] = ["*:k"]
    with daemon.client() as client:
        client.store("orders").set("k", "distinctive")
        client.store("customers").set("k", "fine")
    daemon.stop()
    data = (daemon.data_dir / "data.mdb").read_bytes()
    (daemon.data_dir / "data.mdb").write_bytes(data.replace(b'"distinctive"', b'"distinctivf"'))
    # The same bytes stand in the journal.
    daemon.damaged = ["asset 'orders', key 'k': its record fails", "of table 'journal' fails"]
    daemon.start()
    with daemon.client() as client:
        found = read(client.metrics())

    assert found.all("key_age_seconds") == [{"asset": "customers", "key": "k"}]
    assert found("key_ages_missing", pattern="*:k") == 1


# --- the file


def wait_until_left(directory: Path, *names: str) -> None:
    """Return when there is nothing else: at each interval a new file is there for a moment."""
    wait_until(lambda: set(os.listdir(directory)) == {*names}, 10.0, f"only {names} to be there")


def test_the_file_is_written_at_each_interval_and_told_of_when_it_cannot_be(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    directory = tmp_path / "collector"
    path = directory / "assetstore.prom"
    with make_daemon(metrics_file=str(path), metrics_interval="100ms") as daemon:

        def problems() -> Any:
            return [each for each in daemon.status()["problems"] if "metrics file" in each]

        wait_until(problems, 10.0, "the problem")
        assert problems() == [
            f"the metrics file {path} cannot be written: No such file or directory"
        ]
        assert daemon.status()["health"] == "degraded"

        directory.mkdir()
        wait_until(path.exists, 10.0, "the file")
        wait_until(lambda: not problems(), 10.0, "the problem to be gone")

        with daemon.client() as client:
            revision = client.store("orders").set("k", 1)
        wait_until(lambda: read(path.read_text())("revision") == revision, 10.0, "the next writing")
        assert path.stat().st_mode & 0o777 == 0o644
        wait_until_left(directory, path.name)
    assert daemon.log_text().count("cannot be written") == 1


def test_a_full_disk_under_the_file_harms_nobody_and_leaves_the_last_file(
    make_daemon: MakeDaemon, tmp_path: Path
) -> None:
    with tiny_disk(tmp_path / "disk") as disk:
        path = disk / "assetstore.prom"
        with make_daemon(metrics_file=str(path), metrics_interval="100ms") as daemon:
            wait_until(path.exists, 10.0, "the file")
            fill(disk)
            wait_until(lambda: daemon.status()["health"] == "degraded", 10.0, "the problem")

            assert "No space left on device" in str(daemon.status()["problems"])
            with daemon.client() as client:
                assert client.store("orders").set("k", 1) > 0
            assert read(path.read_text())("healthy") in (0, 1), "the last one that fitted is whole"
            wait_until_left(disk, "assetstore.prom", "filler")

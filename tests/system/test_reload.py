"""``systemctl reload`` reads the manifest, and answers with the verdict."""

from __future__ import annotations

from tests.system.clients import on_client, refusal
from tests.system.daemon import Daemon
from tests.system.installation import MANIFEST, SERVICE
from tests.system.machine import Machine


def test_a_reload_returns_when_the_new_manifest_counts(machine: Machine, daemon: Daemon) -> None:
    pid = daemon.status()["pid"]
    daemon.write_manifest([*daemon.ASSETS, "returns"])

    machine.systemctl("reload", SERVICE)

    assert on_client(machine, "client.store('returns').count()") == 0
    assert daemon.status()["pid"] == pid


def test_a_reload_of_a_broken_manifest_fails_says_why_and_changes_nothing(
    machine: Machine, daemon: Daemon
) -> None:
    on_client(machine, "client.store('orders').set('watermark', 3)")
    since = machine.journal_cursor()
    machine.write(MANIFEST, '{"version": 1, "assets": ["orders", "orders"]}')

    reload = machine.run("systemctl", "reload", SERVICE, may_fail=True)

    assert reload.returncode != 0
    assert machine.show(SERVICE, "ActiveState") == "active"
    assert on_client(machine, "client.store('orders').get('watermark')") == 3
    assert MANIFEST in machine.journal(SERVICE, since)


def test_sighup_reads_the_manifest_too(machine: Machine, daemon: Daemon) -> None:
    unknown = refusal(machine, "client.store('claims').count()")
    assert "UnknownAsset" in unknown
    daemon.write_manifest([*daemon.ASSETS, "claims"])

    machine.systemctl("kill", "--signal=HUP", "--kill-whom=main", SERVICE)

    # Nothing says when a signal has been heard; an asset that waits for nobody else does.
    on_client(machine, "client.reload_manifest() and client.store('claims').count()")

"""The commands of docs/operations.md, typed as they stand there, on the machine.

Rule: what is typed is taken from the document, never written here again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from tests.support.checkout import ROOT
from tests.system.clients import on_client
from tests.system.daemon import Daemon
from tests.system.installation import DATA_DIR, SERVICE, SOCKET_UNIT
from tests.system.machine import Machine

_LINK = "/usr/local/bin/assetstore"
_DROP_IN = f"/etc/systemd/system/{SERVICE}.d"
_BACKUP = "/srv/backup"
_TIMER = "assetstore-backup.timer"
_BACKUPS = f"{DATA_DIR}-backups"
_MOVED = "/srv/assetstore"


def shown(heading: str) -> list[str]:
    """The shell blocks under a heading of the document."""
    text = (ROOT / "docs/operations.md").read_text()
    _, _, section = text.partition(f"\n## {heading}\n")
    assert section, f"no heading {heading!r}"
    return re.findall(
        r"^```sh\n(.*?)^```$", section.partition("\n## ")[0], re.MULTILINE | re.DOTALL
    )


def type_in(machine: Machine, block: str) -> str:
    """What the commands print; each of them must succeed."""
    return machine.run("sh", "-euc", block, timeout_s=120).stdout


@pytest.fixture
def desk(machine: Machine, daemon: Daemon) -> Iterator[Machine]:
    """The machine with the command where the document puts it; as it was before, afterwards."""
    for line in shown("Install")[0].splitlines():
        if line.startswith("ln -s "):
            machine.run(*line.split())
    assert machine.run("test", "-x", _LINK, may_fail=True).returncode == 0
    yield machine
    machine.systemctl("stop", SOCKET_UNIT, SERVICE)
    machine.systemctl("disable", "--now", _TIMER)
    machine.run("rm", "-rf", _LINK, _DROP_IN, _BACKUP, _BACKUPS, _MOVED)
    machine.run("sh", "-c", f"rm -rf {DATA_DIR}.before-*")
    machine.systemctl("daemon-reload")
    daemon.reset()
    machine.systemctl("start", SOCKET_UNIT)


def test_a_backup_that_is_restored_brings_all_back_as_it_was(desk: Machine) -> None:
    back_up, restore = shown("Back up and restore")
    kept = "[(e := client.store('orders').entry('watermark')).value, e.revision]"
    on_client(desk, "client.store('orders').set('watermark', 'then')")
    before = on_client(desk, kept)

    assert f"{_BACKUP}: revision" in type_in(desk, back_up)
    on_client(desk, "client.store('orders').set('watermark', 'later')")
    on_client(desk, "client.store('customers').set('watermark', 'later')")
    assert "health: ok" in type_in(desk, restore)

    assert on_client(desk, kept) == before
    assert on_client(desk, "client.store('customers').get('watermark')") is None
    assert desk.systemctl("is-active", _TIMER).strip() == "active"
    owner = desk.run("stat", "--format=%U:%G %a", DATA_DIR, f"{DATA_DIR}/data.mdb").stdout
    assert owner.split("\n")[:2] == ["assetstore:assetstore 700", "assetstore:assetstore 600"]


def test_the_backup_service_makes_one_backup_after_the_other(desk: Machine) -> None:
    service = "assetstore-backup.service"
    on_client(desk, "client.store('orders').set('watermark', 'kept')")

    for _ in range(2):
        desk.systemctl("start", service)

    made = desk.run("find", _BACKUPS, "-mindepth", "1", "-printf", "%U %m %f\n").stdout
    uid = desk.run("id", "--user", "assetstore").stdout.strip()
    assert sorted(line.rpartition(" ")[0] for line in made.splitlines()) == sorted(
        [f"{uid} 700"] * 2 + [f"{uid} 600"] * 6
    )
    for name in (line.split()[-1] for line in made.splitlines() if " 700 " in line):
        assert "is sound" in desk.run(_LINK, "verify", f"{_BACKUPS}/{name}").stdout
    complaints = desk.run("systemd-analyze", "verify", _TIMER, service)
    assert "assetstore" not in complaints.stdout + complaints.stderr


def test_a_store_can_be_moved_to_another_disk(desk: Machine, daemon: Daemon) -> None:
    (move,) = shown("Move to another disk")
    on_client(desk, "client.store('orders').set('watermark', 'kept')")
    store_id = daemon.status()["store_id"]

    assert _MOVED in type_in(desk, move)

    status = daemon.status()
    assert (status["data_dir"], status["store_id"]) == (_MOVED, store_id)
    assert on_client(desk, "client.store('orders').get('watermark')") == "kept"
    on_client(desk, "client.store('orders').set('watermark', 'moved')")


def test_a_configuration_is_checked_and_applied(desk: Machine) -> None:
    (check,) = shown("Configuration")

    assert "the configuration is valid" in type_in(desk, check)


def test_a_manifest_is_looked_at_and_put_in_place(desk: Machine, daemon: Daemon) -> None:
    (replace,) = shown("The manifest")
    desk.write(
        "/etc/assetstore/manifest.new.json",
        '{"version": 1, "assets": ["orders", "customers", "invoices", "parcels", "new"]}',
    )

    printed = type_in(desk, replace)

    assert "+ new" in printed
    assert "accepted: 5 assets active" in printed
    assert daemon.status()["assets_active"] == 5


def test_the_commands_that_only_look_work(desk: Machine) -> None:
    for heading in ("The trash and the sweep", "An asset is inactive unexpectedly"):
        (look,) = shown(heading)
        type_in(desk, look)

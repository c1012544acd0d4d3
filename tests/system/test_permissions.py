"""Who is let in, and what the daemon itself may do on the machine."""

from __future__ import annotations

from tests.system.clients import on_client, refusal
from tests.system.daemon import Daemon
from tests.system.installation import DATA_DIR, SERVICE
from tests.system.machine import Machine
from tests.system.test_unit_files import MAX_EXPOSURE

WRITTEN_BY = "client.store('orders').entry('watermark').updated_by"


def test_a_member_of_the_group_is_let_in_and_recorded_by_uid(
    machine: Machine, daemon: Daemon
) -> None:
    uid = int(machine.run("id", "--user", "insider").stdout)
    gid = int(machine.run("id", "--group", "insider").stdout)

    on_client(machine, "client.store('orders').set('watermark', 1)", user="insider")

    assert uid > 0
    by = f"[(by := {WRITTEN_BY}).uid, by.gid]"
    assert on_client(machine, by) == [uid, gid]


def test_a_user_outside_the_group_is_forbidden(machine: Machine, daemon: Daemon) -> None:
    error = refusal(machine, "client.store('orders').get('watermark')", user="outsider")

    assert error.startswith("assetstore.errors.Forbidden: ")


def test_nobody_but_the_daemon_reads_its_data(machine: Machine, daemon: Daemon) -> None:
    assert machine.run("stat", "--format=%U %a", DATA_DIR).stdout == "assetstore 700\n"
    modes = machine.run("find", DATA_DIR, "-type", "f", "-printf", "%u %m\n").stdout

    assert set(modes.splitlines()) == {"assetstore 600"}


def test_the_units_are_what_systemd_takes_them_for(machine: Machine, daemon: Daemon) -> None:
    verified = machine.run("systemd-analyze", "verify", SERVICE)
    judged = machine.run(
        *("systemd-analyze", "security", f"--threshold={MAX_EXPOSURE}", "--no-pager", SERVICE),
        may_fail=True,
    )

    complaints = verified.stdout + verified.stderr
    assert [line for line in complaints.splitlines() if "assetstore" in line] == []
    assert judged.returncode == 0, judged.stdout

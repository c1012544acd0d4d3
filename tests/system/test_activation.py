"""The socket is systemd's, and the daemon is there when somebody asks."""

from __future__ import annotations

from tests.support.waiting import wait_until
from tests.system.clients import asking, on_client
from tests.system.daemon import Daemon
from tests.system.installation import CONFIG, SERVICE, SOCKET, SOCKET_UNIT
from tests.system.machine import Machine

# sysexits.h: something is wrong in a configuration file.
EX_CONFIG = "78"


def test_the_first_client_starts_the_daemon(machine: Machine, daemon: Daemon) -> None:
    machine.systemctl("stop", SERVICE, SOCKET_UNIT)
    machine.systemctl("start", SOCKET_UNIT)
    assert machine.show(SERVICE, "ActiveState") == "inactive"

    revision = on_client(machine, "client.store('orders').set('watermark', 1)")

    assert revision > 0
    assert machine.show(SERVICE, "ActiveState") == "active"
    assert machine.show(SERVICE, "MainPID") == str(daemon.status()["pid"])


def test_stop_and_start_keep_what_was_written(machine: Machine, daemon: Daemon) -> None:
    revision = on_client(machine, "client.store('orders').set('watermark', '2026-01-31')")

    machine.systemctl("stop", SOCKET_UNIT, SERVICE)
    assert machine.run("test", "-e", SOCKET, may_fail=True).returncode == 1
    machine.systemctl("start", SOCKET_UNIT)

    kept = "[(e := client.store('orders').entry('watermark')).value, e.revision]"
    assert on_client(machine, kept) == ["2026-01-31", revision]


def test_the_socket_outlives_a_stop_of_the_service(machine: Machine, daemon: Daemon) -> None:
    before = machine.run("stat", "--format=%i %U:%G %a", SOCKET).stdout
    assert before.split()[1:] == ["assetstore:assetstore-clients", "660"]

    machine.systemctl("stop", SERVICE)
    on_client(machine, "client.store('orders').get('watermark')")
    machine.systemctl("restart", SERVICE)

    assert machine.run("stat", "--format=%i %U:%G %a", SOCKET).stdout == before


def test_with_a_bad_configuration_clients_wait_and_are_served_once_it_is_mended(
    machine: Machine, daemon: Daemon
) -> None:
    on_client(machine, "client.store('orders').set('watermark', 7)")
    since = machine.journal_cursor()
    machine.write(CONFIG, 'graze = "1d"\n')

    machine.systemctl("--no-block", "restart", SERVICE)
    client = asking(machine, "client.store('orders').get('watermark')", timeout_s=60)
    try:
        # Beyond the start limit that systemd has by default: 5 in 10 s.
        wait_until(
            lambda: int(machine.show(SERVICE, "NRestarts")) > 6, 30, "a seventh start that fails"
        )
        assert client.poll() is None, client.communicate()
        assert machine.show(SOCKET_UNIT, "ActiveState") == "active"
        machine.write(CONFIG, "")
        answer, errors = client.communicate(timeout=20)
    finally:
        client.kill()
        client.communicate()

    assert answer.strip() == "7", errors
    logged = machine.journal(SERVICE, since)
    assert f"status={EX_CONFIG}/CONFIG" in logged
    assert CONFIG in logged
    assert "'graze'" in logged

"""Access on a running daemon: other users, by the kernel's word, and the socket for reading."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.command import Cli
from tests.support.daemon import Daemon
from tests.support.users import ALICE, BOB, ETL, connected_as, needs_root, open_to_all, run_as
from tests.support.wire import Wire, change, outcome, refused, set_key

import assetstore
from assetstore import messages as m
from assetstore.entries import Writer
from assetstore.requests import new_request_id
from assetstored.app import main

ORDERS, CUSTOMERS, INVOICES = (m.AssetRef(name) for name in ("orders", "customers", "invoices"))
LARGE = b'"' + b"x" * 200_000 + b'"'

ACCESS = {
    "user": {str(ALICE): {"write": ["s3://data/*"], "read": ["public*"]}},
    "group": {str(ETL): {"admin": ["customers"]}},
}

pytestmark = needs_root


@pytest.fixture(scope="module")
def daemon(starter: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """Alice may change orders, by its uri; the group etl may administer customers."""
    daemon = Daemon(tmp_path_factory.mktemp("daemon"), access=ACCESS)
    # Its path has to be known before there is a daemon that makes it.
    daemon.config["readonly_socket"] = str(daemon.socket.parent / "r")
    daemon.config["readonly_socket_mode"] = "0666"
    daemon.set_manifest({"name": "orders", "uri": "s3://data/orders/"}, "customers", "invoices")
    with daemon:
        open_to_all(daemon.socket)
        yield daemon
    assert daemon.verify() == []


@pytest.fixture
def wire(daemon: Daemon) -> Iterator[Callable[..., Wire]]:
    """Makes connections of a user, with these supplementary groups."""
    made: list[Wire] = []

    def make(uid: int, *groups: int, readonly: bool = False) -> Wire:
        path = daemon.socket.parent / "r" if readonly else daemon.socket
        made.append(Wire(path, connect=connected_as(uid, groups=groups)).greet())
        return made[-1]

    yield make
    for each in made:
        each.close()


MakeWire = Callable[..., Wire]


def test_rules_are_for_uids_and_for_supplementary_groups(wire: MakeWire) -> None:
    alice, bob, etl = wire(ALICE), wire(BOB), wire(BOB, 5, ETL)

    outcome(alice.ask(set_key(1, ORDERS, "k", b"1")))
    assert alice.value(ORDERS, "k") == b"1"
    refused(bob.ask(set_key(1, ORDERS, "k", b"2")), "forbidden")
    refused(bob.ask(m.Get(1, None, ORDERS, "k")), "forbidden")
    outcome(etl.ask(set_key(1, CUSTOMERS, "k", b"3")))
    refused(etl.ask(m.Get(1, None, ORDERS, "k")), "forbidden")

    failed = refused(alice.ask(m.Get(1, None, CUSTOMERS, "k")), "forbidden")
    assert failed.message.startswith(
        f"uid {ALICE} (user '{ALICE}') may not read asset 'customers': that needs read on it, "
        "and it has no right to it by [access] in /"
    )
    assert wire(0).value(ORDERS, "k") == b"1"


def test_get_is_judged_alone_and_among_others(wire: MakeWire) -> None:
    # Alone it takes a shorter way through the daemon.
    alice = wire(ALICE)
    gets = [m.Get(id, None, ref, "k") for id, ref in enumerate([ORDERS, CUSTOMERS] * 50, 1)]
    alone = [alice.ask(get) for get in gets]
    together = alice.send_messages(*gets)
    answers = sorted((together.answer() for _ in gets), key=lambda answer: answer.id)

    assert [type(answer) for answer in alone] == [type(answer) for answer in answers]
    assert {answer.code for answer in answers if isinstance(answer, m.Failed)} == {"forbidden"}
    assert all(isinstance(answer, m.Failed) for answer in answers[1::2])
    assert not any(isinstance(answer, m.Failed) for answer in answers[::2])


@pytest.mark.parametrize("value", [b"1", LARGE])
def test_one_operation_that_is_forbidden_refuses_the_whole_change(
    wire: MakeWire, value: bytes
) -> None:
    # A large value is checked in a thread before, and the change is judged after.
    alice = wire(ALICE)
    outcome(alice.ask(change(1, m.ClearStore(ORDERS))))
    mine, other = (m.SetKey(ref, "k", value, None) for ref in (ORDERS, CUSTOMERS))

    refused(alice.ask(change(2, mine, other, mine)), "forbidden")
    assert alice.value(ORDERS, "k") is None
    outcome(alice.ask(change(3, mine)))


def test_a_list_has_only_what_may_be_read(wire: MakeWire) -> None:
    root, alice, etl = wire(0), wire(ALICE), wire(BOB, ETL)
    for ref in (ORDERS, CUSTOMERS, INVOICES):
        root.ask(set_key(1, ref, "k", b"1"))
        outcome(root.ask(change(1, m.ClearStore(ref))))

    for page, infos in (
        (m.Assets(1, None, 0, 1_000), "assets"),
        (m.ListTrash(1, None, 0, 1_000), "stores"),
    ):
        for who, names in ((alice, {"orders"}), (etl, {"customers"})):
            answer = who.ask(page)
            assert {info.name for info in getattr(answer, infos)} == names
        assert len({info.name for info in getattr(root.ask(page), infos)}) == 3
        refused(wire(BOB).ask(page), "forbidden")
    # A page is as long as the store's, and what is left out shortens it.
    assert alice.ask(m.Assets(1, None, 1, 1)) == m.AssetPage(1, [], 2)


def told_of(wire: Wire, request: m.Log | m.Events) -> set[str | None]:
    """The assets of all events; a busy machine may say them in several pages."""
    names: set[str | None] = set()
    while True:
        page = wire.ask(request)
        assert isinstance(page, m.EventPage)
        names |= {event.name for event in page.events}
        if isinstance(request, m.Log):
            if page.next is None:
                return names
            request = msgspec.structs.replace(request, before=page.next)
        else:
            if page.next == request.since:
                return names
            request = msgspec.structs.replace(request, since=page.next)


def test_a_journal_tells_only_of_what_may_be_read(wire: MakeWire) -> None:
    root, alice = wire(0), wire(ALICE)
    for ref in (ORDERS, CUSTOMERS):
        outcome(root.ask(set_key(1, ref, "told", b"1")))

    backwards = m.Log(1, None, None, "told", None, None, None, 1_000)
    forwards = m.Events(1, None, None, "told", 1, 1_000, 0)
    for request in (backwards, forwards):
        assert told_of(alice, request) == {"orders", None}
        assert told_of(root, request) >= {"orders", "customers"}
    for ref in (CUSTOMERS, m.AssetRef("no-such")):
        refused(alice.ask(m.Events(1, None, ref, "", 1, 1_000, 0)), "forbidden")
        refused(alice.ask(m.Log(1, None, ref, "", None, None, None, 10)), "forbidden")
        refused(alice.ask(m.History(1, None, ref, "told", None, 10)), "forbidden")
    refused(wire(BOB).ask(m.Events(1, None, None, "", 1, 1_000, 0)), "forbidden")


def test_who_waits_for_events_is_not_woken_by_what_may_not_be_read(wire: MakeWire) -> None:
    root, alice = wire(0), wire(ALICE)
    now = alice.ask(m.Events(1, None, None, "", None, 1_000, 0))
    assert isinstance(now, m.EventPage)
    alice.send_messages(m.Events(2, None, None, "", now.next, 1_000, 30_000)).wait_until_read()

    for number in range(20):
        outcome(root.ask(set_key(1, CUSTOMERS, f"k{number}", b"1")))
    outcome(root.ask(set_key(1, ORDERS, "awaited", b"1")))

    page = alice.answer()
    assert isinstance(page, m.EventPage)
    assert [(event.name, event.key) for event in page.events] == [("orders", "awaited")]


def test_administration_of_an_asset_can_be_given_and_that_of_the_store_needs_all(
    wire: MakeWire,
) -> None:
    etl, root = wire(BOB, ETL), wire(0)
    outcome(etl.ask(change(1, m.ClearStore(CUSTOMERS))))
    outcome(etl.ask(set_key(1, CUSTOMERS, "k", b"1")))
    outcome(etl.ask(change(1, m.ClearStore(CUSTOMERS))))
    trash = etl.ask(m.ListTrash(1, None, 0, 1_000))
    assert isinstance(trash, m.TrashPage)
    latest = trash.stores[-1]
    assert latest.name == "customers"

    refused(wire(ALICE).ask(change(1, m.RestoreStore(latest.id))), "forbidden")
    assert outcome(etl.ask(change(1, m.RestoreStore(latest.id)))).count == 1
    outcome(etl.ask(change(1, m.ClearStore(CUSTOMERS))))
    for request in (
        m.AcceptManifest(1, None, "digest"),
        m.Sweep(1, None, 0, False),
        m.Checkpoint(1, None),
    ):
        refused(etl.ask(request), "forbidden")
    outcome(root.ask(change(1, m.PurgeStores([]))))


def test_the_status_tells_who_asks_and_what_they_may(daemon: Daemon, wire: MakeWire) -> None:
    def access_of(wire: Wire) -> dict[str, Any]:
        answer = wire.ask(m.Status(1, None))
        assert isinstance(answer, m.StatusReport)
        access: dict[str, Any] = answer.report["access"]
        return access

    rule = {"who": "group", "name": str(ETL), "right": "admin", "assets": ["customers"]}
    assert access_of(wire(BOB, ETL)) == {
        "uid": BOB,
        "gids": [BOB, ETL],
        "reads_only": False,
        "everywhere": "none",
        "rules": [rule],
    }
    assert access_of(wire(BOB, readonly=True))["reads_only"]
    assert access_of(wire(0))["everywhere"] == "admin"
    assert daemon.status()["readonly_socket"] == daemon.config["readonly_socket"]


def test_the_socket_for_reading_refuses_all_that_changes_even_to_root(
    daemon: Daemon, wire: MakeWire
) -> None:
    outcome(wire(0).ask(set_key(1, ORDERS, "k", b"7")))
    for uid in (0, ALICE):
        reading = wire(uid, readonly=True)
        assert reading.value(ORDERS, "k") == b"7"
        for request in (
            set_key(1, ORDERS, "k", b"8"),
            change(1),
            m.ReloadManifest(1, None),
            m.Sweep(1, None, 0, False),
            m.Rewind(1, None, new_request_id(), 5, ORDERS, None, 1, None, None, False),
        ):
            assert (
                "this socket is for reading" in refused(reading.ask(request), "forbidden").message
            )
        assert isinstance(reading.ask(m.Sweep(1, None, 0, True)), m.TrashPage)
    # It gives nobody what the rules do not.
    refused(wire(BOB, readonly=True).ask(m.Get(1, None, ORDERS, "k")), "forbidden")
    path = Path(daemon.config["readonly_socket"])
    assert stat.S_IMODE(path.lstat().st_mode) == 0o666


def test_a_client_raises_forbidden_and_never_a_default(daemon: Daemon) -> None:
    def get() -> object:
        with assetstore.connect(str(daemon.socket)) as client:
            return client.store("customers").get("k", "default")

    assert run_as(ALICE, get).startswith(f"Forbidden: uid {ALICE} (user '{ALICE}') may not read ")

    def contains() -> object:
        with assetstore.connect(str(daemon.socket)) as client:
            return "k" in client.store("customers")

    assert run_as(ALICE, contains).startswith("Forbidden: ")


def test_an_export_by_who_may_read_a_part_says_that_it_is_one(daemon: Daemon) -> None:
    cli = Cli(daemon.socket)

    def export() -> str:
        ran = cli("export")
        return f"{ran.code}, {[line['assets'] for line in ran.records[:1]]}, {ran.err}"

    assert export() == "0, [3], "
    assert run_as(ALICE, export) == f"0, [1], (only what uid {ALICE} may read: 1 asset)\n"
    assert run_as(BOB, export).startswith(f"1, [], Error: uid {BOB} ")


def test_the_rules_are_those_of_the_start_until_the_next_one(make_daemon: Any) -> None:
    daemon = make_daemon(access={"user": {str(ALICE): {"write": ["orders"]}}})
    with daemon:
        open_to_all(daemon.socket)
        sent = set_key(1, ORDERS, "k", b"1")
        with Wire(daemon.socket, connect=connected_as(ALICE)).greet() as alice:
            first = alice.ask(sent)
            outcome(first)

            daemon.config["access"] = {}
            daemon._flags()  # writes the file
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for("READY=1")
            outcome(alice.ask(set_key(1, ORDERS, "k", b"2")))
        daemon.restart()
        open_to_all(daemon.socket)
        with Wire(daemon.socket, connect=connected_as(ALICE)).greet() as alice:
            refused(alice.ask(set_key(1, ORDERS, "k", b"3")), "forbidden")
            # "Forbidden" would say that it never happened, and it did.
            repeat = m.Change(1, None, sent.request, 1_000, sent.operations)
            assert alice.ask(repeat) == first
            never = m.Change(1, None, new_request_id(), 1_000, sent.operations)
            refused(alice.ask(never), "forbidden")
            again = m.Rewind(1, None, new_request_id(), 9, ORDERS, None, 1, None, None, False)
            refused(alice.ask(again), "forbidden")
        with Wire(daemon.socket).greet() as root:
            assert root.value(ORDERS, "k") == b"2"


def test_what_damage_there_is_is_told_only_to_who_may_read_all(make_daemon: Any) -> None:
    with make_daemon(access=ACCESS) as daemon:
        open_to_all(daemon.socket)
        daemon.manifest.write_text('{"version": 1, "assets": ["secret", "secret"]}')
        with daemon.client() as client:
            report = client.reload_manifest()
        assert "secret" in str(report)
        with Wire(daemon.socket, connect=connected_as(ALICE)).greet() as alice:
            answer = alice.ask(m.Status(1, None))
        assert isinstance(answer, m.StatusReport)
        assert answer.report["health"] == "degraded"
        assert answer.report["problems"] == ["1; who may read every asset is told which"]
        assert "secret" not in str(answer.report)


def test_check_says_the_rules_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "a.toml"
    config.write_text('[access.user.64711]\nwrite = ["orders*"]\n')

    assert main(["--check", "--config", str(config)]) == os.EX_OK
    assert "user '64711' (uid 64711) may read and change 'orders*'" in capsys.readouterr().out
    config.write_text('[access.user.64711]\nwrites = ["orders*"]\n')
    assert main(["--check", "--config", str(config)]) == os.EX_CONFIG
    assert "[access.user.64711]: unknown key 'writes'" in capsys.readouterr().err


# --- abuse: wrong uids and gids


def test_who_is_not_in_the_group_of_the_socket_is_forbidden_to_connect(make_daemon: Any) -> None:
    with make_daemon() as daemon:
        daemon.socket.parent.chmod(0o755)
        os.chown(daemon.socket, -1, ETL)

        def status() -> object:
            with assetstore.connect(str(daemon.socket), timeout=5.0) as client:
                return client.status()["health"]

        assert run_as(ALICE, status).startswith("Forbidden: this user may not connect to ")
        assert run_as(ALICE, status, [ETL]) == "ok"


def test_a_client_that_changes_its_user_stays_who_it_was_when_it_connected(wire: MakeWire) -> None:
    # The socket is handed to another process, of root: the rights stay those of who connected.
    bob = wire(BOB)
    assert os.geteuid() == 0
    refused(bob.ask(m.Get(1, None, ORDERS, "k")), "forbidden")


def test_what_a_writer_says_of_itself_gives_it_nothing(daemon: Daemon) -> None:
    hello = m.Hello(m.PROTOCOL_VERSION, Writer(kind="cli"), "root")
    with Wire(daemon.socket, connect=connected_as(BOB)) as wire:
        wire.send_messages(hello).receive()
        refused(wire.ask(m.Get(1, None, ORDERS, "k")), "forbidden")
        refused(wire.ask(m.Sweep(1, None, 0, False)), "forbidden")

"""The border: what is let through, of whom, and what those hear who are not."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from tests.support.golden import TO_DAEMON, frames
from tests.support.store import Store

from assetstore import messages as m
from assetstore.errors import Forbidden, InvalidRequest
from assetstored import jobs
from assetstored.access import Right, Rule, Rules
from assetstored.border import Border, Permit
from assetstored.changes import Slice
from assetstored.peers import Peer

ALICE, BOB = 4_711, 4_712
READ, WRITE, ADMIN = Right.READ, Right.WRITE, Right.ADMIN

Ask = Callable[..., None]


def key_of(name: str | None = None, uri: str | None = None) -> m.Get:
    return m.Get(1, None, m.AssetRef(name, uri), "k")


def change(*operations: m.AnyOperation) -> m.Change:
    return m.Change(1, None, bytes(16), 0, list(operations))


def set_(name: str) -> m.SetKey:
    return m.SetKey(m.AssetRef(name), "k", b"1", None)


def rules(*given: tuple[Right, str], uid: int = ALICE) -> Rules:
    return Rules(
        tuple(Rule("user", uid, "alice", right, (glob,)) for right, glob in given), "store.toml"
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """With the assets open (uri s3://data/open/), mine and secret (uri s3://secret/)."""
    with Store(tmp_path) as store:
        assets = [("open", "s3://data/open/", None), ("mine", "mine", None)]
        store.do(jobs.ApplySlice(Slice([], [*assets, ("secret", "s3://secret/", None)], [])))
        yield store


class Asker:
    """Asks at a border with these rules."""

    def __init__(self, store: Store, given: Rules | None) -> None:
        self.border = Border(store.reader, given)

    def permit(self, uid: int = ALICE, *, reads_only: bool = False) -> Permit:
        return self.border.permit(Peer(uid, uid, 1), reads_only=reads_only)

    def ask(self, *requests: object, uid: int = ALICE, reads_only: bool = False) -> None:
        """Raise Forbidden at the first that is."""
        for request in requests:
            self.border.check(
                cast("m.AnyRequest", request), self.permit(uid, reads_only=reads_only)
            )

    def verdict(self, request: object, uid: int = ALICE, *, reads_only: bool = False) -> str | None:
        """What is said to whoever is refused; None where it is let through."""
        try:
            self.ask(request, uid=uid, reads_only=reads_only)
        except Forbidden as exc:
            return str(exc)
        return None

    def refused(self, request: object, uid: int = ALICE, *, reads_only: bool = False) -> str:
        """What is said to whoever is refused."""
        verdict = self.verdict(request, uid, reads_only=reads_only)
        assert verdict is not None
        return verdict


def documented_requests() -> list[m.AnyRequest]:
    """One of each kind at least."""
    return [
        m.decode_request(golden.bytes[4:])
        for golden in frames()
        if golden.direction == TO_DAEMON and golden.tag != "hello"
    ]


def parts(requests: list[m.AnyRequest]) -> list[m.AnyRequest]:
    """The same, with each operation of a change in a change of its own."""
    split: list[m.AnyRequest] = []
    for request in requests:
        if isinstance(request, m.Change):
            split += [change(operation) for operation in request.operations]
        else:
            split.append(request)
    return split


def test_who_is_in_no_rule_is_refused_everything_but_the_status(store: Store) -> None:
    asker = Asker(store, rules((ADMIN, "*"), uid=BOB))

    for request in parts(documented_requests()):
        if isinstance(request, m.Status):
            asker.ask(request)
        else:
            message = asker.refused(request)
            assert message.startswith(f"uid {ALICE} may not "), message
            assert message.endswith(" by [access] in store.toml"), message
        asker.ask(request, uid=BOB)
        asker.ask(request, uid=0)


def test_without_rules_only_what_cannot_be_undone_is_for_operators(store: Store) -> None:
    asker = Asker(store, None)
    refused = set()
    for request in parts(documented_requests()):
        if (verdict := asker.verdict(request)) is not None:
            what = request.operations[0] if isinstance(request, m.Change) else request
            refused.add(type(what))
            assert f"is for root and for uid {os.geteuid()}, the user of the daemon" in verdict
        asker.ask(request, uid=0)

    assert refused >= {m.RestoreStore, m.MoveStore, m.PurgeStores, m.AcceptManifest, m.Checkpoint}
    assert not refused & {m.Get, m.SetKey, m.ClearStore, m.Rewind, m.ReloadManifest, m.Status}
    asker.ask(m.Sweep(1, None, 0, True))
    assert "may not sweep: " in asker.refused(m.Sweep(1, None, 0, False))


def test_nobody_changes_anything_through_the_socket_that_is_for_reading(store: Store) -> None:
    asker = Asker(store, None)
    let_through = set()
    for request in documented_requests():
        verdict = asker.verdict(request, uid=0, reads_only=True)
        if verdict is None:
            let_through.add(type(request))
        else:
            assert "this socket is for reading (readonly_socket" in verdict

    assert not let_through & {m.Change, m.ReloadManifest, m.AcceptManifest, m.Checkpoint}
    assert let_through >= {m.Get, m.GetMany, m.Items, m.Assets, m.Events, m.Status}
    for operation in (m.CheckKey(m.AssetRef("mine"), "k", 0), set_("mine")):
        assert "for reading" in asker.refused(change(operation), uid=0, reads_only=True)
    assert "for reading" in asker.refused(m.Sweep(1, None, 0, False), uid=0, reads_only=True)
    asker.ask(m.Sweep(1, None, 0, True), uid=0, reads_only=True)


def test_the_socket_for_reading_gives_nobody_more_than_the_rules_do(store: Store) -> None:
    asker = Asker(store, rules((READ, "open")))

    asker.ask(key_of("open"), reads_only=True)
    assert "may not read asset 'secret'" in asker.refused(key_of("secret"), reads_only=True)


@pytest.mark.parametrize("reads_only", [False, True])
def test_a_message_that_nobody_thought_of_is_refused_even_to_root(
    store: Store, *, reads_only: bool
) -> None:
    class Novel(m.Request, frozen=True, tag="novel"):
        dry_run: bool = True
        age_ms: int = 1

    for given in (None, rules((ADMIN, "*"))):
        asker = Asker(store, given)
        message = asker.refused(Novel(1, None), uid=0, reads_only=reads_only)
        assert message == "nobody may ask for Novel: it has no rule"
        assert "Novel" in asker.refused(change(cast("m.AnyOperation", Novel(1, None))), uid=0)


def test_an_asset_is_one_whatever_it_is_called_by(store: Store) -> None:
    for glob in ("open", "s3://data/*"):
        asker = Asker(store, rules((READ, glob)))
        asker.ask(key_of("open"), key_of(uri="s3://data/open/"), key_of("open", "s3://data/open/"))


def test_a_change_with_one_operation_that_is_forbidden_is_refused_as_a_whole(store: Store) -> None:
    asker = Asker(store, rules((WRITE, "mine"), (READ, "open")))

    asker.ask(change(set_("mine"), m.CheckKey(m.AssetRef("open"), "k", 0), set_("mine")))
    assert asker.refused(change(set_("mine"), set_("mine"), set_("open"), set_("secret"))) == (
        f"uid {ALICE} (user 'alice') may not change asset 'open': that needs write on it, and it "
        "has read by [access] in store.toml"
    )


def test_many_keys_are_read_only_if_all_may_be(store: Store) -> None:
    asker = Asker(store, rules((READ, "mine"), (READ, "open")))
    mine, opened, secret = (m.AssetRef(name) for name in ("mine", "open", "secret"))

    asker.ask(m.GetMany(1, None, [(mine, "k"), (opened, "k")]))
    assert "asset 'secret'" in asker.refused(m.GetMany(1, None, [(mine, "k"), (secret, "k")]))
    assert "asset 'secret'" in asker.refused(m.Resolve(1, None, [opened, secret]))


def test_a_move_needs_write_on_both(store: Store) -> None:
    def move(source: str, target: str) -> m.Change:
        return change(m.MoveStore(m.AssetRef(source), m.AssetRef(target), False))

    asker = Asker(store, rules((WRITE, "mine"), (WRITE, "open"), (READ, "secret")))
    asker.ask(move("mine", "open"), move("open", "mine"))
    for source, target in (("mine", "secret"), ("secret", "mine")):
        assert "may not move the store of asset 'secret'" in asker.refused(move(source, target))


def test_a_store_in_the_trash_is_of_the_asset_that_it_was_taken_from(store: Store) -> None:
    for name in ("mine", "secret"):
        store.put(name, "k", b"1")
        store.clear(name)
    ids = {info.name: info.id for info in store.reader.trash(0, 10, 0)[0]}
    asker = Asker(store, rules((ADMIN, "mine"), (WRITE, "secret")))

    asker.ask(change(m.RestoreStore(ids["mine"]), m.PurgeStores([ids["mine"]] * 200)))
    for operation in (m.RestoreStore(ids["secret"]), m.PurgeStores([ids["mine"], ids["secret"]])):
        message = asker.refused(change(operation))
        assert f"store {ids['secret']} from the trash: that needs admin on it" in message
    # Which ids there are is nothing to find out either, for who may not have them all.
    assert "store 99 from the trash" in asker.refused(change(m.PurgeStores([99])))
    asker.ask(change(m.PurgeStores([99])), uid=0)


def test_whether_there_is_an_asset_is_not_told_to_who_may_not_read_it(store: Store) -> None:
    asker = Asker(store, rules((READ, "open"), (READ, "public/*"), (READ, "s3://data/*")))

    def said(*reference: str | None) -> str:
        given = " with uri ".join(repr(part) for part in reference if part is not None)
        return asker.refused(key_of(*reference)).replace(given, "IT")

    assert said("secret") == said("no-such")
    assert said(None, "s3://secret/") == said(None, "s3://no-such/")
    # Not with a half that may be read, either.
    assert said("open", "s3://secret/") == said("open", "s3://no-such/")
    assert said("secret", "s3://data/open/") == said("no-such", "s3://data/open/")
    assert said("secret", "s3://secret/") == said("no-such", "s3://no-such/")
    # What one may read may be missing, and then it is said so, elsewhere.
    asker.ask(key_of("public/x"), key_of("open", "s3://data/other/"), key_of(uri="s3://data/x"))


def test_an_asset_that_has_left_is_judged_as_before(store: Store) -> None:
    asker = Asker(store, rules((READ, "mine")))
    store.deactivate("mine")
    store.do(jobs.ApplySlice(Slice([m.AssetRef("secret", "s3://secret/")], [], [])))

    asker.ask(key_of("mine"), m.Events(1, None, m.AssetRef("mine"), "", None, 1, 0))
    asker.refused(key_of("secret"))


def test_what_is_kept_of_a_reference_does_not_outlive_what_it_leads_to(store: Store) -> None:
    asker = Asker(store, rules((READ, "s3://secret/*")))
    asker.ask(key_of("secret"))

    # The name goes to an asset with another uri, and then back.
    old, new = m.AssetRef("secret", "s3://secret/"), ("secret", "s3://moved/", None)
    store.do(jobs.ApplySlice(Slice([old], [new], [])))
    assert "may not read asset 'secret'" in asker.refused(key_of("secret"))
    store.do(jobs.ApplySlice(Slice([m.AssetRef(*new[:2])], [("secret", "s3://secret/", None)], [])))
    asker.ask(key_of("secret"))


def test_a_permit_is_shared_by_all_connections_of_the_same_user_and_groups(store: Store) -> None:
    border = Border(store.reader, rules((READ, "mine")))
    first = border.permit(Peer(ALICE, 5, 1, (6, 7)))

    assert border.permit(Peer(ALICE, 5, 2, (7, 6, 5))) is first
    for other in (Peer(ALICE, 5, 1, (6,)), Peer(BOB, 5, 1, (6, 7))):
        assert border.permit(other) is not first
    assert border.permit(Peer(ALICE, 5, 1, (6, 7)), reads_only=True) is not first


def test_only_what_may_be_read_is_seen(store: Store) -> None:
    border = Border(store.reader, rules((READ, "mine"), (WRITE, "s3://data/*")))
    alice = border.permit(Peer(ALICE, ALICE, 1))

    infos, after = border.seen(store.reader.assets(0, 10), alice)
    assert ([info.name for info in infos], after) == (["open", "mine"], None)
    sees = border.sight(alice)
    assert sees is not None
    seen = {name: sees(store.asset_id(name)) for name in ("open", "mine", "secret")}
    assert seen == {"open": True, "mine": True, "secret": False}
    assert sees(0), "what happens to no asset is for all to know"
    # Where the page after begins is not moved by what is left out.
    assert border.seen(([], 7), alice) == ([], 7)
    assert border.sight(border.permit(Peer(0, 0, 1))) is None


def test_a_list_that_no_request_may_be_as_long_as_is_not_looked_at(store: Store) -> None:
    asker = Asker(store, rules((READ, "mine")))

    with pytest.raises(InvalidRequest, match="1,001 assets; one request takes 1,000"):
        asker.ask(m.Resolve(1, None, [m.AssetRef("mine")] * 1_001))


def test_a_reference_that_can_name_nothing_is_an_invalid_request_to_anybody(store: Store) -> None:
    asker = Asker(store, rules((READ, "mine")))
    for ref in (m.AssetRef(), m.AssetRef("")):
        with pytest.raises(InvalidRequest):
            asker.ask(m.Get(1, None, ref, "k"))

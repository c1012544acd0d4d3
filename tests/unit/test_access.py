"""Decisions: what each message needs, and what rules give to whom."""

from __future__ import annotations

import typing
from typing import Any

import msgspec
import pytest
from tests.support.golden import TO_DAEMON, frames

from assetstore import messages as m
from assetstored.access import (
    Grants,
    Identity,
    Need,
    Reach,
    Right,
    Rule,
    Rules,
    allowed,
    grants_of,
    need_of_operation,
    need_of_request,
    refusal,
    right_on,
    who,
)

ALICE, ETL, OWN = 1_000, 2_000, 999
OPERATORS = frozenset((0, OWN))
A = m.AssetRef("a")
ID = bytes(16)

NONE, READ, WRITE, ADMIN = Right
THOSE, ALL, ANY, ANYBODY = Reach

#: message -> the right it needs, for which assets, and whether it changes anything. A new message
#: must be entered here too, by somebody who has thought about it.
REQUESTS: dict[type, tuple[Right, Reach, bool]] = {
    m.Get: (READ, THOSE, False),
    m.GetAt: (READ, THOSE, False),
    m.GetMany: (READ, THOSE, False),
    m.History: (READ, THOSE, False),
    m.Events: (READ, ANY, False),
    m.Log: (READ, ANY, False),
    m.Keys: (READ, THOSE, False),
    m.Items: (READ, THOSE, False),
    m.Count: (READ, THOSE, False),
    m.Resolve: (READ, THOSE, False),
    m.Assets: (READ, ANY, False),
    m.ListTrash: (READ, ANY, False),
    m.Status: (NONE, ANYBODY, False),
    m.Change: (NONE, ANYBODY, True),
    m.Rewind: (WRITE, THOSE, True),
    m.ReloadManifest: (WRITE, ANY, True),
    m.AcceptManifest: (ADMIN, ALL, True),
    m.Sweep: (ADMIN, ALL, True),
    m.Checkpoint: (ADMIN, ALL, True),
    m.Metrics: (READ, ALL, False),
}

OPERATIONS: dict[type, tuple[Right, bool]] = {
    m.SetKey: (WRITE, True),
    m.DeleteKey: (WRITE, True),
    m.AdvanceKey: (WRITE, True),
    m.IncrementKey: (WRITE, True),
    m.MergeKey: (WRITE, True),
    m.ClearStore: (WRITE, True),
    m.CheckKey: (READ, False),
    m.ImportKeys: (ADMIN, True),
    m.RestoreStore: (ADMIN, True),
    m.MoveStore: (WRITE, True),
    m.PurgeStores: (ADMIN, True),
}


def bare(kind: type) -> Any:
    """A message of which no field says anything: None, and false."""
    return kind(*[None] * len(msgspec.structs.fields(kind)))


def rules(*each: Rule) -> Rules:
    return Rules(each, "/etc/store.toml")


def user(right: Right, *globs: str, uid: int = ALICE) -> Rule:
    return Rule("user", uid, "alice", right, globs)


def group(right: Right, *globs: str) -> Rule:
    return Rule("group", ETL, "etl", right, globs)


def everyone(right: Right, *globs: str) -> Rule:
    return Rule("everyone", None, "everyone", right, globs)


def grants(given: Rules | None, uid: int = ALICE, *gids: int) -> Grants:
    return grants_of(given, Identity(uid, frozenset(gids)), OPERATORS)


# --- what is needed


def test_somebody_has_thought_about_every_request_and_every_operation() -> None:
    assert set(REQUESTS) == set(typing.get_args(m.AnyRequest))
    assert set(OPERATIONS) == set(typing.get_args(m.AnyOperation))


@pytest.mark.parametrize("kind", typing.get_args(m.AnyRequest))
def test_a_request_needs_what_the_table_says(kind: type) -> None:
    need = need_of_request(bare(kind))

    assert need is not None
    assert (need.right, need.reach, need.changes) == REQUESTS[kind]


@pytest.mark.parametrize("kind", typing.get_args(m.AnyOperation))
def test_an_operation_needs_what_the_table_says(kind: type) -> None:
    need = need_of_operation(bare(kind))

    assert need is not None
    assert (need.right, need.changes) == OPERATIONS[kind]
    assert need.reach == THOSE


def test_every_request_that_names_assets_is_judged_by_all_of_them() -> None:
    # By the documented examples, so that no field with a reference in it is forgotten.
    judged = set()
    for golden in frames():
        if golden.direction != TO_DAEMON or golden.tag == "hello":
            continue
        request = m.decode_request(golden.bytes[4:])
        judged.add(type(request))
        parts = request.operations if isinstance(request, m.Change) else [request]
        for part in parts:
            need = need_of_operation(part) if part is not request else need_of_request(part)
            assert need is not None
            named = references(msgspec.structs.astuple(part))
            assert set(need.assets(part)) == named
            assert need.reach == THOSE if named else need.assets(part) == ()
    assert judged == set(REQUESTS)


def references(part: object) -> set[m.AssetRef]:
    """All references in a message, however deep."""
    if isinstance(part, m.AssetRef):
        return {part}
    if isinstance(part, list | tuple):
        return set().union(*map(references, part))
    return set()


def test_events_of_one_asset_need_the_right_to_it() -> None:
    for request in (
        m.Events(1, None, A, "", None, 1, 0),
        m.Log(1, None, A, "", None, None, None, 1),
    ):
        need = need_of_request(request)
        assert need is not None
        assert (need.right, need.reach, tuple(need.assets(request))) == (READ, THOSE, (A,))


def test_what_is_only_tried_needs_no_more_than_to_read() -> None:
    rewind = m.Rewind(1, None, ID, 0, A, None, 1, None, None, True)
    sweep = m.Sweep(1, None, 0, True)

    for request, reach in ((rewind, THOSE), (sweep, ANY)):
        need = need_of_request(request)
        assert need is not None
        assert (need.right, need.reach, need.changes) == (READ, reach, False)


def test_a_message_that_nobody_thought_of_has_no_need_that_could_be_met() -> None:
    class Novel(m.Request, frozen=True, tag="novel"):
        dry_run: bool = True

    assert need_of_request(Novel(1, None)) is None
    assert need_of_operation(Novel(1, None)) is None
    # An operation is no request, nor the other way round.
    assert need_of_request(m.ClearStore(A)) is None
    assert need_of_operation(m.Status(1, None)) is None


# --- what is given


def test_without_rules_whoever_came_through_the_socket_reads_and_writes_everything() -> None:
    assert grants(None) == Grants(WRITE)


@pytest.mark.parametrize("given", [None, rules(), rules(user(READ, "*", uid=OWN))])
def test_root_and_the_user_of_the_daemon_may_do_everything_whatever_the_rules(
    given: Rules | None,
) -> None:
    for uid in OPERATORS:
        assert grants(given, uid) == Grants(ADMIN)


def test_with_rules_who_is_in_none_may_do_nothing() -> None:
    for given in (rules(), rules(user(ADMIN, "*", uid=1)), rules(group(ADMIN, "*"))):
        assert grants(given).somewhere == NONE
        assert not allowed(grants(given), READ, "a", "a")
        # Except what needs no right at all.
        assert allowed(grants(given), NONE, "a", "a")


@pytest.mark.parametrize("given", [READ, WRITE, ADMIN])
def test_a_right_has_the_smaller_ones_in_it_and_no_greater_one(given: Right) -> None:
    may = grants(rules(user(given, "a")))

    for right in Right:
        assert allowed(may, right, "a", "u") == (right <= given)
        assert allowed(may, right, "b", "u") == (right == NONE)


def test_the_greatest_of_all_that_matches_counts() -> None:
    may = grants(
        rules(
            everyone(READ, "*"),
            group(WRITE, "orders*"),
            user(ADMIN, "orders/secret"),
            user(READ, "orders/x"),
        ),
        ALICE,
        ETL,
    )

    assert right_on(may, "orders/secret", "u") == ADMIN
    assert right_on(may, "orders/x", "u") == WRITE
    assert right_on(may, "other", "u") == READ
    assert (may.everywhere, may.somewhere) == (READ, ADMIN)


def test_rules_are_for_those_that_they_name() -> None:
    given = rules(user(ADMIN, "u"), group(WRITE, "g"), everyone(READ, "e"))

    def rights(uid: int, *gids: int) -> list[Right]:
        return [right_on(grants(given, uid, *gids), asset) for asset in ("u", "g", "e")]

    assert rights(ALICE) == [ADMIN, NONE, READ]
    assert rights(1, ETL) == [NONE, WRITE, READ]
    assert rights(1, 5, 6) == [NONE, NONE, READ]
    assert rights(ALICE, ETL) == [ADMIN, WRITE, READ]
    # A gid is no uid.
    assert rights(ETL, ALICE) == [NONE, NONE, READ]


def test_an_asset_is_matched_by_its_name_or_by_its_uri() -> None:
    may = grants(rules(user(READ, "orders", "s3://data/*")))

    assert allowed(may, READ, "orders", "s3://elsewhere/")
    assert allowed(may, READ, "x", "s3://data/x/")
    assert not allowed(may, READ, "x", "s3://elsewhere/")


@pytest.mark.parametrize(
    ("glob", "matching", "others"),
    [
        ("orders", ["orders"], ["order", "orders2", "Orders", "orders\n", "x/orders", ""]),
        ("orders*", ["orders", "orders/a/b", "orders\n\n"], ["my/orders", "order"]),
        ("*/raw", ["a/raw", "a/b/raw", "/raw"], ["raw", "a/raw/b"]),
        ("a*b*c", ["abc", "axbxc", "abbcc"], ["acb", "ab", "abcd"]),
        ("*", ["x", "\n"], []),
        ("**", ["x"], []),
        ("a?b", ["a?b", "axb"], ["ab", "axxb"]),
        ("a\\?\\*\\\\b", ["a?*\\b"], ["ax*\\b", "a?x\\b"]),
        ("a[bc]", ["a[bc]"], ["ab", "ac"]),
        ("a.b+(c|d)$", ["a.b+(c|d)$"], ["axbbc"]),
        ("s3://b/\\?x=[1]*", ["s3://b/?x=[1]", "s3://b/?x=[1]&y"], ["s3://b/zx=[1]"]),
        ("é*", ["é", "éa"], ["e"]),
    ],
)
def test_a_glob_is_matched_as_a_whole(glob: str, matching: list[str], others: list[str]) -> None:
    for text in matching:
        assert allowed(grants(rules(user(READ, glob, "nothing"))), READ, text, text), text
    for text in others:
        assert not allowed(grants(rules(user(READ, glob, "nothing"))), READ, text, text), text


def test_a_glob_with_many_stars_is_no_way_to_keep_the_daemon_busy() -> None:
    # It would take longer than the universe is old if stars were tried in all combinations.
    may = grants(rules(user(READ, "*a" * 40 + "b")))
    assert not allowed(may, READ, "a" * 1_500, "a" * 1_500)


# --- in words


NEED = Need(WRITE, "change {}")


def test_a_refusal_says_who_may_not_do_what_with_which_asset_and_where_that_is_written() -> None:
    given = rules(user(READ, "a"), group(READ, "b"), everyone(READ, "c"))
    identity = Identity(ALICE, frozenset((ETL,)))

    assert refusal(given, identity, NEED, "asset 'a'", READ, OWN) == (
        "uid 1000 (user 'alice', group 'etl') may not change asset 'a': that needs write on it, "
        "and it has read by [access] in /etc/store.toml"
    )
    assert refusal(given, Identity(1, frozenset()), NEED, "asset 'a'", NONE, OWN) == (
        "uid 1 may not change asset 'a': that needs write on it, "
        "and it has no right to it by [access] in /etc/store.toml"
    )
    sweep = Need(ADMIN, "sweep", ALL)
    assert 'may not sweep: that needs admin on every asset ("*"), and' in refusal(
        given, identity, sweep, "", READ, OWN
    )


def test_without_rules_a_refusal_says_whose_it_is() -> None:
    purge = Need(ADMIN, "purge {} from the trash")

    assert refusal(None, Identity(5, frozenset()), purge, "store 7", NONE, OWN) == (
        "uid 5 may not purge store 7 from the trash: that is for root and for uid 999, the user "
        "of the daemon, as its configuration has no [access]"
    )


def test_somebody_is_named_once_however_many_rules_there_are() -> None:
    given = rules(user(READ, "a"), user(WRITE, "b"))

    assert who(given, Identity(ALICE, frozenset())) == "uid 1000 (user 'alice')"

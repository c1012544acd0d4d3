"""Who may do what: what requests need, and what rules give, as pure functions of frozen values.

There are two tables here, of requests and of operations. What stands in neither is refused, so a
message that nobody thought of lets nobody through.

Rule: nothing is looked up here. Names of users became numbers in access_rules.py; which asset a
reference names, and what happens to who may not, is border.py's.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from assetstore import messages as m
from assetstore.globs import Glob


class Right(enum.IntEnum):
    """What may be done with an asset; each has those below it in it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is written in the configuration."""
        return self.name.lower()


# --- what rules give


class Rule(msgspec.Struct, frozen=True):
    """What one user, one group, or everyone who may connect may do with which assets.

    ``id`` is the uid or gid, None of everyone; ``name`` as the configuration has it.
    """

    who: Literal["user", "group", "everyone"]
    id: int | None
    name: str
    right: Right
    globs: tuple[str, ...]


class Rules(msgspec.Struct, frozen=True):
    """[access] of a configuration. Who is in no rule may do nothing."""

    rules: tuple[Rule, ...]
    origin: str


class Identity(NamedTuple):
    """Of a peer, by the kernel's word."""

    uid: int
    gids: frozenset[int]


class Grants(NamedTuple):
    """What somebody may do: with every asset, and with those that these patterns match."""

    everywhere: Right
    patterns: tuple[tuple[Right, tuple[Glob, ...]], ...] = ()

    @property
    def somewhere(self) -> Right:
        """The most that it is for any asset."""
        return max([self.everywhere, *(right for right, _ in self.patterns)])


def grants_of(rules: Rules | None, identity: Identity, operators: frozenset[int]) -> Grants:
    """What somebody may do. Without rules the mode of the socket was the rule: who came through it
    may read and write every asset. ``operators`` are the uids that may do everything."""
    if identity.uid in operators:
        return Grants(Right.ADMIN)
    if rules is None:
        return Grants(Right.WRITE)
    everywhere = Right.NONE
    globs: dict[Right, list[str]] = {}
    for rule in rules_of(rules, identity):
        if "*" in rule.globs:
            everywhere = max(everywhere, rule.right)
        globs.setdefault(rule.right, []).extend(rule.globs)
    # The strongest first: what matches there needs no other look.
    return Grants(
        everywhere,
        tuple(
            (right, tuple(map(Glob, globs[right])))
            for right in sorted(globs, reverse=True)
            if right > everywhere
        ),
    )


def rules_of(rules: Rules, identity: Identity) -> list[Rule]:
    """The rules that are about somebody."""
    return [rule for rule in rules.rules if _is_of(rule, identity)]


def right_on(grants: Grants, *texts: str) -> Right:
    """The right to an asset, of which a glob matches the name or the uri."""
    for right, globs in grants.patterns:
        if any(glob.fits(text) for glob in globs for text in texts):
            return right
    return grants.everywhere


def allowed(grants: Grants, right: Right, name: str, uri: str) -> bool:
    """Whether these grants give a right to an asset."""
    return right_on(grants, name, uri) >= right


def _is_of(rule: Rule, identity: Identity) -> bool:
    match rule.who:
        case "user":
            return rule.id == identity.uid
        case "group":
            return rule.id in identity.gids
        case "everyone":
            return True


# --- what requests and operations need


class Reach(enum.Enum):
    """For which assets a right is needed."""

    THOSE = "those that are named"
    ALL = "all"
    ANY = "any one; what the answer tells is of those that may be read"
    NONE = "none: whoever may connect"


class Need(NamedTuple):
    """What a request or an operation needs.

    ``what`` says it in words, {} stands for the asset. ``assets`` and ``trash`` take from the
    message which assets, and which stores of the trash, it is about. ``changes``: it is refused at
    a socket for reading. ``unruled``: the right that it needs where there are no rules.
    """

    right: Right
    what: str
    reach: Reach = Reach.THOSE
    assets: Callable[[Any], Sequence[m.AssetRef]] = lambda message: ()
    trash: Callable[[Any], Sequence[int]] = lambda message: ()
    changes: bool = False
    unruled: Right | None = None


def _its_asset(message: Any) -> Sequence[m.AssetRef]:
    return (message.asset,)


_READ = Need(Right.READ, "read {}", assets=_its_asset)
_CHANGE = Need(Right.WRITE, "change {}", assets=_its_asset, changes=True)
_LIST = Need(Right.READ, "list what there is", Reach.ANY)

#: Of events of one asset; of those of all only what may be read is told.
_OF_ONE_OR_ALL = frozenset((m.Events, m.Log))
_EVENTS_OF_ALL = Need(Right.READ, "read events", Reach.ANY)

_REQUESTS: dict[type, Need] = {
    m.Get: _READ,
    m.GetAt: _READ,
    m.GetMany: Need(Right.READ, "read {}", assets=lambda message: [ref for ref, _ in message.keys]),
    m.History: _READ,
    m.Events: _READ,
    m.Log: _READ,
    m.Keys: _READ,
    m.Items: _READ,
    m.Count: _READ,
    m.Resolve: Need(Right.READ, "look up {}", assets=lambda message: message.assets),
    m.Assets: _LIST,
    m.ListTrash: _LIST,
    m.Status: Need(Right.NONE, "see the status", Reach.NONE),
    # Each of its operations needs what it needs.
    m.Change: Need(Right.NONE, "change anything", Reach.NONE, changes=True),
    m.Rewind: Need(Right.WRITE, "rewind {}", assets=_its_asset, changes=True),
    # It reads a file that the daemon watches anyway; what may wait for it is what may use it.
    m.ReloadManifest: Need(Right.WRITE, "have the manifest read", Reach.ANY, changes=True),
    m.AcceptManifest: Need(Right.ADMIN, "accept a manifest that is held", Reach.ALL, changes=True),
    m.Sweep: Need(Right.ADMIN, "sweep", Reach.ALL, changes=True),
    # It tells of the keys that the configuration has chosen, whosever they are.
    m.Metrics: Need(Right.READ, "read the metrics", Reach.ALL),
    m.Checkpoint: Need(Right.ADMIN, "ask for a checkpoint", Reach.ALL, changes=True),
}

#: What only says what would be done.
_DRY_RUNS: dict[type, Need] = {
    m.Rewind: _READ,
    m.Sweep: _LIST,
}

_OPERATIONS: dict[type, Need] = {
    m.SetKey: _CHANGE,
    m.DeleteKey: _CHANGE,
    m.AdvanceKey: _CHANGE,
    m.IncrementKey: _CHANGE,
    m.MergeKey: _CHANGE,
    m.ClearStore: Need(Right.WRITE, "clear {}", assets=_its_asset, changes=True),
    m.CheckKey: _READ,
    # It says who wrote the entries, and when.
    m.ImportKeys: Need(Right.ADMIN, "import into {}", assets=_its_asset, changes=True),
    m.RestoreStore: Need(
        Right.ADMIN,
        "restore {} from the trash",
        trash=lambda operation: (operation.trash_id,),
        changes=True,
    ),
    m.MoveStore: Need(
        Right.WRITE,
        "move the store of {}",
        assets=lambda operation: (operation.source, operation.target),
        changes=True,
        # It reaches into the trash, where the source has left.
        unruled=Right.ADMIN,
    ),
    m.PurgeStores: Need(
        Right.ADMIN,
        "purge {} from the trash",
        trash=lambda operation: operation.trash_ids,
        changes=True,
    ),
}


def need_of_request(request: Any) -> Need | None:
    """What a request needs, beside its operations; None where nobody has said what."""
    kind = type(request)
    if kind in _DRY_RUNS and request.dry_run:
        return _DRY_RUNS[kind]
    if kind in _OF_ONE_OR_ALL and request.asset is None:
        return _EVENTS_OF_ALL
    return _REQUESTS.get(kind)


def need_of_operation(operation: object) -> Need | None:
    """What an operation of a change needs; None where nobody has said what."""
    return _OPERATIONS.get(type(operation))


# --- refusals, in words


def who(rules: Rules | None, identity: Identity) -> str:
    """Somebody in words: the uid, and the names that rules have for it and its groups."""
    named = [] if rules is None else rules_of(rules, identity)
    names = [f"{rule.who} {rule.name!r}" for rule in named if rule.who != "everyone"]
    text = f"uid {identity.uid}"
    return f"{text} ({', '.join(dict.fromkeys(names))})" if names else text


def refusal(
    rules: Rules | None, identity: Identity, need: Need, target: str, given: Right, own_uid: int
) -> str:
    """Who may not do what, with which asset, and where that is said."""
    text = f"{who(rules, identity)} may not {need.what.format(target)}"
    if rules is None:
        return (
            f"{text}: that is for root and for uid {own_uid}, the user of the daemon, as its "
            "configuration has no [access]"
        )
    where = {
        Reach.THOSE: "it",
        Reach.ALL: 'every asset ("*")',
        Reach.ANY: "any asset",
        Reach.NONE: "",
    }[need.reach]
    has = f"it has {given.word}" if given else "it has no right to it"
    return (
        f"{text}: that needs {need.right.word} on {where}, and {has} by [access] in {rules.origin}"
    )

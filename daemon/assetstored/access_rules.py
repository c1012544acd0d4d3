"""[access] of the configuration: from its table to rules, and from rules to words.

    [access.group.etl]              [access.user.alice]         [access.everyone]
    write = ["orders*"]             admin = ["*"]               read = ["public/*"]

Whoever is named twice, does not exist, or can be matched by nothing is a mistake, and refused: who
believes that a rule protects something must not be wrong.

Rule: names of users and groups are looked up here, once, and nowhere else.
"""

from __future__ import annotations

import grp
import pwd
import re
from collections.abc import Iterator
from typing import Any, Literal

from assetstore.errors import InvalidRequest
from assetstore.limits import check_name
from assetstored.access import Right, Rule, Rules

#: The keys of a rule, and what each is in words.
_RIGHTS = {"read": "read", "write": "read and change", "admin": "read, change and administer"}

_MAX_ID = 2**32 - 2


def parse(table: object, origin: str) -> Rules:
    """The rules that a table says. Raises ValueError, which says where and what to do."""
    if not isinstance(table, dict):
        raise ValueError("access is a table: [access.user.NAME], [access.group.NAME] and so on")
    _check_keys(table, "[access]", ("user", "group", "everyone"))
    rules: list[Rule] = []
    ids: dict[tuple[str, int], str] = {}
    for who in ("user", "group"):
        named = _table(table.get(who, {}), f"[access.{who}]")
        for name, rights in named.items():
            where = f"[access.{who}.{_quoted(name)}]"
            # First, since half of a name that has a dot in it is no user as a rule.
            given = list(_rights(rights, where))
            try:
                number = _id_of(who, name)
            except ValueError as exc:
                raise ValueError(f"{where}: {exc}") from exc
            if who == "user" and number == 0:
                raise ValueError(f"{where}: root may do everything in any case; leave it out")
            if (who, number) in ids:
                raise ValueError(
                    f"{where} and {ids[who, number]} are both {who} {number}; write one of them"
                )
            ids[who, number] = where
            rules += [Rule(who, number, name, right, globs) for right, globs in given]
    if "everyone" in table:
        where = "[access.everyone]"
        for right, globs in _rights(table["everyone"], where):
            rules.append(Rule("everyone", None, "everyone", right, globs))
    return Rules(tuple(rules), origin)


def group_id(name: str) -> int | None:
    """The gid of a group by its name or number, None for no name. Raises ValueError."""
    return _id_of("group", name) if name else None


def in_words(rules: Rules | None) -> Iterator[str]:
    """Who may do what, a line each."""
    yield "root and the daemon's user may do everything"
    if rules is None:
        yield "whoever may connect may read and change every asset, as there is no [access]"
        return
    for rule in rules.rules:
        name = "everyone who may connect"
        if rule.who != "everyone":
            number = "uid" if rule.who == "user" else "gid"
            name = f"{rule.who} {rule.name!r} ({number} {rule.id})"
        globs = "every asset" if "*" in rule.globs else ", ".join(map(repr, rule.globs))
        yield f"{name} may {_RIGHTS[rule.right.word]} {globs}"
    yield "nobody else may do anything"


def _rights(value: object, where: str) -> Iterator[tuple[Right, tuple[str, ...]]]:
    """What a table gives: rights, and the globs that each is for."""
    table = _table(value, where)
    _check_keys(table, where, tuple(_RIGHTS))
    if not table:
        raise ValueError(f"{where} gives nothing; say read, write or admin in it, or leave it out")
    given: dict[str, str] = {}
    for right in _RIGHTS:
        if right not in table:
            continue
        globs = table[right]
        if not isinstance(globs, list) or not all(isinstance(glob, str) for glob in globs):
            raise ValueError(
                f'{where}: {right} is a list of names, uris or patterns of them: ["orders*"]'
            )
        if not globs:
            raise ValueError(f"{where}: {right} is an empty list, and matches no asset")
        for glob in globs:
            _check_glob(glob, f"{where}: {right}")
            if glob in given:
                raise ValueError(
                    f"{where}: {glob!r} is in {given[glob]} and in {right}; the stronger is enough"
                )
            given[glob] = right
        yield Right[right.upper()], tuple(globs)


def _check_glob(glob: str, where: str) -> None:
    if not glob:
        raise ValueError(f'{where}: an empty pattern matches no asset; all of them are "*"')
    if re.fullmatch(r"(\\.|[^\\])*", glob, re.DOTALL) is None:
        raise ValueError(f"{where}: {glob!r} ends with a backslash; write two for one")
    try:
        # The shortest text that it matches.
        check_name(re.sub(r"\\(.)|\*", r"\1", glob, flags=re.DOTALL) or "*")
    except InvalidRequest as exc:
        raise ValueError(f"{where}: no asset is named like that: {exc}") from exc


def _id_of(who: Literal["user", "group"], name: str) -> int:
    """The uid or gid: by number, or looked up."""
    if name.isascii() and name.isdigit():
        if int(name) > _MAX_ID:
            raise ValueError(f"{name} is beyond the largest id, {_MAX_ID}")
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if who == "user" else grp.getgrnam(name).gr_gid
    except (KeyError, ValueError):
        command = "passwd" if who == "user" else "group"
        raise ValueError(
            f"there is no {who} {name!r} here (`getent {command}` has all); make it, or give a "
            "number"
        ) from None


def _table(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} is a table, not {value!r:.80}")
    return value


def _check_keys(table: dict[str, Any], where: str, known: tuple[str, ...]) -> None:
    for key in table:
        if key not in known:
            raise ValueError(
                f"{where}: unknown key {key!r}; there are {', '.join(known)}. A name with a dot "
                "in it is written in quotes"
            )


def _quoted(name: str) -> str:
    """A name as it stands in the header of a table."""
    is_bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if is_bare else f'"{name}"'

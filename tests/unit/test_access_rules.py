"""[access]: what may be written there, and what is a mistake."""

from __future__ import annotations

import grp
import os
import pwd
import tomllib

import pytest

from assetstored.access import Right, Rule, Rules
from assetstored.access_rules import group_id, in_words, parse

# Whoever runs this exists, and so does root's group.
MY_NAME = pwd.getpwuid(os.geteuid()).pw_name
ROOT_GROUP = grp.getgrgid(0).gr_name
NOBODY = pwd.getpwnam("nobody")


def parsed(text: str) -> Rules:
    return parse(tomllib.loads(text)["access"], "f.toml")


def test_rules_are_of_users_groups_and_everyone_by_name_or_number() -> None:
    rules = parsed(
        f"""
        [access.user.nobody]
        read = ["a", "b*"]
        admin = ["c"]
        [access.user.1234]
        write = ["*"]
        [access.group.{ROOT_GROUP}]
        write = ["d"]
        [access.everyone]
        read = ["public/*"]
        """
    )

    assert rules == Rules(
        (
            Rule("user", NOBODY.pw_uid, "nobody", Right.READ, ("a", "b*")),
            Rule("user", NOBODY.pw_uid, "nobody", Right.ADMIN, ("c",)),
            Rule("user", 1234, "1234", Right.WRITE, ("*",)),
            Rule("group", 0, ROOT_GROUP, Right.WRITE, ("d",)),
            Rule("everyone", None, "everyone", Right.READ, ("public/*",)),
        ),
        "f.toml",
    )


def test_an_empty_table_gives_nobody_anything() -> None:
    assert parsed("[access]") == Rules((), "f.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("access = 5", "access is a table: "),
        ("[[access]]", "access is a table: "),
        ("[access]\nuser = 5", r"\[access.user\] is a table, not 5"),
        ("[access.users.a]\nread=['*']", "unknown key 'users'; there are user, group, everyone"),
        ("[access.everyone]\nreads = ['*']", "unknown key 'reads'; there are read, write, admin"),
        ("[access.user.svc.etl]\nread = ['*']", "unknown key 'etl'.* written in quotes"),
        ("[access.user]\nnobody = ['*']", r"\[access.user.nobody\] is a table, not \['\*'\]"),
        ("[access.user.nobody]", r"\[access.user.nobody\] gives nothing; say read, write or"),
        ("[access.everyone]", r"\[access.everyone\] gives nothing"),
        ("[access.user.nobody]\nread = '*'", "read is a list of names"),
        ("[access.user.nobody]\nread = [1]", "read is a list of names"),
        ("[access.user.nobody]\nread = []", "read is an empty list, and matches no asset"),
        ("[access.user.nobody]\nread = ['']", "an empty pattern matches no asset"),
        (f"[access.everyone]\nread = ['{'x' * 1501}*']", "no asset is named like that: .* 1,500"),
        ("[access.everyone]\nread = ['a\\']", "ends with a backslash; write two for one"),
        ("[access.everyone]\nread = ['a', 'a']", "'a' is in read and in read"),
        ("[access.everyone]\nread = ['a']\nadmin = ['a']", "'a' is in read and in admin"),
        ("[access.user.no-such]\nread = ['*']", r"\[access.user.no-such\]: there is no user 'no-"),
        ("[access.group.no-such]\nread = ['*']", r"there is no group 'no-such' here"),
        ('[access.user."svc.no"]\nread = ["*"]', r'\[access.user."svc.no"\]: there is no user'),
        ('[access.user."a\\u0000b"]\nread = ["*"]', "there is no user"),
        ('[access.user.""]\nread = ["*"]', "there is no user ''"),
        ("[access.user.-1]\nread = ['*']", "there is no user '-1'"),
        ("[access.user.4294967295]\nread = ['*']", "beyond the largest id, 4294967294"),
        ("[access.user.root]\nread = ['*']", "root may do everything in any case; leave it out"),
        ("[access.user.0]\nread = ['*']", "root may do everything in any case; leave it out"),
        (
            f"[access.user.nobody]\nread=['*']\n[access.user.{NOBODY.pw_uid}]\nwrite=['*']",
            rf"\[access.user.{NOBODY.pw_uid}\] and \[access.user.nobody\] are both user",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parsed(text)


def test_rules_are_said_in_words() -> None:
    rules = parsed(
        """
        [access.user.1234]
        write = ["*"]
        [access.group.5678]
        read = ["a", "b*"]
        admin = ["c"]
        """
    )

    assert list(in_words(rules)) == [
        "root and the daemon's user may do everything",
        "user '1234' (uid 1234) may read and change every asset",
        "group '5678' (gid 5678) may read 'a', 'b*'",
        "group '5678' (gid 5678) may read, change and administer 'c'",
        "nobody else may do anything",
    ]


def test_that_there_are_no_rules_is_said_in_words() -> None:
    assert list(in_words(None)) == [
        "root and the daemon's user may do everything",
        "whoever may connect may read and change every asset, as there is no [access]",
    ]


def test_the_group_of_a_socket_is_looked_up() -> None:
    assert group_id("") is None
    assert group_id("4711") == 4711
    assert group_id(ROOT_GROUP) == 0
    with pytest.raises(ValueError, match="there is no group 'no-such' here"):
        group_id("no-such")

"""The verbs that change a value by what is there: advance, increment, merge.

Rule: the daemon compares, adds and merges, so that nobody's change is lost; nothing is read here
to be written back.
"""

from __future__ import annotations

from typing import Any

import click

from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.details import details
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import entry_record
from assetstore_cli.session import Session, with_session, write_value
from assetstore_cli.typed import Number, field_path, patch_to_merge, value_to_write

#: What is compared with what; the library's Order.
ORDER = click.Choice(["value", "time"])


@click.command(cls=Verb)
@asset_argument("KEY VALUE", most_keys=1)
@click.option("--string", is_flag=True, help="Take VALUE as text, not as JSON.")
@click.option(
    "--order",
    type=ORDER,
    default="value",
    help="By value, or strings as RFC 3339 times.  [default: value]",
)
@with_session
def advance(
    session: Session, asset: Named, words: tuple[str, ...], string: bool, order: Any
) -> None:
    """Write VALUE under KEY if it is greater; show what is there.

    An absent key is less than anything. What others have written is never set back, so this is for
    cursors and watermarks that several move. That VALUE was not greater is no error: the first
    line says "advanced" or "not advanced", and the exit code is 0 in both cases.

    Two numbers can be compared, two strings, by their characters, and two lists of these, item by
    item; all else is refused. With --order time, "2026-01-31T09:00:00+01:00" and
    "2026-01-31T08:00:00Z" are the same. VALUE '-' is read from standard input.

    \b
    assetstore advance orders watermark --string 2026-01-31
    assetstore advance orders cursor '["2026-01-31", 4711]'

    --json: {"applied", "key", "value", "revision", "updated_at", "updated_by"}.
    """
    key, given = words
    value = value_to_write(asset, key, given, string=string)
    with session.client() as client:
        result = client.store(asset.ref).advance(key, value, order=order)
    out = session.out
    if session.json:
        out.record(applied=result.applied, **entry_record(result.entry))
    else:
        out.line("advanced" if result.applied else "not advanced")
        out.lines(details(result.entry, out.screen))


@click.command(cls=Verb)
@asset_argument("KEY", most_keys=1)
@click.option("--by", type=Number(), metavar="N", default=1, help="What to add.  [default: 1]")
@click.option(
    "--default",
    type=Number(),
    metavar="N",
    default=0,
    help="What to add it to if the key is absent.  [default: 0]",
)
@with_session
def increment(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    by: int | float,
    default: int | float,
) -> None:
    """Add to the number under KEY, and print the new one.

    Of many who do so at once none is lost. Integers are exact, whatever their size. A value that
    is no number is refused.

    --json: {"key", "value"}.
    """
    with session.client() as client:
        value = client.store(asset.ref).increment(words[0], by, default)
    if session.json:
        session.out.record(key=words[0], value=value)
    else:
        write_value(session, value)


@click.command(cls=Verb)
@asset_argument("KEY PATCH", most_keys=1)
@click.option(
    "--remove",
    multiple=True,
    type=Word(),
    metavar="FIELD",
    help="Take this field out first; may be given several times.",
)
@click.option(
    "--how",
    type=click.Choice(["replace", "max"]),
    default="replace",
    help="Take each field of PATCH, or only where it is greater.  [default: replace]",
)
@click.option("--order", type=ORDER, help="With --how max: as that of 'advance'.  [default: value]")
@with_session
def merge(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    remove: tuple[str, ...],
    how: Any,
    order: Any,
) -> None:
    """Lay the fields of a JSON object over those under KEY.

    Prints the object that is there then. An object inside PATCH is laid over one that is there in
    the same way; all else replaces what was there, null too. An absent key is an empty object; a
    value that is none is refused. With --how max a field is taken where it is absent or less, by
    the rule of 'advance': so several keep their cursors in one key. PATCH '-' is read from
    standard input.

    FIELD is the name of a field; of one inside another it is the way there, as a JSON array of
    names. What begins with '[' is always such an array: the field "[x" is '["[x"]'. That there is
    no such field is no error.

    \b
    assetstore merge orders cursors '{"shard-1": 4711}' --how max
    assetstore merge orders settings '{}' --remove old --remove '["retry", "limit"]'

    --json: {"key", "value"}.
    """
    key, given = words
    if order is not None and how != "max":
        raise click.UsageError("--order says what is greater, which only --how max asks.")
    paths = [field_path(field) for field in remove]
    patch = patch_to_merge(given)
    with session.client() as client:
        value = client.store(asset.ref).merge(
            key, patch, remove=paths, how=how, order=order or "value"
        )
    if session.json:
        session.out.record(key=key, value=value)
    else:
        write_value(session, value)

"""The verb ls: the keys of one asset, or its entries."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from itertools import islice

import click

from assetstore import Entry
from assetstore_cli import completion
from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import entry_record, writer_text
from assetstore_cli.render import json_cell, moment, printable
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import Column

_LONG = (
    Column("KEY"),
    Column("REVISION", right=True, fixed=True),
    Column("UPDATED", fixed=True),
    Column("BY"),
    Column("VALUE", safe=True),
)


@click.command(cls=Verb)
@asset_argument("[PREFIX]", most_keys=1)
@click.option("-l", "--long", is_flag=True, help="With revision, time, writer and value.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N keys.")
@click.option(
    "--after",
    type=Word(),
    metavar="KEY",
    help="Only keys that come after KEY.",
    shell_complete=completion.key,
)
@with_session
def ls(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    long: bool,
    limit: int | None,
    after: str | None,
) -> None:
    """List the keys of an asset, in byte order.

    PREFIX is exact: no wildcards. That there are none is no error.

    --json: {"key"}, and with --long {"key", "value", "revision", "updated_at", "updated_by"}.
    """
    prefix = words[0] if words else ""
    # One more than is shown, to know whether there are more.
    asked = None if limit is None else limit + 1
    with session.client() as client:
        store = client.store(asset.ref)
        if long:
            entries = store.entries(prefix, after, asked)
            last_key = _list_long(session, islice(entries, limit))
            more = next(entries, None) is not None
        else:
            keys = iter(store.keys(prefix, after, asked))
            last_key = _list_keys(session, islice(keys, limit))
            more = next(keys, None) is not None
    if more and session.out.is_terminal and not session.json:
        last = shlex.quote(last_key) if last_key.isprintable() else "the last of these"
        note(f"(there are more: go on with --after {last})")


def _list_keys(session: Session, keys: Iterator[str]) -> str:
    """Write the keys; return the last one."""
    out = session.out
    key = ""
    for key in keys:
        if session.json:
            out.record(key=key)
        else:
            out.line(printable(key, out.screen.encoding))
    if not key and out.is_terminal and not session.json:
        note("(no keys)")
    return key


def _list_long(session: Session, entries: Iterator[Entry]) -> str:
    """Write the entries; return the last key."""
    last_key = ""

    def remembered() -> Iterator[Entry]:
        nonlocal last_key
        for entry in entries:
            last_key = entry.key
            yield entry

    if session.json:
        for entry in remembered():
            session.out.record(**entry_record(entry))
    else:
        rows = (_row(session, entry) for entry in remembered())
        session.out.table(_LONG, rows, if_none="(no keys)")
    return last_key


def _row(session: Session, entry: Entry) -> tuple[str, ...]:
    screen = session.out.screen
    return (
        entry.key,
        str(entry.revision),
        moment(entry.updated_at, screen),
        writer_text(entry.updated_by),
        json_cell(entry.value, screen),
    )

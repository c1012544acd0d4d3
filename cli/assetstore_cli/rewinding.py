"""The verb rewind: what stood in an asset once, written again."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

import click

from assetstore import Difference, Entry
from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb
from assetstore_cli.records import difference_record
from assetstore_cli.render import Screen, counted, json_cell, printable
from assetstore_cli.screens import screen_of
from assetstore_cli.session import Session, with_session
from assetstore_cli.tables import Column, table
from assetstore_cli.when import Moment, When, moment_text

# What a person can take in before saying yes; the number of the rest is said.
_MOST_SHOWN = 20

_COLUMNS = (
    Column("KEY"),
    Column("NOW", safe=True),
    Column("", fixed=True, safe=True),
    Column("THEN", safe=True),
)


@click.command(cls=Verb)
@asset_argument("[KEY]", most_keys=1)
@click.option(
    "--to", type=When(), metavar="WHEN", required=True, help="What stood there then is wanted."
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def rewind(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    to: Moment,
    dry_run: bool,
    yes: bool,
) -> None:
    """Write again what stood under KEY, or all keys, before.

    Without KEY it is about the whole asset. It shows what differs and asks; then exactly that is
    done, or nothing if the asset has been changed meanwhile. A key that was not there then is
    deleted. These are new changes: what they undo stays in 'history', and a rewind can be rewound.

    WHEN is a revision (after that change), a time with its zone, or an age: 90s, 15m, 2h, 7d, 1w,
    with or without "ago".

    \b
    assetstore rewind orders watermark --to 4711
    assetstore rewind orders --to 2026-01-31T08:15:30Z --dry-run
    assetstore rewind orders --to "2h ago"

    --json: {"key", "now", "now_revision", "then", "then_revision"} for each key that differs,
    nulls where there is or was none; then {"count", "revision"}: the last revision that was given,
    or null if nothing was written.
    """
    if not dry_run:
        session.check_can_ask(yes)
    key = words[0] if words else None
    is_asked = not yes and not dry_run
    with session.patient_client() as client:
        store = client.store(asset.ref)
        plan = store.rewind(key, to=to, dry_run=dry_run or is_asked)
        revision = None if dry_run or is_asked else plan.revision
        if is_asked and plan.differences:
            session.ask(_question(session, asset, to, plan.differences))
            revision = store.rewind(key, to=to, expected=plan.revision).revision
    count = len(plan.differences)
    out = session.out
    if session.json:
        for difference in plan.differences:
            out.record(**difference_record(difference))
        out.record(count=count, revision=revision)
        return
    if not plan.differences:
        out.line(f"Nothing differs from what stood there at {moment_text(to)}.")
        return
    if not is_asked:
        out.lines(_table(plan.differences, out.screen))
    if revision is not None:
        out.line(f"{counted(count, 'key')} rewound, revision {revision}")


def _question(
    session: Session, asset: Named, to: Moment, differences: Sequence[Difference]
) -> Iterator[str]:
    screen = screen_of(sys.stderr, session.settings)
    yield f"In {printable(str(asset))} these are to be again as they were at {moment_text(to)}:"
    shown = differences[:_MOST_SHOWN]
    yield from _table(shown, screen)
    if more := len(differences) - len(shown):
        yield f"... and {counted(more, 'more key', 'more keys')}; --dry-run lists all"


def _table(differences: Iterable[Difference], screen: Screen) -> Iterator[str]:
    rows = (
        (each.key, _value(each.now, screen), "->", _value(each.then, screen))
        for each in differences
    )
    return table(_COLUMNS, rows, screen)


def _value(entry: Entry | None, screen: Screen) -> str:
    return "(absent)" if entry is None else json_cell(entry.value, screen)

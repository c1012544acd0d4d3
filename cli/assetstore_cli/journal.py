"""The verbs that read the journal: history, of one key, and log, of everything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

import click

from assetstore import Event, NotConnected, OutcomeUnknown
from assetstore.limits import check_key
from assetstore_cli import completion
from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.backwards import backwards
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import event_record, writer_text
from assetstore_cli.render import Screen, json_cell, json_line, moment
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import ROWS_MEASURED, Column, Layout
from assetstore_cli.wanted import Coming, Wanted
from assetstore_cli.when import Moment, When

#: How many of the last events are shown, unless more are asked for.
_SHOWN = 20

_HISTORY = (
    Column("REVISION", right=True, fixed=True),
    Column("KIND", fixed=True),
    Column("UPDATED", fixed=True),
    Column("BY"),
    Column("VALUE", safe=True),
)

# Each as wide as what is still to come is likely to be.
_LOG = (
    Column("REVISION", right=True, fixed=True, least=10),
    Column("KIND", fixed=True, least=len("deactivated")),
    Column("UPDATED", fixed=True),
    Column("ASSET", least=16),
    Column("KEY", least=16),
    Column("BY", least=24),
    Column("VALUE", safe=True),
)


@click.command(cls=Verb)
@asset_argument("KEY", most_keys=1)
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N changes.")
@with_session
def history(session: Session, asset: Named, words: tuple[str, ...], limit: int | None) -> None:
    """List the changes of KEY, newest first.

    It goes as far back as the journal reaches. Among them is what happened to the whole asset and
    to KEY with it: "clear", "restored", "moved". A REVISION of these is a WHEN for 'get --at' and
    'rewind'. That there are none is no error.

    --json: {"revision", "kind", "name", "uri", "key", "value", "detail", "updated_at",
    "updated_by", "previous", "origin_updated_at", "origin_updated_by"}; key and value are null for
    what happened to the asset, and value for a delete. The last two are of an import: when and by
    whom the entry was written first, where "updated_by" is who imported it. Else they are null.
    """
    out = session.out
    with session.client() as client:
        events = client.store(asset.ref).history(words[0], limit)
        if session.json:
            for event in events:
                out.record(**event_record(event))
            return
        rows = (
            (str(event.revision), event.kind, *_when_by_and_value(event, out.screen))
            for event in events
        )
        out.table(_HISTORY, rows, if_none="(the journal has no change of it)")


@click.command(cls=Verb)
@asset_argument("", most_keys=0, optional=True)
@click.option(
    "--key", type=Word(), metavar="KEY", help="Only of this key.", shell_complete=completion.key
)
@click.option(
    "--prefix",
    type=Word(),
    metavar="P",
    help="Only of keys that begin with P.",
    shell_complete=completion.key,
)
@click.option("--since", type=When(), metavar="WHEN", help="Since then; see 'rewind' for WHEN.")
@click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=0),
    metavar="N",
    help="Only the last N.  [default: 20; with --since all]",
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@with_session
def log(
    session: Session,
    asset: Named | None,
    words: tuple[str, ...],
    key: str | None,
    prefix: str | None,
    since: Moment | None,
    limit: int | None,
    follow: bool,
) -> None:
    """Show who changed what and when, oldest first.

    Changes of keys, and what happened to assets: that they were cleared, activated, deactivated,
    restored, moved or dropped, and that a manifest was accepted. BY is what the writer said of
    itself, and the uid and pid that the kernel vouches for.

    It shows the last 20 of them, on a terminal and elsewhere, unless --since or -n asks for more.
    With --follow nothing is missed or shown twice while the daemon restarts.

    \b
    assetstore log orders --since 1d
    assetstore log orders --key watermark -n 100
    assetstore log --follow --json -n 0

    --json: as 'history'; name and uri are null for a manifest.
    """
    if key is not None and prefix is not None:
        raise click.UsageError("--key and --prefix exclude each other.")
    if key is not None:
        check_key(key)
    if limit is None and since is None:
        limit = _SHOWN
    out = session.out
    # A line stays on the screen for long, where "3 min ago" would not stay true.
    screen = out.screen._replace(now=None) if follow else out.screen
    with session.patient_client() if follow else session.client() as client:
        wanted = Wanted(client, asset, key=key, prefix=prefix or "")
        # Before the log is read, so that nothing comes between the two.
        coming = wanted.follow() if follow else None
        past = wanted.past(since)
        if coming is not None:
            until = coming.since
            past = (event for event in past if event.revision < until)
        shown = past if limit is None else islice(past, limit)
        line, shown = _renderer(session, asset, shown, screen, follow=follow)
        out.lines(backwards(map(line, shown)))
        if coming is not None:
            _show_as_they_come(session, coming, line)
        elif out.is_terminal and not session.json and next(past, None):
            note("(there are older ones: -n N or --since WHEN shows more)")


def _renderer(
    session: Session, asset: Named | None, events: Iterator[Event], screen: Screen, *, follow: bool
) -> tuple[Callable[[Event], str], Iterator[Event]]:
    """What makes a line of an event, and the events; the titles are written here."""
    if session.json:
        return lambda event: json_line(event_record(event), screen), events
    names_asset = asset is None
    columns = [each for each in _LOG if names_asset or each.title != "ASSET"]
    if not follow:
        columns = [each._replace(least=0) for each in columns]

    def row(event: Event) -> tuple[str, ...]:
        named = (event.asset.name if event.asset else None) or "-"
        when, by, value = _when_by_and_value(event, screen)
        asset_cells = (named,) if names_asset else ()
        key = "-" if event.key is None else event.key
        return (str(event.revision), event.kind, when, *asset_cells, key, by, value)

    measured = list(islice(events, ROWS_MEASURED))
    layout = Layout(columns, map(row, measured), screen)
    if measured or follow:
        session.out.line(layout.titles())
    elif session.out.is_terminal:
        note("(no changes)")
    return lambda event: layout.line(row(event)), chain(measured, events)


def _show_as_they_come(session: Session, coming: Coming, line: Callable[[Event], str]) -> None:
    out = session.out
    out.flush()
    try:
        for event in coming:
            out.line(line(event))
            out.flush()
    except (NotConnected, OutcomeUnknown):
        note(f"(nothing is missed if it is begun again with --since {coming.since})")
        raise


def _by(event: Event) -> str:
    by = writer_text(event.updated_by)
    return by if event.origin is None else f"{by} from {writer_text(event.origin.updated_by)}"


def _when_by_and_value(event: Event, screen: Screen) -> tuple[str, str, str]:
    content = event.value if event.detail is None else event.detail
    return (
        moment(event.updated_at, screen),
        _by(event),
        "-" if content is None else json_cell(content, screen),
    )

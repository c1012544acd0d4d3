"""The verbs on the trash: trash list, restore and purge, and sweep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import click

from assetstore import Asset, Client, InactiveAsset, TrashInfo
from assetstore_cli import completion
from assetstore_cli.failures import Refusal
from assetstore_cli.options import Noun, Verb
from assetstore_cli.records import trash_record
from assetstore_cli.render import counted, moment, printable, size
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import Column, table

_COLUMNS = (
    Column("ID", right=True, fixed=True),
    Column("NAME"),
    Column("URI"),
    Column("WHY", fixed=True),
    Column("SINCE", fixed=True),
    Column("DROPS", fixed=True),
    Column("ENTRIES", right=True, fixed=True),
    Column("SIZE", right=True, fixed=True),
)

# What a person can take in before saying yes; the number of the rest is said.
_MOST_SHOWN = 20

# As wide as the wire takes.
_ID = click.IntRange(min=0, max=2**63 - 1)

_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.group(cls=Noun)
def trash() -> None:
    """Stores on their way out, and the way back."""


@trash.command("list")
@with_session
def list_(session: Session) -> None:
    """List what is in the trash, and when it is dropped.

    --json: {"id", "name", "uri", "reason", "since", "drops_at", "entries", "size_bytes"}.
    """
    with session.client() as client:
        _show(session, client.trash(), "(the trash is empty)")


@trash.command()
@click.argument("trash_id", metavar="ID", type=_ID, shell_complete=completion.trash_id)
@_yes
@with_session
def restore(session: Session, trash_id: int, yes: bool) -> None:
    """Give a cleared or replaced store back to its asset.

    What the asset holds now goes to the trash in turn. A store that is here because its asset
    left the manifest comes back by itself when the asset returns.

    --json: {"name", "uri", "count"}.
    """
    session.check_can_ask(yes)
    with session.client() as client:
        if not yes:
            session.ask(_restore_plan(client, trash_id))
        restored = client.restore(trash_id)
    if session.json:
        session.out.record(name=restored.name, uri=restored.uri, count=restored.count)
    else:
        back = counted(restored.count, "entry is", "entries are")
        session.out.line(f"{back} back in {printable(restored.name)}")


@trash.command()
@click.argument(
    "trash_ids", metavar="[ID...]", nargs=-1, type=_ID, shell_complete=completion.trash_id
)
@click.option("--all", "everything", is_flag=True, help="All that is in the trash now.")
@_yes
@with_session
def purge(session: Session, trash_ids: tuple[int, ...], everything: bool, yes: bool) -> None:
    """Drop stores now, for good. There is no way back.

    An id that is not in the trash is an error, and nothing is dropped then.

    --json: {"count"}.
    """
    if everything == bool(trash_ids):
        raise click.UsageError("which? Give one or more IDs, or --all.")
    session.check_can_ask(yes)
    with session.patient_client() as client:
        there = {store.id: store for store in client.trash()}
        if missing := [str(each) for each in trash_ids if each not in there]:
            raise Refusal(f"not in the trash: {', '.join(missing)}; nothing was dropped")
        doomed = list(there.values()) if everything else [there[each] for each in trash_ids]
        if doomed and not yes:
            session.ask(_doom(session, doomed, "To be dropped now, for good:"))
        count = client.purge([store.id for store in doomed]) if doomed else 0
    if session.json:
        session.out.record(count=count)
    else:
        session.out.line(f"{counted(count, 'store')} dropped")


@click.command(cls=Verb)
@click.option("--dry-run", is_flag=True, help="Only show what would be dropped.")
@_yes
@with_session
def sweep(session: Session, dry_run: bool, yes: bool) -> None:
    """Drop what is past its grace, now.

    The daemon does so by itself from time to time; this does not wait for it.

    --json: one line for each store that was dropped (or would be), as in 'trash list'.
    """
    if not dry_run:
        session.check_can_ask(yes)
    with session.patient_client() as client:
        if not dry_run and not yes:
            due = client.sweep(dry_run=True)
            if due:
                session.ask(_doom(session, due, "Past their grace, to be dropped for good:"))
        dropped = client.sweep(dry_run=dry_run)
    _show(session, dropped, "(nothing is past its grace)")
    if dropped and not dry_run and session.out.is_terminal and not session.json:
        note(f"({counted(len(dropped), 'store')} dropped)")


def _row(session: Session, store: TrashInfo) -> Sequence[str]:
    screen = session.out.screen
    return (
        str(store.id),
        store.name,
        store.uri,
        store.reason,
        moment(store.since, screen),
        moment(store.drops_at, screen),
        f"{store.entries:,}",
        size(store.size_bytes),
    )


def _show(session: Session, stores: Iterable[TrashInfo], if_none: str) -> None:
    if session.json:
        for store in stores:
            session.out.record(**trash_record(store))
    else:
        rows = (_row(session, store) for store in stores)
        session.out.table(_COLUMNS, rows, if_none=if_none)


def _doom(session: Session, stores: Sequence[TrashInfo], title: str) -> Iterator[str]:
    yield title
    shown = stores[:_MOST_SHOWN]
    yield from table(_COLUMNS, (_row(session, store) for store in shown), session.out.screen)
    if len(stores) > len(shown):
        yield f"... and {counted(len(stores) - len(shown), 'more store', 'more stores')}"


def _restore_plan(client: Client, trash_id: int) -> Iterator[str]:
    store = next((each for each in client.trash() if each.id == trash_id), None)
    if store is None:
        raise Refusal(f"{trash_id} is not in the trash; assetstore trash list shows what is")
    name = printable(store.name)
    yield f"{counted(store.entries, 'entry comes', 'entries come')} back to {name}."
    try:
        held = client.store(Asset(store.name, store.uri)).count()
    except InactiveAsset:
        # The daemon refuses, and says it better.
        return
    yield f"What it holds now ({counted(held, 'entry', 'entries')}) goes to the trash."

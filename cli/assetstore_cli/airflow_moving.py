"""The verbs ``airflow import`` and ``airflow export``: rows of Airflow's own store, in and out.

Rule: questions and tables; what is moved is decided in assetstore.airflow.moving.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import click

from assetstore import Asset, Client
from assetstore.airflow.moving import (
    Row,
    State,
    Step,
    counts,
    prepared,
    way_in,
    way_out,
    write_export,
)
from assetstore.importing import import_from
from assetstore.manifest import ManifestAsset
from assetstore_cli.airflow_asking import airflow_database, asked
from assetstore_cli.failures import DONE, REFUSED, Refusal
from assetstore_cli.options import Verb
from assetstore_cli.render import counted, printable
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import Column

# What a person can take in before saying yes; the number of the rest is said.
_MOST_SHOWN = 20

_SHOWN: tuple[State, ...] = ("new", "changed", "same", "newer", "skipped", "refused", "gone")

_COLUMNS = (Column("ASSET"), *(Column(state.upper(), right=True, fixed=True) for state in _SHOWN))

_dry_run = click.option("--dry-run", is_flag=True, help="Only show what would be moved.")
_yes = click.option("-y", "--yes", is_flag=True, help="Do not ask.")


@click.command("import", cls=Verb)
@_dry_run
@click.option(
    "--skip-missing", is_flag=True, help="Leave out the assets that are not active in the daemon."
)
@_yes
@with_session
def import_(session: Session, dry_run: bool, skip_missing: bool, yes: bool) -> int:
    """Copy what Airflow's own asset state store holds into the daemon.

    With the times and the writers of its rows, in their order. Shows first what that is, and asks.
    A key that the daemon has too is changed only if the row is newer; so it may be repeated. What
    cannot be stored is listed as refused, and the exit code is 1. Airflow's rows stay.

    To be run where Airflow is installed, by root or the daemon's user, while no task runs.

    --json: {"name", "uri", "key", "state", "reason"} for each key; states: new and changed are
    moved, same and newer stay, skipped and refused have a reason.
    """
    if not dry_run:
        session.check_can_ask(yes)
    rows: list[Row] = asked(airflow_database().stored_rows)
    with session.patient_client() as client:
        active = _active(client)
        missing = {
            row.asset.name for row in rows if row.is_active and _key(row.asset) not in active
        }
        if missing and not skip_missing:
            raise Refusal(_missing(sorted(missing)))
        steps = [
            step
            for asset, of_asset in groupby(sorted(rows, key=_asset), key=_asset)
            for step in _ways_in(client, asset, list(of_asset), is_active=asset in active)
        ]
        if _confirmed(session, steps, "into the daemon", dry_run=dry_run, yes=yes):
            moving = [step.row for step in steps if step.row and step.state in ("new", "changed")]
            with tempfile.TemporaryFile() as file:
                write_export(moving, file)
                file.seek(0)
                import_from(client, file, in_parts=True)
    return _end(session, steps, dry_run=dry_run)


@click.command(cls=Verb)
@_dry_run
@click.option(
    "--replace",
    is_flag=True,
    help="Also delete Airflow's rows of keys that the daemon does not have.",
)
@_yes
@with_session
def export(session: Session, dry_run: bool, replace: bool, yes: bool) -> int:
    """Copy what the daemon holds for Airflow's active assets into Airflow's own asset state store.

    The way back to Airflow's own store, with times and writers. Shows first what that is, and
    asks. A row that is newer than the daemon's entry stays; so it may be repeated. Rows of keys
    that the daemon does not have, as they were deleted since, are listed as gone, and stay unless
    --replace is given. The daemon's entries stay.

    To be run where Airflow is installed, while no task runs.

    --json: {"name", "uri", "key", "state", "reason"} for each key; states: new and changed are
    moved, same and newer stay, refused have a reason, gone are deleted with --replace.
    """
    if not dry_run:
        session.check_can_ask(yes)
    database = airflow_database()
    assets: list[ManifestAsset] = asked(database.active_assets)
    rows: dict[tuple[str, str, str], Row] = {
        (row.asset.name, row.asset.uri, row.key): row for row in asked(database.stored_rows)
    }
    steps = []
    with session.patient_client() as client:
        active = _active(client)
        for asset in assets:
            if _key(asset) not in active:
                continue
            for entry in client.store(Asset(asset.name, asset.uri)).entries():
                row = rows.pop((asset.name, asset.uri, entry.key), None)
                steps.append(way_out(asset, entry, row))
    steps += [
        Step(row.asset, row.key, "gone", "the daemon has no such key")
        for row in rows.values()
        if row.is_active and _key(row.asset) in active
    ]
    if _confirmed(session, steps, "into Airflow's database", dry_run=dry_run, yes=yes):
        moving = [step.row for step in steps if step.row]
        gone = [(step.asset, step.key) for step in steps if step.state == "gone"]
        asked(lambda: database.put_rows(moving, gone if replace else ()))
    return _end(session, steps, dry_run=dry_run)


def _active(client: Client) -> set[tuple[str, str]]:
    """Name and uri of each asset that is active in the daemon."""
    return {(info.name, info.uri) for info in client.assets() if info.state == "active"}


def _key(asset: ManifestAsset) -> tuple[str, str]:
    return asset.name, asset.uri


def _missing(names: Sequence[str]) -> str:
    more = len(names) - _MOST_SHOWN
    return (
        f"{counted(len(names), 'asset')} of Airflow's with rows are not active in the daemon: "
        f"{', '.join(map(repr, names[:_MOST_SHOWN]))}{f' and {more:,} more' if more > 0 else ''}. "
        "Nothing was moved. 'assetstore airflow manifest' writes a manifest that has them; "
        "--skip-missing leaves them out"
    )


def _ways_in(
    client: Client, asset: tuple[str, str], rows: Sequence[Row], *, is_active: bool
) -> Iterator[Step]:
    """What to do with each row of one asset."""
    held = {}
    if is_active:
        held = {entry.key: entry for entry in client.store(Asset(*asset)).entries()}
    for row in map(prepared, rows):
        if isinstance(row, Step):
            yield row
        elif is_active:
            yield way_in(row, held.get(row.key))
        else:
            yield Step(row.asset, row.key, "skipped", "its asset is not active in the daemon")


def _confirmed(
    session: Session, steps: Sequence[Step], where: str, *, dry_run: bool, yes: bool
) -> bool:
    """Whether something is to be moved, and may be."""
    found = counts(steps)
    moving = found.get("new", 0) + found.get("changed", 0)
    if dry_run or not moving + found.get("gone", 0):
        return False
    if not yes:
        session.ask(_plan(steps, moving, where))
    return True


def _plan(steps: Sequence[Step], moving: int, where: str) -> Iterator[str]:
    yield f"{counted(moving, 'key')} would go {where}:"
    shown = [step for step in steps if step.state in ("new", "changed", "gone")]
    for step in shown[:_MOST_SHOWN]:
        yield f"  {step.state:7}  {printable(step.asset.name)}  {printable(step.key)}"
    if len(shown) > _MOST_SHOWN:
        yield f"  ... and {len(shown) - _MOST_SHOWN:,} more; --dry-run --json lists all"


def _end(session: Session, steps: Sequence[Step], *, dry_run: bool) -> int:
    """Say what became of all; the exit code."""
    if session.json:
        for step in steps:
            session.out.record(**_record(step))
    else:
        by_asset = groupby(sorted(steps, key=_asset), key=_asset)
        rows = [(name, counts(group)) for (name, _), group in by_asset]
        session.out.table(
            _COLUMNS,
            [(name, *(f"{found.get(state, 0):,}" for state in _SHOWN)) for name, found in rows],
            if_none="There is nothing to move.",
        )
        for step in [step for step in steps if step.state == "refused"][:_MOST_SHOWN]:
            note(f"refused: {printable(step.asset.name)} {printable(step.key)}: {step.reason}")
        if dry_run:
            note("Nothing was moved: --dry-run.")
    return REFUSED if counts(steps).get("refused") else DONE


def _record(step: Step) -> dict[str, Any]:
    asset = step.asset
    return {
        "name": asset.name,
        "uri": asset.uri,
        "key": step.key,
        "state": step.state,
        "reason": step.reason or None,
    }


_asset = attrgetter("asset.name", "asset.uri")

"""The verbs on assets as such: assets and mv."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import click

from assetstore import AssetInfo
from assetstore_cli import completion
from assetstore_cli.naming import Named, pick_two
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import asset_record
from assetstore_cli.render import counted, moment, printable
from assetstore_cli.session import Session, with_session
from assetstore_cli.tables import Column

_STATE_STYLES = {"inactive": "yellow", "dropped": "red"}

_COLUMNS = (
    Column("NAME"),
    Column("URI"),
    Column("GROUP"),
    Column("STATE", fixed=True, style=_STATE_STYLES.get),
    Column("ENTRIES", right=True, fixed=True),
    Column("SINCE", fixed=True),
)


@click.command(cls=Verb)
@click.argument("pattern", required=False, type=Word(), shell_complete=completion.active_name)
@click.option("--all", "everything", is_flag=True, help="Inactive and dropped ones too.")
@click.option("--inactive", is_flag=True, help="Only those that are not active.")
@with_session
def assets(session: Session, pattern: str | None, everything: bool, inactive: bool) -> None:
    """List the active assets, by name.

    PATTERN picks those whose name or uri it fits as a whole, with * and ? as wildcards; quote it.
    SINCE is when the asset came into its state.

    --json: {"name", "uri", "group", "state", "entries", "since"}.
    """
    if everything and inactive:
        raise click.UsageError("--all and --inactive exclude each other.")

    def is_wanted(asset: AssetInfo) -> bool:
        is_active = asset.state == "active"
        return (everything or is_active != inactive) and (
            pattern is None or fnmatchcase(asset.name, pattern) or fnmatchcase(asset.uri, pattern)
        )

    out = session.out
    with session.client() as client:
        wanted = [asset for asset in client.assets() if is_wanted(asset)]
    wanted.sort(key=lambda asset: (asset.name, asset.uri))
    if session.json:
        for asset in wanted:
            out.record(**asset_record(asset))
    else:
        out.table(_COLUMNS, (_row(session, asset) for asset in wanted), if_none="(no such asset)")


@click.command(cls=Verb)
@click.argument(
    "words",
    metavar="SOURCE TARGET",
    nargs=-1,
    type=Word(),
    shell_complete=completion.source_and_target,
)
@click.option(
    "--source-uri",
    type=Word(),
    metavar="URI",
    help="The source's uri, in place of SOURCE or beside it.",
)
@click.option(
    "--target-uri",
    type=Word(),
    metavar="URI",
    help="The target's uri, in place of TARGET or beside it.",
    shell_complete=completion.active_uri,
)
@click.option("--replace", is_flag=True, help="Even if TARGET holds entries; they go to the trash.")
@click.option("-y", "--yes", is_flag=True, help="With --replace: do not ask.")
@with_session
def mv(
    session: Session,
    words: tuple[str, ...],
    source_uri: str | None,
    target_uri: str | None,
    replace: bool,
    yes: bool,
) -> None:
    """Make the store of SOURCE the store of TARGET.

    This is the way to keep the entries of an asset whose name or uri has changed in the manifest,
    where it counts as another asset: SOURCE may be inactive, TARGET is active. Revisions, times
    and writers stay as they are. Where name and uri are both given they must both fit.

    --json: {"count"}.
    """
    source, target = pick_two(click.get_current_context(), words, source_uri, target_uri)
    if replace:
        session.check_can_ask(yes)
    with session.client() as client:
        if replace and not yes:
            held = client.store(target.ref).count()
            if held:
                session.ask(_plan(source, target, held))
        count = client.move(source.ref, target.ref, replace=replace)
    if session.json:
        session.out.record(count=count)
    else:
        moved = counted(count, "entry", "entries")
        session.out.line(f"{moved} moved to {printable(str(target))}")


def _plan(source: Named, target: Named, held: int) -> Iterator[str]:
    yield f"{counted(held, 'entry', 'entries')} of {printable(str(target))} go to the trash,"
    yield f"and the store of {printable(str(source))} takes their place."


def _row(session: Session, asset: AssetInfo) -> tuple[str, ...]:
    return (
        asset.name,
        asset.uri,
        asset.group or "-",
        asset.state,
        f"{asset.entries:,}",
        moment(asset.since, session.out.screen),
    )

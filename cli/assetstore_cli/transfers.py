"""The verbs export and import: entries as JSON lines, to another host or for safe keeping.

Rule: files, questions and tables; what is exported and imported is decided in assetstore.exporting
and assetstore.importing.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

import click

from assetstore import Asset, AssetStoreError
from assetstore.export_format import ExportInvalid
from assetstore.exporting import export_to
from assetstore.importing import import_from
from assetstore.transfers import Exported, Imported, ImportedAsset
from assetstore_cli import completion
from assetstore_cli.failures import OutputFailed, Refusal
from assetstore_cli.options import Place, Verb, Word
from assetstore_cli.progress import progress_bar
from assetstore_cli.records import imported_record
from assetstore_cli.render import counted, printable
from assetstore_cli.screens import is_terminal
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import Column

# What a person can take in before saying yes; the number of the rest is said.
_MOST_SHOWN = 20

_STATE_STYLES = {"unknown": "red", "inactive": "yellow", "dropped": "yellow"}

_COLUMNS = (
    Column("ASSET"),
    Column("STATE", fixed=True, style=_STATE_STYLES.get),
    Column("ADDED", right=True, fixed=True),
    Column("CHANGED", right=True, fixed=True),
    Column("REMOVED", right=True, fixed=True),
    Column("UNCHANGED", right=True, fixed=True),
)


@click.command(cls=Verb)
@click.argument(
    "names", metavar="[ASSET...]", nargs=-1, type=Word(), shell_complete=completion.active_name
)
@click.option(
    "--uri",
    "uris",
    type=Word(),
    metavar="URI",
    multiple=True,
    help="Also the asset with this uri; may be given more than once.",
    shell_complete=completion.active_uri,
)
@click.option(
    "-o",
    "--output",
    type=Place(),
    metavar="FILE",
    help="Write to FILE: aside, then synced and put in its place. '-' is standard output.",
)
@with_session
def export(
    session: Session, names: tuple[str, ...], uris: tuple[str, ...], output: str | None
) -> None:
    """Write the entries of assets as JSON lines, all as they stood at one moment.

    Without ASSET those of all active assets that you may read. Others go on writing meanwhile. Each
    line has a checksum, and the first line says what follows, so 'import' finds whatever was cut
    off or changed. Values, times, writers and the order of revisions are in it; the past of the
    entries, the trash and inactive assets are not.

    \b
    assetstore export -o /srv/assetstore.jsonl
    assetstore export orders customers | zstd >orders.jsonl.zst

    --json, with --output: {"file", "store_id", "revision", "assets", "entries"}.
    """
    refs = [Asset.ref(name=name) for name in names] + [Asset.ref(uri=uri) for uri in uris]
    if output == "-":
        output = None
    if output is None and session.out.is_terminal:
        raise click.UsageError("this is not for a terminal: give --output FILE, or redirect it.")

    def write(file: BinaryIO) -> Exported:
        with (
            session.patient_client() as client,
            progress_bar("exporting", session.settings) as tell,
        ):
            exported = export_to(client, file, refs or None, progress=tell)
            access = client.status()["access"]
            if not refs and access["everywhere"] == "none":
                # Or what is no more than a part would be taken for the whole.
                note(
                    f"(only what uid {access['uid']} may read: {counted(exported.assets, 'asset')})"
                )
            return exported

    if output is None:
        with tempfile.TemporaryFile() as file:
            write(file)
            file.seek(0)
            session.out.binary(file)
        return
    with _put_in_place(output) as file:
        exported = write(file)
    if session.json:
        session.out.record(
            file=output,
            store_id=exported.store_id,
            revision=exported.revision,
            assets=exported.assets,
            entries=exported.entries,
        )
    else:
        session.out.line(
            f"{counted(exported.entries, 'entry', 'entries')} of "
            f"{counted(exported.assets, 'asset')} in {printable(output)}, as of revision "
            f"{exported.revision:,}"
        )


@click.command("import", cls=Verb)
@click.argument("file", required=False, type=Place(), metavar="[FILE]")
@click.option(
    "--replace",
    is_flag=True,
    help="Let the assets of FILE hold what is in FILE and nothing else; what they hold goes to "
    "the trash.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option(
    "--in-parts",
    is_flag=True,
    help="Take assets of more than 10,000 entries or 8 MiB too, in several changes.",
)
@click.option(
    "--skip-missing", is_flag=True, help="Leave out the assets of FILE that are not active here."
)
@click.option("-y", "--yes", is_flag=True, help="With --replace: do not ask.")
@with_session
def import_(
    session: Session,
    file: str | None,
    replace: bool,
    dry_run: bool,
    in_parts: bool,
    skip_missing: bool,
    yes: bool,
) -> None:
    """Write the entries of an export into the assets of the same name and uri.

    FILE comes from 'export'; without it, or with '-', it is read from standard input. Nothing is
    changed before all of it was read: a file that was cut off or changed is refused, with the line.
    Then it is all or nothing for each asset.

    Entries keep their values, times and writers and get new revisions, in the same order; 'log'
    shows who imported them. An entry of FILE takes the place of one with the same key; other keys
    stay, unless --replace is given. What is there already is left alone, so it may be repeated.

    It is for root and the user of the daemon.

    \b
    assetstore import /srv/assetstore.jsonl --dry-run
    zstd -dc orders.jsonl.zst | assetstore import

    --json: {"name", "uri", "state", "added", "changed", "removed", "unchanged"} for each asset;
    then {"store_id", "revision", "assets", "entries"}: of which export, how many assets were
    changed (or would be), and how many entries.
    """
    is_asked = replace and not dry_run and not yes
    if is_asked:
        session.check_can_ask(yes)
    options = {"replace": replace, "in_parts": in_parts, "skip_missing": skip_missing}
    with _to_import(file) as source, session.patient_client() as client:

        def run(*, dry: bool) -> Imported:
            source.seek(0)
            title = "comparing" if dry else "importing"
            with progress_bar(title, session.settings) as tell:
                return import_from(client, source, dry_run=dry, progress=tell, **options)

        try:
            imported = run(dry=dry_run or is_asked)
            if is_asked and any(each.differs for each in imported.assets):
                session.ask(_question(imported))
                imported = run(dry=False)
        except ExportInvalid as exc:
            name = "standard input" if file in (None, "-") else file
            raise Refusal(f"{name}, {exc}. Nothing was imported") from exc
    _show(session, imported, dry_run=dry_run)


def _show(session: Session, imported: Imported, *, dry_run: bool) -> None:
    out = session.out
    changed = [each for each in imported.assets if each.differs]
    entries = sum(each.added + each.changed + each.removed for each in changed)
    if session.json:
        for each in imported.assets:
            out.record(**imported_record(each))
        out.record(
            store_id=imported.store_id,
            revision=imported.revision,
            assets=len(changed),
            entries=entries,
        )
        return
    shown = [each for each in imported.assets if each.differs or each.state != "active"]
    if shown:
        out.table(_COLUMNS, map(_row, shown), if_none="")
    if not changed:
        out.line("Nothing differs from what is there.")
    else:
        done = "would change" if dry_run else "changed"
        of = counted(len(changed), "asset")
        out.line(f"{counted(entries, 'entry', 'entries')} of {of} {done}")


def _question(imported: Imported) -> Iterator[str]:
    changed = [each for each in imported.assets if each.differs]
    yield "These are to hold what is in the export and nothing else; what they hold goes to the "
    yield "trash:"
    for each in changed[:_MOST_SHOWN]:
        yield (
            f"  {printable(each.name)}: {each.added:,} added, {each.changed:,} changed, "
            f"{each.removed:,} removed, {each.unchanged:,} unchanged"
        )
    if len(changed) > _MOST_SHOWN:
        more = counted(len(changed) - _MOST_SHOWN, "more asset", "more assets")
        yield f"  ... and {more}; --dry-run lists all"


def _row(asset: ImportedAsset) -> tuple[str, ...]:
    if asset.state != "active":
        return (asset.name, asset.state, "-", "-", "-", "-")
    numbers = (asset.added, asset.changed, asset.removed, asset.unchanged)
    return (asset.name, asset.state, *(f"{number:,}" for number in numbers))


@contextmanager
def _to_import(path: str | None) -> Iterator[BinaryIO]:
    """The file, or what comes from standard input, such that it can be read twice."""
    if path is None or path == "-":
        if sys.stdin is None or is_terminal(sys.stdin):
            raise click.UsageError("which export? Give FILE, or let it come from standard input.")
        with tempfile.TemporaryFile() as kept:
            _keep(sys.stdin.buffer, kept, "standard input")
            yield kept
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below
    except OSError as exc:
        raise Refusal(f"{path}: {exc.strerror}") from exc
    with file:
        if file.seekable():
            yield file
            return
        with tempfile.TemporaryFile() as kept:
            _keep(file, kept, path)
            yield kept


def _keep(file: BinaryIO, kept: BinaryIO, name: str) -> None:
    try:
        shutil.copyfileobj(file, kept)
    except OSError as exc:
        raise Refusal(f"{name} cannot be read or kept: {exc.strerror}") from exc


@contextmanager
def _put_in_place(path: str) -> Iterator[Any]:
    """A file that stands under path once it is whole and on disk, and never before."""
    # What a link leads to is replaced, and not the link; and never a device, as /dev/null.
    place = os.path.realpath(path)
    if os.path.abspath(path).startswith(("/dev/std", "/dev/fd/", "/proc/")):
        # A file that is open, which others may be writing too; in its place they would lose it.
        raise Refusal(f"{path} is no name of a file; leave out --output, and redirect to it")
    if os.path.isdir(place):
        raise Refusal(f"{path} is a directory; name a file")
    if os.path.lexists(place) and not os.path.isfile(place):
        raise Refusal(f"{path} is no regular file; leave out --output, and redirect to it")
    directory, name = os.path.split(place)
    aside = None
    try:
        number, aside = tempfile.mkstemp(prefix=f".{name}.", suffix=".part", dir=directory)
        with open(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.rename(aside, place)
        aside = None
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    except AssetStoreError:
        raise  # some are OSErrors too
    except OSError as exc:
        raise OutputFailed(f"cannot write {path}: {exc.strerror}") from exc
    finally:
        if aside is not None:
            with suppress(OSError):
                os.unlink(aside)

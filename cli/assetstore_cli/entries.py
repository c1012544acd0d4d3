"""The verbs on single entries: get, set, delete; and clear, which takes all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import click

from assetstore import AssetStoreError, Client, TrashInfo
from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.details import details
from assetstore_cli.failures import ABSENT, DONE, KeyAbsent
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import entry_record
from assetstore_cli.render import counted, duration, moment, printable
from assetstore_cli.session import Session, with_session, write_value
from assetstore_cli.typed import option_value, value_to_write
from assetstore_cli.when import Moment, Revision, When, moment_text

_if_revision = click.option(
    "--if-revision", type=Revision(), metavar="N", help="Only if the key is at revision N."
)


@click.command(cls=Verb)
@asset_argument("KEY", most_keys=1)
@click.option("--raw", is_flag=True, help="A string without its quotes.")
@click.option("--default", metavar="JSON", type=Word(), help="Print this if the key is absent.")
@click.option("--entry", is_flag=True, help="With revision, time and writer.")
@click.option("--at", type=When(), metavar="WHEN", help="As it stood then; see 'rewind' for WHEN.")
@with_session
def get(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    raw: bool,
    default: str | None,
    entry: bool,
    at: Moment | None,
) -> None:
    """Print the value of KEY, as JSON text that 'set' takes.

    If the key is absent nothing is printed and the exit code is 3. An asset that is unknown
    or inactive is refused (1), whatever the default.

    --json: {"key", "value", "revision", "updated_at", "updated_by"}.
    """
    key = words[0]
    fallback = None if default is None else option_value(default, "--default")
    found = None
    with session.client() as client:
        found = client.store(asset.ref).entry(key, at=at)
    value = None if found is None else found.value
    if value is None and default is None:
        then = "" if at is None else f" at {moment_text(at)}"
        raise KeyAbsent(f"{asset} has no key {key!r}{then}")
    # No key holds null.
    value = fallback if value is None else value
    out = session.out
    if session.json:
        unknown = dict.fromkeys(("revision", "updated_at", "updated_by"))
        out.record(**(entry_record(found) if found else {"key": key, "value": value} | unknown))
    elif entry and found is not None:
        out.lines(details(found, out.screen))
    else:
        write_value(session, value, raw=raw)


@click.command("set", cls=Verb)
@asset_argument("KEY VALUE", most_keys=1)
@click.option("--string", is_flag=True, help="Take VALUE as text, not as JSON.")
@click.option("--create", is_flag=True, help="Only if the key is absent.")
@_if_revision
@with_session
def set_(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    string: bool,
    create: bool,
    if_revision: int | None,
) -> None:
    """Write VALUE, which is JSON, under KEY, and print the revision.

    When the revision is printed the value is on disk. VALUE '-' is read from standard input;
    with --string one line end at its end is dropped, so that what 'get --raw' prints fits.
    null is no value; 'delete' takes a key away.

    Where --create or --if-revision does not hold, nothing changes, the exit code is 1, and what
    is there now is shown. 'get --entry' has the revision; 0 is that of an absent key.

    --json: {"key", "revision"}.
    """
    if create and if_revision is not None:
        raise click.UsageError("--create and --if-revision exclude each other.")
    key, given = words
    value = value_to_write(asset, key, given, string=string)
    condition = 0 if create else if_revision
    with session.client() as client:
        revision = client.store(asset.ref).set(key, value, if_revision=condition)
    if session.json:
        session.out.record(key=key, revision=revision)
    else:
        session.out.line(str(revision))


@click.command(cls=Verb)
@asset_argument("KEY...", most_keys=None)
@_if_revision
@with_session
def delete(session: Session, asset: Named, words: tuple[str, ...], if_revision: int | None) -> int:
    """Delete keys, and say of each whether it was there.

    Each key is a change of its own, in the order given. If any was absent the exit code is 3;
    the others are deleted all the same. There is no question; 'rewind' brings a key back.

    With --if-revision there is one KEY. Where it is at another revision nothing changes, the exit
    code is 1, and what is there now is shown.

    --json: {"key", "existed"} for each key.
    """
    if if_revision is not None and len(words) > 1:
        raise click.UsageError("--if-revision is the revision of one key; name one.")
    code = DONE
    out = session.out
    with session.client() as client:
        store = client.store(asset.ref)
        for key in words:
            existed = store.delete(key, if_revision=if_revision)
            if not existed:
                code = ABSENT
            if session.json:
                out.record(key=key, existed=existed)
            else:
                out.line(f"{'deleted' if existed else 'absent '}  {printable(key)}")
    return code


@click.command(cls=Verb)
@asset_argument("", most_keys=0)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def clear(session: Session, asset: Named, words: tuple[str, ...], yes: bool) -> None:
    """Take all entries from an asset, in one step. The trash keeps them for the grace period.

    --json: {"count", "trash_id", "drops_at"}; the last two are null if there was nothing to clear.
    """
    session.check_can_ask(yes)
    out = session.out
    with session.client() as client:
        store = client.store(asset.ref)
        if not yes:
            session.ask(_clear_plan(asset, store.count(), client.status()["grace_s"]))
        count = store.clear()
        trashed = _just_cleared(client, asset) if count else None
    if session.json:
        out.record(
            count=count,
            trash_id=trashed.id if trashed else None,
            drops_at=trashed.drops_at if trashed else None,
        )
        return
    out.line(f"{counted(count, 'entry', 'entries')} cleared")
    if trashed:
        until = moment(trashed.drops_at, out.screen)
        out.line(f"To bring them back: assetstore trash restore {trashed.id} (dropped {until})")


def _clear_plan(asset: Named, count: int, grace_s: float) -> Iterator[str]:
    yield f"{counted(count, 'entry', 'entries')} of {printable(str(asset))} go to the trash."
    if grace_s:
        yield f"They can be brought back for {duration(grace_s)} (assetstore trash restore)."
    else:
        yield "There is no grace period: the next sweep drops them for good."


def _just_cleared(client: Client, asset: Named) -> TrashInfo | None:
    """What has just gone to the trash. None if it cannot be told, for the clearing is done."""
    with suppress(AssetStoreError):
        mine = [
            store
            for store in client.trash()
            if store.reason == "cleared"
            and asset.name in (None, store.name)
            and asset.uri in (None, store.uri)
        ]
        return max(mine, key=lambda store: store.since, default=None)
    return None

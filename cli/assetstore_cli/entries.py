"""The verbs on single entries: get, set, delete; and clear, which takes all of them."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import click

from assetstore import AssetStoreError, Client, Entry, InvalidRequest, ProtocolError, TrashInfo
from assetstore.values import check_json, decode_value
from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.failures import ABSENT, DONE, KeyAbsent, Refusal
from assetstore_cli.naming import Named
from assetstore_cli.options import Verb, Word
from assetstore_cli.records import entry_record, writer_text
from assetstore_cli.render import counted, duration, json_text, moment, printable, styled, timestamp
from assetstore_cli.session import Session, with_session
from assetstore_cli.tables import fields


@click.command(cls=Verb)
@asset_argument("KEY", most_keys=1)
@click.option("--raw", is_flag=True, help="A string without its quotes.")
@click.option("--default", metavar="JSON", type=Word(), help="Print this if the key is absent.")
@click.option("--entry", is_flag=True, help="With revision, time and writer.")
@with_session
def get(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    raw: bool,
    default: str | None,
    entry: bool,
) -> None:
    """Print the value of KEY, as JSON text that 'set' takes.

    If the key is absent nothing is printed and the exit code is 3. An asset that is unknown
    or inactive is refused (1), whatever the default.

    --json: {"key", "value", "revision", "updated_at", "updated_by"}.
    """
    fallback = None if default is None else _fallback(default)
    with session.client() as client:
        found = client.store(asset.ref).entry(words[0])
    out = session.out
    if found is None and default is None:
        raise KeyAbsent(f"{asset} has no key {words[0]!r}")
    if session.json:
        absent = {"key": words[0], "value": fallback} | dict.fromkeys(
            ("revision", "updated_at", "updated_by")
        )
        out.record(**(absent if found is None else entry_record(found)))
    elif entry and found is not None:
        out.lines(_details(session, found))
    else:
        value = fallback if found is None else found.value
        if raw and isinstance(value, str):
            out.bare(value)
        else:
            out.line(json_text(value, out.screen))


@click.command("set", cls=Verb)
@asset_argument("KEY VALUE", most_keys=1)
@click.option("--string", is_flag=True, help="Take VALUE as text, not as JSON.")
@with_session
def set_(session: Session, asset: Named, words: tuple[str, ...], string: bool) -> None:
    """Write VALUE, which is JSON, under KEY, and print the revision.

    When the revision is printed the value is on disk. VALUE '-' is read from standard input;
    with --string one line end at its end is dropped, so that what 'get --raw' prints fits.
    null is no value; 'delete' takes a key away.

    --json: {"key", "revision"}.
    """
    key, given = words
    text = _standard_input() if given == "-" else given
    if string:
        value = text.removesuffix("\n") if given == "-" else text
    else:
        value = _value_to_set(asset, key, text, given)
    with session.client() as client:
        revision = client.store(asset.ref).set(key, value)
    if session.json:
        session.out.record(key=key, revision=revision)
    else:
        session.out.line(str(revision))


@click.command(cls=Verb)
@asset_argument("KEY...", most_keys=None)
@with_session
def delete(session: Session, asset: Named, words: tuple[str, ...]) -> int:
    """Delete keys, and say of each whether it was there.

    Each key is a change of its own, in the order given. If any was absent the exit code is 3;
    the others are deleted all the same. There is no question and no way back: 'clear' has one.

    --json: {"key", "existed"} for each key.
    """
    code = DONE
    out = session.out
    with session.client() as client:
        store = client.store(asset.ref)
        for key in words:
            existed = store.delete(key)
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


def _details(session: Session, entry: Entry) -> Iterator[str]:
    screen = session.out.screen
    when = timestamp(entry.updated_at)
    if screen.now is not None:
        when += f" ({moment(entry.updated_at, screen)})"
    yield from fields(
        [
            ("key", entry.key),
            ("revision", str(entry.revision)),
            ("updated", when),
            ("by", writer_text(entry.updated_by)),
        ],
        screen,
    )
    label = styled("value", "bold", screen)
    yield f"{label}     {json_text(entry.value, screen)}"


class NotJson(Exception):
    """The text is not JSON at all."""


def _value_of(text: str, what: str) -> Any:
    """The value of JSON text as a person typed it."""
    raw = text.encode()
    try:
        check_json(raw)
    except InvalidRequest:
        # Null, a lone surrogate or too deep: JSON, but no value. It is refused like any other.
        with suppress(RecursionError):
            _check_syntax(raw, what)
        raise
    return decode_value(raw)


def _value_to_set(asset: Named, key: str, text: str, given: str) -> Any:
    try:
        return _value_of(text, "VALUE")
    except NotJson as exc:
        named = asset.as_arguments()
        same = shlex.join(["assetstore", "set", "--string", *named, key, given[:60]])
        raise click.UsageError(
            f"{exc} Did you mean it as text? Then: {same}", click.get_current_context()
        ) from None
    except InvalidRequest as exc:
        if text.strip() == "null":
            raise Refusal("null is no value; 'assetstore delete' takes the key away") from None
        raise Refusal(f"VALUE: {exc}") from None


def _fallback(text: str) -> Any:
    try:
        return _value_of(text, "--default")
    except (NotJson, InvalidRequest) as exc:
        raise click.UsageError(
            f"{exc} --default takes what a key can hold, as JSON.", click.get_current_context()
        ) from None


def _check_syntax(raw: bytes, what: str) -> None:
    try:
        decode_value(raw)
    except ProtocolError as exc:
        raise NotJson(f"{what} is not JSON: {exc.__cause__ or exc}.") from None


def _standard_input() -> str:
    if sys.stdin is None:
        raise click.UsageError("VALUE is to be read from standard input, which is closed.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as exc:
        raise click.UsageError(f"standard input is not UTF-8, at byte {exc.start}.") from None


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

"""The verb wait: until a key is as far as somebody needs it to be."""

from __future__ import annotations

from typing import Any

import click

from assetstore_cli.asset_argument import asset_argument
from assetstore_cli.changes import ORDER
from assetstore_cli.naming import Named
from assetstore_cli.options import Seconds, Verb, Word, remember
from assetstore_cli.records import entry_record
from assetstore_cli.session import Session, with_session, write_value
from assetstore_cli.typed import option_value
from assetstore_cli.when import Revision


@click.command(cls=Verb)
@asset_argument("KEY", most_keys=1)
@click.option("--at-least", type=Word(), metavar="VALUE", help="Until the value is VALUE or more.")
@click.option("--after", type=Revision(), metavar="N", help="Until it is written after revision N.")
@click.option("--string", is_flag=True, help="Take VALUE as text, not as JSON.")
@click.option(
    "--order", type=ORDER, help="With --at-least: as that of 'advance'.  [default: value]"
)
@click.option("--raw", is_flag=True, help="Print a string without its quotes.")
# In place of that of assetstore itself, which is for each answer.
@click.option(
    "--timeout",
    type=Seconds(),
    metavar="SECONDS",
    help="Give up after that long (5).  [default: never]",
    callback=remember,
    expose_value=False,
)
@with_session
def wait(
    session: Session,
    asset: Named,
    words: tuple[str, ...],
    at_least: str | None,
    after: int | None,
    string: bool,
    order: Any,
    raw: bool,
) -> None:
    """Wait until KEY is as far as asked for, and print its value.

    If it is so now it does not wait. Values are compared as by 'advance'; while the key is absent
    it goes on waiting. If it takes longer than --timeout the exit code is 5. The daemon may be
    restarted meanwhile.

    \b
    assetstore wait orders watermark --string --at-least 2026-01-31 --timeout 3600
    assetstore wait orders watermark --after "$revision"

    --json: {"key", "value", "revision", "updated_at", "updated_by"}.
    """
    if (at_least is None) == (after is None):
        raise click.UsageError("wait for what? Give either --at-least or --after.")
    if after is not None and (string or order is not None):
        raise click.UsageError("--string and --order are about --at-least, and not --after.")
    least = None if at_least is None else option_value(at_least, "--at-least", string=string)
    with session.waiting_client() as client:
        entry = client.store(asset.ref).wait_for(
            words[0],
            at_least=least,
            after=after,
            order=order or "value",
            timeout=session.settings.timeout_s,
        )
    if session.json:
        session.out.record(**entry_record(entry))
    else:
        write_value(session, entry.value, raw=raw)

"""The verbs backup and restore."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from typing import Any

import click

from assetstore.entries import time_from_us
from assetstore_cli import offline
from assetstore_cli.failures import Refusal
from assetstore_cli.options import Place, Verb
from assetstore_cli.render import counted, moment, printable, size
from assetstore_cli.session import Session, note, with_session

_data_dir = click.option(
    "--data-dir", type=Place(), metavar="DIR", help="The data directory of a stopped daemon."
)
_config = click.option(
    "--config",
    type=Place(),
    metavar="FILE",
    help="The daemon's configuration, which names its data directory.",
)


@click.command(cls=Verb)
@click.argument("dest", metavar="DEST", type=Place())
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make a dated backup in DEST, and keep the last N.",
)
@_data_dir
@click.option("--allow-damage", is_flag=True, help="Make it though the store is damaged.")
@with_session
def backup(
    session: Session, dest: str, keep: int | None, data_dir: str | None, allow_damage: bool
) -> None:
    """Copy the store to DEST, which is not there yet, while the daemon serves it.

    All that was acknowledged before is in it. It is compacted, checked as by 'verify', and on disk
    when this ends; what has the name of a backup is a whole one. It is a data directory itself.

    With --keep DEST holds dated backups, and the oldest beyond N are removed when the new one is
    there. With --data-dir no daemon is asked: it must be stopped.

    --json: {"path", "store_id", "revision", "size_bytes", "findings", "removed"}.
    """
    arguments = ["backup"]
    if data_dir is None:
        with session.patient_client() as client:
            # Before the revision is asked for: the copy is to be of the same daemon's store.
            data_dir = client.status()["data_dir"]
            arguments.append(f"--served-up-to={client.checkpoint()}")
    arguments.append(f"--data-dir={os.path.abspath(str(data_dir))}")
    if keep is not None:
        arguments.append(f"--keep={keep}")
    if allow_damage:
        arguments.append("--allow-damage")
    made = _result(*arguments, "--", os.path.abspath(dest))
    if session.json:
        session.out.record(**made)
        return
    session.out.line(
        f"{printable(made['path'])}: revision {made['revision']:,}, {size(made['size_bytes'])}"
    )
    for finding in made["findings"]:
        note(f"damaged: {printable(finding)}")
    if made["removed"]:
        note(f"({counted(len(made['removed']), 'older backup')} removed)")


@click.command(cls=Verb)
@click.argument("source", metavar="SOURCE", type=Place())
@_data_dir
@_config
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def restore(
    session: Session, source: str, data_dir: str | None, config: str | None, yes: bool
) -> None:
    """Put the store of a backup in the place of a stopped daemon's.

    The backup is checked first. What is in the data directory is kept aside, in a directory with
    the date beside it. Revisions go on far beyond those that were ever given out, so that nothing
    that was read or seen of the old store can be mistaken for something of the new one.

    The data directory is --data-dir, or that of --config, or of /etc/assetstore/assetstored.toml.

    --json: {"data_dir", "store_id", "revision", "goes_on_after", "aside"}.
    """
    session.check_can_ask(yes)
    arguments = ["restore"]
    if data_dir is not None:
        arguments.append(f"--data-dir={os.path.abspath(data_dir)}")
    if config is not None:
        arguments.append(f"--config={os.path.abspath(config)}")
    place = ["--", os.path.abspath(source)]
    if not yes:
        session.ask(_plan(session, _result(*arguments, "--look", *place)))
    done = _result(*arguments, *place)
    if session.json:
        session.out.record(**done)
        return
    session.out.line(
        f"{printable(done['data_dir'])} is as it was at revision {done['revision']:,}; "
        f"revisions go on after {done['goes_on_after']:,}"
    )
    if done["aside"]:
        session.out.line(f"what it held is in {printable(done['aside'])}")
    note("Next: systemctl start assetstored.socket assetstored.service; assetstore status")
    if done["aside"]:
        note(f"When all is well: rm -r {printable(shlex.quote(done['aside']))}")


def _result(*arguments: str) -> dict[str, Any]:
    """What the program says in the end."""
    try:
        *_, result = offline.run(*arguments)
    except offline.EndedBySignal as exc:
        raise Refusal(
            f"LMDB was ended by {exc.name} as it read the store: its data file is shorter or other "
            "than it should be; nothing was changed. See assetstore verify"
        ) from None
    del result["type"]
    return result


def _plan(session: Session, plan: dict[str, Any]) -> Iterator[str]:
    of = ""
    if plan["revision"] is not None and plan["taken_at"] is not None:
        when = moment(time_from_us(plan["taken_at"]), session.out.screen)
        of = f" at revision {plan['revision']:,}, of {when}"
    yield f"{printable(plan['path'])}: store {printable(plan['store_id'])}{of}"
    if plan["replaces"] is None:
        yield f"It is put into {printable(plan['data_dir'])}, which holds no store."
        return
    same = "" if plan["replaces"] == plan["store_id"] else "another one, "
    yield (
        f"It takes the place of {same}store {printable(plan['replaces'])} in "
        f"{printable(plan['data_dir'])}."
    )
    yield "What was changed since is not in it; what is there now is kept aside."

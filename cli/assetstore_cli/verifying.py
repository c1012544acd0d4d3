"""The verb verify: whether a store is what was written, and what is damaged in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import click

from assetstore import Refused
from assetstore_cli import offline
from assetstore_cli.failures import Damage
from assetstore_cli.options import Place, Verb
from assetstore_cli.render import counted, printable
from assetstore_cli.session import Session, note, with_session
from assetstore_cli.tables import Column

_COLUMNS = (
    Column("WHAT", fixed=True),
    Column("ASSET"),
    Column("KEY"),
    Column("PROBLEM"),
)

#: What is told of a finding, in this order.
_TOLD = ("kind", "asset", "uri", "key", "trash_id", "problem", "remedy")

#: What is counted of a store, in this order.
_COUNTED = ("store_id", "revision", "assets", "stores", "entries", "events", "logged", "was_live")


@click.command(cls=Verb)
@click.argument("path", type=Place(), metavar="[PATH]", required=False)
@with_session
def verify(session: Session, path: str | None) -> None:
    """Check that a store is whole, and say what is damaged.

    PATH is a data directory, or that of a backup; without it, that of the daemon that runs. Every
    page, record and row is read, and each is held against what others say of it. Nothing is
    changed. The files are for the daemon's own user and for root.

    A store that is being served is checked as it was at one moment; the data file may grow
    meanwhile, by what is changed.

    The exit code is 0 if nothing is damaged, 6 if something is, and 1 if there is no verdict.

    --json: for each finding {"kind", "asset", "uri", "key", "trash_id", "problem", "remedy"}, and
    then {"sound", "findings", "data_dir", "store_id", "revision", "assets", "stores", "entries",
    "events", "logged", "was_live"}; from "store_id" on null if the check did not come to its end.
    """
    data_dir = os.path.abspath(path) if path is not None else _of_daemon(session)
    findings, summary = _check(data_dir)
    if session.json:
        for finding in findings:
            session.out.record(**{name: finding[name] for name in _TOLD})
        told = {name: summary.get(name) for name in _COUNTED}
        session.out.record(sound=not findings, findings=len(findings), data_dir=data_dir, **told)
    elif findings:
        session.out.table(_COLUMNS, map(_row, findings), if_none="")
        session.out.lines(_remedies(findings))
    else:
        session.out.lines(_praise(data_dir, summary))
    if findings:
        raise Damage(f"{counted(len(findings), 'finding')} in {data_dir}")


def _of_daemon(session: Session) -> str:
    with session.patient_client() as client:
        data_dir: str = client.status()["data_dir"]
        try:
            # Then what is acknowledged up to now is in the snapshot that is checked.
            client.checkpoint()
        except Refused as exc:
            note(f"(what is in the log only is not checked: {printable(str(exc))})")
    return data_dir


def _check(data_dir: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    findings: list[dict[str, Any]] = []
    summary: dict[str, Any] = {}
    try:
        for step in offline.run("verify", data_dir):
            kind = step.pop("type")
            if kind == "finding":
                findings.append(step)
            elif kind == "summary":
                summary = step
    except offline.EndedBySignal as exc:
        findings.append(
            {
                "kind": "structure",
                "asset": None,
                "uri": None,
                "key": None,
                "trash_id": None,
                "problem": f"LMDB was ended by {exc.name} as it read data.mdb: the file is shorter "
                "or other than it should be, and the rest of it was not checked",
                "remedy": "stop the daemon, keep its files as they are aside, and restore the data "
                "directory from a backup",
            }
        )
    return findings, summary


def _row(finding: dict[str, Any]) -> Sequence[str]:
    where = finding["asset"] or ""
    if finding["trash_id"] is not None:
        where = f"{where} (trash {finding['trash_id']})".strip()
    return (finding["kind"], where, finding["key"] or "", finding["problem"])


def _remedies(findings: list[dict[str, Any]]) -> Iterator[str]:
    """What to do, once for each kind."""
    yield ""
    for kind, remedy in {finding["kind"]: finding["remedy"] for finding in findings}.items():
        yield f"{kind}: {printable(remedy)}"


def _praise(data_dir: str, summary: dict[str, Any]) -> Iterator[str]:
    logged = summary["logged"]
    beside = f", of which {logged:,} in the log only" if logged else ""
    yield (
        f"{printable(data_dir)} is sound: {counted(summary['assets'], 'asset')}, "
        f"{counted(summary['entries'], 'entry', 'entries')} in "
        f"{counted(summary['stores'], 'store')}, {counted(summary['events'], 'event')} "
        f"up to revision {summary['revision']:,}{beside}"
    )

"""The verbs on the manifest: check, diff, reload, accept.

What a manifest is and what it changes is decided by assetstore.manifest, as in the daemon.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from assetstore import Client, NotConnected
from assetstore.manifest import (
    MAX_MANIFEST_BYTES,
    Difference,
    Manifest,
    ManifestAsset,
    ManifestInvalid,
    difference,
    parse,
    verdict,
)
from assetstore_cli.failures import DONE, REFUSED, Refusal, Unreachable
from assetstore_cli.options import Noun, Place
from assetstore_cli.records import status_record
from assetstore_cli.render import counted, printable, styled
from assetstore_cli.session import Session, with_session

# What a person can take in before saying yes; the number of the rest is said.
_MOST_SHOWN = 20

#: What to do about a manifest that does not count, by its state; if held, the reason says it.
REMEDIES = {
    "missing": "put the file there, or name another one in the daemon's configuration",
    "unreadable": "give the daemon's user the right to read it",
    "invalid": "mend the file; assetstore manifest check says whether it is right",
    "none": "assetstore manifest reload reads it",
}

_file = click.argument("file", required=False, type=Place(), metavar="[FILE]")


@click.group(cls=Noun)
def manifest() -> None:
    """The file that lists the active assets."""


@manifest.command()
@_file
@with_session
def check(session: Session, file: str | None) -> None:
    """Say whether FILE is a valid manifest, without a daemon.

    Without FILE the daemon is asked where it has its own. A file that is not valid is refused (1),
    with its line and field where they are known.

    --json: {"file", "assets", "digest"}.
    """
    path = file or _path_of_daemon(session)
    found = _read(path)
    if session.json:
        session.out.record(file=path, assets=len(found.assets), digest=found.digest)
    else:
        session.out.line(f"{printable(path)}: valid, {counted(len(found.assets), 'asset')}")


@manifest.command()
@_file
@with_session
def diff(session: Session, file: str | None) -> int:
    """Show what FILE would change, and whether the daemon would hold it.

    '+' becomes active, '-' leaves (its store goes to the trash), '~' gets another group. Without
    FILE it is the daemon's own. The exit code is that of 'manifest reload': 1 if it would be held.

    --json: {"change", "name", "uri", "group"} for each change, with "activate", "deactivate" or
    "regroup", then {"verdict", "activates", "deactivates", "regroups", "active"}.
    """
    with session.client() as client:
        report = client.status()
        proposed = _read(file or report["manifest"]["path"])
        active = _active(client)
    changes = difference(active, proposed.assets)
    # A daemon that does not tell has the default.
    fraction = report.get("max_deactivate_fraction", 0.5)
    outcome = verdict(len(active), changes, fraction)
    if session.json:
        _diff_records(session, changes, outcome, len(active))
    else:
        session.out.lines(_diff_lines(session, changes))
        session.out.lines(_diff_summary(changes, outcome, len(active), fraction))
    return REFUSED if outcome == "held" else DONE


@manifest.command()
@with_session
def reload(session: Session) -> int:
    """Have the daemon read its manifest now, and wait for the verdict.

    If it is not accepted nothing has changed, and the exit code is 1.

    --json: the daemon's "manifest", as in 'status', and "assets_active".
    """
    with session.patient_client() as client:
        report = client.reload_manifest()
    return _say_verdict(session, report)


@manifest.command()
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@with_session
def accept(session: Session, yes: bool) -> int:
    """Apply the manifest that is held.

    A manifest is held because it deactivates so many assets. This shows which, and applies
    exactly that: if the file changes meanwhile, it is refused.

    --json: as 'manifest reload'.
    """
    session.check_can_ask(yes)
    with session.patient_client() as client:
        report = client.status()
        held = report["manifest"]["held"]
        if held is None:
            raise Refusal(f"no manifest is held; it is {report['manifest']['state']}")
        if not yes:
            session.ask(_accept_plan(session, client, report))
        report = client.accept_manifest(held["digest"])
    return _say_verdict(session, report)


def _path_of_daemon(session: Session) -> str:
    try:
        with session.client() as client:
            return str(client.status()["manifest"]["path"])
    except NotConnected as exc:
        raise Unreachable(
            f"{exc}\nWithout FILE the daemon must say which one it uses; "
            "with FILE no daemon is needed: assetstore manifest check FILE"
        ) from exc


def _read(path: str) -> Manifest:
    """The manifest in the file. What is wrong with it is refused, whoever would read it."""
    try:
        with open(path, "rb") as file:
            # One more than fits: parse says what is wrong with a file that is too long.
            return parse(file.read(MAX_MANIFEST_BYTES + 1), path=path)
    except OSError as exc:
        raise Refusal(f"{path}: {exc.strerror}") from exc


def _active(client: Client) -> list[ManifestAsset]:
    return [
        ManifestAsset(asset.name, asset.uri, asset.group)
        for asset in client.assets()
        if asset.state == "active"
    ]


def _diff_lines(session: Session, changes: Difference) -> Iterator[str]:
    screen = session.out.screen
    for sign, style, assets in (
        ("-", "red", changes.deactivate),
        ("+", "green", changes.activate),
        ("~", "yellow", changes.regroup),
    ):
        for asset in assets:
            text = _label(asset)
            if sign == "~":
                text += f" now in group {asset.group}" if asset.group else " now in no group"
            yield styled(f"{sign} {printable(text, screen.encoding)}", style, screen)


def _label(asset: ManifestAsset) -> str:
    return asset.name if asset.uri == asset.name else f"{asset.name}  {asset.uri}"


def _diff_summary(changes: Difference, outcome: str, active: int, fraction: float) -> Iterator[str]:
    if outcome == "unchanged":
        yield f"No change: {counted(active, 'asset')} active."
        return
    yield (
        f"{len(changes.activate):,} to activate, {len(changes.deactivate):,} of {active:,} active "
        f"to deactivate, {len(changes.regroup):,} to regroup."
    )
    if outcome == "held":
        yield (
            f"It would be held: it deactivates more than {fraction:.0%} of the active assets. "
            "assetstore manifest accept applies it then."
        )
    else:
        yield "It would be applied."


def _diff_records(session: Session, changes: Difference, outcome: str, active: int) -> None:
    for change, assets in (
        ("deactivate", changes.deactivate),
        ("activate", changes.activate),
        ("regroup", changes.regroup),
    ):
        for asset in assets:
            session.out.record(change=change, name=asset.name, uri=asset.uri, group=asset.group)
    session.out.record(
        verdict=outcome,
        activates=len(changes.activate),
        deactivates=len(changes.deactivate),
        regroups=len(changes.regroup),
        active=active,
    )


def _accept_plan(session: Session, client: Client, report: dict[str, Any]) -> Iterator[str]:
    state, held = report["manifest"], report["manifest"]["held"]
    yield f"Held: {printable(state['path'])}, digest {held['digest']}"
    yield (
        f"It deactivates {held['deactivates']:,} of {counted(held['active'], 'active asset')} "
        f"and activates {held['activates']:,}."
    )
    yield "What is deactivated is closed at once, and its store goes to the trash:"
    try:
        proposed = _read(state["path"])
    except (ManifestInvalid, Refusal) as exc:
        yield f"  (which ones cannot be shown here: {printable(str(exc))})"
        return
    if proposed.digest != held["digest"]:
        yield "  (the file has changed since; assetstore manifest reload has it looked at again)"
        return
    leaving = difference(_active(client), proposed.assets).deactivate
    for asset in leaving[:_MOST_SHOWN]:
        yield f"  - {printable(_label(asset), session.out.screen.encoding)}"
    if len(leaving) > _MOST_SHOWN:
        yield f"  ... and {len(leaving) - _MOST_SHOWN:,} more; assetstore manifest diff lists all"


def _say_verdict(session: Session, report: dict[str, Any]) -> int:
    state = report["manifest"]
    accepted = state["state"] == "accepted"
    if session.json:
        session.out.record(**status_record(state), assets_active=report["assets_active"])
        return DONE if accepted else REFUSED
    if not accepted:
        reason = f": {state['reason']}" if state["reason"] else ""
        remedy = REMEDIES.get(state["state"])
        raise Refusal(
            f"the manifest is {state['state']}, and the last accepted one stays{reason}"
            + (f"\nNext: {remedy}" if remedy else "")
        )
    active = counted(report["assets_active"], "asset")
    session.out.line(f"accepted: {active} active, digest {state['digest']}")
    return DONE

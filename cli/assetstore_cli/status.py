"""The verb status: how the daemon and its store are, on one page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from assetstore.entries import time_from_us
from assetstore_cli.manifests import REMEDIES
from assetstore_cli.options import Verb
from assetstore_cli.records import status_record
from assetstore_cli.render import Screen, counted, duration, moment, printable, size, styled
from assetstore_cli.session import Session, with_session
from assetstore_cli.tables import fields


@click.command(cls=Verb)
@with_session
def status(session: Session) -> None:
    """Show how the daemon is: health, manifest, space, trash.

    The exit code is 0 if it answers, even if its health is "degraded": a script looks at "health"
    and "problems" of --json, which prints the daemon's whole report as one line.
    """
    with session.client() as client:
        report = client.status()
    if session.json:
        session.out.record(**status_record(report))
    else:
        session.out.lines(_page(report, session.out.screen))


def _page(report: dict[str, Any], screen: Screen) -> Iterator[str]:
    healthy = report["health"] == "ok"
    yield styled(f"health: {report['health']}", "green" if healthy else "red", screen)
    for problem in report["problems"]:
        yield f"  {styled('!', 'red', screen)} {printable(problem, screen.encoding)}"
    manifest = report["manifest"]
    if remedy := REMEDIES.get(manifest["state"]):
        yield f"  Next: {remedy}"
    yield ""
    yield from fields(
        [
            ("daemon", _daemon(report)),
            ("socket", _sockets(report)),
            ("store", f"{report['data_dir']}, revision {report['revision']:,}"),
            ("space", _space(report)),
            ("manifest", _manifest(manifest, screen)),
            ("assets", f"{report['assets_active']:,} active, {report['assets_known']:,} known"),
            ("trash", _trash(report, screen)),
            ("journal", _journal(report)),
            ("load", _load(report)),
            ("you", _you(report["access"])),
        ],
        screen,
    )


def _daemon(report: dict[str, Any]) -> str:
    return (
        f"version {report['version']}, up {duration(report['uptime_s'])}, "
        f"pid {report['pid']} (writer {report['writer_pid']})"
    )


def _space(report: dict[str, Any]) -> str:
    return (
        f"{size(report['used_bytes'])} used in a file of {size(report['data_bytes'])}, "
        f"{size(report['disk_free_bytes'])} free on the disk"
    )


def _manifest(manifest: dict[str, Any], screen: Screen) -> str:
    text = f"{manifest['path']}, {manifest['state']}"
    if manifest["accepted_at"] is not None:
        # It goes on to count, whatever the file holds by now.
        which = "" if manifest["state"] == "accepted" else "; accepted is"
        when = moment(time_from_us(manifest["accepted_at"]), screen)
        text += f"{which} {manifest['digest']} since {when}"
    if held := manifest["held"]:
        text += (
            f"; held is {held['digest']}: deactivates {held['deactivates']:,} of "
            f"{held['active']:,}, activates {held['activates']:,}"
        )
    return text


def _trash(report: dict[str, Any], screen: Screen) -> str:
    last = report["last_sweep"]
    swept = "never" if last is None else moment(time_from_us(last), screen)
    grace = duration(report["grace_s"]) if report["grace_s"] else "none"
    return f"{counted(report['trash_stores'], 'store')}; grace {grace}, last sweep {swept}"


def _journal(report: dict[str, Any]) -> str:
    oldest = report["journal_oldest"]
    # Of what is older it still has the last changes of each key.
    whole = f"revision {oldest:,} on" if oldest > 1 else "the beginning on"
    events = counted(report["journal_events"], "event")
    return f"{events}, {size(report['journal_bytes'])}, whole from {whole}"


def _load(report: dict[str, Any]) -> str:
    return (
        f"{report['connections']:,} of {report['max_connections']:,} connections, "
        f"{report['requests']:,} requests, {report['batched']:,} changes in "
        f"{counted(report['commits'], 'commit')}, {report['queued']:,} waiting"
    )


def _sockets(report: dict[str, Any]) -> str:
    readonly = report["readonly_socket"]
    return f"{report['socket']}" + (f"; for reading {readonly}" if readonly else "")


def _you(access: dict[str, Any]) -> str:
    """Who asks, and what they may do."""
    may = {
        "none": [],
        "read": ["read every asset"],
        "write": ["read and change every asset"],
        "admin": ["do everything"],
    }[access["everywhere"]]
    if access["everywhere"] != "admin":
        may += [
            f"{rule['right']} {', '.join(rule['assets'])}"
            for rule in access["rules"] or ()
            if "*" not in rule["assets"]
        ]
    through = ", through the socket for reading only" if access["reads_only"] else ""
    return f"uid {access['uid']}, may {'; '.join(may) or 'do nothing'}{through}"

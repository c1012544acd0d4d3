"""The verb doctor: one look over a daemon and all that it stands on.

Rule: gathers facts, and prints; what they mean diagnosis.py says.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import click

from assetstore import AssetStoreError, Client, Forbidden, __version__
from assetstore.address import SYSTEM_SOCKET
from assetstore_cli import offline
from assetstore_cli.diagnosis import Facts, Finding, diagnose
from assetstore_cli.failures import FOUND
from assetstore_cli.options import Place, Verb
from assetstore_cli.render import counted, printable, styled
from assetstore_cli.session import Session, with_session

#: Where the units have it; only the daemon at their socket is started with it.
_SYSTEM_CONFIG = "/etc/assetstore/assetstored.toml"

_UNITS = ("assetstored.service", "assetstored.socket")
_PROPERTIES = (
    "LoadState,ActiveState,Result,NRestarts,NeedDaemonReload,WatchdogUSec,LimitNOFILE,MainPID"
)

#: systemctl answers at once, or hangs together with systemd.
_SYSTEMCTL_S = 5.0


@click.command(cls=Verb)
@click.option(
    "--config",
    type=Place(),
    metavar="FILE",
    help=f"The daemon's configuration.  [default: {_SYSTEM_CONFIG}, of the daemon of the system]",
)
@with_session
def doctor(session: Session, config: str | None) -> int:
    """Look over the daemon and what it stands on, and say what to do about what is wrong.

    It looks at the daemon's health, its configuration, owners and modes of its files, the disk, the
    manifest, the trash, the log, readers, versions, and the units of systemd, and changes nothing.
    It works too while no daemon answers. What cannot be looked at is told with a "?": run it as
    root, on the daemon's host, from where the daemon is installed. Whether the store itself is
    whole, 'verify' tells.

    The exit code is 0 if nothing was found, and 1 if something was.

    --json: a line for each, {"seen", "about", "text", "remedy"}; "seen" is false, and "remedy" is
    null, for what could not be looked at.
    """
    facts = _gather(session, config)
    findings = diagnose(facts)
    wrong = [each for each in findings if each.remedy is not None]
    if session.json:
        for each in findings:
            session.out.record(
                seen=each.remedy is not None, about=each.about, text=each.text, remedy=each.remedy
            )
    else:
        session.out.lines(_page(session, wrong, [f for f in findings if f.remedy is None]))
    return FOUND if wrong else 0


def _page(session: Session, wrong: list[Finding], unseen: list[Finding]) -> Iterator[str]:
    screen = session.out.screen
    if wrong:
        yield styled(counted(len(wrong), "finding") + ":", "red", screen)
    else:
        yield f"{styled('OK:', 'green', screen)} nothing was found that is wrong"
    for each in wrong:
        yield f"{styled('!', 'red', screen)} {each.about}: {printable(each.text, screen.encoding)}"
        yield f"    {printable(each.remedy or '', screen.encoding)}"
    for each in unseen:
        text = printable(each.text, screen.encoding)
        yield f"{styled('?', 'yellow', screen)} {each.about}: not looked at: {text}"


def _gather(session: Session, config: str | None) -> Facts:
    unseen: dict[str, str] = {}
    status: dict[str, Any] | None = None
    silence = overdue = daemon_uid = None
    is_shut = False
    with session.client() as client:
        socket = client.socket
        try:
            status = client.status()
            overdue = _overdue(client)
        except AssetStoreError as exc:
            if status is None:
                silence = str(exc)
                is_shut = isinstance(exc, Forbidden)
                why = "cannot be asked" if is_shut else "does not answer"
                unseen["health, trash, log, readers, versions"] = f"the daemon {why}"
            else:
                unseen["trash"] = str(exc)
    if status is not None:
        daemon_uid = _owner_of(status["pid"], unseen)
    is_systems = os.path.abspath(socket) == SYSTEM_SOCKET
    if config is None and is_systems and os.path.exists(_SYSTEM_CONFIG):
        config = _SYSTEM_CONFIG
    host = _host(config, status, socket, unseen, knows_defaults=is_systems)
    units = _units(unseen) if is_systems else None
    return Facts(
        __version__,
        silence=silence,
        is_shut=is_shut,
        status=status,
        host=host,
        units=units,
        overdue=overdue,
        daemon_uid=daemon_uid,
        now_us=time.time_ns() // 1_000,
        unseen=unseen,
    )


def _overdue(client: Client) -> int:
    """When the first store of the trash was due, in microseconds since 1970; 0 for none."""
    now = time.time()
    dues = [each.drops_at.timestamp() for each in client.trash()]
    return min((int(due * 1e6) for due in dues if due < now), default=0)


def _owner_of(pid: int, unseen: dict[str, str]) -> int | None:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError as exc:
        unseen["owner of the daemon"] = str(exc.strerror)
        return None


def _host(
    config: str | None,
    status: dict[str, Any] | None,
    socket: str,
    unseen: dict[str, str],
    *,
    knows_defaults: bool,
) -> dict[str, Any] | None:
    if status is None and config is None and not knows_defaults:
        unseen["host"] = "without a daemon that answers, its files are known by --config only"
        return None
    arguments = [f"--socket={socket}"]
    if config is not None:
        arguments.append(f"--config={config}")
    if status is not None:
        arguments += [
            f"--data-dir={status['data_dir']}",
            f"--manifest={status['manifest']['path']}",
        ]
    try:
        (host,) = (step for step in offline.run("look", *arguments) if step["type"] == "facts")
    except click.ClickException as exc:
        unseen["host"] = exc.message
        return None
    if config is None:
        unseen["configuration"] = "it is not known which file it is: give --config"
    for each in (host["data_dir"], *host["files"].values(), host["socket"], host["manifest"]):
        if each["error"]:
            unseen[each["path"]] = each["error"]
    return host


def _units(unseen: dict[str, str]) -> dict[str, dict[str, str]] | None:
    if not os.path.isdir("/run/systemd/system"):
        return None
    shown: dict[str, dict[str, str]] = {}
    for unit in _UNITS:
        try:
            done = subprocess.run(
                ["systemctl", "show", f"--property={_PROPERTIES}", unit],
                capture_output=True,
                text=True,
                timeout=_SYSTEMCTL_S,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as exc:
            unseen["systemd"] = str(exc)
            return None
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        shown[unit] = {name: value for name, _, value in pairs}
    return shown

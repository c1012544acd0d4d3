"""The verb ``airflow manifest``: Airflow's active assets as the manifest.

Airflow's database is asked where Airflow can be imported, its REST API where an address is given.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click

from assetstore import AssetStoreError
from assetstore.airflow.manifest_file import Written, manifest_text, write_manifest
from assetstore.airflow.rest import AirflowApi
from assetstore.manifest import ManifestAsset
from assetstore_cli.airflow_asking import airflow_database, asked
from assetstore_cli.failures import DONE, OutputFailed, Refusal
from assetstore_cli.options import Seconds, Verb
from assetstore_cli.render import counted, printable
from assetstore_cli.session import PATIENT_TIMEOUT_S, Session, note, with_session

#: What a token of Airflow's API may stand in: it is read anew each time, as tokens expire.
TOKEN_VARIABLE: Final = "ASSETSTORE_AIRFLOW_TOKEN"
TOKEN_FILE_VARIABLE: Final = "ASSETSTORE_AIRFLOW_TOKEN_FILE"

_INTERVAL_S: Final = 5.0


@click.command(cls=Verb)
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Where the manifest goes; '-' is standard output.",
)
@click.option("--url", metavar="URL", help="Ask Airflow's REST API there.")
@click.option("--watch", is_flag=True, help="Go on, and keep FILE in step.")
@click.option(
    "--interval",
    metavar="SECONDS",
    type=Seconds(),
    default=_INTERVAL_S,
    show_default=True,
    help="With --watch: how long to pause.",
)
@with_session
def manifest(session: Session, output: str, url: str | None, watch: bool, interval: float) -> int:
    """Write Airflow's active assets into FILE, as the manifest.

    FILE is replaced at once, and only if it lists other assets. Without --url it is Airflow's
    database that is asked, so this has to run where Airflow is installed and configured. The token
    for --url is that of $ASSETSTORE_AIRFLOW_TOKEN, or in the file that
    $ASSETSTORE_AIRFLOW_TOKEN_FILE names.

    An Airflow that does not answer (4), or lists no active assets at all, changes nothing; with
    --watch this is said once, and asked on. The daemon holds a manifest that deactivates many
    assets, as always.

    --json: {"file", "assets", "digest", "changed"}; with --watch for each change.
    """
    read = _reader(url, session.settings.timeout_s or PATIENT_TIMEOUT_S)
    if output == "-":
        if watch:
            raise click.UsageError("--watch keeps a file in step, and '-' is none")
        session.out.bare(manifest_text(asked(read)).decode().rstrip("\n"))
        return DONE
    if not watch:
        _say(session, output, _write(output, asked(read)))
        return DONE
    return _follow(session, output, read, interval)


def _follow(
    session: Session, output: str, read: Callable[[], list[ManifestAsset]], interval_s: float
) -> int:
    """Keep the file in step for as long as this runs. Each trouble is said once."""
    trouble = ""
    while True:
        try:
            written = _write(output, asked(read))
        except (AssetStoreError, click.ClickException) as exc:
            message = exc.message if isinstance(exc, click.ClickException) else str(exc)
            if message != trouble:
                note(f"{printable(message)}\n{output} is as it was; asking on.")
            trouble = message
        else:
            if trouble:
                note("Airflow answers again.")
            trouble = ""
            if written.changed:
                _say(session, output, written)
                session.out.flush()
        time.sleep(interval_s)


def _reader(url: str | None, timeout_s: float) -> Callable[[], list[ManifestAsset]]:
    if url is None:
        active_assets: Callable[[], list[ManifestAsset]] = airflow_database().active_assets
        return active_assets
    # What is wrong with the address is known before anything is waited for.
    AirflowApi(url, None, timeout_s)
    return lambda: AirflowApi(url, _token(), timeout_s).active_assets()


def _write(output: str, assets: list[ManifestAsset]) -> Written:
    try:
        return write_manifest(output, assets)
    except OSError as exc:
        raise OutputFailed(f"{output}: {exc.strerror}") from exc


def _say(session: Session, output: str, written: Written) -> None:
    count = len(written.manifest.assets)
    if session.json:
        session.out.record(
            file=output, assets=count, digest=written.manifest.digest, changed=written.changed
        )
    else:
        state = "written" if written.changed else "unchanged"
        session.out.line(f"{printable(output)}: {state}, {counted(count, 'asset')}")


def _token() -> str | None:
    if token := os.environ.get(TOKEN_VARIABLE):
        return token.strip()
    if not (path := os.environ.get(TOKEN_FILE_VARIABLE)):
        return None
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise Refusal(f"the token's file {path}: {exc}") from exc

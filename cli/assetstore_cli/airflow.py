"""The verbs for a host that runs Airflow: manifest, import, export.

Rule: no verb lives here.
"""

from __future__ import annotations

import click

from assetstore_cli.airflow_manifest import manifest
from assetstore_cli.airflow_moving import export, import_
from assetstore_cli.options import Noun


@click.group(cls=Noun)
def airflow() -> None:
    """Airflow on this store: its assets, and what it has kept itself so far."""


airflow.add_command(manifest)
airflow.add_command(import_)
airflow.add_command(export)

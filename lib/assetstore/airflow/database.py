"""Airflow's metadata database, for programs that run where Airflow can be imported.

Rule: SQL of Airflow's assets and their stores; what follows from it is decided elsewhere.
"""

from __future__ import annotations

from airflow.models.asset import AssetActive, AssetModel
from airflow.utils.session import create_session
from sqlalchemy import and_, select
from sqlalchemy.exc import SQLAlchemyError

from assetstore.airflow.reading import AirflowUnavailable, checked
from assetstore.manifest import ManifestAsset


def active_assets() -> list[ManifestAsset]:
    """The active assets, in the order of their names; at least one.

    All are of one moment. Raises AirflowUnavailable where the database does not answer.
    """
    is_active = and_(AssetActive.name == AssetModel.name, AssetActive.uri == AssetModel.uri)
    query = select(AssetModel.name, AssetModel.uri, AssetModel.group).join(AssetActive, is_active)
    try:
        with create_session() as session:
            rows = session.execute(query).all()
    except SQLAlchemyError as exc:
        raise AirflowUnavailable(f"Airflow's database does not answer: {exc}") from exc
    return checked([ManifestAsset(row.name, row.uri, row.group or None) for row in rows])

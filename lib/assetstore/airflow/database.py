"""Airflow's metadata database, for programs that run where Airflow can be imported.

Rule: SQL of Airflow's assets and their stores; what follows from it is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from airflow.models.asset import AssetActive, AssetModel
from airflow.models.asset_state_store import AssetStateStoreModel
from airflow.utils.session import create_session
from sqlalchemy import and_, select
from sqlalchemy.exc import SQLAlchemyError

from assetstore.airflow.moving import Row, writer
from assetstore.airflow.reading import AirflowUnavailable, checked
from assetstore.errors import UnknownAsset
from assetstore.manifest import ManifestAsset

_IS_ACTIVE: Final = and_(AssetActive.name == AssetModel.name, AssetActive.uri == AssetModel.uri)


def active_assets() -> list[ManifestAsset]:
    """The active assets, in the order of their names; at least one.

    All are of one moment. Raises AirflowUnavailable where the database does not answer.
    """
    query = select(AssetModel.name, AssetModel.uri, AssetModel.group).join(AssetActive, _IS_ACTIVE)
    with _session() as session:
        rows = session.execute(query).all()
    return checked([ManifestAsset(row.name, row.uri, row.group or None) for row in rows])


def stored_rows() -> list[Row]:
    """All rows of asset_state_store, of one moment."""
    row = AssetStateStoreModel
    query = (
        select(AssetModel.name, AssetModel.uri, AssetModel.group, AssetActive.name, row)
        .join(row, row.asset_id == AssetModel.id)
        .outerjoin(AssetActive, _IS_ACTIVE)
    )
    with _session() as session:
        return [_row_of(*found) for found in session.execute(query)]


def put_rows(rows: Iterable[Row], gone: Iterable[tuple[ManifestAsset, str]] = ()) -> None:
    """Write these rows, and delete those of these keys: all of it, or nothing.

    Raises UnknownAsset for an asset that Airflow does not have.
    """
    with _session() as session:
        ids = {
            (name, uri): number
            for name, uri, number in session.execute(
                select(AssetModel.name, AssetModel.uri, AssetModel.id)
            )
        }
        for each in rows:
            if (number := ids.get((each.asset.name, each.asset.uri))) is None:
                raise UnknownAsset(f"Airflow has no asset {each.asset.name!r} ({each.asset.uri})")
            session.merge(_model_of(each, number))
        for asset, key in gone:
            number = ids.get((asset.name, asset.uri))
            found = session.get(AssetStateStoreModel, (number, key))
            if found is not None:
                session.delete(found)


@contextmanager
def _session() -> Iterator[Any]:
    """A session that is committed at the end; the database's errors are AirflowUnavailable."""
    try:
        with create_session() as session:
            yield session
    except SQLAlchemyError as exc:
        raise AirflowUnavailable(f"Airflow's database does not answer: {exc}") from exc


def _row_of(name: str, uri: str, group: str, active: str | None, found: Any) -> Row:
    by = writer(
        found.last_updated_by_kind,
        found.last_updated_by_dag_id,
        found.last_updated_by_run_id,
        found.last_updated_by_task_id,
        found.last_updated_by_map_index,
    )
    asset = ManifestAsset(name, uri, group or None)
    return Row(asset, active is not None, found.key, found.value, found.updated_at, by)


def _model_of(row: Row, number: int) -> Any:
    return AssetStateStoreModel(
        asset_id=number,
        key=row.key,
        value=row.value,
        updated_at=row.updated_at,
        last_updated_by_kind=row.writer.kind,
        last_updated_by_dag_id=row.writer.dag_id,
        last_updated_by_run_id=row.writer.run_id,
        last_updated_by_task_id=row.writer.task_id,
        last_updated_by_map_index=row.writer.map_index,
    )

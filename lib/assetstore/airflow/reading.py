"""What Airflow says of its assets, wherever it is asked, and what it means when it says nothing.

Rule: pure; asking is for database.py and rest.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter

from assetstore.errors import AssetStoreError
from assetstore.manifest import ManifestAsset

_by_name = attrgetter("name", "uri")


class AirflowUnavailable(AssetStoreError):
    """Airflow did not answer, or not with what can be right; nothing was changed."""


def checked(assets: Sequence[ManifestAsset]) -> list[ManifestAsset]:
    """The active assets, of which there has to be one.

    A database that was just made, a Dags folder that is not mounted or a token of a user who may
    see nothing all look like "no assets", and the stores of all assets would go to the trash.
    """
    if not assets:
        raise AirflowUnavailable(
            "Airflow lists no active assets, so nothing is written. If that is meant, write the "
            'manifest by hand: {"version": 1, "assets": [], "allow_empty": true}'
        )
    return sorted(assets, key=_by_name)


def settled(read: Callable[[], list[ManifestAsset]], most_readings: int) -> list[ManifestAsset]:
    """What two readings in a row agree on: one that is made in pages may have missed an asset."""
    before = read()
    for _ in range(most_readings - 1):
        now = read()
        if sorted(now, key=_by_name) == sorted(before, key=_by_name):
            return now
        before = now
    raise AirflowUnavailable(
        f"Airflow's assets changed all the time while they were read {most_readings} times; "
        "try again"
    )

"""The daemon's errors as answers of Airflow's API, so that a task hears what is wrong.

Airflow's client takes a 404 for "no such key", whatever it was; and it asks again after an answer
of 500 or more, five times within half a minute. So nothing here is a 404; what may pass, as a
daemon that restarts or a manifest that is behind, is more than 500, and what will not is less.

Rule: no backend; the one place that knows of HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Final

from fastapi import HTTPException

from assetstore.errors import (
    AssetStoreError,
    Conflict,
    Forbidden,
    InactiveAsset,
    InvalidRequest,
    OutcomeUnknown,
    StoreFull,
    UnknownAsset,
)

# The first that fits counts.
_STATUS: Final[tuple[tuple[type[Exception], HTTPStatus, str], ...]] = (
    (InactiveAsset, HTTPStatus.SERVICE_UNAVAILABLE, "the manifest of assetstored has to list it"),
    (UnknownAsset, HTTPStatus.SERVICE_UNAVAILABLE, "the manifest of assetstored has to list it"),
    (InvalidRequest, HTTPStatus.UNPROCESSABLE_ENTITY, ""),
    (TypeError, HTTPStatus.UNPROCESSABLE_ENTITY, ""),
    (Conflict, HTTPStatus.UNPROCESSABLE_ENTITY, ""),
    (Forbidden, HTTPStatus.FORBIDDEN, ""),
    (StoreFull, HTTPStatus.INSUFFICIENT_STORAGE, ""),
    (OutcomeUnknown, HTTPStatus.GATEWAY_TIMEOUT, ""),
    (AssetStoreError, HTTPStatus.SERVICE_UNAVAILABLE, ""),
)


class Answer(HTTPException, AssetStoreError):
    """An error of the daemon's or of its client's, which is its ``__cause__``."""


@contextmanager
def answered() -> Iterator[None]:
    """Turn an error of assetstore into an answer of Airflow's API."""
    try:
        yield
    except (AssetStoreError, TypeError) as exc:
        status, remedy = next((code, hint) for kind, code, hint in _STATUS if isinstance(exc, kind))
        name = type(exc).__name__
        message = f"assetstore: {name}: {exc}" + (f" ({remedy})" if remedy else "")
        raise Answer(status, {"reason": name, "message": message}) from exc

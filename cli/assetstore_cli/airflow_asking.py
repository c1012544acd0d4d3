"""Asking Airflow, which may not be there, and which says much on standard output.

Rule: no verb, and no knowledge of what is asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from importlib import import_module
from typing import Any, TypeVar

from assetstore.airflow.reading import AirflowUnavailable
from assetstore_cli.failures import Refusal, Unreachable

T = TypeVar("T")


def airflow_database() -> Any:
    """The module that reads Airflow's database; Refusal where Airflow cannot be imported."""
    try:
        # Airflow writes what it logs to standard output, which is for the answer.
        with redirect_stdout(sys.stderr):
            return import_module("assetstore.airflow.database")
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] not in ("airflow", "sqlalchemy"):
            raise
        raise Refusal(
            "Airflow cannot be imported here: install assetstore[cli] into Airflow's own "
            "environment and run it from there, or name Airflow's API with --url"
        ) from exc


def asked(read: Callable[[], T]) -> T:
    """The answer of something that asks Airflow; Unreachable where there is none."""
    try:
        with redirect_stdout(sys.stderr):
            return read()
    except AirflowUnavailable as exc:
        raise Unreachable(str(exc)) from exc

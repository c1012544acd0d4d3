"""Values as Airflow's backends pass them: JSON text in a str.

Rule: pure.
"""

from __future__ import annotations

from typing import Any

from assetstore.errors import InvalidRequest
from assetstore.values import check_json, decode_value, encode_value


def value_of(text: str) -> Any:
    """The value of JSON text; InvalidRequest if it is none, or null."""
    try:
        raw = text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidRequest(f"value is not JSON: lone surrogate at {exc.start}") from None
    check_json(raw)
    return decode_value(raw)


def text_of(value: Any) -> str | None:
    """The JSON text of a value that was stored; None for None, which none is."""
    return None if value is None else encode_value(value).decode()

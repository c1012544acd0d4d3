"""The text that stands in Airflow's database for a value that is in the daemon.

It says all that is needed to find the value: Airflow hands back nothing else. It is the same for
every value of a key, as a reference that named the value would outlive it.

Rule: pure; no socket and nothing of Airflow.
"""

from __future__ import annotations

import json
from typing import Final

from assetstore.errors import InvalidRequest
from assetstore.limits import check_key
from assetstore.messages import AssetRef

#: Airflow lays its own wrapper around a reference: {"__airflow_state_ref__": "assetstore:..."}.
WRAPPER: Final = "__airflow_state_ref__"

_PREFIX: Final = "assetstore:"


def reference_to(ref: AssetRef, key: str) -> str:
    """The reference to the value of key of this asset; the same each time."""
    fields = {"name": ref.name, "uri": ref.uri, "key": check_key(key)}
    given = {field: text for field, text in fields.items() if text is not None}
    return _PREFIX + json.dumps(given, ensure_ascii=False, separators=(",", ":"))


def parse_reference(text: str) -> tuple[AssetRef, str]:
    """The asset and the key that a reference leads to; InvalidRequest if it is none of ours."""
    if text.startswith(_PREFIX):
        try:
            match json.loads(text.removeprefix(_PREFIX)):
                case {"key": str(key), "name": str(name), **rest} if not rest:
                    return AssetRef(name=name), key
                case {"key": str(key), "uri": str(uri), **rest} if not rest:
                    return AssetRef(uri=uri), key
        except ValueError:
            pass
    raise InvalidRequest(
        f"{text:.200} is no reference of assetstore: another [workers] state_store_backend wrote "
        "it, and only that one can read it. Configure that one again, or set the key anew"
    )


def is_wrapped(value: object) -> bool:
    """Whether a value is a reference of ours in Airflow's wrapper, and not a value of a task's."""
    match value:
        case {"__airflow_state_ref__": str(text), **rest} if not rest:
            return text.startswith(_PREFIX)
    return False

"""Airflow's active assets, from its REST API: for a host that cannot import Airflow.

Rule: the standard library only, and one kind of request.
"""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any, Final

from assetstore.airflow.reading import AirflowUnavailable, checked, settled
from assetstore.errors import Forbidden, InvalidRequest
from assetstore.manifest import MAX_MANIFEST_ASSETS, ManifestAsset

#: Airflow gives no more at a time unless it is configured to ([api] maximum_page_limit).
PAGE_ASSETS: Final = 100

#: Far above a page of the longest names; whatever is longer is something else.
MAX_ANSWER_BYTES: Final = 16 << 20

_MOST_READINGS: Final = 4


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token to another address."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class AirflowApi:
    """The API at ``url``, as a browser has it: ``http://localhost:8080``, with its prefix if any.

    Raises InvalidRequest for a url that cannot be, AirflowUnavailable where nobody answers or
    with something else, and Forbidden where the token does not do.
    """

    def __init__(self, url: str, token: str | None, timeout_s: float) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
            raise InvalidRequest(
                f"{url!r} is no address of Airflow's API; one is http://localhost:8080"
            )
        self._url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)

    def active_assets(self) -> list[ManifestAsset]:
        """The active assets, in the order of their names; at least one."""
        assets, pages = self._read()
        if pages > 1:
            assets = settled(lambda: self._read()[0], _MOST_READINGS)
        return checked(assets)

    def _read(self) -> tuple[list[ManifestAsset], int]:
        """The assets of all pages, and how many pages there were."""
        found: dict[int, ManifestAsset] = {}
        offset = pages = 0
        while True:
            query = f"limit={PAGE_ASSETS}&offset={offset}&only_active=true&order_by=id"
            page = self._get(f"/api/v2/assets?{query}")
            try:
                items, total = page["assets"], page["total_entries"]
                found |= {item["id"]: _asset(item) for item in items}
                pages += 1
                offset += len(items)
                if offset >= total:
                    break
            except (KeyError, TypeError, ValueError) as exc:
                raise self._unexpected(f"{type(exc).__name__}: {exc}") from exc
            if not items or offset > MAX_MANIFEST_ASSETS:
                raise self._unexpected(f"{offset:,} assets of {total:,}, and no more")
        if len(found) != total:
            raise self._unexpected(f"{len(found):,} assets of {total:,}")
        return list(found.values()), pages

    def _get(self, path: str) -> Any:
        request = urllib.request.Request(self._url + path, headers={"Accept": "application/json"})
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                body = answer.read(MAX_ANSWER_BYTES + 1)
        except urllib.error.HTTPError as exc:
            with exc:
                if exc.code in (401, 403):
                    raise Forbidden(
                        f"Airflow at {self._url} answers {exc.code}: the token in "
                        "$ASSETSTORE_AIRFLOW_TOKEN is missing, has expired, or may not read assets"
                    ) from exc
                raise self._unexpected(f"HTTP {exc.code} {exc.reason}") from exc
        except (OSError, http.client.HTTPException) as exc:
            reason = getattr(exc, "reason", exc)
            raise AirflowUnavailable(f"Airflow at {self._url} does not answer: {reason}") from exc
        if len(body) > MAX_ANSWER_BYTES:
            raise self._unexpected(f"more than {MAX_ANSWER_BYTES:,} bytes")
        try:
            return json.loads(body)
        except ValueError as exc:
            raise self._unexpected(f"no JSON, but {body[:60]!r}") from exc

    def _unexpected(self, what: str) -> AirflowUnavailable:
        return AirflowUnavailable(
            f"{self._url} answers as Airflow 3.3 does not: {what}. Is this its address?"
        )


def _asset(item: Any) -> ManifestAsset:
    name, uri, group = item["name"], item["uri"], item.get("group")
    if not isinstance(name, str) or not isinstance(uri, str):
        raise TypeError(f"an asset's name is {name!r} and its uri {uri!r}")
    return ManifestAsset(name, uri, str(group) if group else None)

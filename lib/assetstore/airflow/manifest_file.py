"""A manifest that a program writes: which text, and how it gets into its file.

Rule: nothing of Airflow; where the assets come from is for database.py and rest.py.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

import msgspec

from assetstore.manifest import MAX_MANIFEST_BYTES, Manifest, ManifestAsset, ManifestInvalid, parse
from assetstore.manifest_text import VERSION

_NEW_FILE_MODE = 0o644


class Written(NamedTuple):
    """What became of a manifest: how many assets it lists, and whether the file had to change."""

    manifest: Manifest
    changed: bool


def manifest_text(assets: Iterable[ManifestAsset]) -> bytes:
    """The manifest that lists these assets, an asset a line, in the order of their names.

    The same assets are the same text, whatever their order.
    """
    lines = [_line(asset) for asset in sorted(assets, key=attrgetter("name", "uri"))]
    head = f'{{"version": {VERSION}, "assets": ['.encode()
    return head + b"\n  " + b",\n  ".join(lines) + b"\n]}\n"


def write_manifest(path: str, assets: Iterable[ManifestAsset]) -> Written:
    """See that the file lists these assets; when this returns, it is on disk.

    The file changes at once or not at all, and only if it does not say the same already. Raises
    ManifestInvalid, and changes nothing, if the daemon would refuse the manifest; OSError if the
    file cannot be written.
    """
    text = manifest_text(assets)
    manifest = parse(text, path=f"the new {os.path.basename(path)}.json")
    if _digest_of(path) == manifest.digest:
        return Written(manifest, changed=False)
    _replace(os.path.realpath(path), text)
    return Written(manifest, changed=True)


def _line(asset: ManifestAsset) -> bytes:
    fields = {"name": asset.name, "uri": asset.uri}
    if asset.group is not None:
        fields["group"] = asset.group
    return msgspec.json.encode(fields)


def _digest_of(path: str) -> str | None:
    """The content of the manifest that stands there, or None if there is no valid one."""
    try:
        with open(path, "rb") as file:
            return parse(file.read(MAX_MANIFEST_BYTES + 1), path=path).digest
    except (FileNotFoundError, ManifestInvalid):
        return None


def _replace(path: str, text: bytes) -> None:
    directory = os.path.dirname(path)
    try:
        mode = os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        mode = _NEW_FILE_MODE
    descriptor, temporary = tempfile.mkstemp(prefix=".manifest-", dir=directory)
    try:
        with open(descriptor, "wb") as file:
            file.write(text)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Compares the manifest file with what is active: the short-lived child that proposer.py starts.

    python -m assetstored.proposal DATA_DIR MANIFEST MAX_DEACTIVATE_FRACTION KNOWN [DIGEST]

A manifest may have 64 MiB, or lie on a file system that hangs; as a process of its own this
cannot hold up a single request, and whatever it dies of is only a reload that failed. On
standard output it leaves frames of msgpack: a Verdict and, if that is "accepted", Slices.

A file that was applied already is known by its fingerprint, KNOWN in hexadecimal, and then neither
parsed nor compared; that spares a start most of its time.

Rule: reads only. Nothing is changed here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import starmap
from typing import BinaryIO, TypeAlias

import msgspec

from assetstore.framing import frame
from assetstore.manifest import (
    Difference,
    Manifest,
    ManifestAsset,
    ManifestInvalid,
    difference,
    parse,
    verdict,
)
from assetstore.messages import AssetRef
from assetstore.version import VERSION
from assetstored.changes import SLICE_CHANGES, Slice, Verdict
from assetstored.manifest_file import ManifestMissing, ManifestUnreadable, read

Problem: TypeAlias = ManifestInvalid | ManifestMissing | ManifestUnreadable

#: Name, uri and group of every active asset of the store in a data directory.
ActiveAssets: TypeAlias = Callable[[str], Iterable[tuple[str, str, str | None]]]

#: Enough for a million assets. Without a limit, a file made to be costly would
#: bring the memory limit of the whole service down on the daemon.
MAX_MEMORY_BYTES = 1024**3

#: Longer than the parent waits; only for a child whose parent was killed.
MAX_RUN_S = 120


def main(argv: list[str], active_assets: ActiveAssets) -> int:
    """Leave the frames on standard output; 0 if they are complete."""
    _restrain()
    data_dir, path, fraction, known, *digest = argv
    content = read_content(path)
    mark = fingerprint(content, path) if isinstance(content, bytes) else b""
    if mark and mark.hex() == known:
        write(sys.stdout.buffer, Verdict("known", None, None, mark), ())
        return 0
    manifest = parse_content(content, path)
    active = active_assets(data_dir) if isinstance(manifest, Manifest) else ()
    outcome, slices = propose(
        manifest,
        starmap(ManifestAsset, active),
        float(fraction),
        digest[0] if digest else None,
        mark,
    )
    write(sys.stdout.buffer, outcome, slices)
    return 0


def read_content(path: str) -> bytes | Problem:
    """The bytes of the file, or why there are none."""
    try:
        return read(path)
    except (ManifestInvalid, ManifestMissing, ManifestUnreadable) as problem:
        return problem


def parse_content(content: bytes | Problem, path: str) -> Manifest | Problem:
    """The manifest in the bytes of the file, or why there is none."""
    if not isinstance(content, bytes):
        return content
    try:
        return parse(content, path=path)
    except ManifestInvalid as problem:
        return problem


def fingerprint(content: bytes, path: str) -> bytes:
    """The same only for the same bytes, at the same path, as the same programs would read them."""
    programs = f"assetstore {VERSION}, msgspec {msgspec.__version__}, Python {sys.version}"
    parts = (programs.encode(), os.fsencode(path), content)
    digest = sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def propose(
    manifest: Manifest | Problem,
    active: Iterable[ManifestAsset],
    max_deactivate_fraction: float,
    confirmed: str | None,
    mark: bytes = b"",
) -> tuple[Verdict, Iterator[Slice]]:
    """What becomes of the manifest, and the changes it takes if it is to be applied.

    ``confirmed`` is the digest of a manifest that someone has looked at: that one is not held.
    ``mark`` is the fingerprint of the file that it was read from.
    """
    if not isinstance(manifest, Manifest):
        return Verdict(manifest.state, _sendable(str(manifest)), None, mark), iter(())
    active = list(active)
    change = difference(active, manifest.assets)
    answer = verdict(len(active), change, max_deactivate_fraction)
    counts = {
        "active": len(active),
        "proposed": len(manifest.assets),
        "activates": len(change.activate),
        "deactivates": len(change.deactivate),
        "regroups": len(change.regroup),
    }
    if answer == "unchanged":
        return Verdict("unchanged", None, manifest.digest, mark, **counts), iter(())
    if answer == "held" and manifest.digest != confirmed:
        reason = (
            f"would deactivate {len(change.deactivate):,} of {len(active):,} active assets, and "
            f"max_deactivate_fraction is {max_deactivate_fraction:g}. `assetstore manifest diff` "
            "shows them; `assetstore manifest accept` applies it"
        )
        return Verdict("held", reason, manifest.digest, mark, **counts), iter(())
    return Verdict("accepted", None, manifest.digest, mark, **counts), slices(change)


def slices(change: Difference) -> Iterator[Slice]:
    """The changes in order, cut so that each part can be applied at once.

    Arrivals are sorted, so that a part changes neighbouring pages of the catalog's indexes.
    """
    leaving = [AssetRef(asset.name, asset.uri) for asset in change.deactivate]
    arriving = sorted((asset.name, asset.uri, asset.group) for asset in change.activate)
    staying = [(asset.name, asset.uri, asset.group) for asset in change.regroup]
    first = len(leaving)
    second = first + len(arriving)
    for start in range(0, second + len(staying), SLICE_CHANGES):
        end = start + SLICE_CHANGES
        yield Slice(
            leaving[start:end],
            arriving[max(start - first, 0) : max(end - first, 0)],
            staying[max(start - second, 0) : max(end - second, 0)],
        )


def write(out: BinaryIO, outcome: Verdict, parts: Iterable[Slice]) -> None:
    """Leave all of it in out."""
    encode = msgspec.msgpack.Encoder().encode
    out.write(frame(encode(outcome)))
    for part in parts:
        out.write(frame(encode(part)))
    out.flush()


def _sendable(text: str) -> str:
    """The text without the lone surrogates that a path may bring along."""
    return text.encode(errors="replace").decode()


def _restrain() -> None:
    """Be the first to give way, and end in any case."""
    # A sandbox may forbid either; that is no reason to read no manifest.
    with contextlib.suppress(OSError):
        os.nice(5)
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        limit = MAX_MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(MAX_MEMORY_BYTES, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    signal.alarm(MAX_RUN_S)


if __name__ == "__main__":
    from assetstored.reader import active_assets

    sys.exit(main(sys.argv[1:], active_assets))

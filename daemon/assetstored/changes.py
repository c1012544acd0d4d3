"""What a manifest asks for, as it travels from the child that compares to the daemon that applies.

Rule: values only. Who may apply them, and how, is not decided here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from assetstore.messages import AssetRef

#: How many changes are applied at once: 2 to 3 ms, and some hundred pages anywhere in the catalog.
SLICE_CHANGES = 50


class Verdict(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What becomes of the manifest file as it is now.

    accepted    is to be applied: the slices follow
    known       is the very file whose assets are active: there was nothing to compare
    unchanged   is what is active already
    held        is valid, but deactivates so much that someone has to confirm its digest
    missing, unreadable, invalid
                there is no manifest to speak of: the numbers are 0, and nothing changes

    ``reason`` says why it is not accepted, unchanged or known, and what to do. ``fingerprint`` is
    empty where there is no file. A known manifest has no digest and no numbers here: they are those
    of the last one that was accepted.
    """

    state: Literal["accepted", "known", "unchanged", "missing", "unreadable", "invalid", "held"]
    reason: str | None
    digest: str | None
    fingerprint: bytes = b""
    active: int = 0
    proposed: int = 0
    activates: int = 0
    deactivates: int = 0
    regroups: int = 0


class Slice(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Changes to be applied together: first all of ``deactivate``, then the others.

    So the order of slices is, too, as a new asset may take name or uri of one that leaves.
    ``activate`` and ``regroup`` hold name, uri and group.
    """

    deactivate: list[AssetRef]
    activate: list[tuple[str, str, str | None]]
    regroup: list[tuple[str, str, str | None]]

    def __len__(self) -> int:
        return len(self.deactivate) + len(self.activate) + len(self.regroup)

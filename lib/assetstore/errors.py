"""Every error the project raises on purpose, and the codes that carry them over the wire.

The classes are grouped by the only question a caller has: did it happen, and may I try again?

Rule: no imports from the rest of the project, so that every module may import this one.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AssetStoreError",
    "Busy",
    "Compacted",
    "Conflict",
    "Damaged",
    "DeadlineExceeded",
    "Forbidden",
    "InactiveAsset",
    "InvalidRequest",
    "NotConnected",
    "OutcomeUnknown",
    "ProtocolError",
    "Refused",
    "ServerFault",
    "StoreFull",
    "UnknownAsset",
    "WaitTimeout",
]


class AssetStoreError(Exception):
    """Base of all errors of this library."""


class Refused(AssetStoreError):
    """The answer is no, and nothing changed. ``code`` says why, in a word that is stable."""

    default_code: ClassVar[str] = "refused"

    def __init__(self, message: str, *, code: str | None = None, detail: Any = None) -> None:
        super().__init__(message)
        self.code = code or self.default_code
        self.detail = detail


class UnknownAsset(Refused, LookupError):
    """The asset is not in the accepted manifest."""

    default_code = "unknown_asset"


class InactiveAsset(UnknownAsset):
    """The asset is known, but has left the manifest: its store is closed to everybody."""

    default_code = "inactive_asset"


class InvalidRequest(Refused, ValueError):
    """A bad name, key or value, or one beyond its limit. Asking again is no use."""

    default_code = "invalid_request"


class Conflict(Refused):
    """A condition did not hold, so nothing changed.

    ``entry`` is the ``Entry`` of that key as it stands now, or None where there is none. In
    ``detail``, "key" names it and "operation" counts, from 0, the operations of a transaction.
    Where the condition was about no key, as that a target be empty, ``detail`` is None.
    """

    default_code = "conflict"
    entry: Any = None


class Compacted(Refused):
    """The journal does not reach that far back any more. ``detail["oldest"]``: where it begins."""

    default_code = "compacted"


class Forbidden(Refused, PermissionError):
    """This user may not do this."""

    default_code = "forbidden"

    # PermissionError is an OSError, whose __new__ and __str__ know nothing of codes.
    def __str__(self) -> str:
        return str(self.args[0]) if self.args else self.code


class StoreFull(Refused):
    """The disk or the map is full. Reads go on; writes resume when there is room."""

    default_code = "store_full"


class Damaged(Refused):
    """The stored record fails its checksum. It is reported, never served."""

    default_code = "damaged"


class Busy(Refused):
    """The daemon is at a limit, or stopping. The same request may succeed later."""

    default_code = "busy"


class ServerFault(Refused):
    """A bug in the daemon; its log has the rest."""

    default_code = "server_fault"


class NotConnected(AssetStoreError, ConnectionError):
    """Nothing was sent, so nothing happened; it is safe to try again."""


class OutcomeUnknown(AssetStoreError):
    """The request was sent and no answer came, or none that tells: a change may have happened."""


class DeadlineExceeded(OutcomeUnknown, TimeoutError):
    """The request was sent and the timeout ended before an answer came."""


class WaitTimeout(AssetStoreError, TimeoutError):
    """What ``wait_for`` waited for did not come in time; the daemon was there."""


class ProtocolError(AssetStoreError):
    """Bytes broke the rules of docs/protocol.md; the connection is closed for good."""


_CLASSES: tuple[type[Refused], ...] = (
    Refused,
    UnknownAsset,
    InactiveAsset,
    InvalidRequest,
    Conflict,
    Compacted,
    Forbidden,
    StoreFull,
    Damaged,
    Busy,
    ServerFault,
)

#: code on the wire -> class; the one table that both sides use.
REFUSALS: dict[str, type[Refused]] = {cls.default_code: cls for cls in _CLASSES}


def refusal(code: str, message: str, detail: Any = None) -> Refused:
    """The error for a code from the wire.

    A code that this version does not know becomes a plain Refused,
    so that an old client survives a newer daemon.
    """
    return REFUSALS.get(code, Refused)(message, code=code, detail=detail)

"""Whether a request that failed is tried again, when, and which error the caller gets in the end.

One question decides: may it have happened? Nothing that failed before it was sent has happened, so
anything may be tried again. After it was sent, reads and writes that may happen twice are; a second
``delete`` would answer "was not there" about the first, so that caller is told the truth instead.

Rule: pure. No socket, no clock, no waiting; the caller says how much time is left.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from assetstore.errors import (
    AssetStoreError,
    Busy,
    DeadlineExceeded,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    Refused,
)
from assetstore.messages import (
    Assets,
    Count,
    Get,
    Items,
    Keys,
    ListTrash,
    Request,
    Resolve,
    Set,
    Status,
)

#: The first pause. About what a restarting daemon needs to listen again, and
#: long enough not to burn a core on a socket that refuses.
FIRST_PAUSE_S: Final = 0.010

#: Pauses double up to here; a thousand waiting workers are then 4,000 attempts a second.
LONGEST_PAUSE_S: Final = 0.250

#: A day. A call that may take longer has no timeout to speak of.
LONGEST_TIMEOUT_S: Final = 86_400

#: With less time left than this no answer can be expected of a busy machine, and an attempt that
#: is sent and not answered would turn "it did not happen" into "it may have happened".
_LEAST_TIME_S: Final = 0.020

READS: Final[frozenset[type[Request]]] = frozenset(
    {Get, Keys, Items, Count, Resolve, Assets, Status, ListTrash}
)

#: May be repeated after they were sent: carried out twice, they leave the same and say the same.
REPEATABLE: Final = READS | {Set}


class ClientClosed(NotConnected):
    """The client was closed by its owner. No attempt can help."""


class NoTimeLeft(NotConnected):
    """The timeout ended before the request was sent; what delayed it says more."""


class Attempts:
    """What one call has gone through so far. Made when it fails for the first time."""

    __slots__ = ("_kind", "_last", "_pause_s", "_random", "_sent", "_socket", "_timeout_s")

    def __init__(
        self,
        kind: type[Request],
        socket: str,
        timeout_s: float,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._kind = kind
        self._socket = socket
        self._timeout_s = timeout_s
        self._random = random
        self._pause_s = FIRST_PAUSE_S
        self._sent = False
        self._last: AssetStoreError | None = None

    def pause_after(self, error: AssetStoreError, left_s: float) -> float:
        """How long to wait before the next attempt, or raise what the caller is to get.

        ``left_s`` is how much of the call's timeout is left.
        """
        if isinstance(error, ClientClosed):
            raise error
        if isinstance(error, NoTimeLeft) and self._last is not None:
            error = self._last
        self._last = error
        if isinstance(error, Refused) and not isinstance(error, Busy):
            raise self._refused(error)
        if isinstance(error, OutcomeUnknown):
            self._sent = True
            if isinstance(error, DeadlineExceeded):
                raise self._out_of_time(error)
            if self._kind not in REPEATABLE:
                raise OutcomeUnknown(
                    f"{self._verb} was sent to {self._socket} and not answered: {error}; "
                    "it may have happened or not, so it was not repeated"
                ) from error
        if left_s < _LEAST_TIME_S:
            raise self._out_of_time(error)
        # Half of what is left at most: so that there is a last attempt just before the end.
        pause_s = min(self._pause_s * (0.5 + self._random() / 2), left_s / 2)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def _refused(self, error: Refused) -> AssetStoreError:
        if not self._sent or self._kind in READS:
            return error
        unknown = OutcomeUnknown(
            f"{self._verb} was sent to {self._socket} and not answered; when it was repeated "
            f"it was refused ({error}), but the first may have happened"
        )
        unknown.__cause__ = error
        return unknown

    def _out_of_time(self, error: AssetStoreError) -> AssetStoreError:
        final: AssetStoreError
        if self._sent:
            doubt = "" if self._kind in READS else "; it may have happened or not"
            final = DeadlineExceeded(
                f"{self._verb} was sent to {self._socket} and not answered within "
                f"{self._timeout_s:g} s: {error}{doubt}"
            )
        elif isinstance(error, NotConnected):
            final = NotConnected(
                f"no connection to the daemon at {self._socket} within {self._timeout_s:g} s: "
                f"{error}. Nothing happened. "
                "Is the daemon running (systemctl status assetstored.socket)? "
                "Another socket is named by ASSETSTORE_SOCKET"
            )
        else:
            return error
        final.__cause__ = error
        return final

    @property
    def _verb(self) -> str:
        return str(self._kind.__struct_config__.tag)


def check_timeout(timeout_s: float) -> float:
    """Return the timeout, or raise TypeError or InvalidRequest if no call can have it."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float):
        raise TypeError(f"timeout must be a number of seconds, not {type(timeout_s).__name__}")
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise InvalidRequest(
            f"timeout is {timeout_s} s; it must be more than 0 and at most {LONGEST_TIMEOUT_S:,} s"
        )
    return float(timeout_s)

"""Whether a request that failed is tried again, when, and which error the caller gets in the end.

Every request may be tried again. Nothing that failed before it was sent has happened. After it was
sent, a read may happen twice; a change carries an id by which the daemon knows it, so that it
happens once; what operators ask for (a sweep, a reload) leaves the same when it is done again.

Rule: pure. No socket, no clock, no waiting; the caller says how much time is left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from assetstore.chance import chance
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
    Change,
    Checkpoint,
    Count,
    Events,
    Get,
    GetAt,
    GetMany,
    History,
    Items,
    Keys,
    ListTrash,
    Log,
    Metrics,
    Request,
    Resolve,
    Rewind,
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
    {
        *(Get, GetAt, GetMany, History, Events, Log, Keys, Items, Count, Resolve),
        *(Assets, Status, ListTrash, Checkpoint, Metrics),
    }
)

#: The daemon remembers these by an id of their own, and answers a repeat as it did the first.
REMEMBERED: Final[frozenset[type[Request]]] = frozenset({Change, Rewind})

#: The code of a refusal: the daemon does not remember that far back.
_FORGOTTEN: Final = "forgotten"


class ClientClosed(NotConnected):
    """The client was closed by its owner. No attempt can help."""


class NoTimeLeft(NotConnected):
    """The timeout ended before the request was sent; what delayed it says more."""


class Attempts:
    """What one call has gone through so far. Made when it fails for the first time."""

    __slots__ = (
        *("_began_left_s", "_kind", "_last", "_pause_s", "_random", "_sent_left_s"),
        *("_socket", "_timeout_s"),
    )

    def __init__(
        self,
        kind: type[Request],
        socket: str,
        timeout_s: float,
        random: Callable[[], float] = chance,
    ) -> None:
        self._kind = kind
        self._socket = socket
        self._timeout_s = timeout_s
        self._random = random
        self._pause_s = FIRST_PAUSE_S
        # How much time was left when the attempt under way began, and the first that was sent.
        self._began_left_s = float(timeout_s)
        self._sent_left_s: float | None = None
        self._last: AssetStoreError | None = None

    def pause_after(
        self, error: AssetStoreError, left_s: float, *, was_answered: bool = False
    ) -> float:
        """How long to wait before the next attempt, or raise what the caller is to get.

        ``left_s`` is how much of the call's timeout is left. ``was_answered``: the error is the
        daemon's answer to the request, and not what kept it from being sent.
        """
        if isinstance(error, ClientClosed):
            raise self._closed(error)
        if isinstance(error, NoTimeLeft) and self._last is not None:
            error = self._last
        self._last = error
        if isinstance(error, Refused) and not isinstance(error, Busy):
            raise self._refused(error, was_answered)
        if isinstance(error, OutcomeUnknown):
            if self._sent_left_s is None:
                self._sent_left_s = self._began_left_s
            if isinstance(error, DeadlineExceeded):
                raise self._out_of_time(error)
        if left_s < _LEAST_TIME_S:
            raise self._out_of_time(error)
        # Half of what is left at most: so that there is a last attempt just before the end.
        pause_s = min(self._pause_s * (0.5 + self._random() / 2), left_s / 2)
        self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        return pause_s

    def begin(self, fields: tuple[Any, ...], left_s: float) -> tuple[Any, ...]:
        """The fields of the attempt that begins now, with left_s of the timeout left.

        Those of a repeat have in place of their age the time that was left when it was sent first,
        as request_frame takes it.
        """
        self._began_left_s = left_s
        if self._sent_left_s is None or self._kind not in REMEMBERED:
            return fields
        return (fields[0], self._sent_left_s, *fields[2:])

    def _closed(self, error: ClientClosed) -> AssetStoreError:
        if self._sent_left_s is None or self._kind in READS:
            return error
        unknown = OutcomeUnknown(
            f"{self._verb} was sent to {self._socket} and not answered before the client was "
            "closed; it may have happened or not"
        )
        unknown.__cause__ = error
        return unknown

    def _refused(self, error: Refused, was_answered: bool) -> AssetStoreError:
        if error.code == _FORGOTTEN:
            why = f"{self._verb} was sent to {self._socket} and not answered; {error}"
        elif self._sent_left_s is None or self._kind in READS:
            return error
        elif was_answered and self._kind in REMEMBERED:
            # If the first had happened, the daemon would have answered as it did then.
            return error
        else:
            why = (
                f"{self._verb} was sent to {self._socket} and not answered; when it was repeated "
                f"it was refused ({error}), but the first may have happened"
            )
        unknown = OutcomeUnknown(why)
        unknown.__cause__ = error
        return unknown

    def _out_of_time(self, error: AssetStoreError) -> AssetStoreError:
        final: AssetStoreError
        if self._sent_left_s is not None:
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

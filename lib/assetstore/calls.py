# Made from asynchronous/calls.py by scripts/unasync.py: change that one.
"""Requests to answers, within the timeout, whatever happens to connections on the way.

Rule: what may be tried again is decided in retry.py, and what travels in link.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from time import monotonic
from typing import Any

from assetstore.answers import error_of, result_of
from assetstore.errors import (
    AssetStoreError,
    Busy,
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    Refused,
)
from assetstore.limits import FRAME_OVERHEAD_BYTES, MAX_OPERATIONS, MAX_PAGE_ITEMS, MAX_RESOLVE_REFS
from assetstore.link import Link
from assetstore.messages import (
    AnyOperation,
    AssetRef,
    Change,
    Changed,
    EventPage,
    Events,
    Failed,
    FoundMany,
    GetMany,
    Outcome,
    Request,
    Resolve,
    Resolved,
    WireEntry,
)
from assetstore.requests import new_request_id
from assetstore.retry import LONGEST_PAUSE_S, Attempts


class Calls:
    """Makes calls to one daemon; those that wait there for something to happen go by ``waiting``.

    ``timeout_s`` is the client's timeout.
    """

    __slots__ = ("_link", "_socket", "_waiting", "timeout_s")

    def __init__(self, link: Link, waiting: Link, socket: str, timeout_s: float) -> None:
        self._link = link
        self._waiting = waiting
        self._socket = socket
        self.timeout_s = timeout_s

    def call(self, kind: type[Request], *fields: Any) -> Any:
        """The answer to a request of this kind, as the protocol names it.

        Raises the refusal if the daemon said no, and NotConnected, OutcomeUnknown or
        DeadlineExceeded where retry.py sees no use in trying again.
        """
        deadline = monotonic() + self.timeout_s
        attempts = None
        error: AssetStoreError
        while True:
            answer = None
            try:
                answer = self._link.exchange(kind, fields, deadline)
                if type(answer) is not Failed:
                    return answer
                error = error_of(answer)
            except (NotConnected, OutcomeUnknown, Refused) as exc:
                error = exc
            if attempts is None:
                attempts = Attempts(kind, self._socket, self.timeout_s)
            left_s = deadline - monotonic()
            pause_s = attempts.pause_after(error, left_s, was_answered=answer is not None)
            time.sleep(pause_s)
            fields = attempts.begin(fields, deadline - monotonic())

    def change(self, operations: Sequence[AnyOperation]) -> list[Outcome]:
        """Have all operations carried out in one commit; one outcome for each, in order."""
        if len(operations) > MAX_OPERATIONS:
            raise InvalidRequest(
                f"{len(operations):,} operations are too many for one change; "
                f"the limit is {MAX_OPERATIONS:,}"
            )
        answer: Changed = self.call(Change, new_request_id(), 0, operations)
        if len(answer.outcomes) != len(operations):
            raise ProtocolError(
                f"{len(answer.outcomes)} outcomes are no answer to {len(operations)} operations"
            )
        return answer.outcomes

    def do(self, operation: AnyOperation) -> Any:
        """Have this operation carried out, and return what the call that it stands for does."""
        outcomes = self.change((operation,))
        return result_of(operation, outcomes[0])

    def get_many(self, keys: Sequence[tuple[AssetRef, str]]) -> list[WireEntry | None]:
        """The entries of these keys in one snapshot, in order."""
        if not keys:
            return []
        if len(keys) > MAX_PAGE_ITEMS:
            raise InvalidRequest(
                f"{len(keys):,} keys are too many for one snapshot; the limit is {MAX_PAGE_ITEMS:,}"
            )
        answer: FoundMany = self.call(GetMany, keys)
        if len(answer.entries) != len(keys):
            raise ProtocolError(f"{len(answer.entries)} entries are no answer to {len(keys)} keys")
        return answer.entries

    def poll(self, *fields: Any, wait_s: float) -> EventPage:
        """The answer to a request for events that waits up to wait_s seconds for one.

        The client's timeout is for being without a daemon.
        """
        timeout_s = self.timeout_s + wait_s
        deadline = monotonic() + timeout_s
        waiting = (*fields, int(wait_s * 1000))
        error: AssetStoreError
        answer = None
        try:
            answer = self._waiting.exchange(Events, waiting, deadline)
            if type(answer) is EventPage:
                return answer
            assert type(answer) is Failed
            error = error_of(answer)
        except (NotConnected, OutcomeUnknown, Refused) as exc:
            error = exc
        # Perhaps the daemon restarts. Whether it is back is asked without waiting for events.
        attempts = Attempts(Events, self._socket, timeout_s)
        pause_s = attempts.pause_after(error, timeout_s, was_answered=answer is not None)
        # Busy means that too many wait there already; then events are asked for now and then.
        time.sleep(LONGEST_PAUSE_S if isinstance(error, Busy) else pause_s)
        page: EventPage = self.call(Events, *fields, 0)
        return page

    def resolve(self, refs: Sequence[AssetRef]) -> list[AssetRef | None]:
        """Name and uri for each reference, in order; None where no such asset is known."""
        found: list[AssetRef | None] = []
        while len(found) < len(refs):
            answer: Resolved = self.call(Resolve, _one_frame_of(refs[len(found) :]))
            found += answer.assets
        return found


def _one_frame_of(refs: Sequence[AssetRef]) -> list[AssetRef]:
    """As many of the first references as surely fit one frame, and one at least."""
    taken: list[AssetRef] = []
    left = FRAME_OVERHEAD_BYTES // 2
    for ref in refs[:MAX_RESOLVE_REFS]:
        left -= 4 * (len(ref.name or "") + len(ref.uri or "")) + 16
        if left < 0 and taken:
            break
        taken.append(ref)
    return taken

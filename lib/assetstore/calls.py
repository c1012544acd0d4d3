# Made from asynchronous/calls.py by scripts/unasync.py: change that one.
"""Requests to answers, within the timeout, whatever happens to connections on the way.

Rule: what may be tried again is decided in retry.py, and what travels in link.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from time import monotonic
from typing import Any

from assetstore.answers import error_of
from assetstore.errors import AssetStoreError, NotConnected, OutcomeUnknown, ProtocolError, Refused
from assetstore.limits import FRAME_OVERHEAD_BYTES, MAX_RESOLVE_REFS
from assetstore.link import Link
from assetstore.messages import (
    AnyOperation,
    AssetRef,
    Change,
    Changed,
    Failed,
    Outcome,
    Request,
    Resolve,
    Resolved,
)
from assetstore.requests import new_request_id
from assetstore.retry import Attempts


class Calls:
    """Makes calls to one daemon."""

    __slots__ = ("_link", "_socket", "_timeout_s")

    def __init__(self, link: Link, socket: str, timeout_s: float) -> None:
        self._link = link
        self._socket = socket
        self._timeout_s = timeout_s

    def call(self, kind: type[Request], *fields: Any, timeout_s: float | None = None) -> Any:
        """The answer to a request of this kind, as the protocol names it.

        Within timeout_s seconds, or the client's timeout. Raises the refusal if the daemon said
        no, and NotConnected, OutcomeUnknown or DeadlineExceeded where retry.py sees no use in
        trying again.
        """
        if timeout_s is None:
            timeout_s = self._timeout_s
        deadline = monotonic() + timeout_s
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
                attempts = Attempts(kind, self._socket, timeout_s)
            left_s = deadline - monotonic()
            pause_s = attempts.pause_after(error, left_s, was_answered=answer is not None)
            time.sleep(pause_s)
            fields = attempts.begin(fields, deadline - monotonic())

    def change(
        self, operations: Sequence[AnyOperation], timeout_s: float | None = None
    ) -> list[Outcome]:
        """Have all operations carried out in one commit; one outcome for each, in order."""
        fields = (new_request_id(), 0, operations)
        answer: Changed = self.call(Change, *fields, timeout_s=timeout_s)
        if len(answer.outcomes) != len(operations):
            raise ProtocolError(
                f"{len(answer.outcomes)} outcomes are no answer to {len(operations)} operations"
            )
        return answer.outcomes

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

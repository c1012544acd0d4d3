# Made from asynchronous/calls.py by scripts/unasync.py: change that one.
"""Requests to answers, within the timeout, whatever happens to connections on the way.

Rule: what may be tried again is decided in retry.py, and what travels in link.py.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from time import monotonic
from typing import Any

from assetstore.errors import NotConnected, OutcomeUnknown, Refused, refusal
from assetstore.limits import FRAME_OVERHEAD_BYTES, MAX_RESOLVE_REFS
from assetstore.link import Link
from assetstore.messages import AssetRef, Failed, Request, Resolve, Resolved
from assetstore.retry import Attempts


class Calls:
    """Makes calls to one daemon."""

    __slots__ = ("_link", "_socket", "_timeout_s")

    def __init__(self, link: Link, socket: str, timeout_s: float) -> None:
        self._link = link
        self._socket = socket
        self._timeout_s = timeout_s

    def call(self, kind: type[Request], *fields: Any) -> Any:
        """The answer to a request of this kind, as the protocol names it.

        Raises the refusal if the daemon said no, and NotConnected, OutcomeUnknown or
        DeadlineExceeded where retry.py sees no use in trying again.
        """
        deadline = monotonic() + self._timeout_s
        attempts = None
        while True:
            try:
                answer = self._link.exchange(kind, fields, deadline)
                if type(answer) is not Failed:
                    return answer
                raise refusal(answer.code, answer.message, answer.detail)
            except (NotConnected, OutcomeUnknown, Refused) as exc:
                if attempts is None:
                    attempts = Attempts(kind, self._socket, self._timeout_s)
                pause_s = attempts.pause_after(exc, deadline - monotonic())
            time.sleep(pause_s)

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

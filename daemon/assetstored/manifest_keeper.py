"""Keeps the catalog in step with the manifest file.

The file is parsed and compared in a child process, see proposer.py; what it changes is applied
by the writer, slice by slice. Whatever is wrong with the file, the last accepted manifest stays.

Rule: says what state the manifest is in; whether it may be applied was decided in
assetstore.manifest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any, Literal

import msgspec

from assetstore.errors import Conflict, InvalidRequest, Refused
from assetstored import jobs
from assetstored.changes import Slice, Verdict
from assetstored.commits import CommitQueue
from assetstored.pace import Pace
from assetstored.proposer import Proposal, ProposalFailed, propose
from assetstored.reader import Reader

_log = logging.getLogger("assetstored.manifest")

#: Slices that are applied at once in the first check, beside which nobody is served yet.
_AT_ONCE = 10

State = Literal[
    "none",  # not looked at yet
    "applying",
    "accepted",
    "unchanged",
    "unapplied",  # accepted, but the store refused a part of it: it is tried again
    "missing",
    "unreadable",
    "invalid",
    "held",
]


class ManifestKeeper:
    """What is known of the manifest file, and the way to apply it. One check at a time."""

    def __init__(
        self,
        reader: Reader,
        queue: CommitQueue,
        *,
        data_dir: str,
        path: str,
        max_deactivate_fraction: float,
    ) -> None:
        self._reader = reader
        self._queue = queue
        # Less than for other work: an asset that has left is to be closed soon.
        self._pace = Pace(queue, rest=1.0)
        self._data_dir = data_dir
        self._path = path
        self._fraction = max_deactivate_fraction
        self._lock = asyncio.Lock()
        self._next: asyncio.Future[None] | None = None
        self._held: Verdict | None = None
        self._logged: tuple[object, ...] = ()
        self.state: State = "none"
        self.reason: str | None = None

    async def check(self) -> None:
        """Read the file now; returns when what it changes is applied, or is known not to be.

        Those who ask while a check runs share the next one: it begins after they asked.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._check_in_turn())
        await asyncio.shield(self._next)

    async def _check_in_turn(self) -> None:
        async with self._lock:
            self._next = None
            await self._check()

    async def accept(self, digest: str, writer: msgspec.Raw) -> None:
        """Apply the manifest that is held. Raises Refused if there is none with this digest.

        The journal says that writer accepted it. Accepted twice is accepted: a repeat may ask.
        """
        async with self._lock:
            if self._held is None:
                accepted = self._reader.accepted_manifest()
                if accepted is not None and accepted.digest == digest:
                    return
                raise InvalidRequest("no manifest is held; there is nothing to accept")
            if self._held.digest != digest:
                raise Conflict(
                    f"the manifest that is held has digest {self._held.digest}, not {digest}; "
                    "look at it again"
                )
            await self._check(digest, writer)
            accepted = self._reader.accepted_manifest()
            if self.state != "accepted" or accepted is None or accepted.digest != digest:
                raise Conflict(
                    f"the manifest changed in the meantime and is now {self.state}"
                    + (f": {self.reason}" if self.reason else "")
                )

    @property
    def may_mend_itself(self) -> bool:
        """Whether to look again although the file has not changed."""
        return self.state in ("unapplied", "unreadable")

    @property
    def is_in_force(self) -> bool:
        """Whether the assets that are active are those of the file, as it was last read."""
        return self.state == "accepted"

    def report(self) -> dict[str, Any]:
        """What ``status`` says of the manifest."""
        accepted = self._reader.accepted_manifest()
        held = self._held
        return {
            "path": self._path,
            "state": self.state,
            "reason": self.reason,
            "accepted_at": accepted.accepted_at if accepted else None,
            "digest": accepted.digest if accepted else None,
            "held": held
            and {
                "digest": held.digest,
                "activates": held.activates,
                "deactivates": held.deactivates,
                "active": held.active,
            },
        }

    async def _check(
        self, confirmed: str | None = None, writer: msgspec.Raw = jobs.NOTHING
    ) -> None:
        try:
            accepted = self._reader.accepted_manifest()
            proposal = await propose(
                self._data_dir,
                self._path,
                max_deactivate_fraction=self._fraction,
                known=accepted.fingerprint if accepted else b"",
                confirmed=confirmed,
            )
            with proposal:
                verdict = proposal.verdict
                if verdict.state in ("accepted", "unchanged"):
                    await self._apply(proposal, writer)
                    return
                if verdict.state == "known":
                    # Nobody else changes what is active, so it is what it was when we asked.
                    assert accepted is not None
                    _log.debug("the manifest %s is the file that was applied last", self._path)
                    self._held = None
                    self._succeed(accepted.assets, verdict)
                    return
        except ProposalFailed as exc:
            self._keep_last("unreadable", str(exc))
            return
        except Refused as exc:
            self._keep_last("unapplied", str(exc))
            return
        self._held = verdict if verdict.state == "held" else None
        self._keep_last(verdict.state, verdict.reason)

    async def _apply(self, proposal: Proposal, writer: msgspec.Raw) -> None:
        parts = proposal.slices()
        if self.state == "none":
            parts = _joined(parts, _AT_ONCE)
        for part in parts:
            self.state, self.reason = "applying", None
            await self._pace.do(jobs.ApplySlice(part))
        await self._finish(proposal.verdict, writer)

    async def _finish(self, verdict: Verdict, writer: msgspec.Raw) -> None:
        self._held = None
        accepted = self._reader.accepted_manifest()
        assert verdict.digest is not None
        job = jobs.FinishManifest(verdict.digest, self._path, writer, verdict.fingerprint)
        try:
            await self._queue.do(job)
        except Refused:
            if accepted is None or (accepted.digest, accepted.path) != (job.digest, job.path):
                raise
            # Only the fingerprint is new: without it the same file is compared once more.
        self._succeed(verdict.proposed, verdict)

    def _succeed(self, active: int, verdict: Verdict) -> None:
        self.state, self.reason = "accepted", None
        if verdict.state == "accepted" or self._logged:
            _log.info(
                "accepted the manifest %s: %d assets active; %d activated, %d deactivated",
                self._path,
                active,
                verdict.activates,
                verdict.deactivates,
            )
        self._logged = ()

    def _keep_last(self, state: State, reason: str | None) -> None:
        self.state, self.reason = state, reason
        if self._logged != (state, reason):
            self._logged = (state, reason)
            stays = "tried again" if state == "unapplied" else "the last accepted one stays"
            _log.warning("the manifest is %s, %s: %s", state, stays, reason or self._path)


def _joined(parts: Iterator[Slice], count: int) -> Iterator[Slice]:
    """The same changes in the same order, in slices so many times as large."""
    while together := list(islice(parts, count)):
        yield Slice(
            [ref for part in together for ref in part.deactivate],
            [asset for part in together for asset in part.activate],
            [asset for part in together for asset in part.regroup],
        )

"""Has the manifest file compared in a child process (proposal.py), for the serving process.

Rule: nothing is applied here, and the loop is never held up: the child leaves its answer in
memory, so that how slowly it is taken up has no part in whether the child ends in time.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, ClassVar, Literal, Self, TypeVar

import msgspec

from assetstore.errors import AssetStoreError, ProtocolError
from assetstore.framing import FrameReader
from assetstored.changes import Slice, Verdict

#: A manifest of 100,000 assets takes less than one second, in TOML 3; the rest is for a slow disk.
TIMEOUT_S = 60.0

#: Twice what a slice of the longest names takes: 200 times three strings of 1,500 characters of 4
#: bytes each.
MAX_FRAME_BYTES = 8 * 1024 * 1024

_CHUNK_BYTES = 64 * 1024
_STDERR_BYTES = 2000

#: What the child needs to find the same Python and packages and speak the same language.
#: Not the rest: the sockets of systemd are not its business.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_", "LD_LIBRARY_PATH", "PYTHON", "TMPDIR", "TZ")

_T = TypeVar("_T")


class ProposalFailed(AssetStoreError):
    """There is no verdict, so nothing changes. The manifest itself may be fine."""

    state: ClassVar[Literal["unreadable"]] = "unreadable"


class Proposal:
    """A verdict and the changes that follow from it. Use it as a context manager.

    The child has ended well: a verdict that is here is complete.
    """

    def __init__(self, answer: BinaryIO) -> None:
        self._answer = answer
        answer.seek(0)
        self._payloads = _payloads(answer)
        self.verdict = self._next(Verdict)

    def slices(self) -> Iterator[Slice]:
        """The changes, in the order in which they must be applied; to be taken once."""
        while (part := self._next_or_none(Slice)) is not None:
            yield part

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._answer.close()

    def _next(self, kind: type[_T]) -> _T:
        found = self._next_or_none(kind)
        if found is None:
            raise ProposalFailed("the process that compares the manifest left no answer")
        return found

    def _next_or_none(self, kind: type[_T]) -> _T | None:
        try:
            payload = next(self._payloads, None)
            return None if payload is None else msgspec.msgpack.decode(payload, type=kind)
        except (ProtocolError, msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
            raise ProposalFailed(
                f"the process that compares the manifest left garbage ({exc}). "
                "Was assetstore upgraded? Then restart the daemon"
            ) from exc


async def propose(
    data_dir: str,
    manifest: str,
    *,
    max_deactivate_fraction: float,
    known: bytes = b"",
    confirmed: str | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Proposal:
    """The proposal for the manifest file as it is now, once the child has ended.

    ``known`` is the fingerprint of the file whose assets are active, if any. ``confirmed`` is the
    digest of the manifest that is not to be held. If the verdict bears another, the file changed
    meanwhile, and was judged as in any reload.
    Raises ProposalFailed. If cancelled, the child is gone before this returns.
    """
    answer = _memory("manifest-proposal")
    try:
        with _memory("manifest-proposal-errors") as errors:
            argv = [data_dir, manifest, repr(max_deactivate_fraction), known.hex()]
            argv += [confirmed] if confirmed else []
            status = await _run(argv, answer, errors, timeout_s)
            if status != 0:
                raise ProposalFailed(_death(status, errors))
        return Proposal(answer)
    except BaseException:
        answer.close()
        raise


async def _run(argv: list[str], stdout: BinaryIO, stderr: BinaryIO, timeout_s: float) -> int:
    try:
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "assetstored.proposal",
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={k: v for k, v in os.environ.items() if k.startswith(_ENVIRONMENT)},
        )
    except OSError as exc:
        raise ProposalFailed(f"cannot start a process to compare the manifest: {exc}") from exc
    try:
        async with asyncio.timeout(timeout_s):
            return await child.wait()
    except TimeoutError:
        raise ProposalFailed(
            f"comparing the manifest took more than {timeout_s:g} s and was given up. "
            "Is it on a file system that hangs?"
        ) from None
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()


def _memory(name: str) -> BinaryIO:
    """A file without a place on disk: the child fills it, whatever we do meanwhile."""
    try:
        return open(os.memfd_create(name), "w+b")
    except OSError as exc:
        raise ProposalFailed(f"cannot make room for the answer of a process: {exc}") from exc


def _payloads(answer: BinaryIO) -> Iterator[bytes]:
    frames = FrameReader(MAX_FRAME_BYTES)
    while chunk := answer.read(_CHUNK_BYTES):
        frames.feed(chunk)
        yield from frames
    if frames.pending_bytes:
        raise ProtocolError("the last frame is cut off")


def _death(status: int, errors: BinaryIO) -> str:
    """Why the child ended, with the last line that it said, which is the exception."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(size - _STDERR_BYTES, 0))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return f"the process that compares the manifest ended {how}" + (
        f": {lines[-1]}" if lines else ""
    )

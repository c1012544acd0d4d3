"""What the serving process asks of the writer process, and what comes back.

A batch is a list of jobs in one frame; the writer makes it one transaction and answers with one
result a job. The names of assets are resolved before: an operation carries ids, which are never
reused.

Rule: Structs and codecs only.
"""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias

import msgspec

from assetstore.errors import Refused, refusal
from assetstore.messages import ImportedEntry, Order
from assetstored.changes import Slice
from assetstored.tail import Delta

#: None, encoded.
NOTHING: Final = msgspec.Raw(b"\xc0")


class Operation(msgspec.Struct, frozen=True, array_like=True):
    """As the operations of messages.py, with ids in place of names."""


class SetKey(Operation, frozen=True, tag="set"):
    """``kind``: what the journal calls it, for a rewind sets too."""

    asset_id: int
    key: str
    value: bytes
    if_revision: int | None
    kind: str = "set"


class DeleteKey(Operation, frozen=True, tag="delete"):
    asset_id: int
    key: str
    if_revision: int | None
    kind: str = "delete"


class ClearStore(Operation, frozen=True, tag="clear"):
    asset_id: int


class AdvanceKey(Operation, frozen=True, tag="advance"):
    asset_id: int
    key: str
    value: bytes
    order: Order


class IncrementKey(Operation, frozen=True, tag="increment"):
    asset_id: int
    key: str
    by: bytes
    default: bytes


class MergeKey(Operation, frozen=True, tag="merge"):
    asset_id: int
    key: str
    patch: bytes
    remove: list[list[str]]
    how: Literal["replace", "max"]
    order: Order


class CheckKey(Operation, frozen=True, tag="check"):
    asset_id: int
    key: str
    if_revision: int


class ImportKeys(Operation, frozen=True, tag="import"):
    asset_id: int
    entries: list[ImportedEntry]
    replace: bool


class CheckUnchanged(Operation, frozen=True, tag="check_unchanged"):
    """Refused as a conflict if anything of the asset was changed after that revision."""

    asset_id: int
    since: int


class RestoreStore(Operation, frozen=True, tag="restore"):
    trash_id: int


class MoveStore(Operation, frozen=True, tag="move"):
    source_id: int
    target_id: int
    replace: bool


class PurgeStores(Operation, frozen=True, tag="purge"):
    trash_ids: list[int]


AnyOperation: TypeAlias = (
    SetKey
    | DeleteKey
    | ClearStore
    | AdvanceKey
    | IncrementKey
    | MergeKey
    | CheckKey
    | CheckUnchanged
    | ImportKeys
    | RestoreStore
    | MoveStore
    | PurgeStores
)


class Job(msgspec.Struct, frozen=True, array_like=True):
    """What is done within one transaction. All of it happens, or nothing."""


class Change(Job, frozen=True, tag="change"):
    """A client's operations, in their order: all of them, or none.

    Result: an Outcome (messages.py) for each. ``writer`` is an encoded RecordedWriter.
    ``sent_at``: of a repeat, when it was sent first, on the monotonic clock. ``size``: about how
    many bytes it writes.
    """

    operations: list[AnyOperation]
    writer: msgspec.Raw
    request: bytes
    sent_at: float | None
    size: int


class ApplySlice(Job, frozen=True, tag="apply_slice"):
    """A part of a manifest. Result: None."""

    slice: Slice


class FinishManifest(Job, frozen=True, tag="finish_manifest"):
    """All slices of this manifest are applied. Result: None.

    ``writer``: who accepted it, or NOTHING where it needed nobody. ``fingerprint``: as in
    tables.AcceptedManifest.
    """

    digest: str
    path: str
    writer: msgspec.Raw = NOTHING
    fingerprint: bytes = b""


class Condemn(Job, frozen=True, tag="condemn"):
    """Take stores off the way back; DropSlice removes them. Result: how many."""

    trash_ids: list[int]


class DropSlice(Job, frozen=True, tag="drop_slice"):
    """Remove a few milliseconds' worth of a condemned store.

    Result: whether anything is left to drop.
    """

    trash_id: int


class TrimSlice(Job, frozen=True, tag="trim_slice"):
    """Look at a few milliseconds' worth of the journal, and forget what need not be kept.

    Of the rows after the revision ``after``: those from before ``older_than``, and any until
    ``excess_bytes`` are gone. Result: after which to go on, or None where nothing more is due; and
    how many bytes were forgotten.
    """

    after: int
    older_than: int
    excess_bytes: int


AnyJob: TypeAlias = Change | ApplySlice | FinishManifest | Condemn | DropSlice | TrimSlice


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """An empty batch is a question whether the writer is alive."""

    jobs: list[AnyJob]


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, tag="checkpoint"):
    """Bring these changes, which are in the write-ahead log, into the data file.

    ``remembered``: the ids of the changes among them, each with its first revision; ``last``: the
    revision up to which it is all.
    """

    changes: Delta
    remembered: list[tuple[bytes, int]]
    last: int


class Result(msgspec.Struct, frozen=True, array_like=True):
    """``code`` is None where the job was done, else it was refused and changed nothing.

    ``value`` is encoded: of a refusal it is the detail.
    """

    code: str | None
    value: msgspec.Raw = NOTHING
    message: str = ""

    def decoded(self) -> Any:
        """The value, as plain lists, maps and numbers."""
        return msgspec.msgpack.decode(self.value)


def result_of(exc: Refused) -> Result:
    """The result of a job that was refused."""
    return Result(exc.code, raw(exc.detail), str(exc))


def refusal_of(result: Result) -> Refused:
    """The error of a job that was refused."""
    assert result.code is not None
    return refusal(result.code, result.message, result.decoded())


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The writer's first message: the store is open."""

    store_id: str


class Refusing(msgspec.Struct, frozen=True, array_like=True, tag="refusing"):
    """The writer's first message where the store must not be opened, and its last."""

    message: str


class Committed(msgspec.Struct, frozen=True, array_like=True, tag="committed"):
    """A batch is on disk. ``catalog_changed``: what was resolved before may be wrong now.

    ``touched``: the assets that were changed, from the revision ``first`` on. ``remembered``: as in
    Checkpoint.
    """

    results: list[Result]
    catalog_changed: bool
    first: int
    touched: set[int]
    remembered: list[tuple[bytes, int]] = []


class Checkpointed(msgspec.Struct, frozen=True, array_like=True, tag="checkpointed"):
    """The changes of a Checkpoint are in the data file, or were refused for lack of room."""

    result: Result


class Broken(msgspec.Struct, frozen=True, array_like=True, tag="broken"):
    """The batch may or may not be on disk; the writer's last message."""

    message: str


AnyReport: TypeAlias = Ready | Refusing | Committed | Checkpointed | Broken

_work_decoder: msgspec.msgpack.Decoder[Batch | Checkpoint] = msgspec.msgpack.Decoder(
    Batch | Checkpoint
)
_report_decoder: msgspec.msgpack.Decoder[AnyReport] = msgspec.msgpack.Decoder(AnyReport)

encode = msgspec.msgpack.Encoder().encode


def raw(value: Any) -> msgspec.Raw:
    """The value as a Result carries it."""
    return msgspec.Raw(encode(value))


decode_work = _work_decoder.decode
decode_report = _report_decoder.decode

"""What the serving process asks of the writer process, and what comes back.

A batch is a list of jobs in one frame; the writer makes it one transaction and answers with one
result a job. The names of assets are resolved before: a job carries ids, which are never reused.

Rule: Structs and codecs only.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from assetstored.changes import Slice


class Job(msgspec.Struct, frozen=True, array_like=True):
    """One request's change. All of it happens, or nothing."""


class Put(Job, frozen=True, tag="put"):
    """Result: the revision. ``writer`` is an encoded RecordedWriter."""

    asset_id: int
    key: str
    value: bytes
    writer: msgspec.Raw


class Remove(Job, frozen=True, tag="remove"):
    """Result: whether the key was there."""

    asset_id: int
    key: str
    writer: msgspec.Raw


class Empty(Job, frozen=True, tag="empty"):
    """Clear a store. Result: how many entries went to the trash."""

    asset_id: int
    writer: msgspec.Raw


class ApplySlice(Job, frozen=True, tag="apply_slice"):
    """A part of a manifest. Result: None."""

    slice: Slice


class FinishManifest(Job, frozen=True, tag="finish_manifest"):
    """All slices of this manifest are applied. Result: None."""

    digest: str
    path: str


class Restore(Job, frozen=True, tag="restore"):
    """Result: (name, uri, entries that are back)."""

    trash_id: int


class Relink(Job, frozen=True, tag="relink"):
    """Give the store of one asset to another. Result: how many entries moved."""

    source_id: int
    target_id: int
    replace: bool


class Condemn(Job, frozen=True, tag="condemn"):
    """Take stores off the way back; DropSlice removes them. Result: how many."""

    trash_ids: list[int]


class DropSlice(Job, frozen=True, tag="drop_slice"):
    """Remove a few milliseconds' worth of a condemned store.

    Result: whether anything is left to drop.
    """

    trash_id: int


AnyJob: TypeAlias = (
    Put | Remove | Empty | ApplySlice | FinishManifest | Restore | Relink | Condemn | DropSlice
)


class Batch(msgspec.Struct, frozen=True, array_like=True, tag="batch"):
    """An empty batch is a question whether the writer is alive."""

    jobs: list[AnyJob]


class Result(msgspec.Struct, frozen=True, array_like=True):
    """``code`` is None where the job was done, else it was refused and changed nothing."""

    code: str | None
    value: Any = None
    message: str = ""


class Ready(msgspec.Struct, frozen=True, array_like=True, tag="ready"):
    """The writer's first message: the store is open."""

    store_id: str


class Refusing(msgspec.Struct, frozen=True, array_like=True, tag="refusing"):
    """The writer's first message where the store must not be opened, and its last."""

    message: str


class Committed(msgspec.Struct, frozen=True, array_like=True, tag="committed"):
    """A batch is on disk. ``catalog_changed``: what was resolved before may be wrong now."""

    results: list[Result]
    catalog_changed: bool


class Broken(msgspec.Struct, frozen=True, array_like=True, tag="broken"):
    """The batch may or may not be on disk; the writer's last message."""

    message: str


AnyReport: TypeAlias = Ready | Refusing | Committed | Broken

_batch_decoder = msgspec.msgpack.Decoder(Batch)
_report_decoder: msgspec.msgpack.Decoder[AnyReport] = msgspec.msgpack.Decoder(AnyReport)

encode = msgspec.msgpack.Encoder().encode
decode_batch = _batch_decoder.decode
decode_report = _report_decoder.decode

"""Every message of the wire protocol, as a Struct, and how it becomes msgpack and back.

docs/protocol.md is the normative text; tests hold both to the same golden frames.
A message is an array: its tag, then the fields in the order they stand here. A request has an
``id`` that its answer repeats, and ``timeout_ms``: after that long nobody waits for the answer,
so a request that is still queued is refused instead of carried out.

Rule: no sockets and no store here. A field's limit lives in limits.py.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec

from assetstore.entries import RecordedWriter, Writer
from assetstore.errors import ProtocolError

T = TypeVar("T")

PROTOCOL_VERSION = 1

# Unsigned and within 63 bits: every language has an integer for it.
Counter: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]


class Message(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An array of fixed length; a field too many or too few is an error."""


# --- parts of messages


class AssetRef(Message, frozen=True):
    """Names an asset: by name, by uri, or exactly, by both. One of them at least is there."""

    name: str | None = None
    uri: str | None = None


class Limits(Message, frozen=True):
    """What this daemon accepts."""

    max_value_bytes: int
    max_frame_bytes: int


class WireEntry(Message, frozen=True):
    """An entry without its key. ``updated_at`` is in microseconds since 1970, ``value`` JSON."""

    revision: int
    updated_at: int
    updated_by: RecordedWriter
    value: bytes


class AssetInfo(Message, frozen=True):
    """One line of the catalog. ``entries`` counts what its store holds, also in the trash.

    ``state``: "active"; "inactive", its store waits in the trash or it never had one;
    "dropped", inactive and its store is gone for good.
    Times are in microseconds since 1970.
    """

    name: str
    uri: str
    group: str | None
    state: Literal["active", "inactive", "dropped"]
    since: int
    entries: int


class TrashInfo(Message, frozen=True):
    """One store in the trash. ``drops_at`` is when grace ends, in microseconds since 1970."""

    id: int
    name: str
    uri: str
    reason: Literal["deactivated", "cleared", "replaced"]
    since: int
    drops_at: int
    entries: int
    size_bytes: int


# --- the first exchange


class Hello(Message, frozen=True, tag="hello"):
    """The first frame on a connection, from the client."""

    version: int
    writer: Writer
    client: str


class Welcome(Message, frozen=True, tag="welcome"):
    """The answer to a hello."""

    version: int
    store_id: str
    limits: Limits
    server: str


# --- requests


class Request(Message, frozen=True):
    id: Counter
    timeout_ms: Counter | None


class Get(Request, frozen=True, tag="get"):
    """Answer: Found or Absent."""

    asset: AssetRef
    key: str


class Set(Request, frozen=True, tag="set"):
    """``value`` is JSON text, and not null. Answer: Written."""

    asset: AssetRef
    key: str
    value: bytes


class Delete(Request, frozen=True, tag="delete"):
    """Answer: Deleted."""

    asset: AssetRef
    key: str


class Clear(Request, frozen=True, tag="clear"):
    """Answer: Cleared."""

    asset: AssetRef


class Keys(Request, frozen=True, tag="keys"):
    """Keys in byte order that begin with prefix and come after ``after``. Answer: KeyPage."""

    asset: AssetRef
    prefix: str
    after: str | None
    limit: Limit


class Items(Request, frozen=True, tag="items"):
    """As Keys, with the entries. Answer: ItemPage."""

    asset: AssetRef
    prefix: str
    after: str | None
    limit: Limit


class Count(Request, frozen=True, tag="count"):
    """Counts keys; a long count comes in parts. Answer: Counted."""

    asset: AssetRef
    prefix: str
    after: str | None


class Resolve(Request, frozen=True, tag="resolve"):
    """Which asset does each reference name? At most 100. Answer: Resolved."""

    assets: list[AssetRef]


class Assets(Request, frozen=True, tag="assets"):
    """The catalog, in the order in which assets became known. Answer: AssetPage."""

    after: Counter
    limit: Limit


class Status(Request, frozen=True, tag="status"):
    """Answer: StatusReport."""


class ReloadManifest(Request, frozen=True, tag="reload_manifest"):
    """Read the manifest file now; answered when its verdict is applied. Answer: StatusReport."""


class AcceptManifest(Request, frozen=True, tag="accept_manifest"):
    """Apply the manifest that is held, if it is still the one with this digest.

    Answer: StatusReport.
    """

    digest: str


class ListTrash(Request, frozen=True, tag="list_trash"):
    """Answer: TrashPage."""

    after: Counter
    limit: Limit


class RestoreTrash(Request, frozen=True, tag="restore_trash"):
    """Give a cleared store back to its asset; what it holds now goes to the trash.

    Answer: Restored.
    """

    trash_id: Counter


class PurgeTrash(Request, frozen=True, tag="purge_trash"):
    """Drop these stores now, for good. Answer: Purged."""

    trash_ids: list[Counter]


class Sweep(Request, frozen=True, tag="sweep"):
    """Drop what is past its grace now, at most 1,000 stores; with dry_run only say what.

    Answer: TrashPage; ``after`` in it is what to go on with.
    """

    after: Counter
    dry_run: bool


class Move(Request, frozen=True, tag="move"):
    """Make the store of ``source`` the store of ``target``, which is active.

    If target holds entries it is refused, unless ``replace``: then they go to the trash.
    Answer: Moved.
    """

    source: AssetRef
    target: AssetRef
    replace: bool


# --- answers


class Answer(Message, frozen=True):
    id: Counter


class Found(Answer, frozen=True, tag="found"):
    entry: WireEntry


class Absent(Answer, frozen=True, tag="absent"):
    """The asset is active and the key is not there."""


class Written(Answer, frozen=True, tag="written"):
    revision: int


class Deleted(Answer, frozen=True, tag="deleted"):
    """``existed`` is False where there was nothing to delete; nothing changed then."""

    existed: bool


class Cleared(Answer, frozen=True, tag="cleared"):
    count: int


class KeyPage(Answer, frozen=True, tag="key_page"):
    """``more``: ask again, after the last of these."""

    keys: list[str]
    more: bool


class ItemPage(Answer, frozen=True, tag="item_page"):
    items: list[tuple[str, WireEntry]]
    more: bool


class Counted(Answer, frozen=True, tag="counted"):
    """``after``: where to go on counting, or None where all is counted."""

    count: int
    after: str | None


class Resolved(Answer, frozen=True, tag="resolved"):
    """Name and uri for each reference, in order; None where no such asset is known."""

    assets: list[AssetRef | None]


class AssetPage(Answer, frozen=True, tag="asset_page"):
    """``after``: what to ask with for the next page, or None at the end."""

    assets: list[AssetInfo]
    after: int | None


class StatusReport(Answer, frozen=True, tag="status_report"):
    """A map, so that a newer daemon may say more. status.py of the daemon has its fields."""

    report: dict[str, Any]


class TrashPage(Answer, frozen=True, tag="trash_page"):
    stores: list[TrashInfo]
    after: int | None


class Restored(Answer, frozen=True, tag="restored"):
    """``count``: the entries that are back."""

    name: str
    uri: str
    count: int


class Purged(Answer, frozen=True, tag="purged"):
    """How many stores were dropped; ids that were not in the trash are passed over."""

    count: int


class Moved(Answer, frozen=True, tag="moved"):
    count: int


class Failed(Answer, frozen=True, tag="failed"):
    """The request was refused and nothing changed. ``code`` is in errors.REFUSALS.

    ``id`` is 0 where the refusal is of the connection and not of a request;
    the connection is closed after it.
    """

    code: str
    message: str
    detail: dict[str, Any] | None


AnyRequest: TypeAlias = (
    Get
    | Set
    | Delete
    | Clear
    | Keys
    | Items
    | Count
    | Resolve
    | Assets
    | Status
    | ReloadManifest
    | AcceptManifest
    | ListTrash
    | RestoreTrash
    | PurgeTrash
    | Sweep
    | Move
)

AnyAnswer: TypeAlias = (
    Found
    | Absent
    | Written
    | Deleted
    | Cleared
    | KeyPage
    | ItemPage
    | Counted
    | Resolved
    | AssetPage
    | StatusReport
    | TrashPage
    | Restored
    | Purged
    | Moved
    | Failed
)

_encoder = msgspec.msgpack.Encoder()
_hello_decoder = msgspec.msgpack.Decoder(Hello)
_welcome_decoder: msgspec.msgpack.Decoder[Welcome | Failed] = msgspec.msgpack.Decoder(
    Welcome | Failed
)
_request_decoder: msgspec.msgpack.Decoder[AnyRequest] = msgspec.msgpack.Decoder(AnyRequest)
_answer_decoder: msgspec.msgpack.Decoder[AnyAnswer] = msgspec.msgpack.Decoder(AnyAnswer)

#: Message -> payload of a frame.
encode = _encoder.encode


def decode_hello(payload: bytes) -> Hello:
    """Raises ProtocolError if the payload is no hello."""
    return _decode(_hello_decoder, payload)


def decode_welcome(payload: bytes) -> Welcome | Failed:
    """Raises ProtocolError if the payload is neither a welcome nor a refusal."""
    return _decode(_welcome_decoder, payload)


def decode_request(payload: bytes) -> AnyRequest:
    """Raises ProtocolError if the payload is no request."""
    return _decode(_request_decoder, payload)


def decode_answer(payload: bytes) -> AnyAnswer:
    """Raises ProtocolError if the payload is no answer."""
    return _decode(_answer_decoder, payload)


def _decode(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    # Nesting raises RecursionError and bad UTF-8 UnicodeDecodeError: neither is a msgspec error.
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        raise ProtocolError(f"not a message of this protocol: {exc}") from exc

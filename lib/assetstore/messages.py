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

from assetstore.decoders import Decode, Decoders
from assetstore.entries import RecordedWriter, Writer
from assetstore.errors import ProtocolError

T = TypeVar("T")

PROTOCOL_VERSION = 1

# Unsigned and within 63 bits: every language has an integer for it.
Counter: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
RequestId: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
Order: TypeAlias = Literal["value", "time"]
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


class Origin(Message, frozen=True):
    """When, and by whom, an entry was written before it was imported."""

    updated_at: int
    updated_by: RecordedWriter


class WireEvent(Message, frozen=True):
    """One change, as the journal holds it.

    ``kind`` says what was done. ``key`` is None where it was done to the asset; name and uri too
    where it was done to the whole store. ``value``: the new value of a key in JSON text, None where
    it was deleted; of the others a JSON object that says more. ``previous``: the revision of the
    change of this key before it, or 0. ``origin``: of an import, what the entry says of itself;
    the time and the writer of the event are those of the import.
    """

    revision: int
    updated_at: int
    kind: str
    name: str | None
    uri: str | None
    key: str | None
    value: bytes | None
    updated_by: RecordedWriter
    previous: int
    origin: Origin | None


class Difference(Message, frozen=True):
    """An entry as it stands, and as it stood then; None where there is or was none."""

    key: str
    now: WireEntry | None
    then: WireEntry | None


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


# --- operations: the parts of a change


class Operation(Message, frozen=True):
    """``if_revision``: carried out only if the key stands at this revision, 0 for "is absent";
    else the whole change is refused as a conflict, and its detail holds the entry."""


class SetKey(Operation, frozen=True, tag="set"):
    """``value`` is JSON text, and not null."""

    asset: AssetRef
    key: str
    value: bytes
    if_revision: Counter | None


class DeleteKey(Operation, frozen=True, tag="delete"):
    """Its outcome has no revision where there was nothing to delete."""

    asset: AssetRef
    key: str
    if_revision: Counter | None


class ClearStore(Operation, frozen=True, tag="clear"):
    """All keys go to the trash together. Outcome: how many."""

    asset: AssetRef


class AdvanceKey(Operation, frozen=True, tag="advance"):
    """Set if absent or greater. Outcome: the entry as it stands after, whoever wrote it."""

    asset: AssetRef
    key: str
    value: bytes
    order: Order


class IncrementKey(Operation, frozen=True, tag="increment"):
    """Add ``by`` to a number, ``default`` where there is none. Both are JSON text.

    Outcome: the new entry.
    """

    asset: AssetRef
    key: str
    by: bytes
    default: bytes


class MergeKey(Operation, frozen=True, tag="merge"):
    """Lay the fields of ``patch``, a JSON object, over those of an object; null is a value.

    ``remove`` are paths of fields to take out first. With how "max" a field is taken only where it
    advances. Outcome: the entry as it stands after.
    """

    asset: AssetRef
    key: str
    patch: bytes
    remove: list[list[str]]
    how: Literal["replace", "max"]
    order: Order


class CheckKey(Operation, frozen=True, tag="check"):
    """Changes nothing; only a condition of the others."""

    asset: AssetRef
    key: str
    if_revision: Counter


class ImportedEntry(Message, frozen=True):
    """An entry of another store, or of this one once, with the time and the writer it had there."""

    key: str
    updated_at: Counter
    updated_by: RecordedWriter
    value: bytes


class ImportKeys(Operation, frozen=True, tag="import"):
    """Write these entries, in this order, as they were; at most 10,000.

    What stands there already, equal in value, time and writer, is left as it is. With ``replace``
    the asset holds these and nothing else afterwards: unless it does so now, all it holds goes to
    the trash, and these are written. Outcome: how many were written.
    """

    asset: AssetRef
    entries: list[ImportedEntry]
    replace: bool


class RestoreStore(Operation, frozen=True, tag="restore"):
    """Give a cleared store back to its asset; what it holds now goes to the trash.

    Outcome: how many entries are back.
    """

    trash_id: Counter


class MoveStore(Operation, frozen=True, tag="move"):
    """Make the store of ``source`` the store of ``target``, which is active.

    If target holds entries it is refused, unless ``replace``: then they go to the trash.
    Outcome: how many entries moved.
    """

    source: AssetRef
    target: AssetRef
    replace: bool


class PurgeStores(Operation, frozen=True, tag="purge"):
    """Drop these stores of the trash now, for good, at most 200.

    Outcome: how many were dropped; ids that were not in the trash are passed over.
    """

    trash_ids: list[Counter]


AnyOperation: TypeAlias = (
    SetKey
    | DeleteKey
    | ClearStore
    | AdvanceKey
    | IncrementKey
    | MergeKey
    | CheckKey
    | ImportKeys
    | RestoreStore
    | MoveStore
    | PurgeStores
)


class Outcome(Message, frozen=True):
    """What became of an operation.

    ``revision``: the one that it was given, the last of them where it was given several, or None
    where it changed nothing. ``count``: how many entries or stores it changed. ``entry``: only of
    advance, increment and merge. ``asset``: only of restore, whose store it was.
    """

    revision: int | None
    count: int
    entry: WireEntry | None
    asset: AssetRef | None


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


class GetAt(Request, frozen=True, tag="get_at"):
    """As Get, of the past: after the change ``revision``, or at ``time``; one of them is given.

    Answer: Found or Absent.
    """

    asset: AssetRef
    key: str
    revision: Counter | None
    time: Counter | None


class GetMany(Request, frozen=True, tag="get_many"):
    """Several entries in one snapshot, at most 1,000. Answer: FoundMany."""

    keys: list[tuple[AssetRef, str]]


class Change(Request, frozen=True, tag="change"):
    """Operations in their order, at most 1,000: all of them happen in one commit, or none.

    ``request`` is 16 bytes that the client never uses for another change; a repeat carries the
    same, and in ``age_ms`` how long ago it was sent first. It is carried out once, and answered as
    the first time. Answer: Changed.
    """

    request: RequestId
    age_ms: Counter
    operations: list[AnyOperation]


class Rewind(Request, frozen=True, tag="rewind"):
    """Write again what stood there after the change ``revision``, or at ``time``.

    Of one key, or without it of all keys of the asset. With ``expected``, refused as a conflict
    if anything of the asset was changed after that revision. Answer: Rewound.
    """

    request: RequestId
    age_ms: Counter
    asset: AssetRef
    key: str | None
    revision: Counter | None
    time: Counter | None
    expected: Counter | None
    dry_run: bool


class History(Request, frozen=True, tag="history"):
    """The changes of one key, newest first, those before the revision ``before`` if it is given.

    Answer: EventPage, whose ``next`` is the ``before`` of the next page.
    """

    asset: AssetRef
    key: str
    before: Counter | None
    limit: Limit


class Events(Request, frozen=True, tag="events"):
    """What was changed, from the revision ``since`` on, in order; without it, from now on.

    Of one asset, which may be inactive, or of all; of keys that begin with prefix, and always what
    happened to the asset or to its whole store. Where there is nothing, it waits up to ``wait_ms``
    for something. Answer: EventPage, whose ``next`` is the ``since`` of the next page: nothing lies
    between.
    """

    asset: AssetRef | None
    prefix: str
    since: Counter | None
    limit: Limit
    wait_ms: Counter


class Log(Request, frozen=True, tag="log"):
    """As Events, but newest first: before the revision ``before``, and not before the revision
    ``since`` or the time ``since_time``, as far as they are given.

    Answer: EventPage, whose ``next`` is the ``before`` of the next page.
    """

    asset: AssetRef | None
    prefix: str
    before: Counter | None
    since: Counter | None
    since_time: Counter | None
    limit: Limit


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


class Metrics(Request, frozen=True, tag="metrics"):
    """Answer: MetricsText."""


class ReloadManifest(Request, frozen=True, tag="reload_manifest"):
    """Read the manifest file now; answered when its verdict is applied. Answer: StatusReport."""


class AcceptManifest(Request, frozen=True, tag="accept_manifest"):
    """Apply the manifest that is held, if it is still the one with this digest.

    Answer: StatusReport.
    """

    digest: str


class Checkpoint(Request, frozen=True, tag="checkpoint"):
    """Bring into the data file all that was acknowledged before. Answer: Checkpointed."""


class ListTrash(Request, frozen=True, tag="list_trash"):
    """Answer: TrashPage."""

    after: Counter
    limit: Limit


class Sweep(Request, frozen=True, tag="sweep"):
    """Drop what is past its grace now, at most 1,000 stores; with dry_run only say what.

    Answer: TrashPage; ``after`` in it is what to go on with.
    """

    after: Counter
    dry_run: bool


# --- answers


class Answer(Message, frozen=True):
    id: Counter


class Found(Answer, frozen=True, tag="found"):
    entry: WireEntry


class Absent(Answer, frozen=True, tag="absent"):
    """The asset is active and the key is not there."""


class FoundMany(Answer, frozen=True, tag="found_many"):
    """One for each key that was asked for, in order; None where there is no such key."""

    entries: list[WireEntry | None]


class Changed(Answer, frozen=True, tag="changed"):
    """One outcome for each operation, in order."""

    outcomes: list[Outcome]


class Rewound(Answer, frozen=True, tag="rewound"):
    """What differs, in the order of keys, and the last revision of the store.

    Not of a dry run: what was written, and the last revision that was given to it; None where
    nothing differed.
    """

    revision: int | None
    differences: list[Difference]


class EventPage(Answer, frozen=True, tag="event_page"):
    """``next``: what to ask with for the next page, or None where there is none."""

    events: list[WireEvent]
    next: int | None


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


class Checkpointed(Answer, frozen=True, tag="checkpointed"):
    """The data file holds every change up to this revision; there may be later ones in it."""

    revision: int


class MetricsText(Answer, frozen=True, tag="metrics_text"):
    """Numbers for a monitoring system, in the text format of Prometheus, version 0.0.4."""

    text: str


class TrashPage(Answer, frozen=True, tag="trash_page"):
    stores: list[TrashInfo]
    after: int | None


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
    | Change
    | GetAt
    | GetMany
    | History
    | Events
    | Log
    | Rewind
    | Keys
    | Items
    | Count
    | Resolve
    | Assets
    | Status
    | Metrics
    | ReloadManifest
    | AcceptManifest
    | Checkpoint
    | ListTrash
    | Sweep
)

AnyAnswer: TypeAlias = (
    Found
    | Absent
    | Changed
    | FoundMany
    | Rewound
    | EventPage
    | KeyPage
    | ItemPage
    | Counted
    | Resolved
    | AssetPage
    | StatusReport
    | Checkpointed
    | MetricsText
    | TrashPage
    | Failed
)

#: Message -> payload of a frame.
encode = msgspec.msgpack.Encoder().encode

_decoders = Decoders()


def decode_hello(payload: bytes) -> Hello:
    """Raises ProtocolError if the payload is no hello."""
    hello: Hello = _decode(_decoders.get("hello", lambda: Hello), payload)
    return hello


def decode_welcome(payload: bytes) -> Welcome | Failed:
    """Raises ProtocolError if the payload is neither a welcome nor a refusal."""
    welcome: Welcome | Failed = _decode(_decoders.get("welcome", lambda: Welcome | Failed), payload)
    return welcome


def decode_request(payload: bytes) -> AnyRequest:
    """Raises ProtocolError if the payload is no request."""
    request: AnyRequest = _decode(_decoders.get("request", lambda: AnyRequest), payload)
    return request


def decode_answer(payload: bytes) -> AnyAnswer:
    """Raises ProtocolError if the payload is no answer."""
    answer: AnyAnswer = _decode(_decoders.get("answer", lambda: AnyAnswer), payload)
    return answer


def _decode(decode: Decode, payload: bytes) -> Any:
    try:
        return decode(payload)
    # Nesting raises RecursionError and bad UTF-8 UnicodeDecodeError: neither is a msgspec error.
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as exc:
        raise ProtocolError(f"not a message of this protocol: {exc}") from exc

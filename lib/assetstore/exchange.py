"""What is said on a connection: hello and welcome, requests and their answers, as frames.

Rule: bytes and messages; no sockets, no asyncio, no clock. The blocking and the
asynchronous connection both speak through these functions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Union

import msgspec

from assetstore.decoders import Decoders
from assetstore.entries import Writer
from assetstore.errors import (
    InvalidRequest,
    NotConnected,
    OutcomeUnknown,
    ProtocolError,
    refusal,
)
from assetstore.framing import frame
from assetstore.limits import check_value_size
from assetstore.messages import (
    PROTOCOL_VERSION,
    Absent,
    AcceptManifest,
    AdvanceKey,
    Answer,
    AnyAnswer,
    AnyOperation,
    AssetPage,
    Assets,
    Change,
    Changed,
    Checkpoint,
    Checkpointed,
    Count,
    Counted,
    EventPage,
    Events,
    Failed,
    Found,
    FoundMany,
    Get,
    GetAt,
    GetMany,
    Hello,
    History,
    ImportKeys,
    ItemPage,
    Items,
    KeyPage,
    Keys,
    Limits,
    ListTrash,
    Log,
    MergeKey,
    Metrics,
    MetricsText,
    ReloadManifest,
    Request,
    Resolve,
    Resolved,
    Rewind,
    Rewound,
    SetKey,
    Status,
    StatusReport,
    Sweep,
    TrashPage,
    Welcome,
    decode_answer,
    decode_welcome,
    encode,
)
from assetstore.retry import REMEMBERED
from assetstore.version import VERSION

#: Answers may be longer than any request: a page of 1,000 assets with the longest of names and uris
#: is 12 MB. The limit is there to notice a peer that does not speak this protocol.
ANSWER_ALLOWANCE_BYTES: Final = 16 * 1024 * 1024

#: A refusal of the connection itself carries this instead of a request's id.
CONNECTION_ID: Final = 0

_WITH_A_VALUE: Final = (SetKey, AdvanceKey)

# For each kind of request: a worker that reads and writes needs two of them.
_decoders: Final = Decoders()

_ANSWERS: Final[dict[type[Request], tuple[type[Answer], ...]]] = {
    Get: (Found, Absent),
    GetAt: (Found, Absent),
    GetMany: (FoundMany,),
    Change: (Changed,),
    Rewind: (Rewound,),
    History: (EventPage,),
    Events: (EventPage,),
    Log: (EventPage,),
    Keys: (KeyPage,),
    Items: (ItemPage,),
    Count: (Counted,),
    Resolve: (Resolved,),
    Assets: (AssetPage,),
    Status: (StatusReport,),
    Metrics: (MetricsText,),
    ReloadManifest: (StatusReport,),
    AcceptManifest: (StatusReport,),
    Checkpoint: (Checkpointed,),
    ListTrash: (TrashPage,),
    Sweep: (TrashPage,),
}


class RequestTooLong(InvalidRequest):
    """The request does not fit the frame that the daemon takes. In parts it might."""


def hello_frame(writer: Writer) -> bytes:
    """The first frame of a connection."""
    return frame(encode(Hello(PROTOCOL_VERSION, writer, f"assetstore-python/{VERSION}")))


def read_welcome(payload: bytes) -> Welcome:
    """The daemon's welcome.

    Raises NotConnected where it is busy or stopping, which may pass; the refusal where it says no
    for good; ProtocolError where it speaks another version or something else altogether.
    """
    answer = decode_welcome(payload)
    if isinstance(answer, Failed):
        if answer.code == "busy":
            raise NotConnected(f"the daemon turned the connection away: {answer.message}")
        if answer.code == "protocol_error":
            raise ProtocolError(f"the daemon says: {answer.message}")
        raise refusal(answer.code, answer.message, answer.detail)
    if answer.version != PROTOCOL_VERSION:
        raise ProtocolError(
            f"the daemon ({answer.server}) speaks protocol version {answer.version}, "
            f"this client ({VERSION}) version {PROTOCOL_VERSION}"
        )
    return answer


def max_answer_bytes(limits: Limits) -> int:
    """The longest frame to take from a daemon with these limits."""
    return limits.max_frame_bytes + ANSWER_ALLOWANCE_BYTES


def request_frame(
    kind: type[Request], request_id: int, fields: Sequence[Any], left_s: float, limits: Limits
) -> bytes:
    """The frame of a request; InvalidRequest where the daemon would not take it for its length.

    Of a repeat, ``fields`` has in the place of its age how much time was left when it was sent
    first, as a float: how old it is by now can be told here alone, after all waiting.
    """
    if kind in REMEMBERED:
        if kind is Change:
            _check_sizes(fields[2], limits)
        if type(fields[1]) is float:
            age_ms = max(math.ceil((fields[1] - left_s) * 1000), 1)
            fields = (fields[0], age_ms, *fields[2:])
    payload = encode(kind(request_id, max(int(left_s * 1000), 1), *fields))
    if len(payload) > limits.max_frame_bytes:
        raise RequestTooLong(
            f"the request is {len(payload):,} bytes long; "
            f"the daemon takes {limits.max_frame_bytes:,}"
        )
    return frame(payload)


def _check_sizes(operations: Sequence[AnyOperation], limits: Limits) -> None:
    for operation in operations:
        if isinstance(operation, _WITH_A_VALUE):
            check_value_size(len(operation.value), limits.max_value_bytes)
        elif isinstance(operation, MergeKey):
            check_value_size(len(operation.patch), limits.max_value_bytes)
        elif isinstance(operation, ImportKeys):
            for entry in operation.entries:
                check_value_size(len(entry.value), limits.max_value_bytes)


def read_answer(kind: type[Request], payload: bytes) -> AnyAnswer:
    """The answer to a request of this kind, as the protocol has it.

    One that carries the id of another request is for ``stray``, whatever its kind.
    """
    decode = _decoders.get(kind, lambda: Union[(*_ANSWERS[kind], Failed)])
    try:
        answer: AnyAnswer = decode(payload)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return check_answer(kind, decode_answer(payload))
    return answer


def check_answer(kind: type[Request], answer: AnyAnswer) -> AnyAnswer:
    """The answer, if it is one that this kind of request may get."""
    if type(answer) in _ANSWERS[kind] or type(answer) is Failed:
        return answer
    raise ProtocolError(f"a {type(answer).__name__} is no answer to a {kind.__name__}")


def stray(answer: AnyAnswer) -> NotConnected | OutcomeUnknown | ProtocolError:
    """The error for an answer that carries the id of no request under way.

    It is the fate of all requests that are. A daemon that stops answers what it has taken and then
    says goodbye: what has no answer by then was not carried out.
    """
    if answer.id == CONNECTION_ID and isinstance(answer, Failed):
        if answer.code == "busy":
            return NotConnected(answer.message)
        if answer.code == "protocol_error":
            return ProtocolError(f"the daemon says: {answer.message}")
        return OutcomeUnknown(f"the daemon ended the connection: {answer.message}")
    return ProtocolError(f"the daemon answered request {answer.id}, which was not asked")

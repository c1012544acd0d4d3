"""What the daemon's answers become for a caller."""

from __future__ import annotations

from typing import Any

import pytest

from assetstore import messages as m
from assetstore.answers import error_of, event_of, result_of, rewound_of
from assetstore.entries import Advance, Entry, RecordedWriter, time_from_us
from assetstore.errors import Compacted, ProtocolError
from assetstore.events import Difference, Event, Rewound

WRITER = RecordedWriter("worker", None, None, None, None, 1, 2, 3)
ORDERS = m.AssetRef("orders", "s3://data/orders/")


def wire_event(**changes: Any) -> m.WireEvent:
    fields: dict[str, Any] = {
        "revision": 7,
        "updated_at": 5,
        "kind": "set",
        "name": "orders",
        "uri": "s3://data/orders/",
        "key": "k",
        "value": b"[1]",
        "updated_by": WRITER,
        "previous": 3,
        "origin": None,
    }
    return m.WireEvent(**{**fields, **changes})


def test_an_event_of_a_key_has_a_value_and_no_detail() -> None:
    assert event_of(wire_event()) == Event(
        7, time_from_us(5), "set", ORDERS, "k", [1], None, WRITER, 3
    )
    deleted = event_of(wire_event(kind="delete", value=None))
    assert (deleted.value, deleted.detail) == (None, None)


def test_the_value_of_a_key_may_be_a_dict_and_is_no_detail_then() -> None:
    event = event_of(wire_event(value=b'{"a":1}'))

    assert (event.value, event.detail) == ({"a": 1}, None)


def test_an_event_of_an_asset_has_a_detail_and_no_value() -> None:
    event = event_of(wire_event(kind="clear", key=None, value=b'{"entries":2}'))

    assert (event.asset, event.key, event.value, event.detail) == (
        ORDERS, None, None, {"entries": 2}
    )  # fmt: skip


def test_an_event_of_the_whole_store_has_no_asset() -> None:
    event = event_of(wire_event(kind="manifest", name=None, uri=None, key=None, value=b"{}"))

    assert (event.asset, event.detail) == (None, {})
    assert event_of(wire_event(kind="new", key=None, value=None)).detail is None


def test_a_detail_that_is_no_object_is_against_the_protocol() -> None:
    with pytest.raises(ProtocolError):
        event_of(wire_event(kind="clear", key=None, value=b"[1]"))


def test_a_difference_has_an_entry_where_there_is_or_was_one() -> None:
    stored = m.WireEntry(7, 5, WRITER, b"1")
    answer = m.Rewound(1, None, [m.Difference("a", stored, None), m.Difference("b", None, stored)])

    assert rewound_of(answer) == Rewound(
        None,
        [
            Difference("a", Entry("a", 1, 7, time_from_us(5), WRITER), None),
            Difference("b", None, Entry("b", 1, 7, time_from_us(5), WRITER)),
        ],
    )


@pytest.mark.parametrize(
    ("operation", "outcome", "result"),
    [
        (m.SetKey(ORDERS, "k", b"1", None), m.Outcome(7, 1, None, None), 7),
        (m.DeleteKey(ORDERS, "k", None), m.Outcome(7, 1, None, None), True),
        (m.DeleteKey(ORDERS, "k", None), m.Outcome(None, 0, None, None), False),
        (m.ClearStore(ORDERS), m.Outcome(7, 12, None, None), 12),
        (m.CheckKey(ORDERS, "k", 0), m.Outcome(None, 0, None, None), None),
        (
            m.IncrementKey(ORDERS, "k", b"1", b"0"),
            m.Outcome(7, 1, m.WireEntry(7, 5, WRITER, b"1"), None),
            1,
        ),
        (
            m.MergeKey(ORDERS, "k", b"{}", [], "replace", "value"),
            m.Outcome(None, 0, m.WireEntry(3, 5, WRITER, b'{"a":1}'), None),
            {"a": 1},
        ),
    ],
)
def test_an_outcome_becomes_what_the_call_returns(
    operation: m.AnyOperation, outcome: m.Outcome, result: object
) -> None:
    assert result_of(operation, outcome) == result


@pytest.mark.parametrize("revision", [7, None])
def test_an_advance_tells_whether_it_applied_and_what_stands_there(revision: int | None) -> None:
    stored = m.WireEntry(7, 5, WRITER, b"9")

    result = result_of(
        m.AdvanceKey(ORDERS, "k", b"9", "value"), m.Outcome(revision, 1, stored, None)
    )

    assert result == Advance(revision is not None, Entry("k", 9, 7, time_from_us(5), WRITER))


def test_compacted_says_where_the_journal_begins() -> None:
    error = error_of(m.Failed(1, "compacted", "because", {"oldest": 70}))

    assert isinstance(error, Compacted)
    assert error.detail == {"oldest": 70}

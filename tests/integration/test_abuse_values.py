"""Values that are odd, or just within or beyond a limit, and changes that come together.

Requests are made by hand: the Python client would refuse most of them first.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.service import Service, serving
from tests.support.wire import Wire, change, revision, set_key

from assetstore import messages as m

ORDERS = m.AssetRef(name="orders")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with serving(tmp_path_factory.mktemp("daemon")) as service, service.undisturbed():
        yield service


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    with Wire(service.socket).greet() as wire:
        wire.ask(change(1, m.ClearStore(ORDERS)))
        yield wire


def code_of(answer: m.AnyAnswer) -> str:
    assert isinstance(answer, m.Failed), answer
    assert answer.id != 0
    return answer.code


@pytest.mark.parametrize(
    "size", [1, 2, 2_046, 2_047, 2_048, 4_079, 4_080, 4_096, 65_536, 1024 * 1024]
)
def test_a_value_up_to_the_limit_comes_back_byte_for_byte(wire: Wire, size: int) -> None:
    text = b"7" * size if size < 2_000 else b'"' + b"x" * (size - 2) + b'"'
    assert isinstance(wire.ask(set_key(1, ORDERS, "k", text)), m.Changed)

    found = wire.ask(m.Get(2, None, ORDERS, "k"))

    assert isinstance(found, m.Found)
    assert found.entry.value == text


def test_a_value_beyond_the_limit_is_refused_with_both_sizes(wire: Wire) -> None:
    wire.ask(set_key(1, ORDERS, "k", b'"old"'))

    answer = wire.ask(set_key(2, ORDERS, "k", b'"' + b"x" * (1024 * 1024 - 1) + b'"'))

    assert code_of(answer) == "invalid_request"
    assert "1,048,577" in answer.message  # type: ignore[union-attr]
    assert "1,048,576" in answer.message  # type: ignore[union-attr]
    assert wire.ask(m.Get(3, None, ORDERS, "k")).entry.value == b'"old"'  # type: ignore[union-attr]


BAD_VALUES = {
    "nothing": b"",
    "null": b"null",
    "null among white space": b" \t\r\nnull\n",
    "no JSON": b"get",
    "NaN": b"[NaN]",
    "infinity": b"-Infinity",
    "a number beyond floats": b"[1e400]",
    "a leading zero": b"01",
    "two values": b"1 2",
    "a comma too many": b'{"a":1,}',
    "a byte order mark": b"\xef\xbb\xbf1",
    "bad UTF-8": b'"\xff"',
    "a lone surrogate": b'["\\ud800"]',
    "a control character": b'"\x00"',
    "256 levels": b"[" * 256 + b"]" * 256,
    "500,000 levels": b"[" * 500_000,
    "256 levels far inside": b"[1," + b"0," * 100_000 + b"[" * 255 + b"]" * 255 + b"]",
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_value_that_a_client_could_not_read_is_refused(wire: Wire, name: str) -> None:
    wire.ask(set_key(1, ORDERS, "k", b'"old"'))

    answer = wire.ask(set_key(2, ORDERS, "k", BAD_VALUES[name]))

    assert code_of(answer) == "invalid_request"
    assert wire.ask(m.Get(3, None, ORDERS, "k")).entry.value == b'"old"'  # type: ignore[union-attr]


GOOD_VALUES = {
    "white space": b" \n[ 1 ]\t",
    "a key twice": b'{"a":1,"a":2}',
    "null inside": b'[null,{"a":null}]',
    "an integer of 100,000 digits": b"9" * 100_000,
    "minus zero": b"-0",
    "255 levels": b"[" * 255 + b"]" * 255,
    "a surrogate pair": b'"\\ud83d\\ude00"',
    "brackets in a string": b'"' + b"[" * 100_000 + b'"',
}


@pytest.mark.parametrize("name", GOOD_VALUES)
def test_any_other_json_is_stored_as_it_is(wire: Wire, name: str) -> None:
    wire.ask(set_key(1, ORDERS, "k", GOOD_VALUES[name]))

    found = wire.ask(m.Get(2, None, ORDERS, "k"))

    assert found.entry.value == GOOD_VALUES[name]  # type: ignore[union-attr]


def test_of_two_changes_of_a_key_in_one_batch_the_one_with_the_later_revision_stays(
    wire: Wire,
) -> None:
    values = [b'"' + b"x" * 20_000 + b'"', b"1", b'"' + b"y" * 5_000 + b'"', b"2"] * 10
    asked = [set_key(id, ORDERS, "k", value) for id, value in enumerate(values, 1)]
    wire.send_messages(*asked)
    revisions = {}
    for _ in asked:
        answer = wire.answer()
        revisions[revision(answer)] = values[answer.id - 1]

    found = wire.ask(m.Get(1, None, ORDERS, "k"))

    assert isinstance(found, m.Found)
    assert found.entry.revision == max(revisions)
    assert found.entry.value == revisions[max(revisions)]


def test_one_bad_request_among_many_harms_none_of_the_others(wire: Wire) -> None:
    asked = [set_key(id, ORDERS, f"k{id:03}", b"1") for id in range(1, 101)]
    asked[49] = set_key(50, ORDERS, "k" * 513, b"1")
    wire.send_messages(*asked)

    answers = {answer.id: answer for answer in (wire.answer() for _ in asked)}

    assert code_of(answers.pop(50)) == "invalid_request"
    assert {type(answer) for answer in answers.values()} == {m.Changed}
    assert wire.ask(m.Count(1, None, ORDERS, "", None)) == m.Counted(1, 99, None)


def test_to_delete_what_is_not_there_changes_nothing(wire: Wire) -> None:
    before = wire.ask(m.Status(1, None)).report["revision"]  # type: ignore[union-attr]

    nothing = m.Outcome(None, 0, None, None)
    assert wire.ask(change(2, m.DeleteKey(ORDERS, "none", None))) == m.Changed(2, [nothing])
    assert wire.ask(change(3, m.ClearStore(ORDERS))) == m.Changed(3, [nothing])

    assert wire.ask(m.Status(4, None)).report["revision"] == before  # type: ignore[union-attr]

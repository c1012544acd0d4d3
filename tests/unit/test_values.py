"""Values: what passes comes back type for type, and the refusal of the rest says where it is."""

from __future__ import annotations

import contextlib
import datetime
import decimal
import enum
import math
import sys
import time
import uuid
from collections import Counter, OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec
import pytest

from assetstore.errors import InvalidRequest, ProtocolError
from assetstore.values import check_json, decode_value, encode_value, place_of

HUGE = 10**5_000 + 7


class Text(str):
    __slots__ = ()


class Whole(int):
    pass


class Real(float):
    pass


class Row(list):  # type: ignore[type-arg]
    pass


class Table(dict):  # type: ignore[type-arg]
    pass


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    LOW = 1


class Word(enum.StrEnum):
    YES = "yes"


class Record(msgspec.Struct):
    a: int = 1


@dataclass
class Data:
    a: int = 1


Point = namedtuple("Point", "x y")


def nested(levels: int, kind: type = list) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value] if kind is list else {"k": value}
    return value


def types_of(value: Any) -> Any:
    """The types of a value and all its parts, in their order."""
    if type(value) is list:
        return [list, *map(types_of, value)]
    if type(value) is dict:
        return [dict, *((type(key), types_of(inner)) for key, inner in value.items())]
    return type(value)


GOOD: list[Any] = [
    "",
    "2024-01-01T00:00:00Z",
    '\0\x1f\x7f"\\/\b\n',
    "é日本😀\u2028\u2029\ufeff\uffff",
    0,
    1,
    -1,
    2**63 - 1,
    -(2**63),
    -(2**63) - 1,
    2**64 - 1,
    2**64,
    10**400,
    10**4_299,
    10**4_300,
    -HUGE,
    True,
    False,
    0.0,
    -0.0,
    1.0,
    0.1,
    1e16,
    1e22,
    -1e-7,
    5e-324,
    sys.float_info.max,
    sys.float_info.min,
    math.pi,
    [],
    {},
    [None],
    {"a": None},
    {"": 0},
    [1, 1.0, True, "1", None, [1], {"1": 1}],
    {"é\0": [{"😀": [-0.0, 2**70]}]},
    [[], {}, [[]], [{}]],
    [HUGE, {"n": [-HUGE, 1.5, "x", None, True]}],
    {"b": 1, "a": 2},
    {"$date": "x", "__class__": "y"},
    nested(255),
    nested(255, dict),
    [[]] * 400,
    ["[" * 500, "{" * 500, '"[' * 500],
]


@pytest.mark.parametrize("value", GOOD, ids=lambda value: type(value).__name__)
def test_a_value_comes_back_equal_and_of_the_same_types(value: Any) -> None:
    text = encode_value(value)
    back = decode_value(text)

    assert back == value
    assert types_of(back) == types_of(value)
    check_json(text)


def test_minus_zero_keeps_its_sign() -> None:
    assert math.copysign(1, decode_value(encode_value(-0.0))) == -1
    assert math.copysign(1, decode_value(encode_value([-0.0]))[0]) == -1


def test_the_order_of_a_dict_is_kept() -> None:
    assert list(decode_value(encode_value({"b": 1, "a": 2, "c": 3}))) == ["b", "a", "c"]


def test_the_text_is_utf8_json_without_escapes_for_letters() -> None:
    assert encode_value({"a": ["é", 1.0, True, None]}) == '{"a":["é",1.0,true,null]}'.encode()


def test_one_object_in_several_places_is_no_circle() -> None:
    shared = {"a": [1, 2]}

    assert decode_value(encode_value([shared, shared, {"x": shared}])) == [
        shared,
        shared,
        {"x": shared},
    ]


# --- refused


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ((1, 2), "value is of type tuple"),
        ({1, 2}, "value is of type set"),
        (frozenset(), "value is of type frozenset"),
        (b"x", "value is of type bytes"),
        (bytearray(b"x"), "value is of type bytearray"),
        (memoryview(b"x"), "value is of type memoryview"),
        (1j, "value is of type complex"),
        (datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC), "value is of type datetime.datetime"),
        (datetime.date(2024, 1, 1), "value is of type datetime.date"),
        (datetime.timedelta(1), "value is of type datetime.timedelta"),
        (decimal.Decimal("1.5"), "value is of type decimal.Decimal"),
        (uuid.UUID(int=1), "value is of type uuid.UUID"),
        (Colour.RED, "value is of type .*Colour"),
        (Level.LOW, "value is of type .*Level"),
        (Word.YES, "value is of type .*Word"),
        (Text("x"), "value is of type .*Text"),
        (Whole(1), "value is of type .*Whole"),
        (Real(1), "value is of type .*Real"),
        (Row([1]), "value is of type .*Row"),
        (Table(a=1), "value is of type .*Table"),
        (OrderedDict(a=1), "value is of type collections.OrderedDict"),
        (defaultdict(int), "value is of type collections.defaultdict"),
        (Counter("a"), "value is of type collections.Counter"),
        (MappingProxyType({}), "value is of type mappingproxy"),
        (Point(1, 2), "value is of type .*Point"),
        (Data(), "value is of type .*Data"),
        (Record(), "value is of type .*Record"),
        (msgspec.Raw(b"1"), "value is of type msgspec.Raw"),
        (object(), "value is of type object"),
        (int, "value is of type type"),
        (..., "value is of type ellipsis"),
        (range(3), "value is of type range"),
        ((n for n in [1]), "value is of type generator"),
        ({1: "a"}, "value has a key of type int, 1"),
        ({None: "a"}, "value has a key of type NoneType, None"),
        ({True: "a"}, "value has a key of type bool, True"),
        ({1.5: "a"}, r"value has a key of type float, 1\.5"),
        ({("a",): 1}, "value has a key of type tuple"),
        ({Text("a"): 1}, "value has a key of type .*Text"),
        ({Word.YES: 1}, "value has a key of type .*Word"),
        ({"a": [0, 1, 2, (3,)]}, r'value\["a"\]\[3\] is of type tuple'),
        ({"a": {"b": {1: 2}}}, r'value\["a"\]\["b"\] has a key of type int'),
        ([{"x": Level.LOW}], r'value\[0\]\["x"\] is of type .*Level'),
        ({'q"\n': [b""]}, r'value\["q\\"\\n"\]\[0\] is of type bytes'),
        ([HUGE, (1,)], r"value\[1\] is of type tuple"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_other_types_are_type_errors_that_say_where(value: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        encode_value(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (math.nan, "value is nan, which JSON cannot hold"),
        (math.inf, "value is inf"),
        (-math.inf, "value is -inf"),
        ([1.0, {"a": math.nan}], r'value\[1\]\["a"\] is nan'),
        ("\ud800", "value holds a lone surrogate at position 0"),
        ("ab\udfff", "value holds a lone surrogate at position 2"),
        ({"a": ["x", "\ud83d"]}, r'value\["a"\]\[1\] holds a lone surrogate'),
        ({"a": {"\ud83d": 1}}, r'a key of value\["a"\] holds a lone surrogate'),
        (nested(256), r"value\[0\]\[0\]\[0\]\.\.\. is nested more than 255 levels deep"),
        (nested(256, dict), "nested more than 255 levels deep"),
        (nested(100_000), "nested more than 255 levels deep"),
        ([[]] * 300 + [nested(256)], "nested more than 255 levels deep"),
    ],
    ids=lambda case: type(case).__name__,
)
def test_values_that_json_cannot_hold_are_value_errors_that_say_where(
    value: Any, message: str
) -> None:
    with pytest.raises(InvalidRequest, match=message):
        encode_value(value)


def test_none_is_refused_at_the_top_only() -> None:
    with pytest.raises(ValueError, match=r"^Cannot set value as None$"):
        encode_value(None)
    assert decode_value(encode_value([None])) == [None]


def test_a_value_that_contains_itself_is_refused() -> None:
    circular: list[Any] = [1]
    circular.append(circular)
    table: dict[str, Any] = {}
    table["self"] = {"again": table}

    for value in (circular, table):
        with pytest.raises(InvalidRequest, match="or contains itself"):
            encode_value(value)


def test_a_surrogate_pair_made_of_two_halves_is_no_character_either() -> None:
    with pytest.raises(InvalidRequest, match="lone surrogate"):
        encode_value("\ud83d\ude00")


# --- text from strangers


@pytest.mark.parametrize(
    "text",
    [
        b'"x"', b"1", b"-0", b"1.5", b"1e5", b"1E+5", b"true", b" [ 1 , 2 ] \n", b'{"a":{}}',
        b'"\\u00e9\\ud83d\\ude00\\n"', '"é"'.encode(), b"0.1e-400", b"9" * 5_000,
        b"-1" + b"0" * 5_000,
        b"1." + b"3" * 5_000, b'{"a":' + b"7" * 10_000 + b"}", b'"' + b"9" * 10_000 + b'"',
        b"[" * 255 + b"]" * 255, b'{"a":' * 255 + b"1" + b"}" * 255, b'["' + b"[{" * 500 + b'"]',
        b'["\\"[[' + b"[" * 500 + b'"]', b'{"a":1,"a":2}',
    ],
    ids=lambda text: repr(text[:20]),
)  # fmt: skip
def test_the_daemon_takes_any_json_that_a_client_can_read(text: bytes) -> None:
    check_json(text)
    decode_value(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"null", "^Cannot set value as None$"),
        (b" null\n", "^Cannot set value as None$"),
        (b"", "not JSON"),
        (b" ", "not JSON"),
        (b"{", "not JSON"),
        (b"[1,]", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b"{a:1}", "not JSON"),
        (b"'x'", "not JSON"),
        (b"1 2", "not JSON"),
        (b"01", "not JSON"),
        (b"+1", "not JSON"),
        (b".5", "not JSON"),
        (b"0x10", "not JSON"),
        (b"tru", "not JSON"),
        (b"NaN", "not JSON"),
        (b"[Infinity]", "not JSON"),
        (b"-Infinity", "not JSON"),
        (b"1e400", "not JSON.*out of range"),
        (b"[-1e999]", "not JSON.*out of range"),
        (b'"\n"', "not JSON"),
        (b'"\x00"', "not JSON"),
        (b'"\\x41"', "not JSON"),
        (b'"\xff"', "not JSON"),
        (b'"\xed\xa0\x80"', "not JSON"),
        (b'"\xc0\x80"', "not JSON"),
        (b'"\\ud800"', "not JSON"),
        (b'"\\ude00\\ud83d"', "not JSON"),
        (b'{"\\ud800":1}', "not JSON"),
        (b"\xef\xbb\xbf1", "not JSON"),
        ("1".encode("utf-16"), "not JSON"),
        (b"0" + b"1" * 5_000, "not JSON"),
        (b"1" * 5_000 + b"x", "not JSON"),
        (b"[" + b"1" * 5_000 + b",NaN]", "not JSON"),
        (b"[" + b"1" * 5_000 + b',"\\ud800"]', "not JSON"),
        (b"[" + b"1" * 5_000 + b",1e400]", "not JSON"),
        (b"[" * 256 + b"]" * 256, "nested more than 255 levels"),
        (b'{"a":' * 256 + b"1" + b"}" * 256, "nested more than 255 levels"),
        (b"[" * 256 + b"1" * 5_000 + b"]" * 256, "nested more than 255 levels"),
        (b"[" * 1_000_000, "nested more than 255 levels"),
        (b'{"a":' * 200_000, "nested more than 255 levels"),
        (b"[" * 999_999 + b"9" * 5_000, "nested more than 255 levels"),
        (b"[" + b"1" * 5_000 + b"," + b"[" * 999_999, "nested more than 255 levels"),
    ],
    ids=lambda case: repr(case[:20]) if isinstance(case, bytes) else "",
)
def test_the_daemon_refuses_what_no_client_could_read(text: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        check_json(text)


@pytest.mark.parametrize(
    "text",
    [
        b'"' + b'\\"' * 500_000,
        b'"\\' * 500_000,
        b'["' * 500_000,
        b'"a",' * 250_000,
        b"[" + b"[]," * 340_000 + b"[]]",
        b"[" + (b"[" * 250 + b"]" * 250 + b",") * 2_000 + b"1]",
        b"9" * 1_000_000,
        b"1" * 500_000 + b"[" * 500_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_mebibyte_of_malice_is_judged_in_linear_time(text: bytes) -> None:
    start = time.process_time()
    with contextlib.suppress(InvalidRequest):
        check_json(text)
    # Quadratic ways take minutes; the honest ones here take 5 to 150 ms.
    assert time.process_time() - start < 2.0


def test_an_integer_of_a_million_digits_does_not_stop_a_reader() -> None:
    start = time.process_time()

    assert decode_value(b"9" * 1_000_000) == 10**1_000_000 - 1

    assert time.process_time() - start < 10.0


@pytest.mark.parametrize("text", [b"", b"{", b"\xff", b"NaN", b"1e400"])
def test_stored_text_that_is_no_json_is_a_protocol_error(text: bytes) -> None:
    with pytest.raises(ProtocolError, match="not JSON"):
        decode_value(text)


def test_a_place_is_written_as_python_would_reach_it_and_shortened_where_it_is_long() -> None:
    assert place_of([]) == "value"
    assert place_of(["a", 3, 'b "c"', "x" * 50]) == (
        'value["a"][3]["b \\"c\\""]["' + "x" * 40 + '"]'
    )
    assert place_of(range(16)) == "value" + "".join(f"[{step}]" for step in range(16))
    assert place_of(range(100)) == (
        "value[0][1][2][3][4][5][6][7]...[92][93][94][95][96][97][98][99]"
    )

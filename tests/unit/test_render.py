"""What the command line shows: safe text, widths, times, tables, JSON lines."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest

from assetstore_cli.render import (
    Screen,
    counted,
    cut,
    display_width,
    duration,
    json_cell,
    json_line,
    json_text,
    moment,
    printable,
    size,
    styled,
    timestamp,
)
from assetstore_cli.tables import ROWS_MEASURED, Column, fields, table

NOW = datetime(2026, 3, 4, 12, 0, 0, tzinfo=UTC)
PIPE = Screen()
TERMINAL = Screen(width=80, colour=True, now=NOW)


# --- text


def test_ordinary_text_is_shown_as_it_is() -> None:
    for text in ("", "orders", "s3://data/orders/", "naïve Größe", "東京", "🦊"):
        assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("bell\x07", "bell\\x07"),
        ("line\nbreak\ttab", "line\\nbreak\\ttab"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("delete\x7f", "delete\\x7f"),
        ("right\u202eleft", "right\\u202eleft"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("no\xa0break", "no\\xa0break"),
        ("line\u2028separator", "line\\u2028separator"),
        ("tag\U000e0041", "tag\\U000e0041"),
    ],
)
def test_what_could_drive_or_fool_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_two_different_texts_are_never_shown_alike() -> None:
    assert printable("a\nb") == "a\\nb"
    assert printable("a\\nb") == "a\\\\nb"


def test_what_the_encoding_cannot_write_is_shown_as_an_escape() -> None:
    assert printable("Größe 東", "ascii") == "Gr\\xf6\\xdfe \\u6771"
    assert printable("Größe 東", "latin-1") == "Größe \\u6771"


def test_no_text_at_all_lets_a_control_character_through() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for _ in range(500):
        text = "".join(
            chr(rng.choice([rng.randrange(0x20), rng.randrange(0xD800), rng.randrange(0x110000)]))
            for _ in range(20)
        )

        for encoding in ("utf-8", "ascii", "latin-1"):
            shown = printable(text, encoding)

            assert shown.isprintable()
            shown.encode(encoding)


def test_wide_and_combining_characters_are_measured_as_a_terminal_shows_them() -> None:
    assert display_width("orders") == 6
    assert display_width("東京") == 4
    assert display_width("e\u0301") == 1


def test_a_text_that_is_too_long_is_cut_with_a_sign() -> None:
    assert cut("orders", 6) == "orders"
    assert cut("orders", 5) == "orde…"
    assert cut("orders", 5, "ascii") == "or..."
    assert cut("東京都", 5) == "東京…"
    assert cut("東京都", 4) == "東…"
    assert cut("orders", 1) == "…"
    assert cut("orders", 0) == ""


def test_a_style_shows_only_where_there_is_colour() -> None:
    assert styled("degraded", "red", PIPE) == "degraded"
    assert styled("degraded", "red", TERMINAL) == "\x1b[31mdegraded\x1b[0m"


# --- times and quantities


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "just now"),
        (1, "just now"),
        (45, "45 s ago"),
        (59.7, "1 min ago"),
        (180, "3 min ago"),
        (3599, "1 h ago"),
        (2 * 3600, "2 h ago"),
        (24 * 3600, "1 day ago"),
        (7 * 86_400, "7 days ago"),
        (90 * 86_400, "2025-12-04"),
        (-30, "in 30 s"),
        (-(7 * 86_400 - 5), "in 7 days"),
    ],
)
def test_on_a_terminal_a_time_is_relative(seconds: float, shown: str) -> None:
    assert moment(NOW - timedelta(seconds=seconds), TERMINAL) == shown


def test_elsewhere_a_time_is_absolute() -> None:
    assert moment(NOW, PIPE) == "2026-03-04T12:00:00Z"
    assert moment(None, PIPE) == "-"


def test_a_timestamp_is_rfc_3339_in_utc_to_the_microsecond() -> None:
    berlin = timezone(timedelta(hours=1))

    assert timestamp(datetime(2026, 3, 4, 13, 0, 0, 250, tzinfo=berlin)) == (
        "2026-03-04T12:00:00.000250Z"
    )


def test_durations_take_their_largest_fitting_unit() -> None:
    assert [duration(s) for s in (0, 59, 60, 90 * 60, 86_400, 604_800)] == [
        "0 s",
        "59 s",
        "1 min",
        "2 h",
        "1 day",
        "7 days",
    ]


def test_sizes_have_three_digits_at_most() -> None:
    assert [size(n) for n in (0, 1023, 1024, 1536, 10 * 1024**2, 1023 * 1024, 2**40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "10 MiB",
        "1.0 MiB",
        "1.0 TiB",
    ]


def test_a_number_agrees_with_its_noun() -> None:
    assert counted(1, "asset") == "1 asset"
    assert counted(0, "asset") == "0 assets"
    assert counted(1_200, "entry", "entries") == "1,200 entries"


# --- JSON


def test_json_for_a_program_is_the_value_as_it_is() -> None:
    assert json_text({"a": [1, None, "ü\u202e"]}, PIPE) == '{"a":[1,null,"ü\u202e"]}'


@pytest.mark.parametrize(
    "screen", [TERMINAL, Screen(encoding="ascii"), Screen(encoding="latin-1"), PIPE]
)
def test_json_text_reads_back_as_exactly_the_value_wherever_it_is_shown(screen: Screen) -> None:
    value = ["\x1b[2J", "\x9b", "\x7f", "\u202e", "ü", "東", "🦊", "\\u0041", 'say "x"', 10**30]

    text = json_text(value, screen)

    assert json.loads(text) == value
    text.encode(screen.encoding)


@pytest.mark.parametrize("screen", [TERMINAL, Screen(encoding="ascii")])
def test_json_on_a_terminal_holds_nothing_that_could_drive_it(screen: Screen) -> None:
    assert json_text("\x1b\x9b\x7f\u202e", screen).isprintable()


def test_json_of_enormous_integers_keeps_every_digit() -> None:
    digits = "7" * 5_000

    assert json_text(int("7" * 4_000) * 10**1000 + int("7" * 1000), PIPE) == digits


def test_a_value_nested_as_deep_as_may_be_fits_into_a_record() -> None:
    value: list[object] = []
    for _ in range(254):
        value = [value]

    assert json.loads(json_line({"key": "a", "value": value}, PIPE))["value"] == value


def test_a_cell_shows_the_beginning_of_a_long_value_and_never_drives_a_terminal() -> None:
    assert json_cell("x" * 1_000_000, TERMINAL) == '"' + "x" * 80
    assert json_cell("\x9b", PIPE) == '"\\u009b"'
    assert json_cell([1, None], PIPE) == "[1,null]"


def test_a_record_is_one_line_with_its_times_in_utc() -> None:
    record = {"key": "a\nb", "revision": 7, "updated_at": NOW, "value": None}

    assert json_line(record, PIPE) == (
        '{"key":"a\\nb","revision":7,"updated_at":"2026-03-04T12:00:00.000000Z","value":null}'
    )


# --- tables


NAME_AND_COUNT = (Column("NAME"), Column("ENTRIES", right=True, fixed=True))


def test_a_table_is_aligned() -> None:
    assert list(table(NAME_AND_COUNT, [("orders", "12"), ("東京", "1,200")], PIPE)) == [
        "NAME    ENTRIES",
        "orders       12",
        "東京      1,200",
    ]


def test_a_table_without_rows_is_nothing() -> None:
    assert list(table(NAME_AND_COUNT, [], PIPE)) == []


def test_a_table_shows_no_control_characters() -> None:
    lines = list(table(NAME_AND_COUNT, [("\x1b]0;owned\x07", "1")], TERMINAL))

    assert "\x1b]" not in "".join(lines)
    assert "\\x1b]0;owned\\x07" in lines[1]


def test_off_a_terminal_nothing_is_cut() -> None:
    name = "n" * 1_500

    assert list(table(NAME_AND_COUNT, [(name, "1")], PIPE))[1].startswith(name)


@pytest.mark.parametrize("width", [200, 80, 40, 20, 10, 5, 1])
def test_on_a_terminal_no_line_is_wider_than_the_screen(width: int) -> None:
    columns = (Column("NAME"), Column("URI"), Column("SINCE", fixed=True), Column("N", right=True))
    rows = [
        ("n" * 300, "s3://" + "u" * 300, "3 min ago", "1,000,000"),
        ("東" * 90, "-", "now", "1"),
    ]

    for line in table(columns, rows, Screen(width=width)):
        assert display_width(line) <= width


def test_the_widest_column_gives_way_first_and_fixed_ones_last() -> None:
    columns = (Column("NAME"), Column("URI"), Column("SINCE", fixed=True))

    lines = list(table(columns, [("orders", "u" * 100, "3 min ago")], Screen(width=40)))

    assert lines[1] == "orders  " + "u" * 20 + "…  3 min ago"


def test_colour_does_not_move_a_column() -> None:
    columns = (Column("STATE", style=lambda _: "red"), Column("NAME"))
    rows = [("active", "a"), ("x", "b")]

    plain = list(table(columns, rows, Screen(width=80)))
    coloured = list(table(columns, rows, TERMINAL))

    assert "\x1b[31m" in coloured[1]
    for code in ("\x1b[31m", "\x1b[1m", "\x1b[0m"):
        coloured = [line.replace(code, "") for line in coloured]
    assert coloured == plain


def test_a_long_table_starts_before_all_rows_are_known() -> None:
    def rows() -> object:
        yield from ((f"key{i}", "1") for i in range(ROWS_MEASURED))
        raise AssertionError("read further than needed")

    lines = table(NAME_AND_COUNT, rows(), PIPE)  # type: ignore[arg-type]

    assert next(lines).startswith("NAME")
    assert next(lines).startswith("key0")


def test_fields_stand_below_one_another() -> None:
    assert list(fields([("key", "watermark"), ("revision", "7")], PIPE)) == [
        "key       watermark",
        "revision  7",
    ]

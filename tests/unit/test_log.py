"""The daemon's log: one line per event, whatever the event speaks of."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator

import pytest

from assetstored import log

LOGGER = logging.getLogger("assetstored.test")


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    """The logging of the tests is back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under systemd, whose journal reads standard error."""
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a person started the daemon."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


def lines(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged, as a reader of lines sees it."""
    text = capfd.readouterr().err
    assert not text or text.endswith("\n")
    return text.splitlines()


@pytest.mark.usefixtures("terminal")
def test_a_line_for_people_has_time_level_and_message(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("info")

    LOGGER.info("serving %d assets", 3)

    (line,) = lines(capfd)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4} INFO    serving 3 assets", line)


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("level", "priority"),
    [("DEBUG", "<7>"), ("INFO", "<6>"), ("WARNING", "<4>"), ("ERROR", "<3>"), ("CRITICAL", "<2>")],
)
def test_a_line_for_the_journal_begins_with_its_priority(
    capfd: pytest.CaptureFixture[str], level: str, priority: str
) -> None:
    log.start("debug")

    LOGGER.log(getattr(logging, level), "message")

    assert lines(capfd) == [f"{priority}message"]


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    "name",
    [
        "a\nb",
        "a\r\nb",
        "a\n<2>the disk is on fire",
        "a\x1b[2Jb",
        "a\x85b",
        "a\u2028b\u2029c",
        "a\x0b\x0c\x1c\x1d\x1eb",
        "a\0b",
        "a\u202eb",
        "a\ud800b",
    ],
    ids=ascii,
)
def test_an_event_is_one_printable_line_whatever_the_names_in_it(
    capfd: pytest.CaptureFixture[str], name: str
) -> None:
    log.start("info")

    LOGGER.warning("asset %s", name)

    (line,) = lines(capfd)
    assert line.startswith("<4>asset a")
    assert line.isprintable()


@pytest.mark.usefixtures("journal")
def test_letters_of_all_languages_stay_readable(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("info")

    LOGGER.info("asset %s", "Bestände/日本 😀")

    assert lines(capfd) == ["<6>asset Bestände/日本 😀"]


@pytest.mark.usefixtures("journal")
def test_a_failure_is_one_line_with_its_traceback_in_it(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("info")

    try:
        raise KeyError("key\nwith a line")
    except KeyError:
        LOGGER.exception("work failed")

    (line,) = lines(capfd)
    assert line.startswith("<3>work failed\\nTraceback (most recent call last):\\n")
    assert "KeyError" in line


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("debug", ["<7>d", "<6>i", "<4>w", "<3>e"]),
        ("info", ["<6>i", "<4>w", "<3>e"]),
        ("warning", ["<4>w", "<3>e"]),
        ("error", ["<3>e"]),
    ],
)
def test_the_level_says_from_which_priority_on(
    capfd: pytest.CaptureFixture[str], level: str, expected: list[str]
) -> None:
    log.start(level)

    LOGGER.debug("d")
    LOGGER.info("i")
    LOGGER.warning("w")
    LOGGER.error("e")

    assert lines(capfd) == expected


@pytest.mark.usefixtures("journal")
def test_the_libraries_talk_of_trouble_only(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("debug")

    logging.getLogger("watchfiles").info("3 changes detected")
    logging.getLogger("asyncio").debug("using selector")
    logging.getLogger("asyncio").warning("slow")

    assert lines(capfd) == ["<4>slow"]


@pytest.mark.usefixtures("journal")
def test_starting_twice_does_not_log_twice(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("info")
    log.start("info")

    LOGGER.info("once")

    assert lines(capfd) == ["<6>once"]

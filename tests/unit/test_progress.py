"""The line that shows how far long work has come."""

from __future__ import annotations

import pytest

from assetstore_cli.progress import bar_text
from assetstore_cli.render import Screen, display_width


def test_a_bar_fills_up_without_changing_its_width() -> None:
    lines = [bar_text("importing", done, 2_000, Screen(width=80)) for done in range(0, 2_001, 100)]

    assert lines[0] == f"importing [{'.' * 40}]   0 %     0 of 2,000"
    assert lines[10] == f"importing [{'#' * 20}{'.' * 20}]  50 % 1,000 of 2,000"
    assert lines[-1] == f"importing [{'#' * 40}] 100 % 2,000 of 2,000"
    assert len({len(line) for line in lines}) == 1


@pytest.mark.parametrize("width", [1, 10, 20, 30, 40, 200])
def test_a_bar_is_never_wider_than_the_screen(width: int) -> None:
    for done in (0, 5, 10):
        assert display_width(bar_text("exporting", done, 10, Screen(width=width))) < max(width, 2)


def test_what_is_not_known_is_not_shown() -> None:
    assert bar_text("exporting", 5, 0, Screen(width=80)) == "exporting 5"
    assert "100 %" in bar_text("exporting", 12, 10, Screen(width=80))

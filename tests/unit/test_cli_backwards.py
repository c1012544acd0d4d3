"""Lines from the last to the first."""

from __future__ import annotations

import pytest

from assetstore_cli.backwards import backwards


@pytest.mark.parametrize("lines", [[], [""], ["a"], ["a", "", "naïve 🦊", "b\nc", "a"]])
@pytest.mark.parametrize("in_memory_bytes", [1, 1 << 20], ids=["in a file", "in memory"])
def test_they_come_back_in_reverse_and_unchanged(lines: list[str], in_memory_bytes: int) -> None:
    assert list(backwards(iter(lines), in_memory_bytes)) == lines[::-1]


def test_more_than_fits_in_memory_goes_to_a_file_and_comes_back() -> None:
    lines = [f"{number} {'x' * (number % 97)}" for number in range(10_000)]

    assert list(backwards(iter(lines), 1_000)) == lines[::-1]

"""The count of what the fault tests did, for docs/reliability.md.

Rule: a test that counts also asserts; a tally is never the only thing that a failure changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.quick_disk import quick_disk

#: A figure, or words where a figure would say too little.
Figure = int | float | str


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Takes what a test did: ``tally("Bit rot", flips=10_000, wrong_values_served=0)``.

    The first argument is the heading of the section in docs/reliability.md. Where
    ASSETSTORE_TALLY names a file, what a test that passed has said is added to it as a line of
    JSON; scripts/reliability_tables.py makes the document's tables from that file.
    """
    said: list[dict[str, object]] = []

    def say(fault: str, **figures: Figure) -> None:
        said.append({"fault": fault, "test": request.node.name, "figures": figures})
        print(f"{fault}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))

    yield say
    path = os.environ.get("ASSETSTORE_TALLY")
    if path and said:
        with Path(path).open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in said)


@pytest.fixture
def quick_path() -> Iterator[Path]:
    """As tmp_path, in memory: a sync costs nothing, and nothing of it is kept."""
    with quick_disk() as path:
        yield path

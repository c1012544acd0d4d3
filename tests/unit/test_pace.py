"""Background work in slices, and whose turn it is in between."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from tests.support.serving import Serving, serve
from tests.support.store import change

from assetstore.errors import InvalidRequest
from assetstored import jobs
from assetstored.changes import Slice
from assetstored.pace import Pace

SLICES = 40


def activate(name: str) -> jobs.ApplySlice:
    """A slice."""
    return jobs.ApplySlice(Slice([], [(name, name, None)], []))


class Client:
    """Changes something again and again, each time as soon as it is told of the last one."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self.changes = 0
        self._set()

    def _set(self) -> None:
        job = change(jobs.SetKey(1, "k", b"%d" % self.changes, None))
        self._serving.queue.submit(job, size=1, deadline=None, done=self._done)

    def _done(self, result: jobs.Result) -> None:
        assert result.code is None
        self.changes += 1
        if self.changes < 100 * SLICES:
            asyncio.get_running_loop().call_soon(self._set)


async def changes_beside(serving: Serving, *, in_haste: bool) -> int:
    """How many changes a client makes while all slices are done."""
    await serving.queue.do(activate("a"))
    pace = Pace(serving.queue, rest=1.0)
    client = Client(serving)
    for number in range(SLICES):
        await pace.do(activate(f"b{number}"), in_haste=in_haste)
    return client.changes


def test_between_two_slices_clients_have_more_than_one_turn(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        # Two or three for each where the disk is even; without a rest it is one.
        assert await changes_beside(serving, in_haste=False) > 1.2 * SLICES

    assert serve(tmp_path, scenario) == 0


def test_in_haste_slices_and_clients_take_turns(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        assert await changes_beside(serving, in_haste=True) <= SLICES + 2

    assert serve(tmp_path, scenario) == 0


def test_a_slice_has_its_value_and_a_refused_one_raises(tmp_path: Path) -> None:
    async def scenario(serving: Serving) -> None:
        pace = Pace(serving.queue, rest=1.0)
        assert await pace.do(jobs.Condemn([])) == 0
        with pytest.raises(InvalidRequest, match="there is no store 9 in the trash"):
            await pace.do(change(jobs.RestoreStore(9)))

    assert serve(tmp_path, scenario) == 0

"""Ids of changes: no two are the same, in whatever thread or process they are made."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from assetstore.requests import RequestIds, new_request_id


def test_an_id_is_16_bytes_and_none_comes_twice() -> None:
    ids = [new_request_id() for _ in range(10_000)]

    assert {len(each) for each in ids} == {16}
    assert len(set(ids)) == 10_000


def test_threads_get_ids_of_their_own() -> None:
    makes = RequestIds()
    start = threading.Barrier(8)

    def work(_: int) -> list[bytes]:
        start.wait(20.0)
        return [makes.make() for _ in range(5_000)]

    with ThreadPoolExecutor(8) as pool:
        made = [each for part in pool.map(work, range(8)) for each in part]

    assert len(set(made)) == 40_000


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_the_child_of_a_fork_does_not_count_on_where_its_parent_does() -> None:
    ids = {new_request_id()}
    for _ in range(3):
        ids.add(id_of_a_child())
        ids.add(new_request_id())

    assert len(ids) == 7
    assert len({each[:10] for each in ids}) == 4


def id_of_a_child() -> bytes:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, new_request_id())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as pipe:
        made = pipe.read()
    os.waitpid(pid, 0)
    return made

"""Decoders are made when they are needed, by whichever thread comes first."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import msgspec
import pytest

from assetstore.decoders import Decoders

#: Threads meet types that none has met before, at once and in a program of their own. Without the
#: lock most such programs end with a segmentation fault.
_PROGRAM = """
    import sys, threading
    from assetstore import messages as m
    from assetstore.exchange import read_answer

    sys.setswitchinterval(1e-4)
    absent, failed = m.encode(m.Absent(7)), m.encode(m.Failed(7, "code", "why", None))
    changed = m.encode(m.Changed(7, [m.Outcome(1, 1, None, None)]))
    together = threading.Barrier(8)

    def meet(number):
        together.wait()
        for _ in range(3):
            if number % 2:
                read_answer(m.Get, absent)
                read_answer(m.Change, changed)
            else:
                read_answer(m.Change, changed)
                read_answer(m.Get, failed)
            m.decode_answer(changed)

    threads = [threading.Thread(target=meet, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
"""


@pytest.mark.parametrize("_", range(5))
def test_threads_that_need_the_same_types_for_the_first_time_do_not_meet_in_msgspec(_: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_PROGRAM)], capture_output=True, text=True
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_a_decoder_is_made_once_and_only_when_it_is_asked_for() -> None:
    asked: list[str] = []

    def kind() -> type[int]:
        asked.append("int")
        return int

    decoders = Decoders()
    assert asked == []
    for _ in range(3):
        assert decoders.get("number", kind)(msgspec.msgpack.encode(7)) == 7
    assert asked == ["int"]

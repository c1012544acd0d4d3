"""Waiting for a fact, with a deadline: the one place in the tests where time passes.

Rule: nothing here knows what it waits for. Where the thing itself can be waited for (a socket,
a process, a pipe), wait for that instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# Short enough that a test does not notice, long enough to leave the processor to what is awaited.
_INTERVAL_S = 0.01


def wait_until(predicate: Callable[[], T], deadline_s: float, what: str) -> T:
    """Return the first true answer of predicate, or fail the test after deadline_s.

    What predicate raises is passed on: where an error means "not yet", predicate catches it.
    """
    end = time.monotonic() + deadline_s
    while True:
        answer = predicate()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s:g} s in vain for {what}; last: {answer!r}")
        time.sleep(_INTERVAL_S)

"""What is counted and timed while the daemon serves: plain numbers, added to where things happen.

Rule: no clock, no text and no store here; metrics.py makes the metrics of it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from assetstore import messages as m
from assetstore.errors import REFUSALS

#: Upper bounds of what is timed, in seconds: a get, a sync of a good disk, a slow one, a hang.
_SECONDS: Final = (0.00001, 0.0001, 0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0)

#: The same of batches, in jobs.
_JOBS: Final = (1, 4, 16, 64, 256, 1_000)

#: Of gets one in so many is timed: asking the clock for each takes a twentieth of what a get does.
GETS_PER_SAMPLE: Final = 64

#: Nobody is to mistake a wait that was asked for for a slow answer.
_WAITING: Final = frozenset({m.Events})

#: What a connection is refused for that is no request at all.
PROTOCOL_ERROR: Final = "protocol_error"


def tag_of(kind: type[m.Message]) -> str:
    """What a message is called on the wire."""
    return str(kind.__struct_config__.tag)


class Histogram:
    """How often, how much together, and how many up to each bound, not counting those below."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float] = _SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """One more, as large as this."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.counts)


class Meters:
    """All of them. Whoever is given none has some of its own."""

    def __init__(self) -> None:
        kinds = m.AnyRequest.__args__
        #: All requests; those of every kind but get, which are the rest.
        self.requests = 0
        self.by_kind: dict[type, int] = {kind: 0 for kind in kinds if kind is not m.Get}
        self.answer_times = {kind: Histogram() for kind in kinds if kind not in _WAITING}
        self.refusals = dict.fromkeys([*REFUSALS, PROTOCOL_ERROR], 0)
        #: Changes and other jobs that were carried out together, by the log and by the writer.
        self.logged_batches = Histogram(_JOBS)
        self.written_batches = Histogram(_JOBS)
        #: From a write to the log until it is synced; from a batch's way to the writer and back.
        self.log_times = Histogram()
        self.writer_times = Histogram()
        self.checkpoint_times = Histogram()
        self.connections = 0
        self.cut_off = 0

    def refused(self, code: str) -> None:
        """A request, or a connection, was refused."""
        self.refusals[code] = self.refusals.get(code, 0) + 1

    @property
    def gets(self) -> int:
        """How many of the requests were gets."""
        return self.requests - sum(self.by_kind.values())

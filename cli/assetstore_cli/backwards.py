"""Lines from the last to the first, however many there are.

Rule: knows nothing of what is in them.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from itertools import pairwise
from tempfile import SpooledTemporaryFile

# More than a person reads. Beyond that they go to a file, so that a journal of a GiB fits.
_IN_MEMORY_BYTES = 16 << 20


def backwards(lines: Iterable[str], in_memory_bytes: int = _IN_MEMORY_BYTES) -> Iterator[str]:
    """The lines in reverse order. All of them are taken before the first is given."""
    with SpooledTemporaryFile(max_size=in_memory_bytes) as spool:
        bounds = array("Q", [0])
        for line in lines:
            bounds.append(bounds[-1] + spool.write(line.encode()))
        for end, start in pairwise(reversed(bounds)):
            spool.seek(start)
            yield spool.read(end - start).decode()

"""The text format of Prometheus, version 0.0.4: families of samples in, text out.

Written here, as it is a page: the client library would bring a registry of its own, locks, and
clocks into each request.

Rule: pure; what is measured metrics.py knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

from assetstored.meters import Histogram

Labels = Mapping[str, str]

_LABEL_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Family(NamedTuple):
    """One metric: its samples, each with its labels. A counter's name ends with _total."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    samples: Iterable[tuple[Labels, float | Histogram]]


def exposition(families: Iterable[Family]) -> str:
    """The text; a family without samples is left out."""
    return "".join(line for family in families for line in _lines(family))


def _lines(family: Family) -> Iterator[str]:
    name = family.name
    is_first = True
    for labels, value in family.samples:
        if is_first:
            is_first = False
            yield f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}\n"
            yield f"# TYPE {name} {family.kind}\n"
        if isinstance(value, Histogram):
            yield from _histogram_lines(name, labels, value)
        else:
            yield f"{name}{_labels(labels)} {_number(value)}\n"


def _histogram_lines(name: str, labels: Labels, histogram: Histogram) -> Iterator[str]:
    below = 0
    for bound, count in zip((*histogram.bounds, float("inf")), histogram.counts, strict=True):
        below += count
        yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {below}\n"
    yield f"{name}_sum{_labels(labels)} {_number(histogram.sum)}\n"
    yield f"{name}_count{_labels(labels)} {below}\n"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{text.translate(_LABEL_ESCAPES)}"' for name, text in labels.items())
    return "{" + ",".join(pairs) + "}"


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)

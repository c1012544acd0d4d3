"""The text format of Prometheus, as the parser of its own client library reads it."""

from __future__ import annotations

import math
import random
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from assetstored.exposition import Family, exposition
from assetstored.meters import Histogram


def parsed(*families: Family) -> dict[str, Any]:
    """Name -> family, as the parser has it."""
    return {each.name: each for each in text_string_to_metric_families(exposition(families))}


def test_names_types_texts_and_values_are_read_as_they_were_given() -> None:
    found = parsed(
        Family("a_bytes", "gauge", "How much.", [({}, 3)]),
        Family("b_total", "counter", "How often.", [({"kind": "get"}, 2), ({"kind": "set"}, 0.5)]),
    )

    assert (found["a_bytes"].type, found["a_bytes"].documentation) == ("gauge", "How much.")
    assert [tuple(each[:3]) for each in found["a_bytes"].samples] == [("a_bytes", {}, 3.0)]
    assert found["b"].type == "counter"
    assert [(each.labels, each.value) for each in found["b"].samples] == [
        ({"kind": "get"}, 2.0),
        ({"kind": "set"}, 0.5),
    ]


def test_labels_may_hold_anything(seed: int) -> None:
    chance = random.Random(seed)
    names = {
        "".join(chance.choices('ab"\\\n{},= \t\rä€\u2028\U0001f600', k=chance.randrange(12)))
        for _ in range(300)
    }

    (family,) = parsed(Family("x", "gauge", "t", [({"asset": n}, 1) for n in names])).values()

    assert {sample.labels["asset"] for sample in family.samples} == names


def test_a_text_may_hold_a_line_break_and_a_backslash() -> None:
    assert parsed(Family("x", "gauge", "a\nb\\n", [({}, 1)]))["x"].documentation == "a\nb\\n"


def test_a_histogram_counts_upwards_and_ends_with_all() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(value)

    found = parsed(Family("t_seconds", "histogram", "t", [({"kind": "get"}, histogram)]))

    samples = [(s.name, s.labels.get("le"), s.value) for s in found["t_seconds"].samples]
    assert samples == [
        ("t_seconds_bucket", "0.1", 2.0),
        ("t_seconds_bucket", "1.0", 3.0),
        ("t_seconds_bucket", "+Inf", 4.0),
        ("t_seconds_sum", None, 7.65),
        ("t_seconds_count", None, 4.0),
    ]
    assert all(sample.labels["kind"] == "get" for sample in found["t_seconds"].samples)


def test_what_is_not_finite_can_be_read_too() -> None:
    assert parsed(Family("x", "gauge", "t", [({}, math.inf)]))["x"].samples[0].value == math.inf


def test_a_family_without_samples_is_left_out() -> None:
    assert exposition([Family("x", "gauge", "t", [])]) == ""

"""The receivers' overlap policies according to Novak and Sturges: O is a byte of the original segment,
N one of the later segment."""

from __future__ import annotations

import pytest

from tests.model.overlap import POLICIES, Waiting

EARLIER_START_WINS = {"last", "bsd", "windows", "linux"}


@pytest.mark.parametrize(
    ("later", "original_stays", "later_stays", "where_later_stays"),
    [
        ((2, 6), "NNOOOO", "NNNNOO", EARLIER_START_WINS),
        ((2, 8), "NNOOOO", "NNNNNN", EARLIER_START_WINS | {"solaris"}),
        ((2, 10), "NNOOOONN", "NNNNNNNN", EARLIER_START_WINS | {"solaris"}),
        ((4, 6), "OOOO", "NNOO", {"last"}),
        ((4, 8), "OOOO", "NNNN", {"last", "solaris"}),
        ((4, 10), "OOOONN", "NNNNNN", {"last", "linux", "solaris"}),
        ((5, 7), "OOOO", "ONNO", {"last"}),
        ((6, 8), "OOOO", "OONN", {"last"}),
        ((6, 10), "OOOONN", "OONNNN", {"last", "solaris"}),
        ((8, 10), "OOOONN", "OOOONN", set()),
    ],
)
def test_overlap_is_resolved_by_the_policy(
    later: tuple[int, int], original_stays: str, later_stays: str, where_later_stays: set[str]
) -> None:
    start, end = later
    for policy in POLICIES:
        waiting = Waiting(policy)
        waiting.add(4, b"OOOO")
        waiting.add(start, b"N" * (end - start))
        expected = later_stays if policy in where_later_stays else original_stays
        assert waiting.take(min(start, 4)) == expected.encode(), policy


def test_segment_that_covers_waiting_ones_fills_the_gaps_between_them() -> None:
    waiting = Waiting("first")
    for at in (2, 5, 8):
        waiting.add(at, b"O")
    waiting.add(0, b"N" * 10)
    assert waiting.ranges() == [(0, 10)]
    assert waiting.take(0) == b"NNONNONNON"

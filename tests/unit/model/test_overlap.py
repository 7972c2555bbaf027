"""The receivers' policies, as Novak and Sturges tell them: O stays or N, the later one's."""

from __future__ import annotations

import pytest

from tests.model.overlap import POLICIES, Waiting

FAVOUR_LATER_BEGINNING = {"last", "bsd", "windows", "linux"}


@pytest.mark.parametrize(
    ("later", "original_stays", "later_stays", "where_later_stays"),
    [
        ((2, 6), "NNOOOO", "NNNNOO", FAVOUR_LATER_BEGINNING),
        ((2, 8), "NNOOOO", "NNNNNN", FAVOUR_LATER_BEGINNING | {"solaris"}),
        ((2, 10), "NNOOOONN", "NNNNNNNN", FAVOUR_LATER_BEGINNING | {"solaris"}),
        ((4, 6), "OOOO", "NNOO", {"last"}),
        ((4, 8), "OOOO", "NNNN", {"last", "solaris"}),
        ((4, 10), "OOOONN", "NNNNNN", {"last", "linux", "solaris"}),
        ((5, 7), "OOOO", "ONNO", {"last"}),
        ((6, 8), "OOOO", "OONN", {"last"}),
        ((6, 10), "OOOONN", "OONNNN", {"last", "solaris"}),
        ((8, 10), "OOOONN", "OOOONN", set()),
    ],
)
def test_overlap_stays_as_the_policy_has_it(
    later: tuple[int, int], original_stays: str, later_stays: str, where_later_stays: set[str]
) -> None:
    start, end = later
    for policy in POLICIES:
        waiting = Waiting(policy)
        waiting.add(4, b"OOOO")
        waiting.add(start, b"N" * (end - start))
        expected = later_stays if policy in where_later_stays else original_stays
        assert waiting.take(min(start, 4)) == expected.encode(), policy


def test_segment_over_several_that_wait_fills_the_gaps_between_them() -> None:
    waiting = Waiting("first")
    for at in (2, 5, 8):
        waiting.add(at, b"O")
    waiting.add(0, b"N" * 10)
    assert waiting.ranges() == [(0, 10)]
    assert waiting.take(0) == b"NNONNONNON"

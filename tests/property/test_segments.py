"""Segments in any order, overlapping and retransmitted, with different bytes: found and shrunk by
hypothesis.

A failure prints the shortest list of segments that shows it; ``tests/fuzz/segments.py`` explains the
fields and what is checked.
"""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.fuzz.corpus import SEGMENTS
from tests.fuzz.segments import FLAGS, LONGEST, VARIANTS, Piece, check, read

pytestmark = pytest.mark.pure

PIECES = st.builds(
    Piece,
    direction=st.sampled_from((0, 0, 1)),
    ahead=st.one_of(st.just(0), st.integers(-24, 39)),
    length=st.integers(0, LONGEST),
    variant=st.one_of(st.just(0), st.integers(0, len(VARIANTS) - 1)),
    flags=st.integers(0, len(FLAGS) - 1),
    withheld=st.one_of(st.just(0), st.integers(0, 31), st.integers(-8, -1)),
    gso=st.booleans(),
    seconds=st.one_of(st.just(0), st.sampled_from((40, 700, 4000))),
)


@settings(max_examples=1500)
@given(st.lists(PIECES, max_size=25))
@example([Piece(0, 4, 4), Piece(0, 2, 4, 1), Piece(0, 0, 4)])
def test_only_approved_bytes_reach_any_receiver_whatever_the_segments(pieces: list[Piece]) -> None:
    check(pieces)


@pytest.mark.parametrize(("pieces", "what"), SEGMENTS)
def test_segments_that_once_broke_this_rule_keep_it(pieces: bytes, what: str) -> None:
    check(read(pieces))

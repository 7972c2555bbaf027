"""Ranges of sequence numbers, compared with Python's sets."""

from __future__ import annotations

import random

import pytest

from nfinspect.tcp.ranges import SequenceRanges


def numbers(ranges: SequenceRanges) -> set[int]:
    return {number for start, end in ranges for number in range(start, end)}


def test_adjacent_and_overlapping_ranges_are_joined() -> None:
    ranges = SequenceRanges()
    for start, end in ((10, 20), (30, 40), (20, 22), (39, 50), (60, 70), (21, 30)):
        ranges.add(start, end)
    assert list(ranges) == [(10, 50), (60, 70)]
    assert ranges.containing(49) == (10, 50)
    assert ranges.containing(50) is None
    assert ranges.containing(9) is None


def test_forget_below_keeps_a_range_whole_and_cut_shortens_it() -> None:
    ranges = SequenceRanges()
    ranges.add(10, 20)
    ranges.add(30, 40)
    ranges.forget_below(35)
    assert list(ranges) == [(30, 40)]
    ranges.cut(35)
    assert list(ranges) == [(30, 35)]
    ranges.cut(30)
    assert not ranges


@pytest.mark.parametrize("seed", range(30))
def test_ranges_agree_with_a_set_of_numbers(seed: int) -> None:
    chance = random.Random(seed)
    ranges, expected = SequenceRanges(), set[int]()
    for _ in range(200):
        start = chance.randrange(300)
        if chance.random() < 0.8:
            end = start + chance.randrange(1, 20)
            ranges.add(start, end)
            expected |= set(range(start, end))
        elif chance.random() < 0.5:
            ranges.cut(start + 100)
            expected = {number for number in expected if number < start + 100}
        else:
            whole = ranges.containing(start - 200)
            ranges.forget_below(start - 200)
            first = start - 200 if whole is None else whole[0]
            expected = {number for number in expected if number >= first}
        assert numbers(ranges) == expected
        edges = [edge for pair in ranges for edge in pair]
        assert edges == sorted(set(edges))

"""Sorting by time, within a window."""

from __future__ import annotations

import random

import pytest

from nfinspect.replay import order
from nfinspect.replay.capture import CaptureInterface, Frame
from nfinspect.replay.order import Ordered

ETHERNET = CaptureInterface(1, False)


def frames(times: list[int], size: int = 60) -> list[Frame]:
    return [Frame(n, time, ETHERNET, bytes(size), size) for n, time in enumerate(times, 1)]


def ordered(times: list[int], size: int = 60) -> tuple[list[int], list[int]]:
    """The numbers in the order of time, and those of the late packets."""
    late: list[int] = []
    result = Ordered(frames(times, size), lambda frame: late.append(frame.number), lambda _: None)
    return [frame.number for frame in result], late


def test_packets_are_sorted_by_time_and_equal_times_keep_their_order() -> None:
    assert ordered([5, 5, 3, 5, 4, 3]) == ([3, 6, 5, 1, 2, 4], [3, 5, 6])
    assert ordered([]) == ([], [])


def test_packet_late_by_half_a_window_is_sorted_in_and_no_packet_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(order, "WINDOW", 20)
    chance = random.Random(1)
    times = list(range(500))
    for start in range(0, 500, 10):
        part = times[start : start + 10]
        chance.shuffle(part)
        times[start : start + 10] = part
    numbers, _ = ordered(times)
    assert [times[number - 1] for number in numbers] == list(range(500))
    numbers, late = ordered([*range(100, 200), 0, *range(200, 300)])
    assert sorted(numbers) == list(range(1, 202))
    assert late == [101]
    assert 80 <= numbers.index(101) <= 100


def test_window_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "WINDOW_BYTES", 10_000)
    read = 0

    def counted() -> object:
        nonlocal read
        for frame in frames(list(range(100)), 1000):
            read += 1
            yield frame

    first = next(iter(Ordered(counted(), lambda _: None, lambda _: None)))
    assert (first.number, read) == (1, 10)


def test_ahead_is_what_comes_next() -> None:
    source = Ordered(frames([1, 2, 3, 4]), lambda _: None, lambda _: None)
    assert list(source.ahead()) == []
    seen = [(frame.number, [each.number for each in source.ahead()]) for frame in source]
    assert seen == [(1, [2, 3, 4]), (2, [3, 4]), (3, [4]), (4, [])]

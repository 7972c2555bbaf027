"""Timers: in the order of their times, and nothing left of those that are cancelled."""

from __future__ import annotations

import random

import pytest

from nfinspect.tcp.timers import Timers


def test_timers_are_taken_in_the_order_of_their_times_and_then_of_their_setting() -> None:
    timers = Timers()
    for key, when in ((b"c", 7.5), (b"a", 7.25), (b"b", 7.25), (b"d", 70.0)):
        timers.set(key, when)
    assert timers.take(7.0) is None
    assert timers.deadline() == 7.25
    timers.set(b"e", 7.3)  # its second is sorted already
    timers.set(b"f", 1.0)  # it is late
    taken = [timers.take(8.0) for _ in range(6)]
    assert taken == [(1.0, b"f"), (7.25, b"a"), (7.25, b"b"), (7.3, b"e"), (7.5, b"c"), None]
    assert timers.deadline() == 70.0


def test_cancelled_timer_leaves_nothing_behind() -> None:
    timers = Timers()
    for number in range(1_000_000):
        key = number.to_bytes(4, "big")
        timers.set(key, 30.0 + number % 60)
        timers.cancel(key, 30.0 + number % 60)
    assert len(timers) == 0
    assert timers.deadline() is None


@pytest.mark.parametrize("seed", range(20))
def test_timers_agree_with_a_list_that_is_sorted_each_time(seed: int) -> None:
    chance = random.Random(seed)
    timers, known = Timers(), dict[bytes, float]()
    now = 0.0
    for _ in range(500):
        key = bytes([chance.randrange(40)])
        if key in known:
            timers.cancel(key, known.pop(key))
        if chance.random() < 0.8:
            known[key] = now + chance.choice((0.0, 0.5, 3.0, 59.5, 4000.0)) * chance.random()
            timers.set(key, known[key])
        now += chance.choice((0.0, 0.1, 2.0))
        while (taken := timers.take(now)) is not None:
            when, key = taken
            if known.get(key) == when:
                assert when == min(known.values())
                del known[key]
        assert all(when > now for when in known.values())
        deadline = timers.deadline()
        assert deadline is None or not known or deadline <= min(known.values())

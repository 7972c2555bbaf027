"""Figures read from /proc."""

import os
import time

import pytest

from bench.process import (
    cpu_seconds,
    parse_cpu_ticks,
    parse_peak_memory,
    parse_queue_counters,
    peak_memory,
)


def test_cpu_time_is_user_plus_system_time_whatever_the_process_name() -> None:
    stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 7 7 20 0 1 0 100 0 0"
    assert parse_cpu_ticks(stat) == 300


def test_peak_memory_is_in_bytes() -> None:
    assert parse_peak_memory("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   2048 kB\n") == 2 * 1024 * 1024


def test_peak_memory_of_a_process_that_has_ended_is_an_error() -> None:
    with pytest.raises(ValueError, match="ended"):
        parse_peak_memory("Name:\tx\nState:\tZ (zombie)\n")


def test_queue_counters_are_summed_over_queues() -> None:
    table = "    0  4242     0 2 65531     1     2      300  1\n    1  4243 0 2 65531 0 4 50 1\n"
    assert parse_queue_counters(table) == (350, 7)


def test_this_process_has_used_time_and_memory() -> None:
    before = cpu_seconds(os.getpid())
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds(os.getpid()) > before
    assert peak_memory(os.getpid()) > 1024 * 1024

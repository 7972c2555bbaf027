"""Figures read from /proc."""

import os
import threading
import time

import pytest

from bench.process import (
    cpu_seconds,
    parse_peak_memory,
    parse_queue_counters,
    parse_run_time,
    peak_memory,
)


def test_cpu_time_is_the_time_on_a_processor() -> None:
    assert parse_run_time("2500000123 70 9\n") == 2_500_000_123


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


def test_cpu_time_is_that_of_all_threads() -> None:
    used, over = threading.Event(), threading.Event()

    def use() -> None:
        while time.thread_time() < 0.1:
            pass
        used.set()
        over.wait()

    before = cpu_seconds(os.getpid())
    thread = threading.Thread(target=use)
    thread.start()
    used.wait()
    after = cpu_seconds(os.getpid())
    over.set()
    thread.join()
    assert after - before > 0.09

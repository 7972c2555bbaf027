"""Lines written by a thread: in order, never blocking, and lost rather than waited for."""

import contextlib
import os
import threading
import time

import pytest

from nfinspect.live import lines
from nfinspect.live.lines import LineWriter


@pytest.fixture
def pipe():
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):  # a test has closed it
            os.close(descriptor)


def test_lines_arrive_complete_and_in_order(pipe) -> None:
    reading, writing = pipe
    writer = LineWriter(writing, report=pytest.fail)
    for number in range(1000):
        writer.write(f"line {number}")
        if number % 7 == 0:
            writer.flush()
    assert writer.finish(5)
    os.close(writing)
    with os.fdopen(os.dup(reading)) as file:
        assert file.read().splitlines() == [f"line {number}" for number in range(1000)]
    assert writer.lost == 0


def test_nothing_is_written_before_a_flush(pipe) -> None:
    reading, writing = pipe
    os.set_blocking(reading, False)
    writer = LineWriter(writing, report=pytest.fail)
    writer.write("a")
    time.sleep(0.05)
    with pytest.raises(BlockingIOError):
        os.read(reading, 10)
    assert writer.finish(5)
    assert os.read(reading, 10) == b"a\n"


def test_reader_that_stops_blocks_nothing_and_lines_beyond_the_bound_are_lost(
    pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    monkeypatch.setattr(lines, "LIMIT", 200_000)
    writer = LineWriter(writing, report=pytest.fail)
    started = time.monotonic()
    for _ in range(3000):
        writer.write("x" * 99)
        writer.flush()
    assert time.monotonic() - started < 5
    assert 0 < writer.lost <= 1000
    assert not writer.finish(0.05)

    received = 0
    while received < (3000 - writer.lost) * 100:
        received += len(os.read(reading, 65536))
    assert writer.finish(5)


def test_closed_pipe_is_reported_once_and_later_lines_are_counted_as_lost(pipe) -> None:
    reading, writing = pipe
    os.close(reading)
    reported = threading.Event()
    reports: list[str] = []

    def report(text: str) -> None:
        reports.append(text)
        reported.set()

    writer = LineWriter(writing, report)
    writer.write("nobody reads this")
    writer.flush()
    assert reported.wait(5)
    writer.write("nor this")
    writer.flush()
    assert not writer.finish(5)
    assert reports == ["stdout failed (Broken pipe): no more lines; the filter continues"]
    assert writer.lost == 1

"""Lines written by a thread: in order, never blocking, and lost (and counted) rather than waited
for."""

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nfinspect.live import lines
from nfinspect.live.lines import LineWriter

PATIENCE = 10.0
"""Seconds until a test gives up."""


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        with contextlib.suppress(OSError):  # a test has closed it
            os.close(descriptor)


def eventually(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "still false"
        time.sleep(0.01)


def everything(reading: int) -> list[bytes]:
    """The lines that are in a pipe; the last is what follows the last newline."""
    data = b""
    while select.select([reading], [], [], 0)[0] and (more := os.read(reading, 65536)):
        data += more
    return data.split(b"\n")


class Disk:
    """Stands in for `os.write`: a file on a disk that is full after some bytes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int, code: int) -> None:
        self.room = room
        self.code = code
        self.content = b""
        self.refusals = 0
        monkeypatch.setattr(lines, "RETRY", 0.01)
        monkeypatch.setattr(lines, "LOOK", 0.01)
        monkeypatch.setattr(lines.os, "write", self._write)

    def _write(self, _descriptor: int, data: bytes) -> int:
        if not self.room:
            self.refusals += 1
            raise OSError(self.code, os.strerror(self.code))
        done = bytes(data[: self.room])
        self.content += done
        self.room -= len(done)
        return len(done)


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


def test_line_longer_than_a_pipe_takes_at_once_arrives_whole(pipe) -> None:
    reading, writing = pipe
    writer = LineWriter(writing, report=pytest.fail)
    sent = ["a", "b" * 3 * select.PIPE_BUF, "c", "d" * (select.PIPE_BUF - 1), "e"]
    for line in sent:
        writer.write(line)
    assert writer.finish(5)
    assert everything(reading) == [*(line.encode() for line in sent), b""]
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


@pytest.mark.parametrize("blocking", [True, False])
@pytest.mark.parametrize("length", [99, 777, 3 * select.PIPE_BUF])
def test_lines_that_a_stalled_reader_cost_are_counted_exactly(
    pipe, monkeypatch: pytest.MonkeyPatch, blocking: bool, length: int
) -> None:
    reading, writing = pipe
    os.set_blocking(writing, blocking)
    monkeypatch.setattr(lines, "LIMIT", 200_000)
    reports: list[str] = []
    writer = LineWriter(writing, reports.append)
    for number in range(3000):  # returns, though nobody reads
        writer.write(f"{number:04}" + "x" * (length - 5))
        if number % 1000 == 999:
            writer.flush()
    beyond_the_bound = writer.lost
    assert beyond_the_bound > 0
    assert writer.waiting > 0
    assert reports[0].startswith("stdout is not read fast enough; the filter continues; ")
    assert len(reports) == 1
    assert not writer.finish(0.05)
    assert writer.lost > beyond_the_bound
    assert writer.waiting == 0
    *arrived, rest = everything(reading)
    assert len(arrived) + writer.lost == 3000
    assert length > select.PIPE_BUF or not rest  # no part of a line is left behind
    assert [int(line[:4]) for line in arrived] == list(range(len(arrived)))


def test_reader_that_comes_back_gets_what_waited_and_that_is_said(
    pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, writing = pipe
    monkeypatch.setattr(lines, "LIMIT", 100_000)
    reports: list[str] = []
    writer = LineWriter(writing, reports.append)
    for _ in range(3000):
        writer.write("x" * 99)
    writer.flush()
    lost = writer.lost
    assert lost == 2000
    received: list[bytes] = []

    def read_on() -> bool:
        received.extend(everything(reading))
        writer.flush()
        return len(reports) == 2

    eventually(read_on)
    writer.write("the next")
    assert writer.finish(5)
    assert writer.lost == lost
    received.extend(everything(reading))
    assert b"".join(received) == b"x" * 99 * 1000 + b"the next"
    assert reports == [
        "stdout is not read fast enough; the filter continues; 2000 lines are lost so far",
        "stdout works again; 2000 lines were lost",
    ]


def test_growing_losses_are_reported_once_in_a_period(
    pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, writing = pipe
    clock = [1000.0]
    monkeypatch.setattr(lines, "monotonic", lambda: clock[0])
    monkeypatch.setattr(lines, "LIMIT", 0)
    reports: list[str] = []
    writer = LineWriter(writing, reports.append)
    for _ in range(100):
        writer.write("x")
        writer.flush()
    assert [text.rpartition("; ")[2] for text in reports] == ["1 lines are lost so far"]
    clock[0] += lines.REPORT_PERIOD
    writer.flush()
    assert reports[1].endswith("; 100 lines are lost so far")
    writer.finish(5)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_writing_resumes_after_an_error_within_the_line_that_was_begun(
    pipe, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    disk = Disk(monkeypatch, room=25, code=code)
    reports: list[str] = []
    writer = LineWriter(pipe[1], reports.append)
    sent = [f"line {number:04}" for number in range(100)]
    for line in sent[:50]:
        writer.write(line)
    writer.flush()
    eventually(lambda: disk.refusals >= 2)
    writer.flush()
    assert disk.content == b"line 0000\nline 0001\nline "
    assert (writer.waiting, writer.lost) == (48, 0)
    assert reports == [
        f"stdout failed ({os.strerror(code)}): lines wait until it works again; the filter"
        " continues; 0 lines are lost so far"
    ]
    disk.room = 1_000_000
    eventually(lambda: writer.waiting == 0)
    for line in sent[50:]:
        writer.write(line)
    assert writer.finish(5)
    assert disk.content.decode().splitlines() == sent
    assert writer.lost == 0


def test_end_of_an_error_is_said(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, room=0, code=errno.ENOSPC)
    reports: list[str] = []
    writer = LineWriter(pipe[1], reports.append)
    writer.write("a")
    writer.flush()
    eventually(lambda: disk.refusals)
    writer.flush()
    disk.room = 100
    eventually(lambda: writer.waiting == 0)
    writer.flush()
    assert reports[1:] == ["stdout works again; 0 lines were lost"]
    writer.finish(5)


def test_line_written_in_part_at_the_end_is_lost(pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch, room=25, code=errno.ENOSPC)
    writer = LineWriter(pipe[1], lambda text: None)
    for number in range(10):
        writer.write(f"line {number:04}")
    assert not writer.finish(0.05)
    assert disk.content.count(b"\n") == 2
    assert writer.lost == 8
    writer.write("after the end")
    assert writer.lost == 9


def test_descriptor_that_takes_nothing_for_a_moment_is_no_error(
    pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch, room=5, code=errno.EAGAIN)
    writer = LineWriter(pipe[1], report=pytest.fail)
    writer.write("line 1")
    writer.write("line 2")
    writer.flush()
    eventually(lambda: disk.refusals >= 2)
    disk.room = 100
    assert writer.finish(5)
    assert disk.content == b"line 1\nline 2\n"
    assert writer.lost == 0


def test_closed_pipe_is_final_and_all_later_lines_are_counted_as_lost(pipe) -> None:
    reading, writing = pipe
    reports: list[str] = []
    writer = LineWriter(writing, reports.append)
    writer.write("somebody reads this")
    assert writer.drain(5)
    os.close(reading)
    for _ in range(3):
        writer.write("nobody reads this")
    writer.flush()
    eventually(lambda: writer.lost == 3)
    writer.flush()
    for _ in range(4):
        writer.write("nor this")
        writer.flush()
    assert not writer.finish(5)
    assert writer.lost == 7
    assert writer.waiting == 0
    assert reports == [
        "stdout failed (Broken pipe): no more lines; the filter continues; 3 lines are lost so far"
    ]

"""The file of closed connections: what survives a restart, and what is not trusted."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from nfinspect.events import CloseCause, Connection, Direction, Endpoint, InspectionClosed
from nfinspect.live import closed_file
from nfinspect.live.closed_file import HEADER, RECORD, SPARE, ClosedFile


def connection(port: int, family: int = socket.AF_INET) -> Connection:
    addresses = ("192.0.2.1", "198.51.100.25")
    if family == socket.AF_INET6:
        addresses = ("2001:db8::1", "2001:db8::25")
    client, server = (socket.inet_pton(family, each) for each in addresses)
    return Connection(1, Endpoint("outside", client, port), Endpoint("inside", server, 25))


def key(port: int, family: int = socket.AF_INET) -> bytes:
    name = connection(port, family)
    ports = port.to_bytes(2, "big") + b"\0\x19"
    return name.client.address + name.server.address + ports


class Filter:
    """A run of the filter: its table, and its file."""

    def __init__(self, path: Path, now: float = 1000.0) -> None:
        self.now = now
        self.reports: list[str] = []
        self.table: dict[bytes, float] = {}
        self.room = 100
        self.file = ClosedFile(path, self.reports.append, lambda: self.now)
        self.file.restore(self._remember)
        self.file.keep(self.table.items())

    def _remember(self, key: bytes, since: float, now: float) -> bool:
        assert now == self.now
        if len(self.table) >= self.room:
            return False
        self.table[key] = since
        return True

    def close(self, port: int, family: int = socket.AF_INET) -> None:
        name = connection(port, family)
        self.file.observe(InspectionClosed(name, Direction.REQUEST, CloseCause.CLAUSE))
        self.table[key(port, family)] = self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "closed-1-0"


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_closed_connection_is_known_to_the_next_run_even_after_kill(
    path: Path, family: int
) -> None:
    first = Filter(path)
    first.close(40000, family)  # and nothing else: kill -9
    second = Filter(path, now=1200.0)
    assert second.table == {key(40000, family): 1000.0}
    assert second.reports == ["connections that an earlier run closed, and that stay closed: 1"]
    third = Filter(path, now=1300.0)
    assert third.table == {key(40000, family): 1000.0}


def test_first_run_says_nothing(path: Path) -> None:
    assert Filter(path).reports == []
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_what_was_closed_longer_ago_than_two_hours_is_forgotten(path: Path) -> None:
    Filter(path).close(40000)
    assert Filter(path, now=1000.0 + 7200.0).table == {}


def test_what_will_be_closed_in_the_future_is_not_believed(path: Path) -> None:
    Filter(path, now=5000.0).close(40000)
    assert Filter(path, now=1000.0).table == {}


@pytest.mark.parametrize("cut", range(1, RECORD.size))
def test_record_written_in_part_costs_only_itself(path: Path, cut: int) -> None:
    first = Filter(path)
    first.close(1)
    first.close(2)
    os.truncate(path, path.stat().st_size - cut)
    second = Filter(path)
    assert list(second.table) == [key(1)]
    assert second.reports[0].endswith("has damaged records, which are ignored")
    assert Filter(path).reports == [
        "connections that an earlier run closed, and that stay closed: 1"
    ]


@pytest.mark.parametrize("at", range(RECORD.size))
def test_damaged_record_costs_only_itself(path: Path, at: int) -> None:
    first = Filter(path)
    first.close(1)
    first.close(2)
    content = bytearray(path.read_bytes())
    content[HEADER.size + at] ^= 0x55
    path.write_bytes(content)
    assert list(Filter(path).table) == [key(2)]


@pytest.mark.parametrize("content", [b"", b"x", b"nfinspect", os.urandom(1000), bytes(4096)])
def test_foreign_content_is_ignored_with_a_notice_and_replaced(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    first = Filter(path)
    assert len(first.reports) == 1
    assert "is ignored: it is damaged, of another boot" in first.reports[0]
    first.close(1)
    assert list(Filter(path).table) == [key(1)]


def test_file_of_another_boot_is_ignored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Filter(path).close(1)
    monkeypatch.setattr(closed_file, "boot", lambda: b"another boot".ljust(32))
    assert Filter(path).table == {}


def test_file_that_others_could_have_written_is_ignored(path: Path) -> None:
    Filter(path).close(1)
    path.chmod(0o622)
    second = Filter(path)
    assert second.table == {}
    assert second.reports == [f"{path} is ignored: another user could have written it"]


def test_link_fifo_and_directory_in_its_place_are_not_read(path: Path, tmp_path: Path) -> None:
    real = tmp_path / "real"
    Filter(real).close(1)
    path.parent.mkdir()
    path.symlink_to(real)
    linked = Filter(path)
    assert linked.table == {}
    assert "is ignored" in linked.reports[0]
    assert not path.is_symlink()  # replaced, and what it pointed to is untouched
    path.unlink()
    os.mkfifo(path)
    assert "is ignored: it is no regular file" in Filter(path).reports[0]
    path.unlink()
    path.mkdir()
    assert "is ignored" in Filter(path).reports[0]


def test_full_table_is_said(path: Path) -> None:
    first = Filter(path)
    for port in range(120):
        first.close(port)
    second = Filter(path)
    assert len(second.table) == 100
    assert second.reports[1] == (
        "connections that an earlier run closed, and that do not fit in the table: 20"
    )


def test_disk_that_is_full_for_a_while_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Filter(path)
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for port in range(3):
        first.close(port)
    assert first.file.unwritten == 3
    assert len(first.reports) == 1
    assert "cannot be written (No space left on device)" in first.reports[0]
    first.now += 2.0
    first.file.maintain(lambda: first.table.items())
    assert first.file.unwritten == 3
    monkeypatch.setattr(os, "write", write)
    first.file.maintain(lambda: first.table.items())  # too early
    assert first.file.unwritten == 3
    first.now += 2.0
    first.file.maintain(lambda: first.table.items())
    assert first.file.unwritten == 0
    assert first.reports[1:] == [f"{path} is written again"]
    first.close(9)
    assert sorted(Filter(path, now=1010.0).table) == [key(port) for port in (0, 1, 2, 9)]


def test_missing_directory_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file" / "closed"
    (tmp_path / "file").write_text("in the way")
    first = Filter(path)
    first.close(1)
    assert first.file.unwritten == 1
    assert any("cannot be written" in report for report in first.reports)


def test_file_stays_short(path: Path) -> None:
    first = Filter(path)
    for number in range(5 * SPARE):
        first.close(number % 7)
        first.file.maintain(lambda: first.table.items())
        assert path.stat().st_size <= HEADER.size + (SPARE + 20) * RECORD.size
    assert len(Filter(path).table) == 7
